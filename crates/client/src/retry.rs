//! Failed tasks again, as a new job. A pure function: the node needs no notion of it.

use bytes::Bytes;
use filch_api::spec::{EdgeSpec, GroupSpec, JobSpec, TasksSpec};
use filch_types::items::{Reader, Writer};
use filch_types::ranges::{Range, RangeSet};
use filch_types::{BlobId, limits};

/// A job that runs some tasks of another one again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// What to submit, once `lists` are put.
    pub spec: JobSpec,
    /// Its item lists.
    pub lists: Vec<Bytes>,
}

/// Why there is no such job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// No task was chosen.
    #[error("no task failed")]
    Nothing,
    /// The old job's item lists do not fit its spec.
    #[error("the item list of group {0} is missing or damaged")]
    List(usize),
}

/// The job that runs `tasks` (indices in the old job) again. `lists` are the old item lists, in the order of the groups that
/// have one. Array tasks keep their values as long as the pieces fit into a job's groups; beyond that they become a list of values.
pub fn retry<B: AsRef<[u8]>>(old: &JobSpec, lists: &[B], tasks: &RangeSet) -> Result<Retry, RetryError> {
    let mut out = Retry { spec: JobSpec { groups: Vec::new(), ..old.clone() }, lists: Vec::new() };
    let mut lists = lists.iter();
    let mut lo = 0u32;
    // Where each old group's tasks went.
    let mut went: Vec<Vec<u16>> = Vec::new();
    let pieces: usize = old.groups.len() + tasks.run_count();
    for (n, group) in old.groups.iter().enumerate() {
        let count = count(&group.tasks);
        let hi = lo.saturating_add(count);
        let chosen: Vec<Range> =
            tasks.overlapping(Range::new(lo, hi)).map(|r| Range::new(r.lo - lo, r.hi - lo)).collect();
        let new = match &group.tasks {
            _ if chosen.is_empty() => {
                if matches!(group.tasks, TasksSpec::Items { .. }) {
                    lists.next();
                }
                Vec::new()
            }
            TasksSpec::Once => vec![TasksSpec::Once],
            TasksSpec::Array { first, step, .. } if pieces <= limits::MAX_GROUPS => chosen
                .iter()
                .map(|r| TasksSpec::Array { first: first + step * i64::from(r.lo), step: *step, count: r.len() })
                .collect(),
            TasksSpec::Array { first, step, .. } => {
                let mut writer = Writer::default();
                for i in chosen.iter().flat_map(|r| r.lo..r.hi) {
                    let item = filch_types::items::Item {
                        values: vec![(first + step * i64::from(i)).to_string()],
                        inputs: Vec::new(),
                    };
                    writer.push(&item).map_err(|_| RetryError::List(n))?;
                }
                vec![out.keep(writer)]
            }
            TasksSpec::Items { .. } => {
                let bytes = lists.next().ok_or(RetryError::List(n))?;
                let reader = Reader::new(bytes).map_err(|_| RetryError::List(n))?;
                let mut writer = Writer::default();
                for i in chosen.iter().flat_map(|r| r.lo..r.hi) {
                    let item = reader.get(i).map_err(|_| RetryError::List(n))?;
                    writer.push(&item).map_err(|_| RetryError::List(n))?;
                }
                vec![out.keep(writer)]
            }
        };
        out.add(group, new, &mut went);
        lo = hi;
    }
    if out.spec.groups.is_empty() { Err(RetryError::Nothing) } else { Ok(out) }
}

fn count(tasks: &TasksSpec) -> u32 {
    match tasks {
        TasksSpec::Once => 1,
        TasksSpec::Array { count, .. } | TasksSpec::Items { count, .. } => *count,
    }
}

impl Retry {
    fn keep(&mut self, writer: Writer) -> TasksSpec {
        let count = writer.count();
        let bytes = Bytes::from(writer.finish());
        let tasks = TasksSpec::Items { list: BlobId::of(&bytes), len: bytes.len() as u64, count };
        self.lists.push(bytes);
        tasks
    }
    /// Adds what became of one old group. Its edges lead to all that became of the groups it waited for; those of which
    /// nothing runs again have succeeded.
    fn add(&mut self, old: &GroupSpec, new: Vec<TasksSpec>, went: &mut Vec<Vec<u16>>) {
        let needs: Vec<EdgeSpec> = old
            .needs
            .iter()
            .flat_map(|e| went.get(usize::from(e.group)).into_iter().flatten())
            .map(|group| EdgeSpec { group: *group, elementwise: false })
            .collect();
        let several = new.len() > 1;
        let mut at = Vec::new();
        for (n, tasks) in new.into_iter().enumerate() {
            at.push(u16::try_from(self.spec.groups.len()).unwrap_or(u16::MAX));
            let name = if several { format!("{}-{}", old.name, n + 1) } else { old.name.clone() };
            self.spec.groups.push(GroupSpec { name, tasks, needs: needs.clone(), ..old.clone() });
        }
        went.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filch_api::spec::ProgramSpec;
    use filch_types::items::Item;

    fn group(name: &str, tasks: TasksSpec) -> GroupSpec {
        GroupSpec {
            name: name.into(),
            tasks,
            program: ProgramSpec::Command(vec!["true".into()]),
            env: vec![],
            inputs: vec![],
            outputs: vec![],
            timeout_ms: None,
            grace_ms: 1,
            speculate: true,
            retries: 0,
            needs: vec![],
            resources: vec![],
        }
    }

    fn old() -> (JobSpec, Vec<Vec<u8>>) {
        let mut w = Writer::default();
        for v in ["a", "b", "c"] {
            w.push(&Item { values: vec![v.into()], inputs: vec![] }).unwrap();
        }
        let list = w.finish();
        let items = TasksSpec::Items { list: BlobId::of(&list), len: list.len() as u64, count: 3 };
        let mut last = group("last", TasksSpec::Once);
        last.needs = vec![EdgeSpec { group: 0, elementwise: false }, EdgeSpec { group: 1, elementwise: false }];
        let groups = vec![group("arr", TasksSpec::Array { first: 10, step: 5, count: 4 }), group("items", items), last];
        let spec =
            JobSpec { name: "j".into(), priority: 0, attended: false, groups, closure_bytes: 0, closure_blobs: 0 };
        (spec, vec![list])
    }

    fn set(tasks: &[u32]) -> RangeSet {
        let mut s = RangeSet::default();
        for t in tasks {
            s.insert(Range::new(*t, t + 1));
        }
        s
    }

    #[test]
    fn takes_exactly_the_chosen_tasks() {
        let (spec, lists) = old();
        // Array tasks 1 and 3, items b, and the last one.
        let new = retry(&spec, &lists, &set(&[1, 3, 5, 7])).unwrap();
        let names: Vec<&str> = new.spec.groups.iter().map(|g| g.name.as_str()).collect();
        assert_eq!(names, ["arr-1", "arr-2", "items", "last"]);
        assert_eq!(new.spec.groups[1].tasks, TasksSpec::Array { first: 25, step: 5, count: 1 });
        assert_eq!(Reader::new(&new.lists[0]).unwrap().get(0).unwrap().values, ["b"]);
        let needs: Vec<u16> = new.spec.groups[3].needs.iter().map(|e| e.group).collect();
        assert_eq!(needs, [0, 1, 2]);
        filch_types::JobSpec::try_from(new.spec).unwrap();
    }

    #[test]
    fn nothing_and_missing_lists_are_errors() {
        let (spec, lists) = old();
        assert_eq!(retry(&spec, &lists, &set(&[])), Err(RetryError::Nothing));
        assert_eq!(retry::<Vec<u8>>(&spec, &[], &set(&[5])), Err(RetryError::List(1)));
    }

    #[test]
    fn an_array_in_too_many_pieces_becomes_a_list() {
        let spec = JobSpec { groups: vec![group("g", TasksSpec::Array { first: 0, step: 1, count: 1000 })], ..old().0 };
        let odd: Vec<u32> = (0..1000).filter(|i| i % 2 == 1).collect();
        let new = retry::<Vec<u8>>(&spec, &[], &set(&odd)).unwrap();
        assert_eq!(new.spec.groups.len(), 1);
        assert_eq!(Reader::new(&new.lists[0]).unwrap().get(499).unwrap().values, ["999"]);
    }
}
