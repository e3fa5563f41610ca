//! `filch sim plan`: what would a job take?

use std::time::Instant;

use clap::Args;
use filch_sim::options::Duration;
use filch_sim::plan::{Answer, Question};
use serde_json::json;

use super::error::SimError;
use super::progress::Progress;
use super::quantity::{self, Deaths, time};
use super::voice::Voice;
use super::{INTERRUPTED, show, stop};
use crate::error::Error;
use crate::render::table::table;
use crate::render::words::{bytes, count};

/// Ask how long a job would take, how busy the machines would be and what a node's death would cost
///
/// The job is simulated with the protocol code of real nodes on a quiet LAN: once with nothing going wrong, once with a worker's death half-way, once with
/// the submitter's. Very long jobs are simulated in part; the answer says so.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch sim plan --nodes 8 --slots 4 --tasks 10000 --duration 30s
  filch sim plan --nodes 8 --slots 4 --tasks 10000 --duration 20s..40s
  filch sim plan --nodes 8 --slots 4 --tasks 10000 --duration mean=30s       # a long tail, about exponential
  filch sim plan --nodes 50 --slots 8 --tasks 1000000 --duration 5s --stragglers 1% --straggle 20 --deaths 5%
  filch sim plan --nodes 5 --slots 2 --tasks 500 --duration 10s --input-size 200MB --bandwidth 1Gbit

At most 2,000 nodes of 1,024 slots, 10,000,000 tasks of at most 12 days.
Exit codes: 0 answered, 1 the job would not end, 2 usage, 130 ended by Ctrl-C")]
pub(super) struct PlanArgs {
    /// Machines
    #[arg(long, value_name = "N")]
    nodes: usize,
    /// Tasks that each runs at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    slots: u16,
    /// Tasks of the job
    #[arg(long, value_name = "N")]
    tasks: u32,
    /// Time of one task: 30s, 20s..40s, or mean=30s
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    duration: Duration,
    /// Share of tasks that take --straggle times as long
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = quantity::share)]
    stragglers: u32,
    /// See --stragglers
    #[arg(long, value_name = "TIMES", default_value_t = 10)]
    straggle: u32,
    /// Nodes that die on the way, for good: a number, or a share such as 5%
    #[arg(long, value_name = "N|SHARE", default_value = "0", value_parser = quantity::deaths)]
    deaths: Deaths,
    /// Every task reads a file of this size, which is at the submitter at first
    #[arg(long, value_name = "SIZE", default_value = "0B", value_parser = quantity::size)]
    input_size: u64,
    /// Of a transfer between two nodes
    #[arg(long, value_name = "RATE", default_value = "1Gbit", value_parser = quantity::rate)]
    bandwidth: u64,
    /// All randomness
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl PlanArgs {
    fn question(&self) -> Result<Question, SimError> {
        let question = Question {
            nodes: self.nodes,
            slots: self.slots,
            tasks: self.tasks,
            takes: self.duration.clone(),
            straggle_ppm: self.stragglers,
            straggle: if self.stragglers == 0 { 1 } else { self.straggle },
            deaths: self.deaths.of(self.nodes),
            input: self.input_size,
            bandwidth: self.bandwidth,
            seed: self.seed,
        };
        question.check().map_err(SimError::Plan)?;
        Ok(question)
    }
}

pub(super) fn run(args: &PlanArgs, voice: Voice) -> Result<u8, Error> {
    let question = args.question()?;
    let begun = Instant::now();
    let mut progress = Progress::new(voice, None);
    let answer = question.answer(|what, done, of| {
        progress.at(0, || format!("{what}: {done} of {of} tasks"));
        !stop::stopped()
    });
    progress.finish();
    let took = begun.elapsed();
    if voice.json {
        let mut object = json!({ "nodes": args.nodes, "slots": args.slots, "tasks": args.tasks, "seed": args.seed,
            "wall_ms": took.as_millis() as u64 });
        if let (Some(map), Ok(serde_json::Value::Object(rest))) =
            (object.as_object_mut(), serde_json::to_value(&answer))
        {
            map.extend(rest);
        }
        voice.object(&object)?;
    } else {
        voice.put(&text(args, &answer, &show::wall(took)))?;
    }
    let endless = answer.cases.iter().any(|c| c.took_us.is_none());
    Ok(if endless {
        1
    } else if answer.complete {
        0
    } else {
        INTERRUPTED
    })
}

fn takes(duration: &Duration) -> String {
    match duration {
        Duration::Fixed(us) => time(*us),
        Duration::Uniform(lo, hi) => format!("{} to {}", time(*lo), time(*hi)),
        Duration::Tail(mean) => format!("{} on the average, with a long tail,", time(*mean)),
    }
}

fn text(args: &PlanArgs, a: &Answer, wall: &str) -> String {
    let mut out = format!(
        "{} of {} on {} with {} each\n",
        count(u64::from(args.tasks), "task"),
        takes(&args.duration),
        count(args.nodes as u64, "node"),
        count(u64::from(args.slots), "slot")
    );
    out.push_str(&format!("{} of work: {} if no slot ever waited\n\n", time(a.work_us), time(a.ideal_us)));
    let heads = ["WHAT HAPPENS", "TAKES", "COSTS", "SLOTS USED", "DONE AGAIN", "STOLEN", "MESSAGES/TASK"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let calm = a.cases.first().and_then(|c| c.took_us);
    for (n, case) in a.cases.iter().enumerate() {
        let costs = match (case.took_us, calm) {
            (Some(took), Some(calm)) if n > 0 && took >= calm => format!("+{}", time(took - calm)),
            (Some(took), Some(calm)) if n > 0 => format!("-{}", time(calm - took)),
            _ => String::new(),
        };
        rows.push(vec![
            case.what.clone(),
            case.took_us.map_or("does not end".into(), time),
            costs,
            show::percent(case.efficiency),
            case.redone.to_string(),
            case.stolen.to_string(),
            format!("{:.2}", case.messages_per_task),
        ]);
    }
    out.push_str(&table(&rows));
    out.push('\n');
    if args.input_size > 0 {
        let all = u128::from(args.tasks) * u128::from(args.input_size);
        let us = u64::try_from(all * 1_000_000 / u128::from(args.bandwidth.max(1))).unwrap_or(u64::MAX);
        let all = u64::try_from(all).unwrap_or(u64::MAX);
        out.push_str(&format!("inputs: {} in all; one line carries them in {}\n", bytes(all), time(us)));
    }
    out.push_str("slots used: share of all slots' time that went into results, the time of dead nodes included\n");
    out.extend(a.simplified.iter().map(|s| format!("simplified: {s}\n")));
    if !a.complete {
        out.push_str("ended by Ctrl-C before every case was simulated\n");
    }
    out.push_str(&format!("simulated in {wall}\n"));
    out
}
