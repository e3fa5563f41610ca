//! What the executor costs over bare spawning, and how fast no-op handlers go.
//!
//! `cargo bench -p filch-exec [-- TASKS [DIR]]`. Bare `posix_spawn` and wait of the same program, its output thrown away,
//! alternates with the executor, five times; what counts is the ratio of the medians. DIR is where the work directory goes. On a busy machine look at the processor time:
//! it includes the spawner's and the tasks' own.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use filch_exec::{Batch, Exec, ExecConfig, Handlers, Host, HostError, Report};
use filch_types::items;
use filch_types::manifest::{Generator, Group, InFile, Program, TaskLimits};
use filch_types::ranges::Range;
use filch_types::template::Template;
use filch_types::{BlobId, Content, JobId, JobSpec, Manifest, NodeId, Nonce};

const ROUNDS: usize = 5;

/// Tasks of one batch; the core makes batches of about 4 ms.
const BATCH: u32 = 8;

type Failure = Box<dyn Error + Send + Sync>;

/// Nothing is placed or kept here.
struct NoHost;

impl Host for NoHost {
    fn items(&self, _: BlobId, _: u64) -> Result<Arc<items::Reader<Vec<u8>>>, HostError> {
        Err(HostError::Unavailable("none".into()))
    }
    fn place(&self, _: &InFile, _: &Path) -> Result<(), HostError> {
        Err(HostError::Unavailable("none".into()))
    }
    fn keep(&self, path: &Path, _: usize) -> Result<Content, HostError> {
        std::fs::read(path).map(Content::Inline).map_err(|e| HostError::Io(e.to_string()))
    }
    fn read(&self, _: BlobId, _: u64) -> Result<Vec<u8>, HostError> {
        Err(HostError::Unavailable("none".into()))
    }
    fn keep_bytes(&self, bytes: Vec<u8>, _: usize) -> Result<Content, HostError> {
        Ok(Content::Inline(bytes))
    }
}

fn job(program: Program, outputs: Vec<Template>, count: u32) -> Arc<Manifest> {
    let group = Group {
        name: "bench".into(),
        tasks: Generator::Array { first: 0, step: 1, count },
        program,
        env: vec![],
        inputs: vec![],
        outputs,
        limits: TaskLimits::default(),
        retries: 0,
        needs: vec![],
        resources: vec![],
    };
    let spec = JobSpec {
        name: "bench".into(),
        priority: 0,
        attended: false,
        groups: vec![group],
        closure_bytes: 0,
        closure_blobs: 0,
    };
    let owner = NodeId([1; 32]);
    Arc::new(Manifest { owner, nonce: Nonce([0; 16]), created_ms: 0, k: 1, r: 1, replicas: vec![owner], spec })
}

fn command(argv: &[&str]) -> Program {
    Program::Command { argv: argv.iter().map(|a| Template::literal(*a)).collect() }
}

/// One program in `threads` threads, nothing around it; what it leaves in `dir` is removed.
fn bare(argv: &[&str], dir: &Path, tasks: u32, threads: u32) -> Result<Duration, Failure> {
    std::fs::create_dir_all(dir)?;
    let began = Instant::now();
    let one = |thread: u32| -> Result<(), Failure> {
        let (program, args) = argv.split_first().ok_or("no program")?;
        let dir = dir.join(thread.to_string());
        std::fs::create_dir_all(&dir)?;
        for _ in 0..tasks / threads {
            let mut c = Command::new(program);
            c.args(args).current_dir(&dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            if args == ["out"] {
                std::fs::remove_file(dir.join("out"))?;
            }
        }
        Ok(())
    };
    std::thread::scope(|s| {
        let all: Vec<_> = (0..threads).map(|n| s.spawn(move || one(n))).collect();
        all.into_iter().try_for_each(|t| t.join().map_err(|_| "a thread failed")?)
    })?;
    Ok(began.elapsed())
}

struct Node {
    exec: Exec,
    reports: Receiver<Report>,
    launch: u64,
}

impl Node {
    fn new(dir: &Path, slots: u16) -> Result<Self, Failure> {
        let mut config = ExecConfig::new(dir.join(format!("work{slots}")), NodeId([7; 32]), "bench", slots);
        config.spawner = vec![std::env::current_exe()?.into(), "__spawner".into()];
        let (tx, reports) = channel();
        let exec = Exec::new(config, Arc::new(NoHost), Handlers::builtin(), Box::new(move |r| drop(tx.send(r))))?;
        Ok(Self { exec, reports, launch: 0 })
    }

    /// All tasks of the job, in batches, two of them with each slot as the core does it.
    fn run(&mut self, manifest: &Arc<Manifest>, slots: u16, batch: u32) -> Result<Duration, Failure> {
        let began = Instant::now();
        let (mut next, total) = (0, manifest.spec.total());
        let mut open = std::collections::BTreeMap::new();
        let mut done = 0;
        let mut start = |node: &mut Self, open: &mut std::collections::BTreeMap<u64, (u16, u32)>, slot| {
            let tasks = Range::new(next, (next + batch).min(total));
            if !tasks.is_empty() {
                next = tasks.hi;
                node.launch += 1;
                open.insert(node.launch, (slot, tasks.len()));
                let (launch, manifest) = (node.launch, manifest.clone());
                node.exec.start(Batch { launch, job: JobId([1; 32]), manifest, tasks, attempt: 1, slot, part: None });
            }
        };
        for slot in (0..slots).chain(0..slots) {
            start(self, &mut open, slot);
        }
        while done < total {
            match self.reports.recv_timeout(Duration::from_secs(60))? {
                Report::Bounced { why, .. } => return Err(why.into()),
                divided @ (Report::Split { .. }
                | Report::EndsSoon { .. }
                | Report::Bag { .. }
                | Report::BagFailed { .. }) => {
                    return Err(format!("no task is divisible: {divided:?}").into());
                }
                Report::Finished { launch, runs } => {
                    let n: u32 = runs.iter().map(|r| r.count).sum();
                    if !runs.iter().all(|r| r.outcome.is_success()) {
                        return Err(format!("{:?}", runs.first()).into());
                    }
                    done += n;
                    let (slot, left) = open.get_mut(&launch).ok_or("an unknown batch")?;
                    *left -= n;
                    if *left == 0 {
                        let slot = *slot;
                        open.remove(&launch);
                        start(self, &mut open, slot);
                    }
                }
            }
        }
        Ok(began.elapsed())
    }
}

/// Wall and processor time, microseconds a task.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

/// Processor time of this process and of all children that have ended.
fn cpu() -> Duration {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN]
        .into_iter()
        .map(|who| {
            // SAFETY: all zero is a valid value, and the pointer is to a live local.
            let usage = unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                libc::getrusage(who, &mut usage);
                usage
            };
            let of = |t: libc::timeval| Duration::from_micros((t.tv_sec * 1_000_000 + t.tv_usec) as u64);
            of(usage.ru_utime) + of(usage.ru_stime)
        })
        .sum()
}

fn cost(tasks: u32, what: impl FnOnce() -> Result<Duration, Failure>) -> Result<Cost, Failure> {
    let before = cpu();
    let wall = what()?;
    let per_task = |d: Duration| d.as_secs_f64() * 1e6 / f64::from(tasks);
    Ok(Cost { wall: per_task(wall), cpu: per_task(cpu().saturating_sub(before)) })
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn medians(all: &[Cost]) -> Cost {
    Cost { wall: median(all.iter().map(|c| c.wall).collect()), cpu: median(all.iter().map(|c| c.cpu).collect()) }
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if args.first().is_some_and(|a| a == "__spawner") {
        filch_exec::spawner_main();
    }
    let tasks: u32 = args.first().map_or(Ok(2000), |a| a.parse())?;
    let base = args.get(1).map_or_else(|| std::env::temp_dir().join("filch-bench-exec"), Into::into);
    for slots in [1u16, 2] {
        commands(&base, slots, tasks)?;
        handlers(&base, slots)?;
    }
    std::fs::remove_dir_all(&base)?;
    Ok(())
}

fn commands(base: &Path, slots: u16, tasks: u32) -> Result<(), Failure> {
    let kinds: [(&str, &[&str], &[&str]); 3] = [
        ("/bin/true", &["/bin/true"], &[]),
        ("/bin/echo, output kept", &["/bin/echo", "some words"], &[]),
        ("/bin/touch, file collected", &["/bin/touch", "out"], &["out"]),
    ];
    for (what, argv, outputs) in kinds {
        let job = job(command(argv), outputs.iter().map(|o| Template::literal(*o)).collect(), tasks);
        let (mut plain, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            plain.push(cost(tasks, || bare(argv, &base.join("bare"), tasks, slots.into()))?);
            // A node of its own each time: a spawner's processor time counts when it has ended.
            ours.push(cost(tasks, || Node::new(base, slots)?.run(&job, slots, BATCH))?);
        }
        let (plain, ours) = (medians(&plain), medians(&ours));
        for (name, plain, ours) in [("wall", plain.wall, ours.wall), ("processor", plain.cpu, ours.cpu)] {
            let x = ours / plain;
            writeln!(
                std::io::stdout(),
                "{slots} slot(s): {what:<28} {name:<9} bare {plain:7.1} us a task, filch {ours:7.1} us, x {x:4.2}"
            )?;
        }
    }
    Ok(())
}

fn handlers(base: &Path, slots: u16) -> Result<(), Failure> {
    const TASKS: u32 = 5_000_000;
    let noop = job(Program::Handler { name: "noop".into(), args: vec![] }, vec![], TASKS);
    let mut node = Node::new(base, slots)?;
    for batch in [TASKS, 20_000] {
        let all = (0..ROUNDS).map(|_| cost(TASKS, || node.run(&noop, slots, batch))).collect::<Result<Vec<_>, _>>()?;
        let Cost { wall, cpu } = medians(&all);
        writeln!(
            std::io::stdout(),
            "{slots} slot(s): noop handlers, batches of {batch:<8} {:6.2} M tasks/s, {:.0} ns of processor",
            1.0 / wall,
            cpu * 1e3
        )?;
    }
    Ok(())
}
