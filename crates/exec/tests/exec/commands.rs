//! What a command is given, and how its end is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use filch_exec::Policy;
use filch_types::items::Item;
use filch_types::manifest::Group;
use filch_types::{Cause, Manifest, Outcome};

use crate::world::{Test, With, World, command, job, shell};

pub const TESTS: &[Test] = &[
    ("environment_is_exact", environment_is_exact),
    ("array_gives_its_values", array_gives_its_values),
    ("items_expand_per_task", items_expand_per_task),
    ("exit_codes_are_those_of_a_shell", exit_codes_are_those_of_a_shell),
    ("script_without_interpreter_and_directory_are_not_executable", not_executable),
    ("impossible_commands_fail_without_running", impossible_commands_fail_without_running),
    ("output_of_failures_is_kept", output_of_failures_is_kept),
    ("stdin_is_empty_and_there_is_no_terminal", stdin_is_empty_and_there_is_no_terminal),
    ("no_descriptor_leaks", no_descriptor_leaks),
    ("signals_are_at_their_defaults", signals_are_at_their_defaults),
    ("policy_is_asked", policy_is_asked),
];

fn environment_is_exact() {
    let mut w = World::new();
    let mut g = command(&["env"]).array(10, 5, 3);
    g.env = vec![("MINE".into(), "a b".into()), ("TZ".into(), "Asia/Tokyo".into()), ("FILCH_JOB".into(), "no".into())];
    g.resources = vec![("cpus".into(), 4)];
    let all = w.run(&g.job());
    let out = w.stdout(all[2].as_ref().unwrap());
    let mut env: BTreeMap<_, _> = out.lines().map(|l| l.split_once('=').unwrap()).collect();
    let home = env.remove("HOME").unwrap();
    let temp = env.remove("TMPDIR").unwrap();
    let work = w.dir.path().canonicalize().unwrap().join("work");
    assert!(home.starts_with(work.to_str().unwrap()) && temp.starts_with(work.to_str().unwrap()) && home != temp);
    assert_eq!(env.remove("FILCH_DIR"), Some(home));
    let id = job().to_string();
    let want = BTreeMap::from([
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("LANG", "C.UTF-8"),
        ("TZ", "Asia/Tokyo"),
        ("MINE", "a b"),
        ("FILCH_JOB", id.as_str()),
        ("FILCH_TASK", "2"),
        ("FILCH_INDEX", "20"),
        ("FILCH_ATTEMPT", "5"),
        ("FILCH_NODE", "testnode"),
        ("FILCH_SLOT", "0"),
        ("FILCH_CPUS", "4"),
    ]);
    assert_eq!(env, want);
}

fn array_gives_its_values() {
    let mut w = World::new();
    let all = w.run(&shell("echo $FILCH_INDEX $FILCH_TASK").array(1, 1, 100).job());
    for (n, outcome) in all.iter().enumerate() {
        assert_eq!(w.stdout(outcome.as_ref().unwrap()), format!("{} {n}\n", n + 1));
    }
}

fn items_expand_per_task() {
    let mut w = World::new();
    let items: Vec<Item> =
        (0..150).map(|n| Item { values: vec![format!("d/f{n}.txt"), "z".into()], inputs: vec![] }).collect();
    let g = command(&["echo", "{1/.}", "{2}", "{#}", "{%}", "{}"]).items(&w.store, &items);
    let all = w.run(&g.job());
    assert_eq!(all.len(), 150);
    for n in [0, 63, 64, 149] {
        assert_eq!(w.stdout(all[n].as_ref().unwrap()), format!("f{n} z {} 1 d/f{n}.txt z\n", n + 1));
    }
}

fn cause(outcome: &Outcome) -> &Cause {
    match outcome {
        Outcome::Failed(cause, _) => cause,
        Outcome::Success(_) => panic!("succeeded"),
    }
}

fn exit_codes_are_those_of_a_shell() {
    let mut w = World::new();
    assert!(w.one(&command(&["true"]).job()).is_success());
    assert_eq!(cause(&w.one(&shell("exit 3").job())), &Cause::Exit(3));
    assert_eq!(cause(&w.one(&shell("kill -9 $$").job())), &Cause::Signal(9));
    let none = w.one(&command(&["no-such-program", "x"]).job());
    assert_eq!(cause(&none), &Cause::Exit(127));
    assert!(w.stderr(&none).contains("no-such-program: command not found"), "{}", w.stderr(&none));
    let not = w.one(&command(&["/etc/passwd"]).job());
    assert_eq!(cause(&not), &Cause::Exit(126));
    assert!(w.stderr(&not).contains("not executable"));
    assert!(w.one(&command(&["true"]).job()).is_success(), "the slot goes on");
}

fn not_executable() {
    let mut w = World::new();
    let mut g = command(&["./tool"]);
    g.inputs = vec![w.store.input("tool", b"echo hi\n", true)];
    assert_eq!(cause(&w.one(&g.job())), &Cause::Exit(126));
    let mut g = command(&["bin/tool", "x"]);
    g.inputs = vec![w.store.input("bin/tool", b"#!/bin/sh\necho \"$0 $1\"\n", true)];
    let out = w.one(&g.job());
    assert_eq!(w.stdout(&out), "bin/tool x\n");
    let mut g = command(&["./tool"]);
    g.inputs = vec![w.store.input("tool", b"#!/no/such/interpreter\n", true)];
    assert_eq!(cause(&w.one(&g.job())), &Cause::Exit(127));
    assert_eq!(cause(&w.one(&command(&["/usr"]).job())), &Cause::Exit(126));
}

fn impossible_commands_fail_without_running() {
    let mut w = World::new();
    let long = "x".repeat(60_000);
    let many: Vec<&str> = std::iter::once("echo").chain((0..100).map(|_| long.as_str())).collect();
    assert_eq!(cause(&w.one(&command(&many).job())), &Cause::Exit(126));
    let fewer: Vec<&str> = many[..55].to_vec();
    assert_eq!(cause(&w.one(&command(&fewer).job())), &Cause::Exit(126));
    let mut g = command(&["echo"]);
    g.env = vec![("A=B".into(), String::new())];
    assert_eq!(cause(&w.one(&g.job())), &Cause::Exit(126));
    let nul = w.one(&shell("a\0b").job());
    assert_eq!(cause(&nul), &Cause::Exit(126));
    assert!(w.stderr(&nul).contains("NUL"));
    assert!(w.one(&command(&["true"]).job()).is_success(), "the slot goes on");
}

fn output_of_failures_is_kept() {
    let mut w = World::new();
    let out = w.one(&shell("echo some; echo words >&2; exit 9").job());
    assert_eq!(cause(&out), &Cause::Exit(9));
    assert_eq!((w.stdout(&out), w.stderr(&out)), ("some\n".into(), "words\n".into()));
    assert_eq!(out.output().stdout.total, 5);
    let quiet = w.one(&command(&["true"]).job());
    assert_eq!(quiet.output().stdout.total, 0, "nothing is left for the next one");
}

fn stdin_is_empty_and_there_is_no_terminal() {
    let mut w = World::new();
    let out = w.one(&shell("cat; (: </dev/tty) 2>/dev/null || echo none").job());
    assert_eq!(w.stdout(&out), "none\n");
}

fn no_descriptor_leaks() {
    let mut w = World::new();
    let out = w.one(&command(&["ls", "/proc/self/fd"]).job());
    // The last one is that of the listing itself.
    assert_eq!(w.stdout(&out), "0\n1\n2\n3\n");
}

fn signals_are_at_their_defaults() {
    let mut w = World::new();
    let out = w.one(&command(&["grep", "-E", "^(SigBlk|SigIgn)", "/proc/self/status"]).job());
    for line in w.stdout(&out).lines() {
        let set = u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap();
        // 32 and 33 belong to the C library; nobody else can touch them.
        assert_eq!(set & !(3 << 31), 0, "{line}");
    }
}

fn policy_is_asked() {
    struct No;
    impl Policy for No {
        fn allows(&self, _: &Manifest, group: &Group) -> Result<(), String> {
            Err(format!("{} is not for us", group.name))
        }
    }
    let mut w = World::with(|c| c.policy = Arc::new(No));
    let all = w.run(&command(&["touch", "/tmp/never"]).array(0, 1, 3).job());
    assert!(all.iter().all(|r| r.as_ref().is_err_and(|why| why.contains("g is not for us"))), "{all:?}");
}
