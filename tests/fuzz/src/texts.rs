//! What people and their programs write: scenario files, recorded schedules, bodies of the local API, templates.

use std::fmt::Debug;

use filch_api::{DownRequest, Event, FileLine, JobDetail, ResultLine, SubmitLine};
use filch_api::{FetchRequest, FilesRequest, JobSpec, SubmitRequest};
use filch_sim::{Scenario, Schedule};
use filch_types::manifest::JobSpec as Exact;
use filch_types::template::{Context, Template};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest text that is looked at: what a fuzzer makes longer shows nothing new.
const MAX: usize = 64 * 1024;

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|t| t.len() <= MAX)
}

/// A scenario is refused with a place, or a world can be made of it.
pub fn scenarios(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    match Scenario::parse(text) {
        Err(e) => assert!(!e.to_string().is_empty()),
        Ok(s) => {
            let options = s.options(None, None).expect("it was accepted");
            assert_eq!(options.check(), Ok(()));
        }
    }
}

/// A schedule that is accepted is written and read again.
pub fn schedules(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(schedule) = Schedule::parse(text) {
        assert_eq!(Schedule::parse(&schedule.to_text()).ok(), Some(schedule));
    }
}

fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) -> Option<T> {
    let value: T = serde_json::from_str(text).ok()?;
    let again = serde_json::to_string(&value).expect("what was read can be written");
    assert_eq!(serde_json::from_str::<T>(&again).ok().as_ref(), Some(&value));
    Some(value)
}

/// Bodies of requests, and lines of answers; the first byte chooses.
pub fn api(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let Some(text) = text(body) else { return };
    match kind % 9 {
        0 => spec(json::<SubmitRequest>(text).map(|r| r.spec)),
        1 => spec(json::<JobSpec>(text)),
        2 => drop(json::<FilesRequest>(text)),
        3 => drop(json::<FetchRequest>(text)),
        4 => drop(json::<DownRequest>(text)),
        5 => drop(json::<SubmitLine>(text)),
        6 => drop(json::<ResultLine>(text)),
        7 => drop(json::<Event>(text)),
        _ => {
            drop(json::<JobDetail>(text));
            drop(json::<FileLine>(text));
        }
    }
}

fn spec(spec: Option<JobSpec>) {
    let Some(exact) = spec.and_then(|s| Exact::try_from(s).ok()) else { return };
    assert_eq!(exact.check(), Ok(()));
    assert_eq!(Exact::try_from(JobSpec::from(&exact)), Ok(exact));
}

/// Templates: what parses is expanded to something no longer than its parts allow, and says so again.
pub fn templates(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Ok(template) = Template::parse(text) else { return };
    let values = ["dir/file.tar.gz".to_owned(), ".hidden".to_owned(), "/".to_owned(), String::new()];
    let paths = ["in".to_owned(), "out".to_owned()];
    let _ = template.check(values.len(), paths.len(), paths.len());
    let context = Context { values: &values, inputs: &paths, outputs: &paths, index: u32::MAX, slot: 7 };
    let expanded = template.expand(&context);
    assert!(expanded.len() <= text.len() * 64 + 64, "{} bytes become {}", text.len(), expanded.len());
}
