//! mDNS: started when there is an address to announce, and made anew whenever the pace changes (its interval is fixed, and it
//! stops asking on its own after the first answer).

use std::time::{Duration, Instant};

use libp2p::core::transport::ListenerId;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::behaviour::{FromSwarm, NewListenAddr, NewListener};
use libp2p::{Multiaddr, PeerId, mdns};

use crate::behaviour::mdns_config;
use crate::pace::Pace;

/// After mDNS could not be started, for instance for want of a network.
const RETRY: Duration = Duration::from_secs(30);

pub(crate) struct Lan {
    own: PeerId,
    pace: Option<Pace>,
    retry: Option<Instant>,
}

impl Lan {
    pub fn new(own: PeerId) -> Self {
        Self { own, pace: None, retry: None }
    }

    /// Starts or re-times it where that is due. Cheap when it is not.
    pub fn update(
        &mut self,
        slot: &mut Toggle<mdns::tokio::Behaviour>,
        listening: &[(ListenerId, Multiaddr)],
        peers: usize,
        now: Instant,
    ) {
        let every = match &mut self.pace {
            Some(pace) => pace.update(peers, now),
            None if self.retry.is_none_or(|at| at <= now) => Some(Pace::initial()),
            None => None,
        };
        let Some(every) = every else { return };
        match start(self.own, every, listening) {
            Ok(behaviour) => {
                tracing::debug!(?every, "asking the LAN for members");
                *slot = Toggle::from(Some(behaviour));
                self.pace.get_or_insert_with(|| Pace::new(now));
                self.retry = None;
            }
            Err(error) => {
                tracing::warn!(%error, "mDNS could not be started; trying again in {RETRY:?}");
                *slot = Toggle::from(None);
                self.pace = None;
                self.retry = Some(now + RETRY);
            }
        }
    }

    pub fn deadline(&self, peers: usize) -> Option<Instant> {
        self.retry.or_else(|| self.pace.as_ref().and_then(|p| p.deadline(peers)))
    }
}

/// A behaviour that comes late has to be told what the others know: where this node listens.
fn start(
    own: PeerId,
    every: Duration,
    listening: &[(ListenerId, Multiaddr)],
) -> std::io::Result<mdns::tokio::Behaviour> {
    let mut behaviour = mdns::tokio::Behaviour::new(mdns_config(every), own)?;
    for (listener_id, addr) in listening {
        let listener_id = *listener_id;
        behaviour.on_swarm_event(FromSwarm::NewListener(NewListener { listener_id }));
        behaviour.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr { listener_id, addr }));
    }
    Ok(behaviour)
}
