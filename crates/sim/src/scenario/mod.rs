//! Scenarios: a cluster, its network, a load, faults and what to expect of them, in a TOML file. `simulations/README.md` lists
//! every key.
//!
//! ```
//! use filch_sim::Scenario;
//!
//! let scenario = Scenario::parse("
//!     cluster = { nodes = 4, slots = 2 }
//!     job = [{ tasks = 100, duration = '20ms' }]
//!     fault = [{ at = '200ms', crash = { node = 2, down = '3s' } }]
//!     expect = { done_within = '20s', redone = 8 }
//! ").unwrap();
//! let report = scenario.start(None, None).unwrap().finish();
//! assert!(report.held(), "{report:#?}");
//! assert!(Scenario::parse("[cluster]\nnods = 4").unwrap_err().hint.unwrap().contains("`nodes`"));
//! ```

mod build;
mod error;
mod faults;
mod file;
mod units;

pub use error::Invalid;
pub use units::share;

use crate::options::Options;
use crate::oracle::Violation;
use crate::report::{Check, Report};
use crate::sim::Sim;
use file::{Expect, File};

/// Virtual time that a scenario may take unless it says otherwise: an hour.
const LIMIT_US: u64 = 3_600_000_000;
/// Between looks at the whole world.
const LOOK_US: u64 = 1_000_000;

/// A scenario that makes sense as far as can be told before it runs.
#[derive(Clone, Debug)]
pub struct Scenario {
    source: String,
    file: File,
}

impl Scenario {
    /// Of the text of a file. Anything unknown or impossible is refused with its place.
    pub fn parse(source: &str) -> Result<Self, Invalid> {
        let file: File = toml::from_str(source).map_err(|e| Invalid::of_toml(source, &e))?;
        let scenario = Self { source: source.to_owned(), file };
        scenario.options(None, None)?;
        Ok(scenario)
    }
    /// What it shows, in a sentence or two; may be empty.
    pub fn about(&self) -> &str {
        self.file.about.trim()
    }
    /// The seed unless another is asked for.
    pub fn seed(&self) -> u64 {
        self.file.seed
    }
    /// The run that a seed makes of it; `nodes` replaces `cluster.nodes`.
    pub fn options(&self, seed: Option<u64>, nodes: Option<usize>) -> Result<Options, Invalid> {
        build::options(&self.source, &self.file, seed.unwrap_or(self.file.seed), nodes)
    }
    /// Makes it ready to run.
    pub fn start(&self, seed: Option<u64>, nodes: Option<usize>) -> Result<Running, Invalid> {
        let options = self.options(seed, nodes)?;
        let limit = self.file.limit.as_ref().map_or(LIMIT_US, |l| l.get_ref().0);
        let expect = self.file.expect.clone();
        let calm = expect.slowdown.as_ref().map(|_| Box::new(undisturbed(options.clone())));
        Ok(Running { sim: Sim::new(options), limit, expect, end: None, calm, calm_us: None })
    }
}

/// The same cluster and load, and nothing goes wrong.
fn undisturbed(mut o: Options) -> Options {
    let l = &mut o.link;
    (l.loss_ppm, l.dup_ppm, l.spike_ppm, l.unreachable_ppm, l.gossip_loss_ppm) = (0, 0, 0, 0, 0);
    o.faults.clear();
    o.faults_until = 0;
    o
}

/// How a run came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Settled,
    Broken(Violation),
    /// What was outstanding at the limit.
    Late(String),
}

/// A scenario on its way.
pub struct Running {
    /// The cluster.
    pub sim: Sim,
    limit: u64,
    expect: Expect,
    end: Option<End>,
    /// What it is compared with, if it is, and how long that took.
    calm: Option<Box<Options>>,
    calm_us: Option<u64>,
}

impl Running {
    /// Advances virtual time by up to a second; false when the run has ended.
    pub fn advance(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        let world = &mut self.sim.world;
        let next = (world.now / LOOK_US + 1) * LOOK_US;
        world.run_until(next);
        world.look(false);
        self.end = self.ended();
        if self.end == Some(End::Settled)
            && let Some(calm) = self.calm.take()
        {
            let (sim, limit, expect) = (Sim::new(*calm), self.limit, Expect::default());
            let calm = Running { sim, limit, expect, end: None, calm: None, calm_us: None };
            self.calm_us = Some(calm.finish().took_us);
        }
        self.end.is_none()
    }
    /// Runs to the end.
    pub fn finish(mut self) -> Report {
        while self.advance() {}
        self.report()
    }

    fn ended(&mut self) -> Option<End> {
        let world = &mut self.sim.world;
        if let Some(v) = &world.violation {
            return Some(End::Broken(v.clone()));
        }
        let open = world.unfinished();
        if open.is_none() {
            world.look(true);
            return Some(world.violation.clone().map_or(End::Settled, End::Broken));
        }
        open.filter(|_| world.now >= self.limit).map(End::Late)
    }

    /// What it came to.
    pub fn report(&self) -> Report {
        let mut report = Report::of(&self.sim.world);
        match &self.end {
            Some(End::Broken(v)) => report.violation = Some(v.to_string()),
            Some(End::Late(what)) => report.unfinished = Some(what.clone()),
            Some(End::Settled) => {}
            None => report.unfinished = self.sim.world.unfinished(),
        }
        report.checks = self.checks(&report);
        report
    }

    fn checks(&self, r: &Report) -> Vec<Check> {
        let e = &self.expect;
        let secs = |us: u64| format!("{:.3} s", us as f64 / 1e6);
        let mut out = Vec::new();
        let mut most = |what: &str, limit: Option<u64>, got: u64| {
            out.extend(limit.map(|l| Check::new(what, format!("at most {l}"), got.to_string(), got <= l)));
        };
        most("executions", e.executions, r.executions);
        most("executions again", e.redone, r.redone);
        most("tasks failed", e.failed, r.failed);
        let mut least = |what: &str, limit: Option<u64>, got: u64| {
            out.extend(limit.map(|l| Check::new(what, format!("at least {l}"), got.to_string(), got >= l)));
        };
        least("tasks stolen", e.steals, r.stolen);
        least("tasks done first by a copy", e.copies_won, r.copies_won);
        least("faults that took place", e.faults, r.faults);
        if let Some(limit) = e.done_within {
            out.push(Check::new("done", format!("within {}", secs(limit.0)), secs(r.took_us), r.took_us <= limit.0));
        }
        if let Some(limit) = e.done_after {
            out.push(Check::new(
                "done",
                format!("not before {}", secs(limit.0)),
                secs(r.took_us),
                r.took_us >= limit.0,
            ));
        }
        if let (Some(times), Some(calm)) = (&e.slowdown, self.calm_us) {
            let got = r.took_us as f64 / calm.max(1) as f64;
            let wanted = format!("at most {} times the undisturbed {}", times.get_ref(), secs(calm));
            out.push(Check::new("slowdown", wanted, format!("{got:.2}"), got <= *times.get_ref()));
        }
        for (what, share, got) in [("efficiency", e.efficiency, r.efficiency), ("busy", e.busy, r.busy)] {
            let Some(share) = share else { continue };
            let want = f64::from(share.0) / 1e6;
            let (wanted, shown) = (format!("at least {:.1} %", want * 100.0), format!("{:.1} %", got * 100.0));
            out.push(Check::new(what, wanted, shown, got >= want));
        }
        if let Some(why) = &e.refused {
            let held = r.refused.iter().any(|reason| reason.contains(why.as_str()));
            let got = if r.refused.is_empty() { "none".to_owned() } else { r.refused.join("; ") };
            out.push(Check::new("a submit refused", format!("for `{why}`"), got, held));
        }
        if let Some(limit) = e.messages_per_task {
            let got = r.messages_per_task;
            out.push(Check::new("messages per task", format!("at most {limit}"), format!("{got:.2}"), got <= limit));
        }
        out
    }
}
