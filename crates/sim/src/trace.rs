//! Compact lines for a person, and the digest's words.

use filch_core::{Event, Input, Output, Reply};
use filch_types::NodeId;
use filch_types::wire::{Message, Request, Response};

use crate::world::World;

fn who(w: &World, id: &NodeId) -> String {
    w.host_of(id).map_or_else(|| id.short(), |h| format!("n{h}"))
}

fn message(m: &Message) -> String {
    match m {
        Message::Facts(f) => format!("facts x{} {:?}", f.len(), f.iter().map(|f| f.id()).collect::<Vec<_>>()),
        Message::Stored { job, facts, .. } => format!("stored {job:?} {facts:?}"),
        Message::Held { job, .. } => format!("held {job:?}"),
        other => format!("{other:?}"),
    }
}

fn request(r: &Request) -> String {
    match r {
        Request::Hello(h) => format!("hello boot {} draining {}", h.boot, h.draining),
        Request::Replicate(m) => format!("replicate {:?}", m.job()),
        Request::Digest { job, .. } => format!("digest {job:?}"),
        other => format!("{other:?}"),
    }
}

fn response(r: &Response) -> String {
    match r {
        Response::Hello(h) => format!("hello boot {} draining {}", h.boot, h.draining),
        Response::Facts(f) => format!("facts x{}", f.len()),
        Response::Manifest(m) => format!("manifest {:?}", m.job()),
        Response::Grant { epoch, grant, runs, .. } => format!("grant {grant} of epoch {epoch}: {runs:?}"),
        Response::Stolen { epoch, runs, .. } => format!("stolen of epoch {epoch}: {runs:?}"),
        other => format!("{other:?}"),
    }
}

/// An input in a line.
pub(crate) fn input(w: &World, i: &Input) -> String {
    match i {
        Input::PeerUp(id) => format!("up {}", who(w, id)),
        Input::PeerDown(id) => format!("down {}", who(w, id)),
        Input::Message(id, m) => format!("{}: {}", who(w, id), message(m)),
        Input::Request(id, t, r) => format!("{} asks {t:?} {}", who(w, id), request(r)),
        Input::Response(id, r) => format!("{id:?} answered {}", response(r)),
        Input::Gossip(s) => format!("gossip {:?} {:?} left {}", s.job, s.state, s.grantable),
        Input::Submit { client, spec, .. } => format!("{client:?} submit {}", spec.name),
        Input::Finished { launch, runs } => {
            let ends: Vec<_> = runs.iter().map(|r| (r.lo, r.count, r.attempt, r.outcome.is_success())).collect();
            format!("finished {launch:?} {ends:?}")
        }
        other => format!("{other:?}"),
    }
}

/// An output in a line.
pub(crate) fn output(w: &World, o: &Output) -> String {
    match o {
        Output::Send(id, m) => format!("{}: {}", who(w, id), message(m)),
        Output::Request(id, r, body) => format!("{} {r:?} {}", who(w, id), request(body)),
        Output::Respond(t, r) => format!("{t:?} {}", response(r)),
        Output::SendFacts(id, job, facts) => format!("{} facts of {job:?} {facts:?}", who(w, id)),
        Output::Publish(s) => format!("gossip {:?} {:?} left {}", s.job, s.state, s.grantable),
        Output::Commit { ticket, blobs, records } => {
            let kinds: Vec<String> = records.iter().map(|r| record(w, r)).collect();
            format!("commit {ticket:?} {} blobs, {kinds:?}", blobs.len())
        }
        Output::FetchClosure { job, from, .. } => format!("fetch closure {job:?} from {}", from.len()),
        Output::Launch(l) => {
            format!("launch {:?} {:?} {:?} attempt {} slot {}", l.id, l.job, l.tasks, l.attempt, l.slot)
        }
        Output::Event(e) => event(w, e),
        Output::Reply(c, Reply::Accepted { job, holders }) => {
            format!("{c:?} accepted {job:?} at {:?}", holders.iter().map(|h| who(w, h)).collect::<Vec<_>>())
        }
        other => format!("{other:?}"),
    }
}

fn event(w: &World, e: &Event) -> String {
    match e {
        Event::PeerJoined(id) => format!("met {}", who(w, id)),
        Event::PeerLost(id) => format!("believed dead: {}", who(w, id)),
        Event::Steward(job, epoch) => format!("steward of {job:?} in epoch {epoch}"),
        Event::Granted { job, to, tasks } => format!("granted {tasks} of {job:?} to {}", who(w, to)),
        Event::Copied { job, to, tasks, attempt } => {
            format!("copies {tasks:?} of {job:?} to {} as attempt {attempt:#x}", who(w, to))
        }
        Event::Stole { job, from, tasks } => format!("stole {tasks} of {job:?} from {}", who(w, from)),
        Event::Reclaimed { job, from, queued, executing } => {
            format!("took back {queued} queued and {executing} executing of {job:?} from {}", who(w, from))
        }
        Event::Results(job, runs) => format!("results of {job:?}: {runs:?}"),
        Event::Final(job, runs) => format!("final: {} runs of {job:?}", runs.len()),
        Event::State(job, state) => format!("{job:?} is now {state:?}"),
        other => format!("{other:?}"),
    }
}

fn record(w: &World, r: &filch_types::record::Record) -> String {
    use filch_types::FactBody;
    use filch_types::record::Record;
    match r {
        Record::Manifest(j, _) => format!("manifest {j:?}"),
        Record::Fact(j, id, _) => match w.known.facts.get(id).map(|f| &f.fact.body) {
            Some(FactBody::Pack(runs)) => {
                let list: Vec<_> = runs.iter().map(|r| (r.lo, r.count, r.attempt)).collect();
                format!("pack {id:?} of {j:?} {list:?}")
            }
            Some(body) => format!("{id:?} of {j:?} {body:?}"),
            None => format!("fact {id:?} of {j:?}"),
        },
        Record::Forget(j, _) => format!("forget {j:?}"),
        other => format!("{other:?}"),
    }
}

/// A word for the digest.
pub(crate) fn kind(o: &Output) -> u64 {
    match o {
        Output::Send(id, m) => {
            let n = match m {
                Message::Facts(f) => f.len() as u64,
                Message::Stored { facts, .. } => 1_000 + facts.len() as u64,
                Message::Held { .. } => 2_000,
                Message::Fetching { bytes, .. } => 3_000 + bytes,
                Message::Announce(s) => 4_000 + s.len() as u64,
                Message::Gift { runs, bags, .. } => 5_000 + (runs.len() + 64 * bags.len()) as u64,
            };
            100 + n + u64::from(id.0[0])
        }
        Output::Request(id, r, _) => 10_000 + r.0 + u64::from(id.0[0]),
        Output::Respond(t, _) => 20_000 + t.0,
        Output::RespondFacts(t, _, f) => 30_000 + t.0 + f.len() as u64,
        Output::SendFacts(id, _, f) => 40_000 + f.len() as u64 + u64::from(id.0[0]),
        Output::Publish(s) => 50_000 + s.seq,
        Output::Commit { ticket, records, .. } => 60_000 + ticket.0 * 16 + records.len() as u64,
        Output::FetchClosure { .. } => 70_000,
        Output::ReadFacts(_) => 150_000,
        Output::FetchBlobs { fetch, blobs, .. } => 80_000 + fetch.0 + blobs.len() as u64,
        Output::Release(_) => 90_000,
        Output::Launch(l) => 100_000 + l.id.0 + (u64::from(l.tasks.lo) << 32) + u64::from(l.tasks.hi),
        Output::Stop(l) => 110_000 + l.0,
        Output::FetchAhead { tasks, .. } => 160_000 + (u64::from(tasks.lo) << 32) + u64::from(tasks.hi),
        Output::Split { launch, ask, .. } => 130_000 + launch.0 + (ask.0 << 32),
        Output::Checkpoint(l) => 140_000 + l.0,
        Output::Reply(c, _) => 120_000 + c.0,
        Output::Event(_) => 130_000,
        Output::Drained => 140_000,
    }
}
