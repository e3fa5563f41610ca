//! Every scenario in `simulations/` goes as it says, and what is no scenario is refused with its place and a suggestion.

use std::path::{Path, PathBuf};

use filch_sim::{Report, Scenario};

/// Minutes of computing: only that they make sense is checked here.
const LARGE: [&str; 1] = ["uts-10000-nodes"];

/// Seeds besides the scenario's own.
const SEEDS: [u64; 3] = [11, 12, 13];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../simulations")
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

fn run(path: &Path, seed: Option<u64>) -> Report {
    let text = std::fs::read_to_string(path).unwrap();
    let scenario = Scenario::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(!scenario.about().is_empty(), "{} says what it shows", path.display());
    scenario.start(seed, None).unwrap().finish()
}

#[test]
fn every_scenario_goes_as_it_says() {
    assert!(files().len() >= 11, "{:?}", files());
    let mut wrong = Vec::new();
    for path in files() {
        if LARGE.iter().any(|name| path.file_stem().is_some_and(|stem| stem == *name)) {
            let text = std::fs::read_to_string(&path).unwrap();
            Scenario::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            continue;
        }
        for seed in std::iter::once(None).chain(SEEDS.map(Some)) {
            let report = run(&path, seed);
            assert!(!report.checks.is_empty(), "{} expects something", path.display());
            if !report.held() {
                wrong.push(format!("{} with seed {}: {report:#?}", path.display(), report.seed));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_seed_is_the_same_run() {
    let path = folder().join("partition-and-heal.toml");
    assert_eq!(run(&path, Some(5)), run(&path, Some(5)));
    assert_ne!(run(&path, Some(5)).digest, run(&path, Some(6)).digest);
}

#[test]
fn expectations_can_fail() {
    let text = "cluster = { nodes = 2 }
        job = [{ tasks = 50, duration = '1s' }]
        expect = { done_within = '5s', efficiency = '100%', busy = '100%', executions = 49, copies_won = 1, refused = 'x', slowdown = 1 }";
    let report = Scenario::parse(text).unwrap().start(None, None).unwrap().finish();
    assert!(!report.held());
    assert_eq!(report.checks.iter().filter(|c| !c.held).count(), 6, "{report:#?}");
    // Nothing went wrong, so it is as fast as when nothing goes wrong.
    let slowdown = report.checks.iter().find(|c| c.what == "slowdown").unwrap();
    assert_eq!((slowdown.held, slowdown.got.as_str()), (true, "1.00"));
    let late = Scenario::parse(&format!("limit = '10s'\n{text}")).unwrap().start(None, None).unwrap().finish();
    assert!(late.unfinished.as_deref().is_some_and(|t| t.contains("L1")), "{late:#?}");
}

#[test]
fn nodes_can_be_other_than_written() {
    let scenario = Scenario::parse(&std::fs::read_to_string(folder().join("steal-storm.toml")).unwrap()).unwrap();
    assert_eq!(scenario.options(None, Some(30)).unwrap().nodes.len(), 30);
    let error = scenario.options(None, Some(2)).unwrap_err();
    assert!(error.to_string().contains("there is no node 3"), "{error}");
}

/// (file, place, part of the sentence, part of the suggestion)
const REFUSED: &[(&str, (usize, usize), &str, &str)] = &[
    ("[cluster]\nnods = 4", (2, 1), "unknown key `nods`", "did you mean `nodes`?"),
    ("[cluster]\nnodes = 4\n[netwrok]", (3, 2), "unknown key `netwrok`", "did you mean `network`?"),
    ("[cluster]\nnodes = 4\n[expect]\nefficency = 1", (4, 1), "unknown key", "`efficiency`"),
    ("[cluster]\nnodes = 4\n[[fault]]\nat = '1s'\nexplode = 3", (5, 1), "unknown key `explode`", "known here: at"),
    ("[cluster]\nslots = 4", (1, 1), "missing field `nodes`", ""),
    ("[cluster]\nnodes = 0", (2, 9), "at least one node", ""),
    ("[cluster]\nnodes = 4\nslots = 5000", (3, 9), "not between 0 and 1024", ""),
    ("[cluster]\nnodes = -4", (2, 9), "-4", ""),
    ("[cluster]\nnodes = 4\n[network]\nloss = '120%'", (4, 8), "between 0% and 100%", ""),
    ("[cluster]\nnodes = 4\n[network]\nlatency = ['2ms', '1ms']", (4, 11), "the shorter one", ""),
    ("[cluster]\nnodes = 4\n[network]\nlatency = '5 miles'", (4, 11), "5 miles", ""),
    ("[cluster]\nnodes = 4\n[[job]]\ntasks = 10\nduration = 10", (5, 12), "20ms", ""),
    ("[cluster]\nnodes = 4\n[[job]]\nnode = 4\ntasks = 10", (4, 8), "there is no node 4", ""),
    ("[cluster]\nnodes = 4\n[[job]]\nat = '1s'", (3, 1), "needs `tasks`", ""),
    ("[cluster]\nnodes = 4\n[[fault]]\nat = '1s'", (3, 1), "does not say what happens", ""),
    (
        "[cluster]\nnodes = 4\n[[fault]]\nat = '1s'\ncut = { side = '0-3', for = '1s' }",
        (5, 16),
        "nobody is left on the other",
        "",
    ),
    (
        "[cluster]\nnodes = 4\n[[fault]]\nat = '1s'\ncrash = { node = 1, down = '1s', disk = 'wipd' }",
        (5, 41),
        "unknown variant `wipd`",
        "`wiped`",
    ),
    ("[cluster]\nnodes = 4\n[churn]\ndeaths = '1%'\nuntil = '0s'", (5, 9), "comes after", ""),
    ("[cluster]\nnodes = 4\nnodes = 5", (3, 1), "duplicate key", ""),
    ("[cluster]\nnodes = 4\n[expect]\nslowdown = 0.5", (4, 12), "not between 1", ""),
    ("[cluster]\nnodes = 4\n[expect]\nslowdwn = 2", (4, 1), "unknown key `slowdwn`", "did you mean `slowdown`?"),
    ("[cluster]\nnodes = 4\n[expect]\nbusy = '101%'", (4, 8), "between 0% and 100%", ""),
    ("[cluster]\nnodes = 4\n[expect]\ncopies_won = -1", (4, 14), "-1", ""),
    ("[cluster]\nnodes = 4\n[network]\nbandwidth = '0MB'", (4, 13), "a bandwidth of nothing", ""),
    (
        "[cluster]\nnodes = 4\n[[job]]\ntasks = 10\n[[job.then]]\nafter = '1s'\nnode = 0\ndo = 'delte'",
        (8, 6),
        "unknown variant `delte`",
        "`delete`",
    ),
    ("[cluster\nnodes = 4", (1, 9), "", ""),
    ("", (1, 1), "missing field `cluster`", ""),
];

#[test]
fn what_is_no_scenario_is_refused_with_its_place_and_a_suggestion() {
    for (text, place, says, hint) in REFUSED {
        let error = Scenario::parse(text).expect_err(text);
        assert_eq!((error.line, error.column), *place, "{text}\n{error}");
        assert!(error.text.contains(says), "{text}\n{error}");
        assert!(error.hint.clone().unwrap_or_default().contains(hint), "{text}\n{error:?}");
    }
}
