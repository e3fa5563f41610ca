//! The environment of a command task; described at the crate's top.

use std::path::Path;

use crate::config::ExecConfig;
use crate::executor::Attempt;
use crate::spawner::proto::Raw;
use crate::task::Unusable;

/// Everything, later entries over earlier ones.
pub(super) fn build(
    config: &ExecConfig,
    attempt: &Attempt<'_>,
    dir: &Path,
    temp: &Path,
) -> Result<Vec<(String, Raw)>, Unusable> {
    let group = attempt.task.group;
    let mut env = Vec::with_capacity(13 + group.env.len());
    let mut set = |name: &str, value: Raw| env.push((name.to_owned(), value));
    set("PATH", Raw::new(&config.path));
    set("HOME", dir.into());
    set("TMPDIR", temp.into());
    set("LANG", Raw::new("C.UTF-8"));
    set("TZ", Raw::new("UTC"));
    for (name, value) in &group.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Unusable::Program(format!("the environment variable `{}` cannot be set", name.escape_debug())));
        }
        set(name, Raw::new(value));
    }
    let node = if config.node_name.is_empty() { Raw::new(config.node.short()) } else { Raw::new(&config.node_name) };
    let cpus = group.resources.iter().find(|(name, _)| name == "cpus").map_or(config.cpus_per_slot, |(_, n)| *n);
    set("FILCH_DIR", dir.into());
    set("FILCH_JOB", Raw::new(attempt.job.to_string()));
    set("FILCH_TASK", Raw::new(attempt.task.index.to_string()));
    set("FILCH_INDEX", Raw::new(attempt.task.public_index().to_string()));
    set("FILCH_ATTEMPT", Raw::new(attempt.attempt.to_string()));
    set("FILCH_NODE", node);
    set("FILCH_SLOT", Raw::new(attempt.task.slot.to_string()));
    set("FILCH_CPUS", Raw::new(cpus.to_string()));
    Ok(env)
}
