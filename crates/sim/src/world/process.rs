//! One node's process: it starts from its disk, takes inputs, wakes up when it said, and what it wants done is done.

use filch_core::{Config, Event, Input, Mutant, Node, Output};
use filch_types::sign::Simulated;
use filch_types::wire::JobState;
use filch_types::{BlobId, JobId};

use super::{Ev, World};
use crate::host::FetchFor;
use crate::oracle::Seen;
use crate::timeline::Mark;

/// Outputs that one input may cause.
const MAX_OUTPUTS: usize = 50_000;
/// Timer calls at one instant before it counts as spinning.
const MAX_SPINS: u32 = 1_000;

impl World {
    /// Starts the process on this machine, if it is down and has not left.
    pub(crate) fn start(&mut self, h: usize) {
        if self.hosts[h].is_up() || self.hosts[h].frozen {
            return;
        }
        let now = self.now;
        let host = &mut self.hosts[h];
        host.life += 1;
        host.boot += 1;
        host.draining = false;
        host.armed = None;
        let config = Config {
            store: host.store,
            machine: host.machine,
            boot: host.boot,
            name: format!("n{h}"),
            slots: host.options.slots,
            offers: if host.options.able {
                let own = [("handler", crate::load::HANDLER), ("divisible", crate::load::DIVISIBLE)];
                let drawn = own.into_iter().map(|(kind, name)| format!("{kind}:{name}"));
                std::iter::once("command".to_owned()).chain(drawn).chain(self.programs.offers(h)).collect()
            } else {
                vec![]
            },
            result_copies: self.options.result_copies,
            timing: self.options.timing.clone(),
            mutant: self.options.mutant,
        };
        let seed = BlobId::of(format!("life {} {h} {}", self.options.seed, host.life).as_bytes()).0;
        let mut node = Node::new(config, Box::new(Simulated(host.id)), seed, host.clock.local(now));
        crate::rows::find_at_start(host);
        let records = host.disk.image.replay(&mut self.streams.disk);
        let (life, jobs) = (host.life, host.disk.image.jobs.len());
        for record in records {
            node.restore(record);
        }
        let known: Vec<JobId> = node.jobs().into_iter().map(|j| j.job).collect();
        // What was put aside for jobs that the ledger does not know is left over from a crash.
        for job in host.shelf.jobs() {
            if !known.contains(&job) && !crate::clients::is_pending(job) {
                host.shelf.abandon(job);
            }
        }
        if self.options.mutant == Some(Mutant::ResultsFreed) {
            crate::storage::free_results(host, &self.known);
        }
        host.node = Some(node);
        self.note(|| format!("n{h} starts, life {life}, {jobs} jobs on disk"));
        self.digest.mix(0x57a7 + h as u64);
        self.chronicle(Mark::Up { host: h });
        self.seen(&Seen::Started { host: h });
        self.pump(h);
        self.scrub_after_start(h);
        self.dial_all(h);
    }

    /// Gives a node an input, at once or when its pause ends.
    pub(crate) fn feed(&mut self, h: usize, input: Input) {
        let host = &mut self.hosts[h];
        if host.node.is_none() {
            return;
        }
        if host.paused.is_some() {
            host.backlog.push_back(input);
            return;
        }
        self.introduce(h, &input);
        if let Input::FactsRead(job, facts) = &input {
            crate::rows::told(&mut self.hosts[h], *job, facts);
        }
        self.digest.mix(h as u64);
        if self.deep {
            self.digest.mix_debug(&input);
        }
        if self.trace.is_some() {
            let line = crate::trace::input(self, &input);
            self.note(|| format!("n{h} <- {line}"));
        }
        self.seen(&Seen::Fed { host: h, input: &input });
        let host = &mut self.hosts[h];
        if let Some(node) = &mut host.node {
            node.handle_input(host.clock.local(self.now), input);
        }
        self.pump(h);
    }

    pub(super) fn timer(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        if host.armed != Some(self.now) || host.paused.is_some() {
            return;
        }
        host.armed = None;
        let local = host.clock.local(self.now);
        let Some(node) = &mut host.node else { return };
        let Some(due) = node.poll_timeout().filter(|d| d.at <= local) else {
            if let Some(census) = &mut self.census {
                census.timer("nothing is due any more");
            }
            return self.arm(h);
        };
        if let Some(census) = &mut self.census {
            census.timer(due.reason);
        }
        host.spins += 1;
        if host.spins > MAX_SPINS {
            return self.violate("S10", format!("n{h} spins on its timer: {due:?}"));
        }
        node.handle_timeout(local);
        self.digest.mix(0x7173 + h as u64);
        self.note(|| format!("n{h} timer {}", due.reason));
        self.pump(h);
    }

    /// Carries out everything that a node wants done, then sets its timer.
    pub(crate) fn pump(&mut self, h: usize) {
        let mut outputs = std::mem::take(&mut self.outputs);
        let local = self.hosts[h].clock.local(self.now);
        let mut due = None;
        if let Some(node) = &mut self.hosts[h].node {
            due = node.poll_timeout();
            while let Some(output) = node.poll_output() {
                outputs.push(output);
                if outputs.len() > MAX_OUTPUTS {
                    break;
                }
            }
        }
        if !outputs.is_empty() && due.is_none_or(|d| d.at > local) {
            self.violate("L1", format!("n{h} has work queued that its next deadline does not tell: {due:?}"));
        }
        if outputs.len() > MAX_OUTPUTS {
            self.violate("S10", format!("n{h}: one input caused more than {MAX_OUTPUTS} outputs"));
        }
        for output in outputs.drain(..) {
            if !self.hosts[h].is_up() {
                self.violate("S14", format!("n{h} has something to do after it said that it is drained: {output:?}"));
                break;
            }
            if self.trace.is_some() {
                let line = crate::trace::output(self, &output);
                self.note(|| format!("n{h} -> {line}"));
            }
            if self.deep {
                self.digest.mix_debug(&output);
            }
            self.act(h, output);
        }
        self.outputs = outputs;
        self.arm(h);
    }

    pub(crate) fn arm(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        let Some(due) = host.node.as_ref().and_then(Node::poll_timeout) else { return };
        let at = host.clock.world(due.at).max(self.now);
        if at > self.now {
            host.spins = 0;
        }
        if host.armed.is_none_or(|armed| at < armed) {
            host.armed = Some(at);
            let life = host.life;
            self.queue.push(at, Ev::Timer { host: h, life });
        }
    }

    fn act(&mut self, h: usize, output: Output) {
        self.digest.mix(crate::trace::kind(&output));
        self.seen(&Seen::Did { host: h, output: &output });
        match output {
            Output::Send(to, message) => self.send(h, to, message),
            Output::Request(to, req, body) => self.request(h, to, req, body),
            Output::Respond(token, response) => self.respond(h, token, response),
            Output::RespondFacts(token, job, facts) => self.respond_facts(h, token, job, &facts),
            Output::SendFacts(to, job, facts) => self.send_facts(h, to, job, &facts),
            Output::Publish(summary) => self.publish(h, &summary),
            Output::Commit { ticket, blobs, records } => self.commit(h, ticket, blobs, records),
            Output::ReadFacts(job) => {
                let life = self.hosts[h].life;
                self.after(0, Ev::ReadFacts { host: h, life, job });
            }
            Output::FetchClosure { job, manifest, from } => self.fetch_closure(h, job, manifest, from),
            Output::FetchBlobs { fetch, job, blobs, from } => self.fetch_blobs(h, fetch, job, blobs, from),
            Output::Release(job) => self.release(h, job),
            Output::Launch(launch) => self.launch(h, launch),
            Output::Stop(launch) => self.stop(h, launch),
            Output::FetchAhead { job, tasks, from, .. } => {
                let needed = self.info(job).map(|info| self.inputs(&info, tasks)).unwrap_or_default();
                self.fetch(h, FetchFor::Ahead(tasks), job, needed, from);
            }
            Output::Split { launch, ask, least } => self.ask_split(h, launch, ask, least.0),
            Output::Checkpoint(launch) => self.checkpoint(h, launch),
            Output::Reply(client, reply) => self.client_reply(h, client, reply),
            Output::Event(event) => self.event(h, event),
            Output::Drained => self.drained(h),
        }
    }

    fn event(&mut self, h: usize, event: Event) {
        match event {
            Event::Stole { from, tasks, .. } => {
                self.stats.stolen += u64::from(tasks);
                if let Some(from) = self.host_of(&from) {
                    self.chronicle(Mark::Stole { from, to: h, tasks });
                }
            }
            Event::Copied { job, tasks, attempt, .. } => {
                self.stats.copied += u64::from(tasks.len());
                (tasks.lo..tasks.hi).for_each(|i| self.history.copies.entry((job, i)).or_default().push(attempt));
            }
            Event::Steward(job, epoch) => self.chronicle(Mark::Steward { host: h, job, epoch }),
            Event::State(job, state) if state != JobState::Active => {
                let now = self.now;
                self.history.ended.entry(job).or_insert((now, state));
            }
            Event::Reclaimed { queued, executing, .. } => self.stats.reclaimed += u64::from(queued + executing),
            _ => {}
        }
    }
}
