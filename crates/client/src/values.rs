//! The values of a job's tasks, for people: read from its item lists.

use bytes::Bytes;
use filch_api::spec::{JobSpec, TasksSpec};
use filch_types::JobId;
use filch_types::items::Reader;

use crate::{Client, ClientError};

/// Bytes of an item list that a client reads, at most.
const MAX_LIST: u64 = 4 * 1024 * 1024 * 1024;

/// Looks up the values of tasks.
#[derive(Debug, Default)]
pub struct Values {
    groups: Vec<(u32, Kind)>,
}

#[derive(Debug)]
enum Kind {
    Once,
    Array { first: i64, step: i64 },
    List(Reader<Bytes>),
}

impl Values {
    /// From a spec and its item lists in the order of the groups that have one.
    pub fn new(spec: &JobSpec, lists: Vec<Bytes>) -> Result<Self, ClientError> {
        let mut lists = lists.into_iter();
        let mut groups = Vec::new();
        for group in &spec.groups {
            groups.push(match group.tasks {
                TasksSpec::Once => (1, Kind::Once),
                TasksSpec::Array { first, step, count } => (count, Kind::Array { first, step }),
                TasksSpec::Items { count, .. } => {
                    let bytes = lists.next().ok_or_else(|| ClientError::Protocol("an item list is missing".into()))?;
                    (count, Kind::List(Reader::new(bytes).map_err(|e| ClientError::Protocol(e.to_string()))?))
                }
            });
        }
        Ok(Self { groups })
    }
    /// Reads a job's lists through its node.
    pub async fn load(client: &Client, job: JobId, spec: &JobSpec) -> Result<Self, ClientError> {
        Self::new(spec, item_lists(client, job, spec).await?)
    }
    /// The values of a task by its index in the job; none if it has none.
    pub fn of(&self, task: u32) -> Vec<String> {
        let mut number = task;
        for (count, kind) in &self.groups {
            if number < *count {
                return match kind {
                    Kind::Once => Vec::new(),
                    Kind::Array { first, step } => {
                        vec![first.saturating_add(step.saturating_mul(i64::from(number))).to_string()]
                    }
                    Kind::List(reader) => reader.get(number).map(|item| item.values).unwrap_or_default(),
                };
            }
            number -= count;
        }
        Vec::new()
    }
}

/// The item lists of a job, in the order of the groups that have one.
pub async fn item_lists(client: &Client, job: JobId, spec: &JobSpec) -> Result<Vec<Bytes>, ClientError> {
    let mut lists = Vec::new();
    for group in &spec.groups {
        if let TasksSpec::Items { list, len, .. } = group.tasks {
            if len > MAX_LIST {
                return Err(ClientError::Protocol("an item list of more than 4 GiB".into()));
            }
            let max = usize::try_from(len).unwrap_or(usize::MAX);
            lists.push(client.blob_bytes(list, Some(job), max).await?);
        }
    }
    Ok(lists)
}
