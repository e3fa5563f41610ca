//! Planned jobs as specs that a client could submit.

use filch_handlers::Kinds;
use filch_types::manifest::{Edge, Generator, Group, InFile, JobSpec, Program, TaskLimits};
use filch_types::template::Template;
use filch_types::{BlobId, Nonce};

use crate::known::Known;
use crate::options::{GroupPlan, JobPlan, Work};

/// The handler that simulated nodes offer.
pub const HANDLER: &str = "work";

/// The divisible one.
pub const DIVISIBLE: &str = "uts";

/// The nonce of planned job `n`.
pub fn nonce(seed: u64, n: usize) -> Nonce {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&seed.to_le_bytes());
    out[8..].copy_from_slice(&(n as u64).to_le_bytes());
    Nonce(out)
}

fn blob(seed: u64, what: &str, job: usize, group: usize, n: usize) -> BlobId {
    BlobId::of(format!("{seed} {what} {job} {group} {n}").as_bytes())
}

/// What the tasks of a job run.
fn program(work: &Work) -> Program {
    let Some(tree) = &work.tree else { return Program::Handler { name: HANDLER.into(), args: Vec::new() } };
    let reduce = Kinds::builtin().get(DIVISIBLE).map(|k| k.reduce()).unwrap_or_default();
    Program::Divisible { name: DIVISIBLE.into(), args: vec![Template::literal(tree)], reduce }
}

fn group(seed: u64, job: usize, g: usize, plan: &GroupPlan, work: &Work, known: &mut Known) -> Group {
    let tasks = match plan.item_bytes {
        Some(bytes) => {
            let list = blob(seed, "list", job, g, 0);
            let items = (0..plan.tasks as usize).map(|i| (blob(seed, "item", job, g, i), bytes)).collect();
            known.lists.insert(list, items);
            Generator::Items { list, len: u64::from(plan.tasks) * 48, count: plan.tasks }
        }
        None if plan.tasks == 1 => Generator::Once,
        None => Generator::Array { first: 0, step: 1, count: plan.tasks },
    };
    let inputs = plan.inputs.iter().enumerate().map(|(n, &len)| InFile {
        path: format!("in{n}"),
        blob: blob(seed, "input", job, g, n),
        len,
        executable: false,
    });
    Group {
        name: format!("g{g}"),
        tasks,
        program: program(work),
        env: Vec::new(),
        inputs: inputs.collect(),
        outputs: Vec::new(),
        limits: TaskLimits { speculate: work.speculate, ..TaskLimits::default() },
        retries: plan.retries,
        needs: plan.needs.iter().map(|&(group, kind)| Edge { group, kind }).collect(),
        resources: Vec::new(),
    }
}

/// The spec of planned job `n`, and its input blobs with lengths.
pub fn spec(seed: u64, n: usize, plan: &JobPlan, known: &mut Known) -> (JobSpec, Vec<(BlobId, u64)>) {
    let groups: Vec<Group> =
        plan.groups.iter().enumerate().map(|(g, p)| group(seed, n, g, p, &plan.work, known)).collect();
    let mut blobs = std::collections::BTreeMap::new();
    for g in &groups {
        blobs.extend(g.inputs.iter().map(|f| (f.blob, f.len)));
        if let Generator::Items { list, len, .. } = &g.tasks {
            blobs.insert(*list, *len);
            blobs.extend(known.lists.get(list).into_iter().flatten().copied());
        }
    }
    let spec = JobSpec {
        name: format!("job-{n}"),
        priority: 0,
        attended: plan.attended,
        groups,
        closure_bytes: blobs.values().sum(),
        closure_blobs: blobs.len() as u32,
    };
    (spec, blobs.into_iter().collect())
}
