//! S7: no execution reads bytes that do not match their hash. Contents are not simulated; what can be checked here is that
//! an execution starts only when every input blob that it reads is in the node's own store. (That a store gives out only
//! matching bytes is tested where stores are written.) Guards P1, P15.

use filch_types::manifest::Generator;

use super::{Oracle, Seen};
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S7;

impl Oracle for S7 {
    fn rule(&self) -> &'static str {
        "S7"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Runs { host, job, index, .. } = seen else { return Ok(()) };
        let Some(info) = world.info(*job) else { return Err(format!("n{host} runs a task of an unknown job")) };
        let Some((_, group, first)) = info.manifest.spec.locate(*index) else {
            return Err(format!("n{host} runs {job:?}#{index}, which is no task of it"));
        };
        let here = &world.hosts[*host];
        let mut reads: Vec<_> = group.inputs.iter().map(|f| f.blob).collect();
        if let Generator::Items { list, .. } = &group.tasks {
            let item = world.known.lists.get(list).and_then(|l| l.get(first as usize));
            reads.extend(item.map(|i| i.0));
        }
        // Rot may take a blob between staging and start: a real store would refuse the read.
        match reads.iter().find(|b| !here.shelf.has(**b)) {
            Some(b) if !here.rotten.contains(job) && !world.deleted_anywhere(*job) => {
                Err(format!("n{host} runs {job:?}#{index} without its input {b:?}"))
            }
            _ => Ok(()),
        }
    }
}
