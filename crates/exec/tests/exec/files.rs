//! Directories, inputs, outputs, logs.

use std::fs;
use std::os::unix::fs::MetadataExt;

use filch_exec::{HostError, LiveStream};
use filch_types::items::Item;
use filch_types::limits::{LOG_HEAD, LOG_TAIL};
use filch_types::manifest::InFile;
use filch_types::{BlobId, Cause, Content, Outcome};

use crate::world::{Test, With, World, command, eventually, job, shell, text_of};

pub const TESTS: &[Test] = &[
    ("inputs_in_outputs_out", inputs_in_outputs_out),
    ("inputs_are_not_writable_through_to_the_store", inputs_are_not_writable_through),
    ("every_attempt_has_a_fresh_private_directory", every_attempt_has_a_fresh_private_directory),
    ("directories_do_not_pile_up", directories_do_not_pile_up),
    ("only_plain_files_are_collected", only_plain_files_are_collected),
    ("outputs_need_success", outputs_need_success),
    ("escaping_and_colliding_paths_fail", escaping_and_colliding_paths_fail),
    ("hard_linked_output_is_copied", hard_linked_output_is_copied),
    ("inline_bytes_are_bounded", inline_bytes_are_bounded),
    ("node_faults_bounce", node_faults_bounce),
    ("long_logs_keep_head_and_tail", long_logs_keep_head_and_tail),
    ("long_logs_are_bounded_while_they_grow", long_logs_are_bounded_while_they_grow),
    ("logs_can_be_followed", logs_can_be_followed),
    ("tampered_logs_harm_nobody_else", tampered_logs_harm_nobody_else),
];

fn inputs_in_outputs_out() {
    let mut w = World::new();
    let items: Vec<Item> = ["a.txt", "b.txt"]
        .iter()
        .map(|n| Item {
            values: vec![format!("src/{n}")],
            inputs: vec![w.store.input(&format!("src/{n}"), n.as_bytes(), false)],
        })
        .collect();
    let mut g = command(&["sh", "-c", "cat \"$1\" \"$2\" >\"$3\"; chmod 755 \"$3\"", "_", "{in}", "{in2}", "{out}"])
        .items(&w.store, &items)
        .outputs(&["out/deep/{/.}.up"]);
    g.inputs = vec![w.store.input("common/head", b"head:", false)];
    let all = w.run(&g.job());
    for (outcome, name) in all.iter().zip(["a", "b"]) {
        let Ok(Outcome::Success(out)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(out.files[0].path, format!("out/deep/{name}.up"));
        assert!(out.files[0].executable);
        assert_eq!(text_of(out, 0, &w.store), format!("head:{name}.txt"));
    }
}

fn inputs_are_not_writable_through() {
    let mut w = World::new();
    let input = w.store.input("data", b"original", false);
    let mut g = shell("chmod 666 data; echo spoiled >data; cat data");
    g.inputs = vec![input.clone()];
    let out = w.one(&g.job());
    assert_eq!(w.stdout(&out), "spoiled\n");
    assert_eq!(w.store.get(&Content::Blob(input.blob, input.len)), b"original");
}

fn every_attempt_has_a_fresh_private_directory() {
    let mut w = World::new();
    let script =
        "ls -A . \"$TMPDIR\" | grep -v : | grep .; stat -c %a . \"$TMPDIR\"; [ \"$PWD\" = \"$HOME\" ] || echo cwd;
        case $((FILCH_TASK % 5)) in 0) touch x .y; touch $TMPDIR/z;; 1) chmod 777 .;; 2) mkdir d; chmod 0 d;;
        3) mv ../$(basename $PWD) ../moved$FILCH_TASK;; esac";
    let all = w.run(&shell(script).array(0, 1, 30).job());
    for outcome in &all {
        assert_eq!(w.stdout(outcome.as_ref().unwrap()), "700\n700\n");
    }
}

fn directories_do_not_pile_up() {
    let mut w = World::new();
    w.run(&shell("mkdir -p a/b; echo x >a/b/c; chmod 0 a/b a").array(0, 1, 20).job());
    let slot = w.dir.path().join("work/s0");
    eventually("all are removed", || {
        let left = fs::read_dir(&slot).unwrap().filter(|e| e.as_ref().unwrap().file_type().unwrap().is_dir()).count();
        left <= 2
    });
}

fn only_plain_files_are_collected() {
    let mut w = World::new();
    for script in [
        ":",
        "ln -s /etc/passwd d/out",
        "echo secret >other; ln -s ../other d/out",
        "rmdir d; ln -s /etc d; :",
        "mkdir e; echo x >e/out; rmdir d; ln -s e d",
        "mkdir d/out",
        "mkfifo d/out",
        "mv $PWD $PWD.moved; ln -s /etc $HOME",
    ] {
        let out = w.one(&shell(script).outputs(&["d/out"]).job());
        assert!(
            matches!(&out, Outcome::Failed(Cause::OutputMissing(p), o) if p == "d/out" && o.files.is_empty()),
            "{script}"
        );
    }
    assert!(w.one(&shell("echo x >d/out").outputs(&["d/out"]).job()).is_success());
}

fn outputs_need_success() {
    let mut w = World::new();
    let out = w.one(&shell("echo x >out; exit 1").outputs(&["out"]).job());
    assert!(matches!(&out, Outcome::Failed(Cause::Exit(1), o) if o.files.is_empty()));
}

fn escaping_and_colliding_paths_fail() {
    let mut w = World::new();
    let item = |v: &str| Item { values: vec![v.into()], inputs: vec![] };
    let g = command(&["true"]).items(&w.store, &[item("../x"), item("/etc/x"), item("")]).outputs(&["{}"]);
    for outcome in w.run(&g.job()) {
        assert!(matches!(outcome, Ok(Outcome::Failed(Cause::OutputMissing(_), _))), "{outcome:?}");
    }
    let mut g = command(&["true"]);
    g.inputs = vec![w.store.input("a", b"1", false), w.store.input("a/b", b"2", false)];
    let out = w.one(&g.job());
    assert!(matches!(out, Outcome::Failed(Cause::Exit(126), _)));
    assert!(w.stderr(&out).contains("lies below `a`"));
    let mut g = command(&["true"]).outputs(&["a/b"]);
    g.inputs = vec![w.store.input("a", b"1", false)];
    assert!(matches!(w.one(&g.job()), Outcome::Failed(Cause::OutputMissing(_), _)));
}

fn hard_linked_output_is_copied() {
    let mut w = World::new();
    *w.store.on_keep.lock().unwrap() = Some(Box::new(|path| {
        assert_eq!(fs::metadata(path).unwrap().nlink(), 1);
        Ok(())
    }));
    let out = w.one(&shell("head -c 9000 /dev/zero >a; ln a out").outputs(&["out"]).job());
    assert_eq!(out.output().files[0].content.len(), 9000);
}

fn inline_bytes_are_bounded() {
    let mut w = World::new();
    let script = "head -c 4000 /dev/zero; for i in 1 2 3 4 5 6 7 8; do head -c 4000 /dev/zero >o$i; done";
    let out = w.one(&shell(script).outputs(&["o1", "o2", "o3", "o4", "o5", "o6", "o7", "o8"]).job());
    assert!(out.output().inline_len() <= filch_types::limits::INLINE_RESULT + 100, "{}", out.output().inline_len());
    assert_eq!(out.output().blobs().count(), 5);
    assert!(out.output().files.iter().all(|f| f.content.len() == 4000));
}

fn node_faults_bounce() {
    let mut w = World::new();
    let mut g = command(&["true"]).array(0, 1, 2);
    g.inputs = vec![InFile { path: "x".into(), blob: BlobId([9; 32]), len: 1, executable: false }];
    let all = w.run(&g.job());
    assert!(all.iter().all(|r| r.as_ref().is_err_and(|why| why.contains("input unavailable: x"))), "{all:?}");
    *w.store.on_keep.lock().unwrap() = Some(Box::new(|_| Err(HostError::Full("1 MiB left".into()))));
    let all = w.run(&shell("head -c 9000 /dev/zero >out").outputs(&["out"]).array(0, 1, 3).job());
    assert!(all.iter().all(|r| r.as_ref().is_err_and(|why| why.contains("disk is full"))), "{all:?}");
}

fn long_logs_keep_head_and_tail() {
    let mut w = World::new();
    let out = w.one(&shell("echo first; head -c 300000000 /dev/zero; echo last; echo err >&2").job());
    let stdout = &out.output().stdout;
    assert_eq!(stdout.total, 300_000_000 + 11);
    let kept = w.store.get(&stdout.kept);
    assert_eq!(kept.len() as u64, LOG_HEAD + LOG_TAIL);
    assert!(kept.starts_with(b"first\n") && kept.ends_with(b"last\n"));
    assert_eq!(w.stderr(&out), "err\n");
    let next = w.exec_next();
    assert_eq!(w.stdout(&next), "next\n");
}

impl World {
    fn exec_next(&mut self) -> Outcome {
        self.one(&shell("echo next").job())
    }
}

fn long_logs_are_bounded_while_they_grow() {
    let mut w = World::new();
    let go = w.dir.path().join("go");
    let script = format!("head -c 100000000 /dev/zero; while [ ! -e {} ]; do sleep 0.02; done; echo end", go.display());
    let m = shell(&script).job();
    let launch = w.start(&m, filch_types::ranges::Range::new(0, 1));
    eventually("the middle is given back", || {
        let path = w.exec.running().into_iter().find_map(|r| r.live).map(|l| l.stdout.path);
        path.and_then(|p| fs::metadata(p).ok())
            .is_some_and(|m| m.len() == 100_000_000 && m.blocks() * 512 < 4 * 1024 * 1024)
    });
    fs::write(go, "").unwrap();
    let got = w.gather(&[(launch, filch_types::ranges::Range::new(0, 1))]);
    let out = got[&launch][0].as_ref().unwrap();
    assert_eq!(out.output().stdout.total, 100_000_004);
    assert!(w.store.get(&out.output().stdout.kept).ends_with(b"\0end\n"));
}

fn logs_can_be_followed() {
    let mut w = World::new();
    let go = w.dir.path().join("go");
    let m = shell(&format!("echo one; while [ ! -e {} ]; do sleep 0.02; done; echo two", go.display())).job();
    let launch = w.start(&m, filch_types::ranges::Range::new(0, 1));
    let read = |at| w.exec.read_live((job(), 0, 5), LiveStream::Stdout, at, 100);
    eventually("the first line", || read(0).is_some_and(|r| r.unwrap() == b"one\n"));
    assert_eq!(read(4).unwrap().unwrap(), b"");
    assert!(w.exec.read_live((job(), 0, 6), LiveStream::Stdout, 0, 100).is_none(), "another attempt");
    fs::write(go, "").unwrap();
    let got = w.gather(&[(launch, filch_types::ranges::Range::new(0, 1))]);
    assert_eq!(w.stdout(got[&launch][0].as_ref().unwrap()), "one\ntwo\n");
    eventually("it is over", || w.exec.running().is_empty());
    assert!(w.exec.read_live((job(), 0, 5), LiveStream::Stdout, 0, 100).is_none());
}

fn tampered_logs_harm_nobody_else() {
    let mut w = World::new();
    for script in [
        "echo kept; rm ../stdout; ln -s /etc/passwd ../stdout",
        "echo kept; ln ../stdout mine; ln ../stderr mine2",
        "echo kept; mv ../stdout gone; echo other >../stdout",
    ] {
        let out = w.one(&shell(script).job());
        assert_eq!(w.stdout(&out), "kept\n", "{script}");
        let out = w.exec_next();
        assert_eq!((w.stdout(&out).as_str(), w.stderr(&out).as_str()), ("next\n", ""), "{script}");
    }
}
