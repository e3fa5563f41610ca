//! What the nodes tell while they work: one stream from each.

use std::time::Instant;

use filch_api::EventKind;
use filch_types::NodeId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::cluster::Cluster;

/// Events that wait for the demo; the nodes' streams wait behind them.
const WAITING: usize = 1024;

/// Something that a node told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Index of the node.
    pub by: usize,
    /// When it arrived.
    pub at: Instant,
    pub what: EventKind,
}

/// All streams. They end with this value.
pub(super) struct Streams {
    told: mpsc::Receiver<Told>,
    _readers: JoinSet<()>,
}

impl Streams {
    /// Opens a stream from every node; returns once all are open.
    pub async fn open(cluster: &Cluster) -> Result<Self, filch_client::ClientError> {
        let (tx, told) = mpsc::channel(WAITING);
        let mut readers = JoinSet::new();
        for (by, node) in cluster.nodes.iter().enumerate() {
            let mut lines = node.client.events(None).await?;
            let tx = tx.clone();
            readers.spawn(async move {
                // The stream of a node that dies just ends.
                while let Ok(Some(event)) = lines.next().await {
                    let told = Told { by, at: Instant::now(), what: event.event };
                    if tx.send(told).await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { told, _readers: readers })
    }

    /// The next event; pends for ever when there will be none. Cancel-safe.
    pub async fn next(&mut self) -> Told {
        match self.told.recv().await {
            Some(told) => told,
            None => std::future::pending().await,
        }
    }

    /// The next event if it is here already.
    pub fn here(&mut self) -> Option<Told> {
        self.told.try_recv().ok()
    }
}

/// Sums of what was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Successful steals per node.
    pub steals: Vec<u64>,
    /// Tasks that they moved.
    pub stolen: Vec<u64>,
    /// Tasks taken back from the dead node that had not started.
    pub taken_back: u64,
    /// Tasks taken back that ran when it died.
    pub were_running: u64,
    /// Tasks that a node gave back unexecuted.
    pub bounced: u64,
    /// When the death was noticed first.
    pub noticed: Option<Instant>,
    /// When its tasks were free again.
    pub freed: Option<Instant>,
}

impl Tally {
    pub fn new(nodes: usize) -> Self {
        Self { steals: vec![0; nodes], stolen: vec![0; nodes], ..Self::default() }
    }

    /// Counts an event. `dead` is the node that was killed, if one was.
    pub fn count(&mut self, told: &Told, dead: Option<NodeId>) {
        match &told.what {
            EventKind::Stole { tasks, .. } => {
                if let (Some(n), Some(t)) = (self.steals.get_mut(told.by), self.stolen.get_mut(told.by)) {
                    *n += 1;
                    *t += u64::from(*tasks);
                }
            }
            EventKind::Reclaimed { from, queued, executing } if Some(from.id) == dead => {
                self.taken_back += u64::from(*queued);
                self.were_running += u64::from(*executing);
                self.freed.get_or_insert(told.at);
            }
            EventKind::NodeLost { node } if Some(node.id) == dead => {
                self.noticed.get_or_insert(told.at);
            }
            EventKind::Bounced { tasks, .. } => self.bounced += u64::from(*tasks),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filch_api::NodeRef;

    #[test]
    fn steals_and_losses_are_added_up() {
        let node = |n: u8| NodeRef { id: NodeId([n; 32]), name: n.to_string() };
        let told = |by, what| Told { by, at: Instant::now(), what };
        let mut t = Tally::new(3);
        let dead = Some(NodeId([2; 32]));
        for (by, what) in [
            (1, EventKind::Stole { from: node(0), tasks: 5 }),
            (1, EventKind::Stole { from: node(2), tasks: 2 }),
            (9, EventKind::Stole { from: node(2), tasks: 2 }),
            (0, EventKind::Reclaimed { from: node(2), queued: 3, executing: 2 }),
            (0, EventKind::Reclaimed { from: node(1), queued: 7, executing: 7 }),
            (0, EventKind::NodeLost { node: node(2) }),
            (0, EventKind::Quiet),
        ] {
            t.count(&told(by, what), dead);
        }
        assert_eq!((t.steals[1], t.stolen[1], t.taken_back, t.were_running), (2, 7, 3, 2));
        assert!(t.noticed.is_some() && t.freed.is_some());
    }
}
