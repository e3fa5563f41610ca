//! S7: no execution reads, and no reply carries, bytes that do not match their hash. What a task reads is what was in the store when
//! its inputs were copied for it, whatever rots later; and whatever a node sends, blobs, manifests or facts, are the bytes of the name
//! that they were asked for by. There is no excuse: a disk may rot, a transfer may be torn, but who reads them looks. Guards P1, P15.

use filch_types::NodeId;
use filch_types::sign::Simulated;
use filch_types::wire::Response;

use super::{Oracle, Seen};
use crate::shelf::Print;
use crate::world::World;

/// See the module.
#[derive(Default)]
pub struct S7;

impl Oracle for S7 {
    fn rule(&self) -> &'static str {
        "S7"
    }

    fn saw(&mut self, world: &World, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Runs { host, job, index, run } => {
                let Some(info) = world.info(*job) else { return Err(format!("n{host} runs a task of an unknown job")) };
                let here = &world.hosts[*host];
                let batch = here.slots.iter().filter_map(|s| s.now.as_ref()).find(|b| b.launch.id == run.launch);
                let Some(batch) = batch else { return Err(format!("n{host} runs {job:?}#{index} in no slot")) };
                let task = filch_types::ranges::Range::new(*index, *index + 1);
                for (blob, _) in world.inputs(&info, task) {
                    let read = batch.inputs.iter().find(|(b, _)| *b == blob).map(|(_, print)| *print);
                    if read != Some(Print::of(blob)) {
                        return Err(format!("n{host} runs {job:?}#{index}, which reads {read:?} for {blob:?}"));
                    }
                }
            }
            Seen::Served { host, to, blob, print } if *print != Print::of(*blob) => {
                return Err(format!("n{host} sends n{to} other bytes than those of {blob:?}"));
            }
            Seen::Answered { host, to, response: Response::Manifest(m) } if world.info(m.job()).is_none() => {
                return Err(format!("n{host} sends n{to} a manifest of no job"));
            }
            Seen::Answered { host, to, response: Response::Facts(facts) } => {
                let keys = Simulated(NodeId::default());
                if let Some(f) = facts.iter().find(|f| f.open(&keys).is_err()) {
                    return Err(format!("n{host} sends n{to} {:?}, which is no fact", f.id()));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
