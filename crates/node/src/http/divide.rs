//! Jobs whose work splits while it runs: what a client need not know of them, and mistakes in their arguments, found before the job
//! exists.

use std::panic::{AssertUnwindSafe, catch_unwind};

use filch_api::spec::{JobSpec as Wanted, ProgramSpec, ReduceSpec};
use filch_api::{Code, Problem};
use filch_exec::Kinds;
use filch_types::items::BLOCK;
use filch_types::manifest::{Generator, Group, Program};
use filch_types::template::{Context, Template};
use filch_types::{JobSpec, limits};

use super::SharedApp;
use super::problem::{Fail, internal};
use crate::transfer::Lists;

/// Tasks of a group whose arguments are tried. The rest shows when it runs: a submit must not take long.
const TRIED: u32 = 256;

/// Fills in how tallies are joined; a handler that is divisible here becomes so in the job.
pub fn resolve(spec: &mut Wanted, kinds: &Kinds) -> Result<(), Fail> {
    for group in &mut spec.groups {
        let own = |name: &str| Some(kinds.get(name)?.reduce().into_iter().map(ReduceSpec::from).collect::<Vec<_>>());
        match &mut group.program {
            ProgramSpec::Handler { name, args } => {
                if let Some(reduce) = own(name) {
                    let (name, args) = (std::mem::take(name), std::mem::take(args));
                    group.program = ProgramSpec::Divisible { name, args, reduce };
                }
            }
            ProgramSpec::Divisible { name, reduce, .. } => match own(name) {
                Some(own) if reduce.is_empty() => *reduce = own,
                Some(own) if *reduce != own => {
                    let why = format!("`{name}` joins its tallies by {own:?} here, by {reduce:?} in the job");
                    return Err(invalid(why, "leave `reduce` out"));
                }
                None if reduce.is_empty() => {
                    let known = kinds.names().collect::<Vec<_>>().join(", ");
                    let why = format!("this node has no divisible handler `{name}`; it has: {known}");
                    return Err(invalid(
                        why,
                        "submit it to a node that has it, or say how tallies are joined: `reduce`",
                    ));
                }
                _ => {}
            },
            ProgramSpec::Command(_) => {}
        }
    }
    Ok(())
}

fn invalid(why: impl std::fmt::Display, hint: &str) -> Fail {
    Fail(Problem::new(Code::SpecInvalid).detail(why).hint(hint))
}

/// The spec, if the divisible handlers that are known here take their arguments.
pub async fn checked(app: &SharedApp, spec: JobSpec) -> Result<JobSpec, Fail> {
    if spec.groups.iter().all(|g| g.reduce().is_none()) {
        return Ok(spec);
    }
    let (kinds, lists) = (app.registry.kinds().clone(), app.lists.clone());
    let check = move || {
        for group in &spec.groups {
            try_arguments(group, &kinds, &lists)?;
        }
        Ok(spec)
    };
    tokio::task::spawn_blocking(check).await.map_err(internal)?
}

fn try_arguments(group: &Group, kinds: &Kinds, lists: &Lists) -> Result<(), Fail> {
    let Program::Divisible { name, args, .. } = &group.program else { return Ok(()) };
    let Some(kind) = kinds.get(name) else { return Ok(()) };
    let same = !args.iter().any(varies);
    let tried = if same { 1 } else { group.tasks.count().min(TRIED) };
    for number in 0..tried {
        let Some(values) = values(group, number, lists) else { return Ok(()) };
        let cx = Context { values: &values, inputs: &[], outputs: &[], index: number, slot: 0 };
        let words: Vec<String> = args.iter().map(|t| t.expand(&cx)).collect();
        if words.iter().map(String::len).sum::<usize>() > limits::MAX_MANIFEST {
            return Ok(());
        }
        // Somebody else's function: its panic is an answer, too.
        let started = catch_unwind(AssertUnwindSafe(|| kind.start(&words).map(drop)));
        let Err(why) = started.unwrap_or_else(|_| Err(format!("{name}: panicked over its arguments"))) else {
            continue;
        };
        let hint = "correct the handler's arguments; nothing was sent";
        return Err(if same { invalid(why, hint) } else { invalid(format!("task {number}: {why}"), hint) });
    }
    Ok(())
}

fn varies(template: &Template) -> bool {
    template.0.iter().any(|part| !matches!(part, filch_types::template::Part::Text(_)))
}

/// A task's values; `None` if they are not at hand, which whoever needs them will say.
fn values(group: &Group, number: u32, lists: &Lists) -> Option<Vec<String>> {
    match group.tasks {
        Generator::Once => Some(Vec::new()),
        Generator::Array { first, step, .. } => {
            let value = step.checked_mul(i64::from(number)).and_then(|d| first.checked_add(d))?;
            Some(vec![value.to_string()])
        }
        Generator::Items { list, len, .. } => {
            let mut block = lists.get(list, len).ok()?.block(number / BLOCK).ok()?;
            let at = (number % BLOCK) as usize;
            (at < block.len()).then(|| block.swap_remove(at).values)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(program: &str) -> Wanted {
        serde_json::from_str(&format!(r#"{{"groups":[{{"program":{program}}}]}}"#)).unwrap()
    }

    fn resolved(program: &str) -> Result<ProgramSpec, String> {
        let mut spec = spec(program);
        match resolve(&mut spec, &Kinds::builtin()) {
            Ok(()) => Ok(spec.groups.remove(0).program),
            Err(Fail(p)) => Err(p.to_string()),
        }
    }

    #[test]
    fn what_the_node_knows_need_not_be_said() {
        let sums = vec![ReduceSpec::Sum, ReduceSpec::Sum, ReduceSpec::Max];
        let uts = ProgramSpec::Divisible { name: "uts".into(), args: vec!["T1".into()], reduce: sums };
        for short in [
            r#"{"handler":{"name":"uts","args":["T1"]}}"#,
            r#"{"divisible":{"name":"uts","args":["T1"]}}"#,
            r#"{"divisible":{"name":"uts","args":["T1"],"reduce":["sum","sum","max"]}}"#,
        ] {
            assert_eq!(resolved(short), Ok(uts.clone()), "{short}");
        }
        let noop = r#"{"handler":{"name":"noop"}}"#;
        assert_eq!(resolved(noop), Ok(ProgramSpec::Handler { name: "noop".into(), args: vec![] }));
        // Another node may have it.
        let far = r#"{"divisible":{"name":"far","reduce":["min"]}}"#;
        assert!(resolved(far).is_ok());
        assert!(resolved(r#"{"divisible":{"name":"far"}}"#).unwrap_err().contains("no divisible handler `far`"));
        let wrong = r#"{"divisible":{"name":"uts","reduce":["min"]}}"#;
        assert!(resolved(wrong).unwrap_err().contains("`uts` joins its tallies"));
    }

    fn tried(tasks: &str, argument: &str) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        let lists = Lists::new(filch_blobs::BlobStore::open(dir.path(), filch_blobs::Options::default()).unwrap());
        let mut spec = spec(&format!(r#"{{"handler":{{"name":"uts","args":["{argument}"]}}}},"tasks":{tasks}"#));
        resolve(&mut spec, &Kinds::builtin()).map_err(|f| f.0.to_string())?;
        let exact = JobSpec::try_from(spec).map_err(|e| e.to_string())?;
        try_arguments(&exact.groups[0], &Kinds::builtin(), &lists).map_err(|f| f.0.to_string())
    }

    #[test]
    fn arguments_are_tried_before_the_job_exists() {
        assert_eq!(tried("\"once\"", "T1"), Ok(()));
        assert!(tried("\"once\"", "T9").unwrap_err().contains("`T9` is no tree"));
        let three = r#"{"array":{"first":99,"step":1,"count":3}}"#;
        assert_eq!(tried(three, "geo:4,{},19"), Ok(()));
        let why = tried(three, "geo:{},3,19").unwrap_err();
        assert!(why.contains("task 2: uts: B0 of a tree must be 0 to 100"), "{why}");
    }
}
