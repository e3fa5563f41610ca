//! Executors: slots that run launches one after another, task by task.

use std::sync::Arc;

use filch_core::{Input, Launch, LaunchId};
use filch_types::manifest::Generator;
use filch_types::ranges::Range;
use filch_types::result::{Cause, OutFile, Stream};
use filch_types::{BlobId, Content, JobId, Outcome, ResultRun, TaskOutput};

use crate::digest::Digest;
use crate::history::{BagEnd, End, Run};
use crate::host::{Batch, FetchFor, Running};
use crate::known::{JobInfo, value_of};
use crate::model::Course;
use crate::options::{Leaves, Work};
use crate::oracle::Seen;
use crate::shelf::Read;
use crate::world::{Ev, World};

/// Launches in one slot, the running one included.
const MAX_QUEUED: usize = 3;
/// Results are reported at the latest so long after the first of them, while a launch goes on.
const REPORT_US: u64 = 50_000;

impl World {
    pub(crate) fn launch(&mut self, h: usize, launch: Launch) {
        if self.known.decoded(launch.job, &launch.manifest).is_none() {
            return self.violate("S8", format!("n{h} launches a job whose manifest is another's: {:?}", launch.job));
        }
        let Some(slot) = self.hosts[h].slots.get_mut(usize::from(launch.slot)) else {
            return self.violate("S10", format!("n{h} launches into slot {} that it does not have", launch.slot));
        };
        let n = launch.slot;
        slot.queue.push_back(launch);
        if slot.queue.len() + usize::from(slot.now.is_some()) > MAX_QUEUED {
            return self.violate("S10", format!("n{h} has more than {MAX_QUEUED} launches in slot {n}"));
        }
        self.next_launch(h, n);
    }

    pub(crate) fn next_launch(&mut self, h: usize, slot: u16) {
        let step = self.number();
        let now = self.now;
        let dud = self.hosts[h].sick > 0 || self.streams.exec.chance(self.options.bounce_ppm);
        let place = &mut self.hosts[h].slots[usize::from(slot)];
        if place.now.is_some() {
            return;
        }
        let Some(launch) = place.queue.pop_front() else { return };
        let (job, id, from) = (launch.job, launch.id, launch.from.clone());
        let tasks = launch.tasks;
        place.now = Some(Batch {
            next: tasks.lo,
            running: None,
            done: Vec::new(),
            reported: now,
            step,
            stopping: false,
            dud,
            inputs: Vec::new(),
            launch,
        });
        let Some(info) = self.info(job).filter(|_| !dud) else {
            return self.after_spawn(h, slot, step);
        };
        let part = self.hosts[h].slots[usize::from(slot)].now.as_ref().and_then(|b| World::part_blob(&b.launch));
        let mut needed = self.inputs(&info, tasks);
        needed.extend(part);
        if !self.take_inputs(h, slot, job, &needed) {
            let life = self.hosts[h].life;
            self.after(0, Ev::Staging { host: h, life, launch: id });
            return self.fetch(h, FetchFor::Launch(slot, id), job, needed, from);
        }
        // A spawn is never instant: what starts in an event is seen by the next one.
        self.after_spawn(h, slot, step);
    }

    fn after_spawn(&mut self, h: usize, slot: u16, step: u64) {
        let (life, delay) = (self.hosts[h].life, self.streams.exec.between(5, 60));
        self.after(delay, Ev::Exec { host: h, life, slot, step });
    }

    /// Copies what the tasks of the launch in this slot read; false if something of it is not here, or was not sound.
    fn take_inputs(&mut self, h: usize, slot: u16, job: JobId, needed: &[(BlobId, u64)]) -> bool {
        let mut taken = Vec::with_capacity(needed.len());
        for (blob, _) in needed {
            match self.read_checked(h, *blob) {
                Read::Bytes(print) => taken.push((*blob, print)),
                Read::Absent | Read::Damaged => {}
            }
        }
        let all = taken.len() == needed.len();
        if let Some(batch) = self.hosts[h].slots[usize::from(slot)].now.as_mut().filter(|b| all && b.launch.job == job)
        {
            batch.inputs = taken;
        }
        all
    }

    /// Input blobs of some tasks of one group.
    pub(crate) fn inputs(&self, info: &JobInfo, tasks: Range) -> Vec<(BlobId, u64)> {
        let Some((_, group, first)) = info.manifest.spec.locate(tasks.lo) else { return Vec::new() };
        let mut out: Vec<(BlobId, u64)> = group.inputs.iter().map(|f| (f.blob, f.len)).collect();
        if let Generator::Items { list, len, .. } = &group.tasks {
            out.push((*list, *len));
            let items = self.known.lists.get(list).map_or(&[][..], Vec::as_slice);
            let (lo, n) = (first as usize, tasks.len() as usize);
            out.extend(items.iter().skip(lo).take(n).copied());
        }
        out
    }

    /// The inputs of a launch are here, or cannot be had.
    pub(crate) fn staged(&mut self, h: usize, slot: u16, launch: LaunchId, ok: bool) {
        let Some(batch) = self.hosts[h].slots.get(usize::from(slot)).and_then(|s| s.now.as_ref()) else { return };
        if batch.launch.id != launch || batch.stopping {
            return;
        }
        let (step, job, tasks) = (batch.step, batch.launch.job, batch.launch.tasks);
        let needed = self.info(job).filter(|_| ok).map(|info| self.inputs(&info, tasks));
        if !needed.is_some_and(|needed| self.take_inputs(h, slot, job, &needed)) {
            return self.bounce(h, slot, "an input is not to be had");
        }
        self.feed(h, Input::Staged(launch));
        self.after_spawn(h, slot, step);
    }

    pub(crate) fn exec_step(&mut self, h: usize, slot: u16, step: u64) {
        let life = self.hosts[h].life;
        if self.hosts[h].suspended() {
            let delay = self.streams.exec.between(100_000, 200_000);
            return self.after(delay, Ev::Exec { host: h, life, slot, step });
        }
        let sick = self.hosts[h].sick > 0;
        if self.hosts[h].slots[usize::from(slot)].now.as_ref().is_none_or(|b| b.step != step) {
            return;
        }
        if self.divided_step(h, slot) {
            return;
        }
        let Some(batch) = self.hosts[h].slots[usize::from(slot)].now.as_ref() else { return };
        if batch.running.is_some() {
            self.task_ends(h, slot);
        } else if sick || batch.dud {
            return self.bounce(h, slot, "spawn failed");
        }
        let divided = self.hosts[h].slots[usize::from(slot)].now.as_ref().is_some_and(|b| self.is_divided(&b.launch));
        if divided {
            return self.divided_starts(h, slot);
        }
        self.task_starts(h, slot);
    }

    fn task_starts(&mut self, h: usize, slot: u16) {
        let step = self.number();
        let place = &mut self.hosts[h].slots[usize::from(slot)];
        let Some(batch) = &mut place.now else { return };
        if batch.next >= batch.launch.tasks.hi {
            let report = self.take_report(h, slot);
            self.hosts[h].slots[usize::from(slot)].now = None;
            self.report(h, report);
            return self.next_launch(h, slot);
        }
        let index = batch.next;
        batch.next += 1;
        batch.step = step;
        let (job, attempt, launch) = (batch.launch.job, batch.launch.attempt, batch.launch.id);
        let Some(info) = self.info(job) else { return };
        let work = self.work_of(&info);
        let broken = self.is_broken(job, index, &work);
        let computed = self.compute(h, slot, index, attempt, &info);
        let (mut course, outcome) = match computed {
            Some(c) => (Course { us: c.us, fails: !c.outcome.is_success(), kills: false }, Some(c.outcome)),
            None => (self.executors.run(&work, h, index, broken), None),
        };
        course.us = course.us.saturating_mul(100) / u64::from(self.hosts[h].options.speed_pct.max(1));
        if let Some(batch) = &mut self.hosts[h].slots[usize::from(slot)].now {
            batch.running = Some(Running { index, fails: course.fails, outcome });
        }
        let life = self.hosts[h].life;
        let run = Run { attempt, host: h, life, launch, start: self.now, end: None };
        self.seen(&Seen::Runs { host: h, job, index, run: &run });
        self.history.runs.entry(job).or_default().entry(index).or_default().push(run);
        self.history.executions += 1;
        self.note(|| format!("n{h} runs {job:?}#{index} attempt {attempt} for {} us", course.us));
        if course.kills {
            // It takes the node with it half-way.
            self.poisoned(h, course.us / 2);
        }
        self.after(course.us, Ev::Exec { host: h, life, slot, step });
    }

    fn task_ends(&mut self, h: usize, slot: u16) {
        let Some(batch) = &mut self.hosts[h].slots[usize::from(slot)].now else { return };
        let Some(running) = batch.running.take() else { return };
        let (job, attempt) = (batch.launch.job, batch.launch.attempt);
        let Some(info) = self.info(job) else { return };
        let work = self.work_of(&info);
        let outcome = match running.outcome {
            Some(outcome) => outcome,
            None => self.outcome(h, job, running.index, attempt, &work, running.fails),
        };
        for (blob, len) in outcome.output().blobs() {
            self.hosts[h].shelf.put(job, blob, len, false);
        }
        let now = self.now;
        let end = End::Done { value: value_of(&outcome), success: outcome.is_success() };
        let mut took = 0;
        if let Some(run) = self.history.open(job, running.index, h) {
            took = now - run.start;
            run.end = Some((now, end));
        }
        self.history.finished += 1;
        let result = ResultRun::one(running.index, attempt, took, outcome);
        let Some(batch) = &mut self.hosts[h].slots[usize::from(slot)].now else { return };
        match batch.done.last_mut() {
            Some(last) if last.continues(&result) => {
                last.count += 1;
                last.wall_us += result.wall_us;
            }
            _ => batch.done.push(result),
        }
        if now - batch.reported >= REPORT_US && batch.next < batch.launch.tasks.hi {
            let report = self.take_report(h, slot);
            self.report(h, report);
        }
    }

    fn take_report(&mut self, h: usize, slot: u16) -> Option<Input> {
        let now = self.now;
        let batch = self.hosts[h].slots[usize::from(slot)].now.as_mut()?;
        batch.reported = now;
        let runs = std::mem::take(&mut batch.done);
        (!runs.is_empty()).then_some(Input::Finished { launch: batch.launch.id, runs })
    }

    fn report(&mut self, h: usize, report: Option<Input>) {
        if let Some(input) = report {
            self.feed(h, input);
        }
    }

    /// Everything of the launch that has no result goes back.
    fn bounce(&mut self, h: usize, slot: u16, why: &str) {
        let report = self.take_report(h, slot);
        let Some(batch) = self.hosts[h].slots[usize::from(slot)].now.take() else { return };
        self.divided_ends(h, batch.launch.id, BagEnd::Stopped);
        let lo = batch.running.as_ref().map_or(batch.next, |r| r.index);
        if let Some(r) = batch.running {
            let now = self.now;
            if let Some(run) = self.history.open(batch.launch.job, r.index, h) {
                run.end = Some((now, End::Stopped));
            }
        }
        let tasks = Range::new(lo, batch.launch.tasks.hi);
        self.report(h, report);
        self.feed(h, Input::Bounced { launch: batch.launch.id, tasks, why: why.into() });
        self.next_launch(h, slot);
    }

    pub(crate) fn stop(&mut self, h: usize, launch: LaunchId) {
        for slot in &mut self.hosts[h].slots {
            if let Some(batch) = slot.now.as_mut().filter(|b| b.launch.id == launch) {
                batch.stopping = true;
            }
        }
        let (life, delay) = (self.hosts[h].life, self.streams.exec.log_between(200, 500_000));
        self.after(delay, Ev::Kill { host: h, life, launch });
    }

    pub(crate) fn kill(&mut self, h: usize, launch: LaunchId) {
        for n in 0..self.hosts[h].slots.len() {
            let slot = &mut self.hosts[h].slots[n];
            if slot.now.as_ref().is_some_and(|b| b.launch.id == launch) {
                return self.bounce(h, n as u16, "stopped");
            }
            if let Some(at) = slot.queue.iter().position(|l| l.id == launch) {
                let gone = slot.queue.remove(at);
                if let Some(l) = gone {
                    self.feed(h, Input::Bounced { launch, tasks: l.tasks, why: "stopped".into() });
                }
                return;
            }
        }
    }

    /// The process dies: what runs is lost.
    pub(crate) fn executors_die(&mut self, h: usize) {
        let now = self.now;
        self.divided_die(h);
        for n in 0..self.hosts[h].slots.len() {
            let slot = std::mem::take(&mut self.hosts[h].slots[n]);
            if let Some((job, r)) = slot.now.and_then(|b| Some((b.launch.job, b.running?)))
                && let Some(run) = self.history.open(job, r.index, h)
            {
                run.end = Some((now, End::Lost));
                self.history.lost += 1;
            }
        }
    }

    pub(crate) fn work_of(&self, info: &Arc<JobInfo>) -> Work {
        info.plan.map(|p| self.options.jobs[p].work.clone()).unwrap_or_default()
    }

    /// Whether this task fails whoever runs it.
    pub fn is_broken(&self, job: JobId, index: u32, work: &Work) -> bool {
        if work.broken_ppm == 0 {
            return false;
        }
        let plan = self.known.jobs.get(&job).and_then(|j| j.plan).unwrap_or(0);
        let mut d = Digest::default();
        d.mix(self.options.seed);
        d.mix(plan as u64);
        d.mix(u64::from(index));
        (d.value() >> 16) % 1_000_000 < u64::from(work.broken_ppm)
    }

    fn outcome(&mut self, h: usize, job: JobId, index: u32, attempt: u64, work: &Work, fails: bool) -> Outcome {
        let mut salt = Digest::default();
        salt.mix(u64::from(index));
        if work.varies {
            salt.mix(attempt);
            salt.mix(h as u64);
            salt.mix(self.history.executions);
        }
        let salt = salt.value().to_le_bytes();
        let file = |content| TaskOutput {
            files: vec![OutFile { path: "out".into(), executable: false, content }],
            ..TaskOutput::default()
        };
        let output = match work.leaves {
            Leaves::Nothing if work.varies => {
                let kept = Content::Inline(salt.to_vec());
                TaskOutput { stdout: Stream { kept, total: 8 }, ..TaskOutput::default() }
            }
            Leaves::Nothing => TaskOutput::default(),
            Leaves::Inline(n) => file(Content::Inline(salt.iter().copied().cycle().take(usize::from(n)).collect())),
            Leaves::Blob(len) => {
                let name = [&job.0[..], &salt[..]].concat();
                file(Content::Blob(BlobId::of(&name), len))
            }
        };
        if fails {
            Outcome::Failed(Cause::Exit(1), TaskOutput { files: Vec::new(), ..output })
        } else {
            Outcome::Success(output)
        }
    }
}
