//! Clusters for other people's tests: real bytes through the real core, and errors that help.

use std::cell::Cell;
use std::rc::Rc;

use filch_sim::cluster::{BuildError, FaultError, ResultError, RunError, SubmitError};
use filch_sim::{Cluster, Done, Fault, Job, JobState, Profile, millis, secs};
use filch_types::Cause;

fn squares() -> Cluster {
    let square = |task: &filch_sim::Task<'_>| Ok((u64::from(task.index()) * u64::from(task.index())).to_string());
    Cluster::builder().nodes(4).seed(5).handler("square", square).build().unwrap()
}

#[test]
fn results_are_what_handlers_return() {
    let mut cluster = squares();
    let job = cluster.submit(Job::array("square", 500)).unwrap();
    cluster.run_until_done(job).unwrap();
    let want: Vec<Vec<u8>> = (0..500u64).map(|n| (n * n).to_string().into_bytes()).collect();
    assert_eq!(cluster.results(job).unwrap(), want);
    let report = cluster.finish().unwrap();
    assert_eq!((report.executions, report.violation), (500, None));
}

#[test]
fn long_inputs_and_outputs_travel_as_blobs() {
    let reversed = |task: &filch_sim::Task<'_>| {
        let key = task.file("key").ok_or("no key")?;
        Ok(task.input().iter().rev().zip(key.iter().cycle()).map(|(a, b)| a ^ b).collect::<Vec<u8>>())
    };
    let mut cluster = Cluster::builder().nodes(5).handler("reverse", reversed).build().unwrap();
    let inputs: Vec<Vec<u8>> = (0..40usize).map(|n| (0..n * 700).map(|b| (b * 31 + n) as u8).collect()).collect();
    let job = cluster.submit(Job::map("reverse", inputs.clone()).file("key", *b"\x01\x7f").takes(millis(400))).unwrap();
    cluster.at(secs(1), Fault::wipe(1, secs(3))).unwrap();
    cluster.run_until_done(job).unwrap();
    for (n, input) in inputs.iter().enumerate() {
        let want: Vec<u8> = input.iter().rev().zip([1, 0x7f].iter().cycle()).map(|(a, b)| a ^ b).collect();
        assert_eq!(cluster.result(job, n as u32).unwrap(), want, "task {n}");
    }
    assert!(cluster.sim().world.stats.blobs > 40, "inputs and outputs moved");
}

#[test]
fn a_job_outlives_its_submitter() {
    let calls = Rc::new(Cell::new(0));
    let count = calls.clone();
    let slow = move |task: &filch_sim::Task<'_>| {
        count.set(count.get() + 1);
        Ok(Done::new([task.index() as u8]).takes(millis(500)))
    };
    let mut cluster = Cluster::builder().nodes(4).handler("slow", slow).build().unwrap();
    let job = cluster.submit(Job::array("slow", 100).on(2)).unwrap();
    cluster.at(secs(3), Fault::kill(2)).unwrap();
    cluster.run_until_done(job).unwrap();
    assert!(!cluster.is_up(2));
    assert_eq!(cluster.results(job).unwrap(), (0..100u8).map(|n| vec![n]).collect::<Vec<_>>());
    assert_eq!(cluster.executions(job), calls.get(), "each execution is one call");
    assert!(cluster.finish().unwrap().violation.is_none());
}

#[test]
fn errors_of_handlers_are_results_too() {
    let odd = |task: &filch_sim::Task<'_>| if task.index() % 2 == 1 { Ok("odd") } else { Err("even".to_owned()) };
    let mut cluster = Cluster::builder().handler("odd", odd).build().unwrap();
    let job = cluster.submit(Job::array("odd", 20).retries(2)).unwrap();
    cluster.run_until_done(job).unwrap();
    assert_eq!(cluster.state(job), Some(JobState::Failed));
    assert_eq!(cluster.result(job, 3).unwrap(), b"odd");
    let failed = ResultError::Failed { index: 4, cause: Cause::Handler("even".into()) };
    assert_eq!(cluster.result(job, 4), Err(failed));
    assert_eq!(cluster.ran_on(job, 4).len(), 3, "two retries");
    assert_eq!(cluster.executions(job), 10 + 30);
}

#[test]
fn only_nodes_that_have_a_handler_run_it() {
    let at = |task: &filch_sim::Task<'_>| Ok([task.node() as u8]);
    let mut cluster = Cluster::builder().nodes(5).handler_at([1, 4], "render", at).build().unwrap();
    let job = cluster.submit(Job::array("render", 200).takes(millis(50))).unwrap();
    cluster.run_until_done(job).unwrap();
    let mut nodes: Vec<u8> = cluster.results(job).unwrap().concat();
    nodes.sort_unstable();
    nodes.dedup();
    assert_eq!(nodes, [1, 4]);
}

#[test]
fn the_same_calls_give_the_same_run() {
    let run = || {
        let mut cluster = squares();
        let job = cluster.submit(Job::array("square", 300).takes(millis(30))).unwrap();
        cluster.at(secs(1), Fault::cut([0, 1], secs(4))).unwrap();
        cluster.run_until_done(job).unwrap();
        cluster.finish().unwrap().digest
    };
    assert_eq!(run(), run());
}

#[test]
fn what_makes_no_sense_is_said() {
    let none = Cluster::builder().nodes(0).build();
    assert_eq!(none.err(), Some(BuildError::NoNodes));
    let twice = Cluster::builder().handler("a", |_| Ok("")).handler("a", |_| Ok("")).build().err().unwrap();
    assert_eq!(twice.to_string(), "handler `a`: registered twice");
    let nowhere = Cluster::builder().handler_at([3], "a", |_| Ok("")).build().err().unwrap();
    assert_eq!(nowhere.to_string(), "handler `a`: registered at a node that does not exist; the last is 2");
    let options = Cluster::builder().options(|o| o.disk.group = 0).build().err().unwrap();
    assert_eq!(options.to_string(), "options: `disk.group` is 0");

    let mut cluster = squares();
    let typo = cluster.submit(Job::array("sqaure", 1)).unwrap_err();
    assert_eq!(
        typo.to_string(),
        "no handler `sqaure` (did you mean `square`?); register it with `Cluster::builder().handler(..)`"
    );
    let node = cluster.submit(Job::array("square", 1).on(4)).unwrap_err();
    assert_eq!(node.to_string(), "job: `node` is 4, the last node is 3");
    assert!(matches!(cluster.submit(Job::array("square", 0)), Err(SubmitError::Job(_))));
    assert_eq!(
        cluster.submit(Job::array("square", 1).copies(5)).unwrap_err().to_string(),
        "5 copies; this cluster can keep 1 to 4"
    );
    let outside = cluster.submit(Job::array("square", 1).file("../x", "")).unwrap_err();
    assert!(outside.to_string().starts_with("job: file `../x`: "), "{outside}");

    let fault = cluster.at(secs(1), Fault::crash(9, secs(1))).unwrap_err();
    assert!(fault.to_string().ends_with(": `node` is 9, the last node is 3"), "{fault}");
    cluster.advance(secs(2)).unwrap();
    let late = cluster.at(secs(1), Fault::kill(0));
    assert_eq!(late, Err(FaultError::Past { at: secs(1), now: secs(2) }));
}

#[test]
fn a_fault_that_cannot_take_place_is_an_error() {
    let mut cluster = squares();
    cluster.at(secs(1), Fault::crash(1, secs(60))).unwrap();
    cluster.at(secs(2), Fault::pause(1, secs(1))).unwrap();
    let error = cluster.advance(secs(5)).unwrap_err();
    assert!(error.to_string().ends_with("could not take place: node 1 was not running"), "{error}");

    // The only copy of an accepted job cannot go, unless a test says that it wants just that.
    let alone = |over: bool| {
        let mut cluster = Cluster::builder()
            .nodes(2)
            .handler_at([1], "slow", |_| Ok(Done::new("").takes(secs(100))))
            .options(move |o| {
                if over {
                    o.profile = Profile::OverBudget;
                }
            })
            .build()
            .unwrap();
        cluster.submit(Job::array("slow", 4).copies(1)).unwrap();
        cluster.at(secs(2), Fault::wipe(0, secs(1))).unwrap();
        cluster.advance(secs(3))
    };
    assert!(matches!(alone(false), Err(RunError::Impossible { .. })));
    assert_eq!(alone(true), Ok(()));
}

#[test]
fn waiting_ends_with_a_reason() {
    let never = Cluster::builder().nodes(2).patience(secs(30)).handler_at([1], "slow", |_| Ok(""));
    let mut cluster = never.build().unwrap();
    let job = cluster.submit(Job::array("slow", 4).copies(1)).unwrap();
    assert!(matches!(cluster.result(job, 4), Err(ResultError::NoSuchTask { index: 4, tasks: 4 })));
    assert!(matches!(cluster.result(job, 0), Err(ResultError::NotYet { index: 0, .. })));
    cluster.at(secs(0), Fault::kill(1)).unwrap();
    let error = cluster.run_until_done(job).unwrap_err();
    assert!(matches!(error, RunError::NotDone { after, .. } if after == secs(30)), "{error}");
    assert!(error.to_string().contains("0 of 4 tasks have"), "{error}");

    let mut gone = squares();
    let job = gone.submit(Job::array("square", 4).on(1)).unwrap();
    gone.at(secs(0), Fault::kill(1)).unwrap();
    assert_eq!(gone.run_until_done(job), Err(RunError::NotAccepted { node: 1 }));
}
