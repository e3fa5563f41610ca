//! Sets the scene: inputs in their places, directories for the outputs.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::executor::Fault;
use crate::host::Host;
use crate::task::{Paths, Task, Unusable};

/// Why a task cannot start.
#[derive(Debug)]
pub(crate) enum StageError {
    /// This node's fault.
    Fault(Fault),
    /// The task's own.
    Unusable(Unusable),
}

/// Fills the fresh directory `dir` for `task`.
pub(crate) fn stage(task: &Task<'_>, paths: &Paths, dir: &Path, host: &dyn Host) -> Result<(), StageError> {
    let mut made = BTreeSet::new();
    let mut placed = BTreeSet::new();
    for (file, path) in task.inputs().zip(&paths.inputs) {
        // One file declared twice is there once, and both placeholders name it.
        if paths.inputs.len() > 1 && !placed.insert((path, file.blob)) {
            continue;
        }
        parents(dir, path, &mut made).map_err(|e| refuse(&e, |why| Unusable::Input { path: path.clone(), why }))?;
        host.place(file, &dir.join(path)).map_err(|e| StageError::Fault(e.into()))?;
    }
    for path in &paths.outputs {
        parents(dir, path, &mut made).map_err(|e| refuse(&e, |why| Unusable::Output { path: path.clone(), why }))?;
    }
    Ok(())
}

fn parents<'a>(dir: &Path, path: &'a str, made: &mut BTreeSet<&'a str>) -> std::io::Result<()> {
    let Some((parent, _)) = path.rsplit_once('/') else { return Ok(()) };
    if made.insert(parent) { fs::create_dir_all(dir.join(parent)) } else { Ok(()) }
}

fn refuse(e: &std::io::Error, unusable: impl FnOnce(String) -> Unusable) -> StageError {
    match e.kind() {
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            StageError::Unusable(unusable("its directory is a file of the task".to_owned()))
        }
        ErrorKind::InvalidFilename => StageError::Unusable(unusable("a name in it is too long".to_owned())),
        _ => StageError::Fault(Fault::once(format!("cannot make a directory for a task: {e}"))),
    }
}
