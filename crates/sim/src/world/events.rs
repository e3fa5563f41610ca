//! What happens in the world, in the order of virtual time.

use std::sync::Arc;

use filch_core::{AskId, Input, LaunchId, ReqId};
use filch_types::JobId;
use filch_types::wire::Summary;

use super::World;
use crate::net::Packet;

/// Something that will happen.
pub(crate) enum Ev {
    Start {
        host: usize,
    },
    Timer {
        host: usize,
        life: u32,
    },
    Dial {
        a: usize,
        b: usize,
    },
    ConnUp {
        conn: u64,
        at_a: bool,
    },
    ConnDown {
        conn: u64,
        at_a: bool,
    },
    Packet {
        conn: u64,
        from: usize,
        to: usize,
        what: Box<Packet>,
    },
    Gossip {
        host: usize,
        life: u32,
        summary: Arc<Summary>,
    },
    RequestFailed {
        host: usize,
        life: u32,
        req: ReqId,
    },
    Committed {
        host: usize,
        life: u32,
    },
    Fetch {
        host: usize,
        life: u32,
        fetch: u64,
    },
    Exec {
        host: usize,
        life: u32,
        slot: u16,
        step: u64,
    },
    EndsSoon {
        host: usize,
        life: u32,
        launch: LaunchId,
    },
    Split {
        host: usize,
        life: u32,
        launch: LaunchId,
        ask: AskId,
        least_us: u64,
    },
    Kill {
        host: usize,
        life: u32,
        launch: LaunchId,
    },
    Staging {
        host: usize,
        life: u32,
        launch: LaunchId,
    },
    Scrub {
        host: usize,
        life: u32,
        job: JobId,
    },
    /// A scrub comes to the rows of a job.
    ScrubRows {
        host: usize,
        life: u32,
        job: JobId,
    },
    /// A read has found rows of a job damaged.
    RowsLost {
        host: usize,
        life: u32,
        job: JobId,
    },
    /// The ledger's thread comes to read all facts of a job.
    ReadFacts {
        host: usize,
        life: u32,
        job: JobId,
    },
    Submit {
        plan: usize,
    },
    Act {
        plan: usize,
        action: usize,
    },
    Fault {
        fault: usize,
    },
    FaultEnd {
        fault: usize,
    },
    Image {
        host: usize,
    },
}

impl World {
    /// Handles the next event if it is not after `until`. False if there was none, or a rule is broken.
    pub fn step(&mut self, until: u64) -> bool {
        if self.violation.is_some() {
            return false;
        }
        let (limit, next) = (self.next_limit(), self.queue.next_at());
        if let Some(at) = limit.filter(|at| *at <= until && next.is_none_or(|next| *at < next)) {
            self.begin_event(at);
            self.limit_passes();
            return true;
        }
        if next.is_none_or(|at| at > until) {
            return false;
        }
        let Some((at, event)) = self.queue.pop() else { return false };
        self.begin_event(at);
        if let Some(census) = &mut self.census {
            census.event(&event);
        }
        self.handle(event);
        true
    }
    fn begin_event(&mut self, at: u64) {
        self.now = self.now.max(at);
        self.stats.events += 1;
        self.digest.mix(at);
    }
    /// Runs until this time; false if a rule was broken on the way.
    pub fn run_until(&mut self, until: u64) -> bool {
        while self.step(until) {}
        if self.violation.is_none() {
            self.now = self.now.max(until);
        }
        self.violation.is_none()
    }

    fn lives(&self, host: usize, life: u32) -> bool {
        self.hosts[host].life == life && self.hosts[host].is_up()
    }

    fn handle(&mut self, event: Ev) {
        match event {
            Ev::Start { host } => self.start(host),
            Ev::Timer { host, life } => {
                if self.lives(host, life) {
                    self.timer(host);
                }
            }
            Ev::Dial { a, b } => self.dial(a, b),
            Ev::ConnUp { conn, at_a } => self.conn_up(conn, at_a),
            Ev::ConnDown { conn, at_a } => self.conn_down(conn, at_a),
            Ev::Packet { conn, from, to, what } => self.arrive(conn, from, to, what),
            Ev::Gossip { host, life, summary } => {
                if self.lives(host, life) {
                    self.feed(host, Input::Gossip((*summary).clone()));
                }
            }
            Ev::RequestFailed { host, life, req } => {
                if self.lives(host, life) {
                    self.feed(host, Input::RequestFailed(req));
                }
            }
            Ev::Committed { host, life } => {
                if self.lives(host, life) {
                    self.committed(host);
                }
            }
            Ev::Fetch { host, life, fetch } => {
                if self.lives(host, life) {
                    self.fetch_step(host, fetch);
                }
            }
            Ev::Exec { host, life, slot, step } => {
                if self.lives(host, life) {
                    self.exec_step(host, slot, step);
                }
            }
            Ev::EndsSoon { host, life, launch } => {
                if self.lives(host, life) {
                    self.feed(host, Input::EndsSoon(launch));
                }
            }
            Ev::Split { host, life, launch, ask, least_us } => {
                if self.lives(host, life) {
                    self.split(host, launch, ask, least_us);
                }
            }
            Ev::Kill { host, life, launch } => {
                if self.lives(host, life) {
                    self.kill(host, launch);
                }
            }
            Ev::Staging { host, life, launch } => {
                if self.lives(host, life) {
                    self.feed(host, Input::Staging(launch));
                }
            }
            Ev::Scrub { host, life, job } => {
                if self.lives(host, life) {
                    self.scrub(host, job);
                }
            }
            Ev::ScrubRows { host, life, job } => {
                if self.lives(host, life) {
                    self.scrub_rows(host, job);
                }
            }
            Ev::RowsLost { host, life, job } => {
                if self.lives(host, life) {
                    self.feed(host, Input::RowsLost(job));
                }
            }
            Ev::ReadFacts { host, life, job } => {
                if self.lives(host, life) {
                    self.read_all_facts(host, job);
                }
            }
            Ev::Submit { plan } => self.client_submit(plan),
            Ev::Act { plan, action } => self.client_act(plan, action),
            Ev::Fault { fault } => self.fault(fault),
            Ev::FaultEnd { fault } => self.fault_end(fault),
            Ev::Image { host } => {
                self.hosts[host].disk.remember();
                self.after(self.options.disk.image_us.max(1), Ev::Image { host });
            }
        }
    }
}
