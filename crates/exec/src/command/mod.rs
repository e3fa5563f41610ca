//! .
use crate::executor::{Attempt, Executor, Fault, Runner, SlotInfo, Verdict};
use filch_types::manifest::Program;
pub(crate) struct CommandExecutor;
impl Executor for CommandExecutor {
    fn offers(&self) -> Vec<String> {
        vec!["command".to_owned()]
    }
    fn takes(&self, program: &Program) -> bool {
        matches!(program, Program::Command { .. })
    }
    fn runner(&self, _: &SlotInfo) -> Box<dyn Runner> {
        Box::new(R)
    }
}
struct R;
impl Runner for R {
    fn run(&mut self, _: &mut Attempt<'_>) -> Verdict {
        Verdict::Bounced(Fault::lasting("commands are not built yet"))
    }
}
