//! A node that runs but cannot be reached: its socket file is gone. Without this, `filch down` says that there is none.

use std::path::{Path, PathBuf};

use filch_api::paths::Surroundings;
use filch_client::ClientError;

use crate::args::Global;
use crate::error::Error;

/// Names the node of this data directory in an error that says that nobody listens.
pub(crate) fn name_it(error: Error, global: &Global) -> Error {
    match error {
        Error::Client(ClientError::NoNode { socket }) => match runs(global) {
            Some((pid, dir)) => Error::failed(
                format!(
                    "process {pid} is the node of {}, but nobody listens on {}: its socket was removed, or it listens elsewhere",
                    dir.display(),
                    socket.display()
                ),
                &format!(
                    "`kill {pid}` ends it in an orderly way, as `filch down` would; then `filch up` starts it again"
                ),
            ),
            None => Error::Client(ClientError::NoNode { socket }),
        },
        Error::NotRun(error) => Error::NotRun(Box::new(name_it(*error, global))),
        other => other,
    }
}

/// The process that has the data directory's lock open. Taking the lock to find out would be in the way of a node that starts.
fn runs(global: &Global) -> Option<(u32, PathBuf)> {
    let places = Surroundings::of_process(global.data_dir.as_deref(), global.socket.as_deref());
    let dir = places.data_dir().ok()?;
    let lock = std::fs::canonicalize(dir.join("lock")).ok()?;
    let pid: u32 = std::fs::read_to_string(&lock).ok()?.trim().parse().ok()?;
    has_open(pid, &lock).then_some((pid, dir))
}

fn has_open(pid: u32, file: &Path) -> bool {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.take(100_000).any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == file))
}
