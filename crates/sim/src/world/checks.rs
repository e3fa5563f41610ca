//! What the oracles are shown, what they say, and what they ask of the world.

use filch_types::JobId;

use super::World;
use crate::oracle::{Seen, Violation};

impl World {
    /// Records a broken rule; the first one counts.
    pub fn violate(&mut self, rule: &'static str, text: String) {
        if self.violation.is_none() {
            self.note(|| format!("VIOLATION {rule}: {text}"));
            self.violation = Some(Violation { rule, at: self.now, text });
        }
    }

    /// Shows the oracles what just happened.
    pub(crate) fn seen(&mut self, seen: &Seen<'_>) {
        if self.violation.is_some() {
            return;
        }
        let mut oracles = std::mem::take(&mut self.oracles);
        let verdict = oracles.iter_mut().find_map(|o| o.saw(self, seen).err().map(|text| (o.rule(), text)));
        self.oracles = oracles;
        if let Some((rule, text)) = verdict {
            self.violate(rule, text);
        }
    }
    /// Has the oracles look at the whole world.
    pub(crate) fn look(&mut self, last: bool) {
        if self.violation.is_some() {
            return;
        }
        let mut oracles = std::mem::take(&mut self.oracles);
        let verdict = oracles.iter_mut().find_map(|o| {
            let verdict = if last { o.at_end(self) } else { o.look(self) };
            verdict.err().map(|text| (o.rule(), text))
        });
        self.oracles = oracles;
        if let Some((rule, text)) = verdict {
            self.violate(rule, text);
        }
    }

    /// What is outstanding, and by which rule it must end.
    pub fn outstanding(&self) -> Option<(&'static str, String)> {
        let down = |h: &usize| self.settling && !self.hosts[*h].frozen && !self.hosts[*h].is_up();
        if let Some(h) = (0..self.hosts.len()).find(down) {
            return Some(("L1", format!("n{h} is on its way back")));
        }
        self.oracles.iter().find_map(|o| o.waits(self).map(|text| (o.rule(), text)))
    }
    /// What a run whose faults end by themselves has not finished: faults to come or under way, jobs, and whatever else must
    /// come to its end.
    pub fn unfinished(&self) -> Option<String> {
        let to_come = self.options.faults.iter().filter(|p| p.at >= self.now).count();
        let under_way = self.active.keys().filter(|f| !self.options.faults[**f].fault.is_for_good()).count();
        if to_come + under_way > 0 {
            return Some(format!("{to_come} faults are to come and {under_way} under way"));
        }
        let late = self.options.jobs.iter().position(|j| j.at >= self.now);
        if let Some(plan) = late {
            return Some(format!("job {plan} has not been submitted"));
        }
        self.outstanding().map(|(rule, text)| format!("{rule}: {text}"))
    }
    /// Everything has settled: from now on the cluster should be quiet.
    pub fn begin_quiet(&mut self) {
        let mut oracles = std::mem::take(&mut self.oracles);
        oracles.iter_mut().for_each(|o| o.quiet(self));
        self.oracles = oracles;
    }

    /// Whether this node's disk holds the job so that it could carry it on alone: manifest, closure, and knows it.
    pub fn holds_all(&self, h: usize, job: JobId) -> bool {
        let host = &self.hosts[h];
        let kept = host.disk.image.jobs.get(&job);
        kept.is_some_and(|k| k.manifest.is_some() && k.held) && self.closure_durable(h, job)
    }
    /// Whether the job's whole input closure is durable here.
    pub fn closure_durable(&self, h: usize, job: JobId) -> bool {
        self.known.jobs.get(&job).is_some_and(|j| j.closure.iter().all(|(b, _)| self.hosts[h].shelf.durable(*b)))
    }
    /// Whether all that this node lacks of the job's input closure is gone by rot that nobody has noticed.
    pub fn rot_alone(&self, h: usize, job: JobId) -> bool {
        let shelf = &self.hosts[h].shelf;
        let fine = |b| shelf.durable(b) || shelf.rotted(b);
        self.hosts[h].rotten.contains(&job)
            || self.known.jobs.get(&job).is_some_and(|j| j.closure.iter().all(|(b, _)| fine(*b)))
    }
    /// Whether a delete fact of this job is durable anywhere.
    pub fn deleted_anywhere(&self, job: JobId) -> bool {
        self.history.revoke_asked.get(&job) == Some(&true)
    }
}
