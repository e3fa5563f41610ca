//! Follows the job, kills a node half-way, and keeps the books.

use std::time::{Duration, Instant};

use filch_api::{EventKind, JobState, TaskState};
use filch_client::{Follow, Update};
use filch_types::{JobId, NodeId};

use super::DemoError;
use super::cluster::Cluster;
use super::events::{Streams, Tally, Told};
use super::story::Story;

/// The job, at most.
const LIMIT: Duration = Duration::from_secs(35);
/// Between two lines that say how the work spreads.
const TELL: Duration = Duration::from_millis(1500);
/// Steals that get a line of their own; all are counted.
const STEALS_TOLD: u64 = 12;

/// The node that was killed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    pub node: usize,
    pub id: NodeId,
    pub at: Instant,
}

/// What was seen.
pub(super) struct Watched {
    pub job: JobId,
    pub total: u64,
    pub succeeded: u64,
    /// Results per node.
    pub done: Vec<u64>,
    pub tally: Tally,
    pub death: Option<Death>,
    pub took: Duration,
    pub problems: Vec<String>,
}

impl Watched {
    fn results(&self) -> u64 {
        self.done.iter().sum()
    }
    fn half_way(&self) -> bool {
        let done = self.results();
        self.death.is_none() && done * 2 >= self.total && done < self.total
    }
}

/// Follows the job from its first node until it is over and its files are delivered.
pub(super) async fn to_the_end(
    story: &Story,
    cluster: &mut Cluster,
    mut streams: Streams,
    job: JobId,
    total: u64,
    started: Instant,
) -> Result<Watched, DemoError> {
    let nodes = cluster.nodes.len();
    let mut w = Watched {
        job,
        total,
        succeeded: 0,
        done: vec![0; nodes],
        tally: Tally::new(nodes),
        death: None,
        took: Duration::ZERO,
        problems: Vec::new(),
    };
    let owner = cluster.nodes.first().ok_or(DemoError::Slow)?.client.clone();
    let mut updates = owner.results(job, &Follow { follow: true, ..Follow::default() }).await?;
    let mut tick = tokio::time::interval(TELL);
    let limit = tokio::time::sleep(LIMIT);
    tokio::pin!(limit);
    let mut spread = Vec::new();
    loop {
        tokio::select! {
            update = updates.next() => match update? {
                Some(Update::Result(r)) => {
                    if let Some(n) = r.node.as_ref().and_then(|n| cluster.find(n.id)) {
                        w.done[n] += u64::from(r.count);
                    }
                    if r.state == TaskState::Succeeded {
                        w.succeeded += u64::from(r.count);
                    } else if let Some(cause) = &r.cause {
                        w.problems.push(format!("task {} failed: {cause}", r.task));
                    }
                    if w.half_way() {
                        w.death = kill(story, cluster, &w).await;
                    }
                }
                Some(Update::Progress { .. } | Update::Away { .. } | Update::Back) => {}
                Some(Update::End { state, delivery, .. }) => {
                    w.took = started.elapsed();
                    over(&mut w, state, delivery);
                    break;
                }
                None => break,
            },
            told = streams.next() => tell(story, cluster, &mut w, &told),
            _ = tick.tick() => {
                if w.results() > 0 && w.done != spread {
                    spread.clone_from(&w.done);
                    story.tell("work", format_args!("{} of {total} results: {}", w.results(), by_node(cluster, &w.done)));
                }
            }
            () = &mut limit => return Err(DemoError::Stuck {
                seconds: LIMIT.as_secs(),
                done: w.results(),
                total,
                log: cluster.log(0),
            }),
        }
    }
    while let Some(told) = streams.here() {
        tell(story, cluster, &mut w, &told);
    }
    story.tell("work", format_args!("all {} results: {}", w.results(), by_node(cluster, &w.done)));
    if w.death.is_none() {
        story.tell("demo", "the job was over before a node could be killed: give a directory with more files");
    }
    Ok(w)
}

fn by_node(cluster: &Cluster, done: &[u64]) -> String {
    let each: Vec<String> = cluster.nodes.iter().zip(done).map(|(n, d)| format!("{} {d}", n.name)).collect();
    each.join(", ")
}

/// Kills the busiest node but the submitter, without warning.
async fn kill(story: &Story, cluster: &mut Cluster, w: &Watched) -> Option<Death> {
    cluster.refresh().await;
    let (node, victim) = cluster.nodes.iter().enumerate().skip(1).max_by_key(|(_, n)| n.last.running)?;
    let (name, id, running) = (victim.name, victim.id, victim.last.running);
    let pid = cluster.kill(node);
    story.tell(
        name,
        format_args!(
            "KILLED (kill -9 {pid}) with {} of {} results in; {running} tasks ran there",
            w.results(),
            w.total
        ),
    );
    Some(Death { node, id, at: Instant::now() })
}

/// Books an event, and says it if a person wants to know.
fn tell(story: &Story, cluster: &Cluster, w: &mut Watched, told: &Told) {
    w.tally.count(told, w.death.map(|d| d.id));
    let Some(who) = cluster.nodes.get(told.by).map(|n| n.name) else { return };
    let after = || w.death.map_or(0.0, |d| told.at.saturating_duration_since(d.at).as_secs_f64());
    match &told.what {
        EventKind::Stole { from, tasks } => match w.tally.steals.iter().sum::<u64>() {
            1..=STEALS_TOLD => story.tell(who, format_args!("stole {tasks} tasks from {}", from.name)),
            n if n == STEALS_TOLD + 1 => story.tell("work", "is stolen on; further steals are only counted"),
            _ => {}
        },
        EventKind::NodeLost { node } => {
            story.tell(who, format_args!("noticed that {} is gone, {:.1} s after it died", node.name, after()));
        }
        EventKind::Reclaimed { from, queued, executing } => story.tell(
            who,
            format_args!(
                "took back {} unfinished tasks from {}",
                u64::from(*queued) + u64::from(*executing),
                from.name
            ),
        ),
        EventKind::Steward { epoch } if *epoch > 0 => story.tell(who, "hands out the tasks from now on"),
        EventKind::Bounced { tasks, why, .. } => story.tell(who, format_args!("gave {tasks} tasks back: {why}")),
        EventKind::DeliveryFailed { path, why } => story.tell(who, format_args!("could not write {path}: {why}")),
        _ => {}
    }
}

fn over(w: &mut Watched, state: JobState, delivery: Option<filch_api::Delivery>) {
    if state != JobState::Succeeded {
        w.problems.push(format!("the job ended as `{}`", state.word()));
    }
    if w.results() != w.total {
        w.problems.push(format!("{} results came for {} tasks", w.results(), w.total));
    }
    match delivery {
        Some(d) => w.problems.extend(d.problems),
        None => w.problems.push("the results were not delivered".into()),
    }
}
