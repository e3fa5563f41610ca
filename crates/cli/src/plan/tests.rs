//! Plans of whole command lines.

use filch_api::IngestedFile;
use filch_api::spec::{ProgramSpec, TasksSpec};
use filch_types::items::Reader;
use filch_types::{BlobId, JobSpec};
use proptest::prelude::*;

use super::*;

/// A request of these words, split at `:::`.
fn request(words: &[&str]) -> Request {
    let (words, sources) = split(words.iter().map(|w| (*w).to_owned()).collect()).unwrap();
    Request {
        words,
        handler: None,
        sources: if sources.is_empty() { Sources::Once } else { Sources::Product(sources) },
        inputs: vec![],
        outputs: vec![],
        output_dir: ".".into(),
        env: vec![],
        name: None,
        retries: 0,
        timeout_ms: None,
        speculate: true,
        priority: 0,
        attended: false,
    }
}
fn array(words: &[&str], array: &str) -> Request {
    Request { sources: Sources::Array(Array::parse(array).unwrap()), ..request(words) }
}
fn lines(request: &Request) -> Vec<String> {
    let mut out = Vec::new();
    Plan::new(request).unwrap().preview(&mut out, false).unwrap().unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}
fn refused(request: &Request) -> String {
    Plan::new(request).unwrap_err().to_string()
}

/// Files as a node would have read them.
fn ingested(plan: &Plan) -> Vec<IngestedFile> {
    let file = |(n, path): (usize, &String)| {
        let bytes = std::fs::read(path).unwrap();
        IngestedFile { index: n as u32, blob: BlobId::of(&bytes), len: bytes.len() as u64, executable: false }
    };
    plan.files.paths().iter().enumerate().map(file).collect()
}

#[test]
fn commands_as_in_gnu_parallel() {
    assert_eq!(lines(&request(&["echo", ":::", "a", "b"])), ["echo a", "echo b"]);
    assert_eq!(
        lines(&request(&["echo", ":::", "a", "b", ":::", "1", "2"])),
        ["echo a 1", "echo a 2", "echo b 1", "echo b 2"]
    );
    assert_eq!(lines(&request(&["echo", "{2}-{1}", ":::", "a", ":::", "1", "2"])), ["echo 1-a", "echo 2-a"]);
    assert_eq!(lines(&request(&["echo", "{}", ":::", "a b", ":::", "c"])), ["echo 'a b c'"]);
    assert_eq!(lines(&request(&["echo", "{#}", ":::", "a", "b"])), ["echo 1", "echo 2"]);
    assert_eq!(lines(&request(&["echo", "{/.}", "{//}", "{.}", ":::", "d/e.tar.gz"])), ["echo e.tar d d/e.tar"]);
    assert_eq!(lines(&request(&["awk", "{print $1}", ":::", "f"])), ["awk '{print $1}' f"]);
}

#[test]
fn an_array_appends_nothing() {
    assert_eq!(lines(&array(&["sh", "-c", "echo $FILCH_INDEX"], "1-2")), ["sh -c 'echo $FILCH_INDEX'"; 2]);
    assert_eq!(lines(&array(&["echo", "{}", "{#}"], "3-7:2")), ["echo 3 1", "echo 5 2", "echo 7 3"]);
}

#[test]
fn an_array_of_ten_million_is_a_few_bytes() {
    let job = Plan::new(&array(&["true"], "1-10000000")).unwrap().job(&[]).unwrap();
    assert!(job.list.is_none());
    assert_eq!(job.spec.groups[0].tasks, TasksSpec::Array { first: 1, step: 1, count: 10_000_000 });
    assert!(matches!(Array::parse("0-10000000"), Err(PlanError::TooMany { .. })));
}

#[test]
fn handlers_get_the_values_as_arguments() {
    let mut r = request(&[":::", "a", "b"]);
    r.handler = Some("hash".into());
    assert_eq!(lines(&r), ["handler:hash a", "handler:hash b"]);
    let job = Plan::new(&r).unwrap().job(&[]).unwrap();
    assert_eq!(job.spec.groups[0].program, ProgramSpec::Handler { name: "hash".into(), args: vec!["{1}".into()] });
    assert_eq!(job.spec.name, "hash");
}

#[test]
fn words_without_files_and_values_are_taken_as_they_are() {
    let plan = Plan::new(&request(&["/usr/bin/awk", "{nope} {} {#}"])).unwrap();
    assert_eq!(plan.name, "awk");
    let job = plan.job(&[]).unwrap();
    let exact = JobSpec::try_from(job.spec).unwrap();
    let filch_types::manifest::Program::Command { argv } = &exact.groups[0].program else { panic!() };
    assert_eq!(argv[1].expand(&Default::default()), "{nope} {} {#}");
    assert!(
        refused(&Request { outputs: vec!["o".into()], ..request(&["echo", "{}"]) }).contains("there are no values")
    );
}

#[test]
fn what_cannot_be_is_said_before_anything_is_sent() {
    let refuse = |inputs: &[&str], outputs: &[&str], words: &[&str]| {
        refused(&Request {
            inputs: inputs.iter().map(|s| (*s).to_owned()).collect(),
            outputs: outputs.iter().map(|s| (*s).to_owned()).collect(),
            ..request(words)
        })
    };
    let two = &["x", "{}", ":::", "a", "b"];
    insta::assert_snapshot!(
        [
            refuse(&[], &[], &["echo", "{nope}", ":::", "a"]),
            refuse(&[], &[], &["echo", "{3}", ":::", "a"]),
            refuse(&[], &[], &["echo", "{in}", ":::", "a"]),
            refuse(&[], &[], &["echo", "{out}", ":::", "a"]),
            refuse(&[], &[], &[":::", "a"]),
            refuse(&["missing-{}"], &[], two),
            refuse(&["src"], &[], two),
            refuse(&["{%}"], &[], two),
            refuse(&["{in}"], &[], two),
            refuse(&[], &["out"], two),
            refuse(&[], &["../{}"], two),
            refuse(&[], &["/tmp/{}"], two),
            refuse(&[], &["{%}"], two),
            refuse(&[], &["{}", "{}"], two),
            refuse(&[], &["{}", "a/x"], two),
            refuse(&["Cargo.toml", "./Cargo.toml"], &[], two),
            refuse(&["Cargo.toml", "{}/Cargo.toml"], &[], &["x", ":::", "/etc/..//proc/self/cwd", "."]),
            refused(&Request { env: vec!["X".into()], ..request(two) }),
            refused(&Request { words: vec!["x".repeat(60_000); 3], ..request(two) }),
            refused(&Request { retries: 201, ..request(two) }),
            refused(&Request { words: vec!["x".into(); 4097], ..request(two) }),
            refused(&Request { name: Some("x".repeat(201)), ..request(two) }),
            refused(&Request { handler: Some("x".repeat(201)), ..request(two) }),
            refused(&Request { handler: Some(String::new()), ..request(two) }),
            refused(&Request { inputs: vec!["Cargo.toml".into(); 4097], ..request(&["x"]) }),
            refused(&Request { outputs: (0..4097).map(|n| n.to_string()).collect(), ..request(&["x"]) }),
            refused(&request(&["x", ":::", &"v".repeat(65_537)])),
        ]
        .join("\n")
    );
}

/// What is said to somebody who named no command does work.
#[test]
fn the_suggested_command_is_one() {
    use clap::Parser;
    let said = PlanError::NoCommand.to_string();
    let line = said.split('`').nth(1).unwrap().replace("*.txt", "Cargo.toml src/lib.rs");
    let cli = crate::args::Cli::try_parse_from(line.split(' ')).unwrap();
    let crate::args::Command::Map(args) = cli.command else { panic!("{line}") };
    assert_eq!(args.job.plan(true, false).unwrap().count(), 2);
}

#[test]
fn inputs_are_placed_and_lists_carry_them() {
    let dir = tempfile::tempdir().unwrap();
    let absolute = dir.path().join("abs.txt");
    std::fs::write(&absolute, "abs").unwrap();
    let absolute = absolute.to_str().unwrap();
    let mut r = request(&["cat", ":::", "Cargo.toml", absolute, "./src/lib.rs"]);
    r.inputs = vec!["{}".into()];
    r.outputs = vec!["out/{/}.gz".into(), "{in}.bak".into()];
    assert_eq!(lines(&r), ["cat Cargo.toml", "cat in/abs.txt", "cat src/lib.rs"]);
    let plan = Plan::new(&r).unwrap();
    assert_eq!(plan.files.paths(), ["Cargo.toml", absolute, "./src/lib.rs"]);
    let files = ingested(&plan);
    let job = plan.job(&files).unwrap();
    let list = Reader::new(job.list.unwrap()).unwrap();
    let item = list.get(1).unwrap();
    assert_eq!((item.inputs[0].path.as_str(), item.inputs[0].blob), ("in/abs.txt", BlobId::of(b"abs")));
    assert_eq!(list.get(2).unwrap().inputs[0].path, "src/lib.rs");
    assert_eq!(job.spec.closure_blobs, 4);
    assert!(job.spec.groups[0].inputs.is_empty());
}

#[test]
fn an_input_that_all_tasks_share_stays_out_of_the_list() {
    let mut r = array(&["grep", "{}", "{in}"], "1-1000000");
    r.inputs = vec!["Cargo.toml".into()];
    let plan = Plan::new(&r).unwrap();
    let files = ingested(&plan);
    let job = plan.job(&files).unwrap();
    assert!(job.list.is_none());
    assert_eq!(job.spec.groups[0].inputs[0].path, "Cargo.toml");
    assert_eq!(job.spec.closure_blobs, 1);
}

#[test]
fn an_array_with_files_of_its_own_becomes_a_list() {
    let dir = tempfile::tempdir().unwrap();
    for n in 1..=3 {
        std::fs::write(dir.path().join(format!("p{n}")), n.to_string()).unwrap();
    }
    let mut r = array(&["cat", "{in}", "{}"], "1-3");
    r.inputs = vec![format!("{}/p{{}}", dir.path().display())];
    let plan = Plan::new(&r).unwrap();
    let files = ingested(&plan);
    let list = Reader::new(plan.job(&files).unwrap().list.unwrap()).unwrap();
    assert_eq!(list.get(2).unwrap().values, ["3"]);
    assert_eq!(list.get(2).unwrap().inputs[0].path, "in/p3");
}

proptest! {
    #[test]
    fn any_words_make_a_plan_or_an_error(words in prop::collection::vec("[a{}/.#%0-9:-]{0,8}|:::|::::", 0..8), input in "[{}a./]{0,6}", output in "[{}a./#]{0,8}") {
        let Ok((words, sources)) = split(words) else { return Ok(()) };
        // Files named by chance do not exist here; stdin is not read.
        prop_assume!(!sources.iter().any(|s| *s == Source::Lines("-".into())));
        let mut r = request(&[]);
        r.words = words;
        r.inputs = Some(input).filter(|i| !i.is_empty()).into_iter().collect();
        r.outputs = Some(output).filter(|o| !o.is_empty()).into_iter().collect();
        if !sources.is_empty() { r.sources = Sources::Product(sources); }
        if let Ok(plan) = Plan::new(&r) {
            let job = plan.job(&[]).unwrap();
            JobSpec::try_from(job.spec).unwrap();
        }
    }

    #[test]
    fn every_output_of_an_accepted_plan_is_inside_and_its_own(values in prop::collection::vec("[ab./]{1,4}", 1..6)) {
        let mut r = request(&["x"]);
        r.outputs = vec!["{}".into()];
        r.sources = Sources::Product(vec![Source::Values(values)]);
        if let Ok(plan) = Plan::new(&r) {
            let mut all = std::collections::BTreeSet::new();
            plan.each(&mut |plan, n, values| {
                for path in plan.view(n, values).outputs {
                    assert!(!path.starts_with('/') && !path.split('/').any(|c| c == ".."), "{path}");
                    assert!(all.insert(path));
                }
                Ok(true)
            }).unwrap();
        }
    }
}
