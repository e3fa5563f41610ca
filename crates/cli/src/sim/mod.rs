//! `filch sim`: the product's protocol code in virtual time. Scenarios, seeds, recorded runs, planted bugs, plans.
//!
//! Nothing here talks to a node. Exit codes: 0 all as it should be, 1 not so, 2 what was given makes no sense, 4 it cannot be
//! written, 130 ended by Ctrl-C before anything was found wrong.

mod error;
mod mutants;
mod plan;
mod pool;
mod progress;
mod quantity;
mod replay;
mod run;
mod show;
mod stop;
mod swarm;
#[cfg(test)]
mod tests;
mod voice;

use clap::{Args, Subcommand};

use crate::args::Global;
use crate::error::Error;
use voice::Voice;

/// Ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Simulate clusters in virtual time: scenarios, faults, plans
///
/// Runs the protocol code of real nodes in a simulated world: links, disks, clocks, executors and every fault. Each run is
/// determined by a seed; all rules of the protocol are checked after every event. No node is needed, nothing is sent anywhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch sim run simulations/steal-storm.toml --svg storm.svg
  filch sim plan --nodes 8 --slots 4 --tasks 10000 --duration 30s
  filch sim swarm --seeds 5000
  filch sim replay swarm:602566 --shrink
  filch sim mutants

Exit codes: 0 all as it should be, 1 not so (an expectation or a rule broke, a bug was not caught),
2 a file or a value makes no sense, 4 something cannot be written, 130 ended by Ctrl-C")]
pub(crate) struct SimArgs {
    #[command(subcommand)]
    command: SimCommand,
}

#[derive(Debug, Subcommand)]
enum SimCommand {
    Run(run::RunArgs),
    Plan(plan::PlanArgs),
    Swarm(swarm::SwarmArgs),
    Replay(replay::ReplayArgs),
    Mutants(mutants::MutantsArgs),
}

/// Runs one of them.
pub(crate) fn run(args: SimArgs, global: &Global) -> Result<u8, Error> {
    let voice = Voice { json: global.json, quiet: global.quiet };
    stop::listen()?;
    match args.command {
        SimCommand::Run(args) => run::run(&args, voice),
        SimCommand::Plan(args) => plan::run(&args, voice),
        SimCommand::Swarm(args) => swarm::run(&args, voice),
        SimCommand::Replay(args) => replay::run(args, voice),
        SimCommand::Mutants(args) => mutants::run(&args, voice),
    }
}
