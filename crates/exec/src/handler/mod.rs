//! Handlers: Rust functions registered by name in the node. Here the registry of all of them, and the plain ones; those that split
//! while they run are in `divisible`.

mod builtin;
mod cx;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use filch_handlers::{DivisibleKind, Kinds};
use filch_types::manifest::Program;
use filch_types::result::Stream;
use filch_types::{Cause, Content, Outcome, TaskOutput, limits};

use crate::collect::{self, CollectError};
use crate::exec::{clip, failed, unusable};
use crate::executor::{Attempt, Executor, Fault, Runner, SlotInfo, Verdict};
use crate::place::{self, StageError};
use crate::task::Paths;

pub use cx::HandlerCx;

/// Bytes that a handler may return.
const MAX_VALUE: usize = 64 * 1024 * 1024;

/// A handler: its value becomes the task's stdout; its error fails the task.
pub type Handler = Arc<dyn Fn(&HandlerCx<'_>) -> Result<Vec<u8>, String> + Send + Sync>;

/// The registry of handlers: plain functions, and kinds of work that split while they run. One name is one of the two.
#[derive(Clone, Default)]
pub struct Handlers {
    plain: BTreeMap<String, Handler>,
    kinds: Kinds,
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Handlers {
    /// No handlers at all.
    pub fn empty() -> Self {
        Self::default()
    }
    /// The built-in ones.
    ///
    /// - `noop`: nothing.
    /// - `sleep DURATION`: waits (`20ms`, `1.5s`, `2m`; a bare number is seconds).
    /// - `spin DURATION`: keeps a processor busy.
    /// - `fail [MESSAGE [SHARE]]`: fails; with a share from 0 to 1, only that share of attempts, drawn from task and attempt.
    /// - `hash`: the BLAKE3 hash of each input file, one line each: hex, two spaces, path.
    /// - the divisible ones of [`Kinds::builtin`].
    pub fn builtin() -> Self {
        let mut h = Self { kinds: Kinds::builtin(), ..Self::empty() };
        h.register("noop", |_| Ok(Vec::new()));
        h.register("sleep", builtin::sleep);
        h.register("spin", builtin::spin);
        h.register("fail", builtin::fail);
        h.register("hash", builtin::hash);
        h
    }
    /// Adds a handler, or replaces the one of this name.
    pub fn register<F>(&mut self, name: impl Into<String>, handler: F) -> &mut Self
    where
        F: Fn(&HandlerCx<'_>) -> Result<Vec<u8>, String> + Send + Sync + 'static,
    {
        let name = name.into();
        self.kinds.remove(&name);
        self.plain.insert(name, Arc::new(handler));
        self
    }
    /// Adds a kind of work that splits while it runs, or replaces the handler of its name.
    pub fn divisible(&mut self, kind: impl DivisibleKind + 'static) -> &mut Self {
        self.plain.remove(kind.name());
        self.kinds.register(kind);
        self
    }
    /// Those that are divisible.
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }
    /// Those of these names.
    pub fn only(mut self, names: &[String]) -> Self {
        self.plain.retain(|name, _| names.contains(name));
        self.kinds = self.kinds.only(names);
        self
    }
    /// Names, in order, the divisible ones last.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plain_names().chain(self.kinds.names())
    }
    fn plain_names(&self) -> impl Iterator<Item = &str> {
        self.plain.keys().map(String::as_str)
    }
}

pub(crate) struct HandlerExecutor {
    handlers: Handlers,
}

impl HandlerExecutor {
    pub(crate) fn new(handlers: Handlers) -> Self {
        Self { handlers }
    }
}

impl Executor for HandlerExecutor {
    fn offers(&self) -> Vec<String> {
        self.handlers.plain_names().map(|n| format!("handler:{n}")).collect()
    }
    fn takes(&self, program: &Program) -> bool {
        matches!(program, Program::Handler { name, .. } if self.handlers.plain.contains_key(name))
    }
    fn runner(&self, slot: &SlotInfo) -> Box<dyn Runner> {
        Box::new(HandlerRunner { handlers: self.handlers.clone(), info: slot.clone() })
    }
}

struct HandlerRunner {
    handlers: Handlers,
    info: SlotInfo,
}

impl Runner for HandlerRunner {
    fn run(&mut self, attempt: &mut Attempt<'_>) -> Verdict {
        let Program::Handler { name, args } = &attempt.task.group.program else {
            return Verdict::Bounced(Fault::once("not a handler"));
        };
        let Some(handler) = self.handlers.plain.get(name) else {
            return Verdict::Bounced(Fault::lasting(format!("this node has no handler `{name}`")));
        };
        let paths = match attempt.task.paths() {
            Ok(paths) => paths,
            Err(e) => return Verdict::Done(unusable(&attempt.task.group.program, &e)),
        };
        let args = match attempt.task.expand(args, &paths) {
            Ok(args) => args,
            Err(e) => return Verdict::Done(unusable(&attempt.task.group.program, &e)),
        };
        let dir = match self.directory(attempt, &paths) {
            Ok(dir) => dir,
            Err(verdict) => return *verdict,
        };
        let cx = HandlerCx::new(attempt, &args, &paths, dir.as_deref());
        let value = call(handler, &cx);
        let late = attempt.control.is_late();
        let verdict = self.conclude(attempt, value, late, &paths.outputs);
        if dir.is_some() {
            attempt.workspace.clean();
        }
        verdict
    }
}

impl HandlerRunner {
    /// A directory with the inputs, if the task has files.
    fn directory(&self, attempt: &mut Attempt<'_>, paths: &Paths) -> Result<Option<PathBuf>, Box<Verdict>> {
        if !attempt.task.has_files() {
            return Ok(None);
        }
        let made = attempt.workspace.work().map(std::path::Path::to_owned);
        let dir = made
            .map_err(|e| Box::new(Verdict::Bounced(Fault::lasting(format!("cannot make a task's directory: {e}")))))?;
        match place::stage(&attempt.task, paths, &dir, &*self.info.host) {
            Ok(()) => Ok(Some(dir)),
            Err(e) => {
                attempt.workspace.clean();
                Err(Box::new(match e {
                    StageError::Fault(f) => Verdict::Bounced(f),
                    StageError::Unusable(e) => Verdict::Done(unusable(&attempt.task.group.program, &e)),
                }))
            }
        }
    }

    fn conclude(
        &self,
        attempt: &Attempt<'_>,
        value: Result<Vec<u8>, String>,
        late: bool,
        outputs: &[String],
    ) -> Verdict {
        let value = match value {
            _ if late => return Verdict::Done(failed(Cause::TimedOut, "filch: the time limit passed\n")),
            Ok(v) if v.len() > MAX_VALUE => Err(format!("returned {} bytes; at most {MAX_VALUE} are kept", v.len())),
            v => v,
        };
        let value = match value {
            Ok(value) => value,
            Err(text) => return Verdict::Done(failed(Cause::Handler(clip(&text).to_owned()), &text)),
        };
        let mut output = TaskOutput::default();
        if !value.is_empty() {
            let total = value.len() as u64;
            let kept = if value.len() <= limits::INLINE_OUTPUT {
                Content::Inline(value)
            } else {
                match self.info.host.keep_bytes(value, limits::INLINE_OUTPUT) {
                    Ok(kept) => kept,
                    Err(e) => return Verdict::Bounced(e.into()),
                }
            };
            output.stdout = Stream { kept, total };
        }
        match collect::collect(outputs, attempt.workspace, &*self.info.host, &mut output) {
            Ok(()) => Verdict::Done(Outcome::Success(output)),
            Err(CollectError::Missing(path)) => {
                output.files.clear();
                Verdict::Done(Outcome::Failed(Cause::OutputMissing(path), output))
            }
            Err(CollectError::Fault(f)) => Verdict::Bounced(f),
        }
    }
}

fn call(handler: &Handler, cx: &HandlerCx<'_>) -> Result<Vec<u8>, String> {
    catch_unwind(AssertUnwindSafe(|| handler(cx))).unwrap_or_else(|p| Err(format!("panicked: {}", panic_text(&*p))))
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}
