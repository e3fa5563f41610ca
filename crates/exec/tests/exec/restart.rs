//! Nodes that are killed, and what they leave.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use filch_exec::ExecError;
use filch_types::ranges::Range;
use rustix::process::{Pid, Signal, kill_process};

use crate::world::{LIMIT, Test, With, World, alive, batch, command, eventually, open, shell};

pub const TESTS: &[Test] = &[
    ("a_killed_node_takes_its_tasks_along", a_killed_node_takes_its_tasks_along),
    ("leftovers_of_a_killed_node_and_spawner_are_killed", leftovers_of_a_killed_node_and_spawner_are_killed),
    ("the_work_directory_is_emptied", the_work_directory_is_emptied),
    ("a_second_node_is_refused", a_second_node_is_refused),
];

/// A node of its own that runs one task and says its processes' ids.
pub fn victim() -> ! {
    let dir = std::env::args().nth(2).unwrap();
    let (exec, _store, _reports) = open(Path::new(&dir), |_| {}).unwrap();
    // The task, its hidden daemon, and one that wears a clean environment.
    let script = "setsid sleep 1000 & echo $$ $PPID $! >pids.new; mv pids.new pids; exec env -i sleep 1000";
    exec.start(batch(1, &shell(script).job(), Range::new(0, 1)));
    let slot = Path::new(&dir).join("work/s0");
    eventually("its ids", || {
        fs::read_dir(&slot).into_iter().flatten().flatten().any(|e| {
            let ids = fs::read_to_string(e.path().join("pids"));
            ids.is_ok_and(|ids| {
                use std::io::Write;
                writeln!(std::io::stdout(), "{}", ids.trim()).is_ok()
            })
        })
    });
    loop {
        std::thread::park();
    }
}

struct Victim {
    node: Child,
    task: i32,
    spawner: i32,
    daemon: i32,
}

fn start(dir: &Path) -> Victim {
    let exe = std::env::current_exe().unwrap();
    let mut node = Command::new(exe).arg("__victim").arg(dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(node.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ids: Vec<i32> = line.split_whitespace().map(|w| w.parse().unwrap()).collect();
    let v = Victim { node, task: ids[0], spawner: ids[1], daemon: ids[2] };
    let cleared = || fs::read(format!("/proc/{}/environ", v.task)).is_ok_and(|e| e.is_empty());
    eventually("its clean environment", cleared);
    v
}

impl Victim {
    fn ids(&self) -> [i32; 3] {
        [self.task, self.spawner, self.daemon]
    }
    fn kill_node(&mut self) {
        self.node.kill().unwrap();
        self.node.wait().unwrap();
    }
}

fn a_killed_node_takes_its_tasks_along() {
    let dir = tempfile::tempdir().unwrap();
    let mut v = start(dir.path());
    v.kill_node();
    eventually("all are gone", || v.ids().iter().all(|p| !alive(*p)));
}

fn leftovers_of_a_killed_node_and_spawner_are_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut v = start(dir.path());
    let bystander = Command::new("sleep").arg("1000").spawn().unwrap();
    let send = |pid, signal| kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    // Stopped first, so that it cannot clean up when its node dies.
    send(v.spawner, Signal::STOP);
    v.kill_node();
    send(v.spawner, Signal::KILL);
    eventually("the spawner is dead", || !alive(v.spawner));
    assert!(alive(v.task) && alive(v.daemon), "left over");
    let (exec, ..) = open(dir.path(), |_| {}).unwrap();
    assert!(!alive(v.task) && !alive(v.daemon));
    assert!(alive(bystander.id() as i32));
    drop(exec);
    let mut bystander = bystander;
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

fn the_work_directory_is_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("work/s0/w3/deep");
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("f"), "").unwrap();
    let (exec, ..) = open(dir.path(), |_| {}).unwrap();
    assert!(!dir.path().join("work/s0").exists());
    drop(exec);
}

fn a_second_node_is_refused() {
    let mut w = World::new();
    let Err(e) = open(w.dir.path(), |_| {}) else { panic!("accepted") };
    assert!(matches!(e, ExecError::Busy { .. }) && e.to_string().contains("in use"), "{e}");
    assert!(w.one(&command(&["true"]).job()).is_success(), "the first one is unharmed");
    let _ = LIMIT;
}
