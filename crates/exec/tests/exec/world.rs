//! A node's surroundings: a store of files, a sink of reports, jobs made in a line.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use filch_exec::{Batch, Exec, ExecConfig, ExecError, Handlers, Host, HostError, Report};
use filch_types::items::{self, Item};
use filch_types::manifest::{Generator, Group, InFile, Program, TaskLimits};
use filch_types::ranges::Range;
use filch_types::template::Template;
use filch_types::{BlobId, Content, JobId, JobSpec, Manifest, NodeId, Nonce, Outcome, TaskOutput};

/// One test of a module's list.
pub type Test = (&'static str, fn());

/// Nothing here takes longer unless it hangs.
pub const LIMIT: Duration = Duration::from_secs(60);

type Hook = Box<dyn Fn(&Path) -> Result<(), HostError> + Send>;

/// A store of plain files.
pub struct Store {
    pub dir: PathBuf,
    /// Called before a file is kept.
    pub on_keep: Mutex<Option<Hook>>,
    /// Nothing more fits.
    pub full: AtomicBool,
}

impl Store {
    pub fn put(&self, bytes: &[u8]) -> BlobId {
        let id = BlobId::of(bytes);
        fs::write(self.dir.join(id.to_string()), bytes).unwrap();
        id
    }
    pub fn get(&self, content: &Content) -> Vec<u8> {
        match content {
            Content::Inline(b) => b.clone(),
            Content::Blob(id, _) => fs::read(self.dir.join(id.to_string())).unwrap(),
        }
    }
    pub fn input(&self, path: &str, bytes: &[u8], executable: bool) -> InFile {
        InFile { path: path.into(), blob: self.put(bytes), len: bytes.len() as u64, executable }
    }
}

impl Host for Store {
    fn items(&self, list: BlobId, _: u64) -> Result<Arc<items::Reader<Vec<u8>>>, HostError> {
        let bytes = fs::read(self.dir.join(list.to_string())).map_err(|e| HostError::Unavailable(e.to_string()))?;
        items::Reader::new(bytes).map(Arc::new).map_err(|e| HostError::Unavailable(e.to_string()))
    }
    fn place(&self, file: &InFile, dest: &Path) -> Result<(), HostError> {
        use std::os::unix::fs::PermissionsExt;
        let from = self.dir.join(file.blob.to_string());
        fs::copy(from, dest).map_err(|e| HostError::Unavailable(format!("{}: {e}", file.path)))?;
        let mode = if file.executable { 0o755 } else { 0o644 };
        fs::set_permissions(dest, fs::Permissions::from_mode(mode)).map_err(|e| HostError::Io(e.to_string()))
    }
    fn keep(&self, path: &Path, inline_max: usize) -> Result<Content, HostError> {
        if let Some(hook) = &*self.on_keep.lock().unwrap() {
            hook(path)?;
        }
        self.keep_bytes(fs::read(path).map_err(|e| HostError::Io(e.to_string()))?, inline_max)
    }
    fn read(&self, blob: BlobId, _: u64) -> Result<Vec<u8>, HostError> {
        fs::read(self.dir.join(blob.to_string())).map_err(|e| HostError::Unavailable(e.to_string()))
    }
    fn keep_bytes(&self, bytes: Vec<u8>, inline_max: usize) -> Result<Content, HostError> {
        if bytes.len() <= inline_max {
            return Ok(Content::Inline(bytes));
        }
        if self.full.load(Ordering::Relaxed) {
            return Err(HostError::Full("as it was told".into()));
        }
        Ok(Content::Blob(self.put(&bytes), bytes.len() as u64))
    }
}

pub struct World {
    pub exec: Exec,
    pub store: Arc<Store>,
    pub reports: Receiver<Report>,
    pub dir: tempfile::TempDir,
    launch: u64,
}

pub fn config(dir: &Path) -> ExecConfig {
    let mut c = ExecConfig::new(dir.join("work"), NodeId([7; 32]), "testnode", 2);
    c.spawner = vec![std::env::current_exe().unwrap().into(), "__spawner".into()];
    c.path = "/usr/local/bin:/usr/bin:/bin".into();
    c
}

pub fn open(
    dir: &Path,
    change: impl FnOnce(&mut ExecConfig),
) -> Result<(Exec, Arc<Store>, Receiver<Report>), ExecError> {
    open_with(dir, change, |_| {})
}

fn open_with(
    dir: &Path,
    change: impl FnOnce(&mut ExecConfig),
    more: impl FnOnce(&mut Handlers),
) -> Result<(Exec, Arc<Store>, Receiver<Report>), ExecError> {
    let store = Arc::new(Store { dir: dir.join("store"), on_keep: Mutex::default(), full: AtomicBool::default() });
    fs::create_dir_all(&store.dir).unwrap();
    let mut c = config(dir);
    change(&mut c);
    let (tx, rx): (Sender<Report>, _) = channel();
    let tx = Mutex::new(tx);
    let mut handlers = Handlers::builtin();
    handlers.register("panic", |_| panic!("on purpose"));
    handlers.register("big", |_| Ok(vec![b'x'; 100_000]));
    handlers.register("write", |cx| {
        for (name, path) in cx.outputs() {
            fs::write(path, name).map_err(|e| e.to_string())?;
        }
        Ok(cx.values().join(",").into_bytes())
    });
    more(&mut handlers);
    let sink = Box::new(move |r| drop(tx.lock().unwrap().send(r)));
    Ok((Exec::new(c, store.clone(), handlers, sink)?, store, rx))
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }
    pub fn with(change: impl FnOnce(&mut ExecConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (exec, store, reports) = open(dir.path(), change).unwrap();
        Self { exec, store, reports, dir, launch: 0 }
    }
    /// One whose node knows further handlers.
    pub fn knowing(more: impl FnOnce(&mut Handlers)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (exec, store, reports) = open_with(dir.path(), |_| {}, more).unwrap();
        Self { exec, store, reports, dir, launch: 0 }
    }
    /// Starts tasks of a job, in slot 0.
    pub fn start(&mut self, manifest: &Arc<Manifest>, tasks: Range) -> u64 {
        self.launch += 1;
        self.exec.start(batch(self.launch, manifest, tasks));
        self.launch
    }
    pub fn report(&self) -> Report {
        loop {
            match self.any_report() {
                Report::EndsSoon { .. } => {}
                report => return report,
            }
        }
    }

    /// The next report, hints included.
    #[track_caller]
    pub fn any_report(&self) -> Report {
        self.reports.recv_timeout(LIMIT).expect("a report in time")
    }
    /// Runs a whole job and returns what came of each task: its outcome, or why it bounced.
    pub fn run(&mut self, manifest: &Arc<Manifest>) -> Vec<Result<Outcome, String>> {
        let all = Range::new(0, manifest.spec.total());
        let launch = self.start(manifest, all);
        self.gather(&[(launch, all)]).remove(&launch).unwrap()
    }
    pub fn one(&mut self, manifest: &Arc<Manifest>) -> Outcome {
        self.run(manifest).remove(0).expect("a result")
    }
    /// Waits until every task of these batches is reported; checks that each is once and in order.
    pub fn gather(&self, batches: &[(u64, Range)]) -> BTreeMap<u64, Vec<Result<Outcome, String>>> {
        let mut next: BTreeMap<u64, (u32, u32)> = batches.iter().map(|(l, r)| (*l, (r.lo, r.hi))).collect();
        let mut got: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        while next.values().any(|(lo, hi)| lo < hi) {
            match self.report() {
                Report::Finished { launch, runs } => {
                    for run in runs {
                        assert!(run.is_valid(), "{run:?}");
                        let at = &mut next.get_mut(&launch).unwrap().0;
                        assert_eq!(*at, run.lo, "in order");
                        *at += run.count;
                        got.entry(launch).or_default().extend((0..run.count).map(|_| Ok(run.outcome.clone())));
                    }
                }
                other @ (Report::Split { .. }
                | Report::EndsSoon { .. }
                | Report::Bag { .. }
                | Report::BagFailed { .. }) => panic!("{other:?}"),
                Report::Bounced { launch, tasks, why } => {
                    let at = &mut next.get_mut(&launch).unwrap().0;
                    assert_eq!(*at, tasks.lo, "in order");
                    *at = tasks.hi;
                    got.entry(launch).or_default().extend((0..tasks.len()).map(|_| Err(why.clone())));
                }
            }
        }
        assert!(next.values().all(|(lo, hi)| lo == hi), "nothing twice");
        got
    }
    pub fn stdout(&self, outcome: &Outcome) -> String {
        String::from_utf8(self.store.get(&outcome.output().stdout.kept)).unwrap()
    }
    pub fn stderr(&self, outcome: &Outcome) -> String {
        String::from_utf8(self.store.get(&outcome.output().stderr.kept)).unwrap()
    }
}

pub fn batch(launch: u64, manifest: &Arc<Manifest>, tasks: Range) -> Batch {
    Batch { launch, job: job(), manifest: manifest.clone(), tasks, attempt: 5, slot: 0, part: None }
}

pub fn job() -> JobId {
    JobId([0xab; 32])
}

fn templates(texts: &[&str]) -> Vec<Template> {
    texts.iter().map(|t| Template::parse(t).unwrap()).collect()
}

pub fn group(program: Program) -> Group {
    Group {
        name: "g".into(),
        tasks: Generator::Once,
        program,
        env: vec![],
        inputs: vec![],
        outputs: vec![],
        limits: TaskLimits::default(),
        retries: 0,
        needs: vec![],
        resources: vec![],
    }
}

pub fn command(argv: &[&str]) -> Group {
    group(Program::Command { argv: templates(argv) })
}

pub fn shell(script: &str) -> Group {
    let argv = vec![Template::literal("sh"), Template::literal("-c"), Template::literal(script)];
    group(Program::Command { argv })
}

pub fn handler(name: &str, args: &[&str]) -> Group {
    group(Program::Handler { name: name.into(), args: templates(args) })
}

/// The group's own settings.
pub trait With: Sized {
    fn array(self, first: i64, step: i64, count: u32) -> Self;
    fn outputs(self, paths: &[&str]) -> Self;
    fn limits(self, timeout_ms: u64, grace_ms: u32) -> Self;
    fn items(self, store: &Store, items: &[Item]) -> Self;
    fn job(self) -> Arc<Manifest>;
}

impl With for Group {
    fn array(mut self, first: i64, step: i64, count: u32) -> Self {
        self.tasks = Generator::Array { first, step, count };
        self
    }
    fn outputs(mut self, paths: &[&str]) -> Self {
        self.outputs = templates(paths);
        self
    }
    fn limits(mut self, timeout_ms: u64, grace_ms: u32) -> Self {
        self.limits = TaskLimits { timeout_ms: Some(timeout_ms), grace_ms, ..TaskLimits::default() };
        self
    }
    fn items(mut self, store: &Store, items: &[Item]) -> Self {
        let mut w = items::Writer::default();
        items.iter().for_each(|i| w.push(i).unwrap());
        let bytes = w.finish();
        self.tasks = Generator::Items { list: store.put(&bytes), len: bytes.len() as u64, count: items.len() as u32 };
        self
    }
    fn job(self) -> Arc<Manifest> {
        let spec = JobSpec {
            name: "test".into(),
            priority: 0,
            attended: false,
            groups: vec![self],
            closure_bytes: 0,
            closure_blobs: 0,
        };
        spec.check().unwrap();
        let owner = NodeId([1; 32]);
        Arc::new(Manifest { owner, nonce: Nonce([0; 16]), created_ms: 0, k: 1, r: 1, replicas: vec![owner], spec })
    }
}

/// Looks again until it is so.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < until, "in time: {what}");
        std::thread::yield_now();
    }
}

pub fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

pub fn text_of(output: &TaskOutput, at: usize, store: &Store) -> String {
    String::from_utf8(store.get(&output.files[at].content)).unwrap()
}
