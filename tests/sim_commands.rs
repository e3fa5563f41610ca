//! `filch sim`, as a person or a script calls it: results on stdout, the documented exit codes, files written, bad input refused
//! with its place and a suggestion.
#![allow(missing_docs)]

mod harness;

use std::path::{Path, PathBuf};

use harness::{Cmd, Done, FILCH};
use rustix::process::Signal;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sim(args: &[&str]) -> Cmd {
    Cmd::new(FILCH).arg("sim").args(args).dir(root())
}

/// stdout as JSON, one object a line.
#[track_caller]
fn objects(done: &Done) -> Vec<Value> {
    let one = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}\n{done:?}"));
    done.text().lines().map(one).collect()
}

#[track_caller]
fn says(done: &Done, words: &[&str]) {
    let text = done.text();
    for word in words {
        assert!(text.contains(word), "lacks `{word}`: {done:?}");
    }
    assert!(!text.contains('\x1b'), "no colours into a pipe: {done:?}");
}

/// Asserts a refusal: nothing on stdout, one clear sentence and what to do on stderr.
#[track_caller]
fn refused(done: Done, words: &[&str]) {
    let done = done.expect(2);
    assert!(done.out.is_empty(), "stdout is for results: {done:?}");
    assert!(done.err.starts_with("error: "), "{done:?}");
    for word in words {
        assert!(done.err.contains(word), "lacks `{word}`: {done:?}");
    }
    assert!(!done.err.contains("panicked"), "{done:?}");
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.path().join(name), text).unwrap();
        self.path(name)
    }
    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }
}

const SMALL: &str = "about = 'two nodes and a crash'
cluster = { nodes = 2, slots = 2 }
job = [{ at = '2s', tasks = 40, duration = '100ms' }]
fault = [{ at = '2500ms', crash = { node = 1, down = '3s' } }]
expect = { done_within = '30s', faults = 1 }
";

#[test]
fn run_one_scenario() {
    let dir = Dir::new();
    let (file, svg) = (dir.file("small.toml", SMALL), dir.path("small.svg"));
    let done = sim(&["run", &file, "--svg", &svg, "--timeline"]).run().ok();
    says(&done, &["as expected", "two nodes and a crash", "within 30.000 s", "none broken", "messages", "simulated"]);
    says(&done, &["node 1 is killed for 3.0 s", "node 1 is back", "the job has ended: succeeded"]);
    let svg = dir.read("small.svg");
    assert!(svg.starts_with("<svg ") && svg.contains("small · seed 0") && svg.ends_with("</svg>\n"));

    // The same for programs; another seed is another run, the same seed the same.
    let json = |seed: &str| objects(&sim(&["run", &file, "--seed", seed, "--json"]).run().ok()).remove(0);
    let one = json("5");
    assert_eq!((&one["as_expected"], &one["seed"], &one["nodes"]), (&true.into(), &5.into(), &2.into()));
    assert_eq!(one["digest"], json("5")["digest"]);
    assert_ne!(one["digest"], json("6")["digest"]);
    let more = objects(&sim(&["run", &file, "--nodes", "5", "--json", "--timeline"]).run().ok()).remove(0);
    assert_eq!(more["nodes"], 5);
    assert!(more["timeline"].as_array().is_some_and(|t| t.len() > 3), "{more}");

    let traced = sim(&["run", &file, "--trace", "--json"]).run().ok();
    let lines = objects(&traced);
    assert!(lines.len() > 100 && lines[0]["trace"].is_string() && lines[lines.len() - 1]["digest"].is_string());
}

#[test]
fn run_several_and_one_that_disappoints() {
    let dir = Dir::new();
    let good = dir.file("good.toml", SMALL);
    let bad = dir.file("bad.toml", &SMALL.replace("done_within = '30s'", "done_within = '10ms'"));
    let done = sim(&["run", &good, &bad, "--svg", &dir.path("pictures")]).run().expect(1);
    says(&done, &["NOT as expected", "within 0.010 s", "SCENARIO", "good", "yes, 2 of 2", "NO, 1 of 2"]);
    assert!(dir.read("pictures/good.svg").contains("</svg>") && dir.read("pictures/bad.svg").contains("</svg>"));
    let all = objects(&sim(&["run", &good, &bad, "--json"]).run().expect(1));
    assert_eq!(all.iter().map(|o| o["as_expected"].clone()).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn scenarios_that_make_no_sense() {
    let dir = Dir::new();
    let run = |text: &str| sim(&["run", &dir.file("x.toml", text)]).run();
    refused(
        run("[cluster]\nnods = 4\n"),
        &["x.toml, line 2, column 1", "unknown key `nods`", "hint: did you mean `nodes`?"],
    );
    refused(run("[cluster]\nnodes = 4\n[network]\nloss = '120%'\n"), &["line 4, column 8", "between 0% and 100%"]);
    refused(run("[cluster]\nnodes = 0\n"), &["line 2, column 9", "at least one node"]);
    refused(run(""), &["line 1", "missing field `cluster`"]);
    refused(sim(&["run", "no-such-file.toml"]).run(), &["cannot read no-such-file.toml", "simulations/"]);
    refused(sim(&["run", "simulations"]).run(), &["simulations", "directory"]);
    // Not even the good one is run.
    let (good, bad) = (dir.file("good.toml", SMALL), dir.file("bad.toml", "[cluster]\nnodes = -1\n"));
    refused(sim(&["run", &good, &bad]).run(), &["bad.toml, line 2"]);
    // Only the replaced number of nodes makes it impossible.
    refused(sim(&["run", &good, "--nodes", "1"]).run(), &["there is no node 1"]);
    let done = sim(&["run", &good, "--svg", "/proc/none/x.svg"]).run().expect(4);
    assert!(done.err.contains("cannot write /proc/none/x.svg"), "{done:?}");
}

#[test]
fn swarm_counts_by_profile_and_class() {
    let done = sim(&["swarm", "--seeds", "12", "--profile", "crash,fault-free"]).run().ok();
    says(&done, &["PROFILE", "fault-free", "crash", "FAULT CLASS", "none at all", "24 of 24 seeds held"]);
    assert!(done.err.contains("12 seeds of fault-free, crash from 0 on"), "{done:?}");
    let done = sim(&["swarm", "--seeds", "5", "--profile", "minimal", "--json"]).run().ok();
    let all = objects(&done);
    let sum = &all[all.len() - 1]["summary"];
    assert_eq!((&sum["seeds"], &sum["new"]), (&5.into(), &0.into()));
    assert_eq!(sum["profiles"]["minimal"]["seeds"], 5);
    assert!(sum["simulated_us"].as_u64().is_some_and(|us| us > 0) && done.err.is_empty(), "{done:?}");
}

#[test]
fn swarm_names_what_is_known_to_be_open() {
    let dir = Dir::new();
    let found = objects(&sim(&["mutants", "no-signature-check", "--seeds", "200", "--json"]).run().ok()).remove(0);
    let (profile, seed) = (found["caught"]["profile"].as_str().unwrap(), found["caught"]["seed"].to_string());
    let bug = ["--mutant", "no-signature-check"];
    let args = [&["swarm", "--seeds", "1", "--from", &seed, "--profile", profile][..], &bug].concat();
    let replay = format!("filch sim replay {profile}:{seed} --mutant no-signature-check");
    says(&sim(&args).run().expect(1), &["BROKEN", "S6", "1 BROKE A RULE", &replay]);
    let list = dir.file("known.txt", &format!("# open\n{profile} {seed} a planted bug\n"));
    let done = sim(&[&args[..], &["--known", &list]].concat()).run().ok();
    says(&done, &["known, still open", "a planted bug", "1 broke a rule as is known", &replay]);
    let bad = dir.file("bad.txt", &format!("{profile} {seed}\n"));
    refused(sim(&[&args[..], &["--known", &bad]].concat()).run(), &["bad.txt, line 1", "why the seed is kept"]);
}

#[test]
fn what_breaks_a_rule_is_shrunk_saved_and_replayed() {
    let dir = Dir::new();
    let file = dir.path("small.json");
    let found = objects(&sim(&["mutants", "no-signature-check", "--seeds", "200", "--json"]).run().ok()).remove(0);
    assert_eq!(found["caught"]["rule"], "S6", "{found}");
    let target = format!("{}:{}", found["caught"]["profile"].as_str().unwrap(), found["caught"]["seed"]);
    let planted = ["--mutant", "no-signature-check"];
    let args =
        [&["replay", &target][..], &planted, &["--shrink", "--save", &file, "--about", "a forged result"]].concat();
    let done = sim(&args).run().expect(1);
    says(&done, &["S6", "VIOLATION", "BROKEN"]);
    // The file breaks the same rule, and that is how it was recorded.
    let done = sim(&["replay", &file, "--timeline"]).run().ok();
    says(&done, &["S6 broke, as recorded", "somebody sends node", "BROKEN S6"]);
    assert!(dir.read("small.json").contains("a forged result"));
    // Without the bug nothing breaks.
    let done = sim(&["replay", &target, "--json"]).run().ok();
    assert_eq!(objects(&done)[0]["violation"], Value::Null);
}

#[test]
fn schedules_of_another_version_say_so() {
    let dir = Dir::new();
    let file = dir.path("crash.json");
    sim(&["replay", "crash:3", "--save", &file, "--digest"]).run().ok();
    let done = sim(&["replay", &file]).run().ok();
    says(&done, &["every rule held, as recorded"]);
    let text = dir.read("crash.json");
    let version = env!("CARGO_PKG_VERSION");
    let old = dir.file("old.json", &text.replace(version, "0.0.9"));
    refused(sim(&["replay", &old]).run(), &["old.json", "recorded by filch 0.0.9", version, "digest"]);
    let new = dir.file("new.json", &text.replace("\"format\": 1", "\"format\": 7"));
    refused(sim(&["replay", &new]).run(), &["new.json", "format 7"]);
    let other = dir.file("other.json", &text.replacen("\"digest\": \"", "\"digest\": \"f", 1));
    let done = sim(&["replay", &other]).run().expect(1);
    says(&done, &["on another way: the digest differs"]);
    let typo = dir.file("typo.json", &text.replacen("\"profile\"", "\"profil\"", 1));
    refused(sim(&["replay", &typo]).run(), &["typo.json", "unknown field `profil`", "line "]);
}

#[test]
fn replays_that_make_no_sense() {
    refused(sim(&["replay", "nothing.json"]).run(), &["cannot read nothing.json"]);
    refused(sim(&["replay", "warm:7"]).run(), &["`warm:7` is neither a file nor PROFILE:SEED", "fault-free"]);
    refused(sim(&["replay", "swarm:x"]).run(), &["`swarm:x`", "swarm:7"]);
    refused(sim(&["replay", "simulations/steal-storm.toml"]).run(), &["not a recorded schedule", "filch sim run"]);
    let dir = Dir::new();
    let file = dir.path("s.json");
    sim(&["replay", "minimal:1", "--save", &file]).run().ok();
    refused(sim(&["run", &file]).run(), &["s.json, line 1", "filch sim replay"]);
}

#[test]
fn mutants_that_slip_through_are_an_error() {
    // Half a lease of seeds is not enough for this one.
    let done = sim(&["mutants", "cancel-not-repeated", "ack-at-one-copy", "--seeds", "1"]).run().expect(1);
    says(&done, &["cancel-not-repeated", "a cancel is sent once", "NOTHING", "1 of 2 bugs caught, 1 NOT CAUGHT"]);
    says(&done, &["ack-at-one-copy", "P3", "S1", "--mutant ack-at-one-copy"]);
}

#[test]
fn plan_answers() {
    let plan = ["plan", "--nodes", "4", "--slots", "2", "--tasks", "800"];
    let done = sim(&[&plan[..], &["--duration", "500ms..1500ms", "--deaths", "25%"]].concat()).run().ok();
    says(&done, &["800 tasks of 500ms to 1s500ms on 4 nodes with 2 slots each", "1m40s if no slot ever waited"]);
    says(
        &done,
        &["nothing happens", "a worker dies half-way", "the submitter dies half-way", "1 of 4 nodes die on the way"],
    );
    let done =
        sim(&[&plan[..], &["--duration", "1s", "--input-size", "1MB", "--bandwidth", "100Mbit", "--json"]].concat());
    let answer = objects(&done.run().ok()).remove(0);
    assert_eq!((&answer["ideal_us"], &answer["complete"]), (&100_000_000_u64.into(), &true.into()));
    let took = |n: usize| answer["cases"][n]["took_us"].as_u64().unwrap();
    assert!(took(0) > 100_000_000 && took(1) > took(0), "{answer}");

    let plan = ["plan", "--duration", "1s"];
    let bad = |rest: &[&str]| sim(&[&plan[..], rest].concat()).run();
    refused(bad(&["--nodes", "0", "--tasks", "10"]), &["0 nodes", "1 to 2000"]);
    refused(bad(&["--nodes", "2", "--tasks", "20000000"]), &["20000000 tasks"]);
    refused(bad(&["--nodes", "2", "--tasks", "10", "--deaths", "2"]), &["nobody would be left"]);
    refused(bad(&["--nodes", "2", "--tasks", "10", "--bandwidth", "fast"]), &["`fast` is no bandwidth", "1Gbit"]);
}

#[test]
fn ctrl_c_leaves_a_partial_summary() {
    let mut run = sim(&["swarm", "--seeds", "1000000", "--profile", "fault-free", "--jobs", "1"]).start();
    run.until("it has begun", |_, err| err.contains("1000000 seeds").then_some(()));
    run.signal(Signal::INT);
    let done = run.wait().expect(130);
    says(&done, &["PROFILE", "ended by Ctrl-C before the other"]);
}

#[test]
fn a_closed_pipe_is_no_error_that_anyone_sees() {
    let script = format!("'{FILCH}' sim run simulations/steal-storm.toml --trace | head -n 1");
    let done = Cmd::new("sh").args(["-c", &script]).dir(root()).run().ok();
    assert_eq!(done.text().lines().count(), 1);
    assert!(!done.err.contains("panicked") && !done.err.contains("error"), "{done:?}");
}
