//! What an executor is told by its node.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use filch_types::manifest::Group;
use filch_types::{Manifest, NodeId};

use crate::executor::Executor;

/// Asked before every execution (S8). A refusal bounces the task.
pub trait Policy: Send + Sync {
    /// Whether tasks of this group may run here; the error is a reason for people.
    fn allows(&self, manifest: &Manifest, group: &Group) -> Result<(), String>;
}

/// Whoever is a member of the cluster may run anything: the node has checked manifest and signature before.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowMembers;

impl Policy for AllowMembers {
    fn allows(&self, _: &Manifest, _: &Group) -> Result<(), String> {
        Ok(())
    }
}

/// Settings of an [`crate::Exec`].
#[derive(Clone)]
pub struct ExecConfig {
    /// Where attempts have their directories. Owned: emptied at start; whatever an earlier run left running there is killed.
    pub work_dir: PathBuf,
    /// The node.
    pub node: NodeId,
    /// Its name for people, `FILCH_NODE`; if empty, the beginning of its id.
    pub node_name: String,
    /// Tasks at once.
    pub slots: u16,
    /// `FILCH_CPUS` of a task that does not ask for a number of cpus.
    pub cpus_per_slot: u32,
    /// Program and arguments that end in [`crate::spawner_main`], e.g. `[current_exe, "__spawner"]`. Empty: no command tasks.
    pub spawner: Vec<OsString>,
    /// `PATH` of command tasks.
    pub path: String,
    /// Says what may run here.
    pub policy: Arc<dyn Policy>,
    /// Executors besides commands and handlers.
    pub executors: Vec<Arc<dyn Executor>>,
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl ExecConfig {
    /// Defaults: one cpu per slot, this process's `PATH`, members may run anything, no spawner.
    pub fn new(work_dir: impl Into<PathBuf>, node: NodeId, node_name: impl Into<String>, slots: u16) -> Self {
        Self {
            work_dir: work_dir.into(),
            node,
            node_name: node_name.into(),
            slots,
            cpus_per_slot: 1,
            spawner: Vec::new(),
            path: std::env::var("PATH").ok().filter(|p| !p.is_empty()).unwrap_or_else(|| DEFAULT_PATH.to_owned()),
            policy: Arc::new(AllowMembers),
            executors: Vec::new(),
        }
    }
}

/// Why an executor does not start.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Another process works in the directory.
    #[error("{} is in use by another filch node; stop it, or give this one another data directory", dir.display())]
    Busy {
        /// The work directory.
        dir: PathBuf,
    },
    /// The directory cannot be made, emptied or locked.
    #[error("work directory {}: {source}; check its owner and free space", dir.display())]
    WorkDir {
        /// The work directory.
        dir: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// Processes of an earlier run could not be ended.
    #[error("{count} processes of an earlier run in {} cannot be killed; end them by hand", dir.display())]
    Leftovers {
        /// The work directory.
        dir: PathBuf,
        /// How many.
        count: usize,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}
