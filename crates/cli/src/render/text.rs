//! Text for people.

use std::io::Write;

use filch_api::{
    Delivery, DownAnswer, Event, EventKind, JobDetail, JobList, MemberList, NodeInfo, NodeRef, RevokeAnswer, TaskPage,
};
use filch_client::Values;
use filch_types::JobId;

use super::table::table;
use super::words::{self, age, bytes, copies, count, node as name, span, tame};
use super::{Renderer, Result, stdout};

#[derive(Default)]
pub(crate) struct TextRenderer {
    /// The heading of a table that comes in pages was written.
    headed: bool,
}

fn put(text: &str) -> Result<()> {
    stdout(anstream::stdout().lock().write_all(text.as_bytes()))
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(|c| (*c).to_owned()).collect()
}

/// `key  value` lines.
fn facts(pairs: &[(&str, String)]) -> String {
    let wide = pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    pairs.iter().map(|(key, value)| format!("\x1b[1m{key:wide$}\x1b[0m  {value}\n")).collect()
}

impl Renderer for TextRenderer {
    fn node(&mut self, n: &NodeInfo) -> Result<()> {
        let mut pairs = vec![
            ("name", tame(&n.name, 80)),
            ("id", n.id.to_string()),
            ("version", n.version.clone()),
            ("process", format!("{}, up for {}", n.pid, span(n.uptime_ms / 1000 * 1000))),
            ("slots", format!("{}, {} running{}", n.slots, n.running, if n.draining { ", going down" } else { "" })),
            ("peers", n.peers.to_string()),
            (
                "store",
                format!("{} in {}, {} free", bytes(n.store_bytes), count(n.store_blobs, "blob"), bytes(n.disk_free)),
            ),
            ("data", n.data_dir.clone()),
            ("socket", n.socket.clone()),
            ("runs", n.offers.join(" ")),
        ];
        if n.addresses.is_empty() {
            pairs.push(("address", "none: nothing listens beyond this machine (`filch up --lan`)".into()));
        }
        pairs.extend(n.addresses.iter().map(|a| ("address", a.clone())));
        put(&facts(&pairs))
    }

    fn nodes(&mut self, nodes: &MemberList) -> Result<()> {
        let mut rows = vec![row(["NAME", "ID", "STATE", "SLOTS", "QUEUED", "ROUND TRIP"])];
        for n in &nodes.nodes {
            let state = match (n.this, n.alive, n.draining) {
                (_, true, true) => "going down",
                (true, ..) => "this node",
                (_, true, _) => "alive",
                (_, false, _) => "gone",
            };
            let rtt = if n.rtt_us == 0 { "-".into() } else { format!("{:.1} ms", n.rtt_us as f64 / 1000.0) };
            rows.push(row([
                &tame(&n.name, 30),
                &n.id.short(),
                state,
                &n.slots.to_string(),
                &n.queued.to_string(),
                &rtt,
            ]));
        }
        put(&table(&rows))
    }

    fn jobs(&mut self, jobs: &JobList) -> Result<()> {
        let mut rows = vec![row(["JOB", "NAME", "STATE", "DONE", "FAILED", "TASKS", "COPIES", "AGE", "OWNER"])];
        for j in &jobs.jobs {
            rows.push(row([
                &j.job.short(),
                &tame(&j.name, 30),
                j.state.word(),
                &j.counts.succeeded.saturating_add(j.counts.failed).to_string(),
                &j.counts.failed.to_string(),
                &j.counts.total.to_string(),
                &format!("{}/{}", j.copies, j.want_copies),
                &age(j.created_ms),
                &tame(&name(&j.owner), 20),
            ]));
        }
        put(&table(&rows))
    }

    fn job(&mut self, job: &JobDetail) -> Result<()> {
        let s = &job.summary;
        let c = &s.counts;
        let names = |nodes: &[NodeRef]| nodes.iter().map(|n| tame(&name(n), 30)).collect::<Vec<_>>().join(", ");
        let tasks = format!(
            "{}: {} succeeded, {} failed, {} cancelled, {} with a node, {} queued, {} waiting; {} final",
            c.total, c.succeeded, c.failed, c.cancelled, c.leased, c.queued, c.waiting, c.finals
        );
        let mut pairs = vec![
            ("job", s.job.to_string()),
            ("name", tame(&s.name, 200)),
            ("state", s.state.word().to_owned()),
            ("tasks", tasks),
            ("running", format!("{} on this node", job.running_here)),
            ("owner", tame(&name(&s.owner), 30)),
            ("age", age(s.created_ms)),
            ("priority", s.priority.to_string()),
            ("copies", format!("{} of {}: {}", s.copies, s.want_copies, names(&job.holders))),
            ("steward", tame(&name(&job.steward), 30)),
        ];
        for g in job.spec.iter().flat_map(|spec| &spec.groups) {
            let words = match &g.program {
                filch_api::spec::ProgramSpec::Command(argv) => argv.clone(),
                filch_api::spec::ProgramSpec::Handler { name, args } => {
                    std::iter::once(format!("handler:{name}")).chain(args.iter().cloned()).collect()
                }
                filch_api::spec::ProgramSpec::Divisible { name, args, .. } => {
                    std::iter::once(format!("divisible:{name}")).chain(args.iter().cloned()).collect()
                }
            };
            let words: Vec<String> = words.iter().map(|w| crate::plan::quote(w)).collect();
            pairs.push(("program", tame(&words.join(" "), 200)));
            pairs.extend(g.outputs.iter().map(|o| ("output", tame(o, 200))));
        }
        if let Some(d) = &job.delivery {
            pairs.push(("files", format!("{} in {}, {} to come", count(d.files, "file"), d.dir, d.pending)));
            pairs.extend(d.problems.iter().map(|p| ("problem", tame(p, 300))));
        }
        if let Some(delay) = &job.delay {
            pairs.push(("final", words::delay(delay)));
        }
        put(&facts(&pairs))
    }

    fn tasks(&mut self, page: &TaskPage, values: &Values) -> Result<()> {
        let mut rows = vec![row(["TASK", "STATE", "ATTEMPT", "NODE", "TIME", "VALUES", "CAUSE"])];
        for t in &page.tasks {
            let which = if t.count == 1 {
                t.task.to_string()
            } else {
                format!("{}-{}", t.task, t.task.saturating_add(t.count - 1))
            };
            let values = if t.count == 1 { values.of(t.task).join(" ") } else { String::new() };
            rows.push(row([
                &which,
                t.state.word(),
                &t.attempt.map_or("-".into(), |a| a.to_string()),
                &t.node.as_ref().map_or("-".into(), |n| tame(&name(n), 20)),
                &if t.wall_us == 0 { "-".into() } else { span(t.wall_us.div_ceil(1000)) },
                &tame(&values, 40),
                &t.cause.as_ref().map_or(String::new(), |c| tame(&c.to_string(), 80)),
            ]));
        }
        let text = table(&rows);
        let skip = if std::mem::replace(&mut self.headed, true) { text.find('\n').map_or(0, |at| at + 1) } else { 0 };
        put(text.get(skip..).unwrap_or_default())
    }

    fn accepted(&mut self, job: JobId, _: &[NodeRef]) -> Result<()> {
        put(&format!("{job}\n"))
    }

    fn revoked(&mut self, answer: &RevokeAnswer) -> Result<()> {
        put(&format!("{} {}\n", answer.job.short(), answer.state.word()))
    }

    fn fetched(&mut self, d: &Delivery) -> Result<()> {
        put(&format!("{} ({}) in {}\n", count(d.files, "file"), bytes(d.bytes), d.dir))
    }

    fn event(&mut self, e: &Event) -> Result<()> {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(e.at_ms);
        let job = e.job.map_or(String::new(), |j| format!("{} ", j.short()));
        let text = match &e.event {
            EventKind::Quiet | EventKind::Unknown => return Ok(()),
            other => tame(&phrase(other), 300),
        };
        put(&format!("{} {job}{text}\n", humantime::format_rfc3339_millis(at)))
    }

    fn down(&mut self, answer: &DownAnswer) -> Result<()> {
        put(&format!("{} is down\n", answer.node.short()))
    }
}

fn phrase(event: &EventKind) -> String {
    match event {
        EventKind::Hello { node } => format!("watching {}", name(node)),
        EventKind::Quiet | EventKind::Unknown => String::new(),
        EventKind::Lagged { missed } => format!("{} left out", count(*missed, "event")),
        EventKind::NodeJoined { node } => format!("{} joined", name(node)),
        EventKind::NodeLost { node } => format!("{} is gone", name(node)),
        EventKind::NodeRefused { who, why } => format!("{who} was refused: {why}"),
        EventKind::Listening { address } => format!("listening on {address}"),
        EventKind::JobKnown { name } => format!("job `{name}` is known"),
        EventKind::Copies { holders, want } => format!("{}, {want} wanted", copies(holders)),
        EventKind::Steward { epoch } => format!("this node hands out the tasks (epoch {epoch})"),
        EventKind::Granted { to, tasks } => format!("{} to {}", count(u64::from(*tasks), "task"), name(to)),
        EventKind::Copied { to, task, tasks: 1 } => format!("task {task} takes long: one more attempt at {}", name(to)),
        EventKind::Copied { to, task, tasks } => {
            format!("{tasks} tasks from {task} take long: one more attempt at {}", name(to))
        }
        EventKind::Stole { from, tasks } => format!("stole {} from {}", count(u64::from(*tasks), "task"), name(from)),
        EventKind::Reclaimed { from, queued, executing } => {
            format!("took back {queued} queued and {executing} executing tasks from {}", name(from))
        }
        EventKind::Results { tasks } => format!("results of {}", count(*tasks, "task")),
        EventKind::Final { tasks } => format!("{} final", count(*tasks, "task")),
        EventKind::Delivered { files, dir } => format!("{} written in {dir}", count(*files, "file")),
        EventKind::DeliveryFailed { path, why } => format!("{path} could not be written: {why}"),
        EventKind::State { state } => format!("the job is {}", state.word()),
        EventKind::ResultsLost { packs } => {
            format!("{packs} packs of results were damaged here and nobody had them: their tasks run again")
        }
        EventKind::Bounced { task, tasks, why } => {
            format!("{} from {task} on could not be run here: {why}", count(u64::from(*tasks), "task"))
        }
        EventKind::Draining => "this node is going down".into(),
    }
}
