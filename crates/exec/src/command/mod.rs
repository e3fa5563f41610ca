//! Command tasks: programs of the host, started by the slot's spawner.

mod env;
mod link;
mod logs;

use filch_types::manifest::{Program, TaskLimits};
use filch_types::result::Stream;
use filch_types::{Cause, Content, Outcome, TaskOutput};

use crate::collect::{self, CollectError};
use crate::exec::{clip, failed, unusable};
use crate::executor::{Attempt, Executor, Fault, Runner, SlotInfo, Verdict};
use crate::place::{self, StageError};
use crate::spawner::proto::{Done, Ended, FromSpawner, Run, Status};
use crate::task::{Paths, Unusable};
use link::{Link, LinkError};
use logs::Logs;

/// The longest grace that a task may ask for.
const MAX_GRACE_MS: u32 = 600_000;

pub(crate) struct CommandExecutor;

impl Executor for CommandExecutor {
    fn offers(&self) -> Vec<String> {
        vec!["command".to_owned()]
    }
    fn takes(&self, program: &Program) -> bool {
        matches!(program, Program::Command { .. })
    }
    fn runner(&self, slot: &SlotInfo) -> Box<dyn Runner> {
        Box::new(CommandRunner { info: slot.clone(), link: None, logs: None, serial: 0 })
    }
}

/// Why there is no result yet, or will be none.
enum Stop {
    Fault(Fault),
    Unusable(Unusable),
    Failed(Cause, String),
}

impl From<Fault> for Stop {
    fn from(f: Fault) -> Self {
        Stop::Fault(f)
    }
}
impl From<Unusable> for Stop {
    fn from(e: Unusable) -> Self {
        Stop::Unusable(e)
    }
}
impl From<StageError> for Stop {
    fn from(e: StageError) -> Self {
        match e {
            StageError::Fault(f) => Stop::Fault(f),
            StageError::Unusable(e) => Stop::Unusable(e),
        }
    }
}

struct CommandRunner {
    info: SlotInfo,
    link: Option<Link>,
    logs: Option<Logs>,
    serial: u64,
}

impl Runner for CommandRunner {
    fn run(&mut self, attempt: &mut Attempt<'_>) -> Verdict {
        let verdict = self.attempt(attempt);
        attempt.workspace.clean();
        match verdict {
            Ok(outcome) => Verdict::Done(outcome),
            Err(Stop::Fault(f)) => Verdict::Bounced(f),
            Err(Stop::Unusable(e)) => Verdict::Done(unusable(&attempt.task.group.program, &e)),
            Err(Stop::Failed(cause, why)) => Verdict::Done(failed(cause, &format!("filch: {}\n", clip(&why)))),
        }
    }
}

impl CommandRunner {
    fn attempt(&mut self, attempt: &mut Attempt<'_>) -> Result<Outcome, Stop> {
        let paths = attempt.task.paths()?;
        let run = self.prepare(attempt, &paths)?;
        let reply = self.execute(attempt, run)?;
        let done = match reply {
            FromSpawner::Done(done) => done,
            FromSpawner::NotRun { code, message, .. } => return Err(Stop::Failed(Cause::Exit(code), message)),
            FromSpawner::Fault { message, .. } => return Err(Fault::lasting(message).into()),
        };
        let outcome = self.conclude(attempt, &paths, &done);
        self.reset_logs(&done);
        outcome.map_err(Stop::Fault)
    }

    /// Directory, inputs, and everything that the spawner is told.
    fn prepare(&mut self, attempt: &mut Attempt<'_>, paths: &Paths) -> Result<Run, Stop> {
        let group = attempt.task.group;
        let Program::Command { argv } = &group.program else {
            return Err(Fault::once("not a command").into());
        };
        let argv = attempt.task.expand(argv, paths)?;
        if argv.iter().any(|a| a.contains('\0')) {
            return Err(Unusable::Program("an argument contains a NUL byte".to_owned()).into());
        }
        let no_dir = |e| Fault::lasting(format!("cannot make a task's directory: {e}"));
        let temp = attempt.workspace.temp().map_err(no_dir)?.to_owned();
        let dir = attempt.workspace.work().map_err(no_dir)?.to_owned();
        place::stage(&attempt.task, paths, &dir, &*self.info.host)?;
        let env = env::build(&self.info.config, attempt, &dir, &temp)?;
        if self.logs.is_none() {
            let no_logs = |e| Fault::lasting(format!("cannot make the files for a task's output: {e}"));
            self.logs = Some(Logs::create(&self.info.dir).map_err(no_logs)?);
        }
        let Some(logs) = &self.logs else { return Err(Fault::lasting("no files for a task's output").into()) };
        let live = logs.live();
        let TaskLimits { timeout_ms, grace_ms, .. } = group.limits;
        self.serial += 1;
        Ok(Run {
            serial: self.serial,
            dir: dir.as_path().into(),
            stdout: (&*live.stdout.path).into(),
            stderr: (&*live.stderr.path).into(),
            argv,
            env,
            timeout_ms,
            grace_ms: grace_ms.min(MAX_GRACE_MS),
        })
    }

    /// Has the spawner run it. A dead spawner costs this attempt, and its tree its life.
    fn execute(&mut self, attempt: &Attempt<'_>, run: Run) -> Result<FromSpawner, Stop> {
        let link = match &mut self.link {
            Some(link) => link,
            none => {
                let started = Link::start(&self.info.config, &self.info.dir);
                none.insert(started.map_err(|e| Fault::lasting(format!("cannot start the spawner: {e}")))?)
            }
        };
        if let Some(logs) = &self.logs {
            attempt.control.set_live(logs.live());
        }
        if !attempt.control.set_interrupt(link.interrupt(run.serial)) {
            attempt.control.clear_interrupt();
            return Err(Fault::once("stopped").into());
        }
        let reply = link.run(run);
        attempt.control.clear_interrupt();
        match reply {
            Ok(reply) => Ok(reply),
            Err(LinkError::TooLong) => {
                Err(Unusable::Program("the arguments and environment are too long".to_owned()).into())
            }
            Err(LinkError::Dead(e)) => {
                self.link = None;
                self.logs = None;
                if let Err(count) = crate::leftover::kill_slot(&self.info.dir) {
                    tracing::error!(count, slot = self.info.slot, "processes of a task cannot be killed");
                }
                Err(Fault::once(format!("the process that supervised the task died: {e}")).into())
            }
        }
    }

    fn conclude(&self, attempt: &Attempt<'_>, paths: &Paths, done: &Done) -> Result<Outcome, Fault> {
        tracing::trace!(
            task = attempt.task.index,
            wall_us = done.wall_us,
            cpu_us = done.cpu_us,
            max_rss_kib = done.max_rss_kib,
            killed = done.killed,
            "task ended"
        );
        let mut output = self.output(done)?;
        let cause = match (done.ended, done.status) {
            (Some(Ended::TimedOut), _) => Some(Cause::TimedOut),
            (Some(Ended::Stopped), _) => return Err(Fault::once("stopped")),
            (Some(Ended::Flooded), _) => Some(Cause::Signal(9)),
            (None, Status::Exited(0)) => None,
            (None, Status::Exited(code)) => Some(Cause::Exit(code)),
            (None, Status::Signalled(signal)) => Some(Cause::Signal(signal)),
        };
        if let Some(cause) = cause {
            return Ok(Outcome::Failed(cause, output));
        }
        match collect::collect(&paths.outputs, attempt.workspace, &*self.info.host, &mut output) {
            Ok(()) => Ok(Outcome::Success(output)),
            Err(CollectError::Missing(path)) => {
                output.files.clear();
                Ok(Outcome::Failed(Cause::OutputMissing(path), output))
            }
            Err(CollectError::Fault(f)) => Err(f),
        }
    }

    /// What is kept of stdout and stderr.
    fn output(&self, done: &Done) -> Result<TaskOutput, Fault> {
        let mut output = TaskOutput::default();
        if done.stdout.bytes == 0 && done.stderr.bytes == 0 {
            return Ok(output);
        }
        let Some(logs) = &self.logs else { return Ok(output) };
        let (out, err) = logs
            .take(done.stdout, done.stderr)
            .map_err(|e| Fault::once(format!("cannot read a task's output back: {e}")))?;
        output.stdout = Stream { total: done.stdout.bytes, kept: self.keep(out, collect::inline_left(&output))? };
        output.stderr = Stream { total: done.stderr.bytes, kept: self.keep(err, collect::inline_left(&output))? };
        Ok(output)
    }

    fn keep(&self, bytes: Vec<u8>, inline: usize) -> Result<Content, Fault> {
        if bytes.len() <= inline {
            return Ok(Content::Inline(bytes));
        }
        self.info.host.keep_bytes(bytes, inline).map_err(Fault::from)
    }

    /// If the files are not as they should be, the next task gets new ones.
    fn reset_logs(&mut self, done: &Done) {
        let ready = self.logs.as_mut().is_some_and(|l| l.reusable(done.stdout, done.stderr));
        if !ready || !done.intact {
            self.logs = None;
        }
    }
}
