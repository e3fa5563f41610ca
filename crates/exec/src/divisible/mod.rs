//! Divisible tasks: work that is split while it runs. A slot's thread works off a bag in steps well under a millisecond; between two
//! steps it gives parts away, stops, or ends where it is.

mod pace;
mod work;

use std::panic::{AssertUnwindSafe, catch_unwind};

use filch_handlers::{Divisible, Kinds};
use filch_types::manifest::{Program, Reduce};
use filch_types::{Cause, Content};

use crate::exec::{clip, failed, unusable};
use crate::executor::{Attempt, Executor, Fault, Runner, SlotInfo, Verdict};
use crate::handler::panic_text;
use crate::task::Paths;
use work::{End, Work};

pub(crate) struct DivisibleExecutor {
    kinds: Kinds,
}

impl DivisibleExecutor {
    pub(crate) fn new(kinds: Kinds) -> Self {
        Self { kinds }
    }
}

impl Executor for DivisibleExecutor {
    fn offers(&self) -> Vec<String> {
        self.kinds.names().map(|n| format!("divisible:{n}")).collect()
    }
    fn takes(&self, program: &Program) -> bool {
        matches!(program, Program::Divisible { name, .. } if self.kinds.get(name).is_some())
    }
    fn runner(&self, slot: &SlotInfo) -> Box<dyn Runner> {
        Box::new(DivisibleRunner { kinds: self.kinds.clone(), info: slot.clone() })
    }
}

struct DivisibleRunner {
    kinds: Kinds,
    info: SlotInfo,
}

impl Runner for DivisibleRunner {
    fn run(&mut self, attempt: &mut Attempt<'_>) -> Verdict {
        let run = catch_unwind(AssertUnwindSafe(|| self.attempt(attempt)));
        match run {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(End::Failed(text))) => fail(&text),
            Ok(Err(End::Late)) => Verdict::Done(failed(Cause::TimedOut, "filch: the time limit passed\n")),
            Ok(Err(End::Fault(fault))) => Verdict::Bounced(fault),
            // A call to split that it was about to answer is answered with nothing at the batch's end.
            Err(panic) => fail(&format!("panicked: {}", panic_text(&*panic))),
        }
    }
}

fn fail(text: &str) -> Verdict {
    Verdict::Done(failed(Cause::Handler(clip(text).to_owned()), text))
}

impl DivisibleRunner {
    fn attempt(&self, attempt: &Attempt<'_>) -> Result<Verdict, End> {
        let Program::Divisible { name, args, reduce } = &attempt.task.group.program else {
            return Err(End::Fault(Fault::once("not a divisible handler")));
        };
        let Some(kind) = self.kinds.get(name) else {
            return Err(End::Fault(Fault::once(format!("this node has no divisible handler `{name}`"))));
        };
        let own = kind.reduce();
        if own != *reduce {
            let (own, said) = (words(&own), words(reduce));
            return Err(End::Failed(format!("{name}: joins its tallies by {own} on this node, by {said} in the job")));
        }
        let bag: Box<dyn Divisible> = match attempt.part {
            None => match attempt.task.expand(args, &Paths::default()) {
                Ok(args) => kind.start(&args).map_err(End::Failed)?,
                Err(e) => return Ok(Verdict::Done(unusable(&attempt.task.group.program, &e))),
            },
            Some(Content::Inline(bytes)) => kind.unpack(bytes).map_err(End::Failed)?,
            Some(Content::Blob(id, len)) => {
                let bytes = self.info.host.read(*id, *len).map_err(|e| End::Fault(e.into()))?;
                kind.unpack(&bytes).map_err(End::Failed)?
            }
        };
        Work::new(bag, &**kind, reduce, &*self.info.host).run(&attempt.control)
    }
}

fn words(reduce: &[Reduce]) -> String {
    let word = |r: &Reduce| match r {
        Reduce::Sum => "sum",
        Reduce::Max => "max",
        Reduce::Min => "min",
    };
    reduce.iter().map(word).collect::<Vec<_>>().join(", ")
}
