//! What happens, for everybody who watches: streams of the API, results that are followed.

use filch_api::EventKind;
use filch_types::JobId;
use tokio::sync::broadcast;

/// Events that a slow watcher may be behind; then it is told how many it lost.
const BEHIND: usize = 2048;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Happening {
    /// In the core.
    Core(filch_core::Event),
    /// Around it.
    Node(Option<JobId>, EventKind),
}

/// See the module.
#[derive(Clone)]
pub struct Events {
    hub: broadcast::Sender<(u64, Happening)>,
}

impl Default for Events {
    fn default() -> Self {
        Self { hub: broadcast::channel(BEHIND).0 }
    }
}

impl Events {
    /// Tells everybody; costs next to nothing if nobody watches.
    pub fn tell(&self, happening: Happening) {
        if self.hub.receiver_count() > 0 {
            let _ = self.hub.send((crate::clock::Clock.wall_ms(), happening));
        }
    }
    /// Everything from now on, with the wall clock of it.
    pub fn watch(&self) -> broadcast::Receiver<(u64, Happening)> {
        self.hub.subscribe()
    }
}

/// The job that an event of the core is about.
pub fn job_of(event: &filch_core::Event) -> Option<JobId> {
    use filch_core::Event as E;
    match event {
        E::PeerJoined(_) | E::PeerLost(_) | E::Rejected(..) => None,
        E::JobKnown(j) | E::Copies(j, _) | E::Steward(j, _) | E::Results(j, _) | E::Final(j, _) | E::State(j, _) => {
            Some(*j)
        }
        E::Granted { job, .. }
        | E::Copied { job, .. }
        | E::Stole { job, .. }
        | E::Reclaimed { job, .. }
        | E::ResultsLost { job, .. }
        | E::Bounced { job, .. } => Some(*job),
    }
}
