//! The help texts of `filch sim`, and what clap itself refuses.

use clap::{CommandFactory, Parser};

use crate::args::Cli;

fn refused(line: &[&str]) -> String {
    let line = ["filch", "sim"].iter().chain(line).copied();
    Cli::try_parse_from(line).unwrap_err().to_string()
}

#[test]
fn help_texts() {
    let mut command = Cli::command().term_width(100);
    command.build();
    let sim = command.find_subcommand_mut("sim").unwrap();
    let mut all = format!("{}\n", sim.clone().term_width(100).render_long_help());
    for sub in sim.get_subcommands_mut().filter(|s| s.get_name() != "help") {
        let name = sub.get_name().to_owned();
        let mut sub = sub.clone().term_width(100);
        all.push_str(&format!("\n==== filch sim {name} --help\n{}\n", sub.render_long_help()));
    }
    let tidy: Vec<&str> = all.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(tidy.join("\n"));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_runs() {
    assert!(refused(&["swarm", "--seeds", "0"]).contains("--seeds"));
    assert!(refused(&["swarm", "--seeds", "many"]).contains("many"));
    assert!(refused(&["swarm", "--profile", "warm"]).contains("'swarm'"));
    assert!(refused(&["mutants", "--seeds", "0"]).contains("--seeds"));
    assert!(refused(&["mutants", "ack-befor-fsync"]).contains("ack-before-fsync"));
    assert!(refused(&["run"]).contains("FILE"));
    assert!(refused(&["run", "x.toml", "--nodes", "0"]).contains("--nodes"));
    assert!(refused(&["replay"]).contains("PROFILE:SEED"));
    assert!(refused(&["replay", "swarm:1", "--mutant", "none"]).contains("none"));
    assert!(refused(&["replay", "swarm:1", "--about", "x"]).contains("--save"));
    let plan = ["plan", "--nodes", "8", "--tasks", "10"];
    assert!(refused(&plan).contains("--duration"));
    assert!(refused(&[&plan[..], &["--duration", "soon"]].concat()).contains("`soon` is no time"));
    assert!(refused(&[&plan[..], &["--duration", "40s..20s"]].concat()).contains("the shorter time comes first"));
    assert!(refused(&[&plan[..], &["--duration", "1s", "--stragglers", "120%"]].concat()).contains("120%"));
}
