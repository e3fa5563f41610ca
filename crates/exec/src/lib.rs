//! Runs tasks: programs of the host and handlers of the node, one at a time per slot.
//!
//! [`Exec`] has one long-lived thread per slot. A batch of consecutive tasks runs there one after another, and comes back
//! as grouped [`Report`]s. What can run is a registry of [`Executor`]s, so that a new kind of task changes nothing else.
//!
//! # What a command task gets
//! - A private, empty directory (mode 0700) as its working directory, its declared inputs in it, and the directories that
//!   its declared outputs go to. A second private directory for temporary files. Both are gone after the attempt.
//! - Its program without a shell, stdin from `/dev/null`, stdout and stderr into files, signals at their defaults, umask
//!   022, a session without a terminal.
//! - This environment and nothing else: `PATH` (of the node), `HOME` and `FILCH_DIR` (its directory), `TMPDIR`,
//!   `LANG=C.UTF-8`, `TZ=UTC`; over that, what the job sets; over that:
//!   - `FILCH_JOB`: the job's id in hex
//!   - `FILCH_TASK`: the task's index in the job, from 0
//!   - `FILCH_INDEX`: in an array, the task's *value* (`--array 1-1000` gives 1 to 1000); otherwise its number in its
//!     group, from 0
//!   - `FILCH_ATTEMPT`: unique for each attempt at the task
//!   - `FILCH_NODE`: the name of the node; `FILCH_SLOT`: the slot on it, from 0; `FILCH_CPUS`: processors for the task
//!
//! # How it ends
//! When the program ends, processes that it left behind have a second to end by themselves; then they are killed, wherever
//! they hid. Only after the last one is dead are the declared outputs collected, and only if the program ended with 0:
//! plain files reached without any symbolic link. At its time limit, or when it is stopped, the whole tree gets TERM and
//! after the grace period KILL. The exit code is the program's; 127 if there is no such program, 126 if it cannot be
//! executed. Output is kept in every case; of more than 2 MiB, the first and the last MiB.
//!
//! Whatever is not the task's fault (an input that cannot be placed, a full disk, no processes left) comes back as
//! [`Report::Bounced`].

mod batch;
mod collect;
mod config;
mod control;
mod courier;
mod dirs;
mod divisible;
mod exec;
mod executor;
mod handler;
mod host;
mod lock;
mod outbox;
mod place;
mod slot;
mod task;

#[cfg(target_os = "linux")]
mod command;
#[cfg(target_os = "linux")]
mod leftover;
#[cfg(target_os = "linux")]
mod procs;
#[cfg(target_os = "linux")]
mod spawner;

pub use batch::{Batch, LiveStream, Report, Running};
pub use config::{AllowMembers, ExecConfig, ExecError, Policy};
pub use control::{Control, Interrupt, Live, LiveFile};
pub use dirs::Workspace;
pub use exec::Exec;
pub use executor::{Attempt, Executor, Fault, Runner, SlotInfo, Verdict};
pub use filch_handlers::{Divisible, DivisibleKind, Kinds, Progress, Reduce, Uts};
pub use handler::{Handler, HandlerCx, Handlers};
pub use host::{Host, HostError};
pub use slot::Ask;
pub use task::{Paths, Task, Unusable};

#[cfg(target_os = "linux")]
pub use spawner::spawner_main;

/// The body of the hidden subcommand that spawns tasks. On this system there are no command tasks.
#[cfg(not(target_os = "linux"))]
pub fn spawner_main() -> ! {
    std::process::exit(1)
}
