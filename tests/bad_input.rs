//! What bad input gets: one clear sentence that says what, where and what to do, the documented exit code, and nothing sent.
#![allow(missing_docs)]

mod harness;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use harness::{Cluster, Cmd, Done, FILCH, LONG, Node, check, cluster::tail, until};

/// Asserts a refusal: this exit code, nothing on stdout, and a short text on stderr with all of these in it.
#[track_caller]
fn refused(done: Done, code: i32, says: &[&str]) {
    let done = done.expect(code);
    assert!(done.out.is_empty(), "stdout is for results: {done:?}");
    let lines: Vec<&str> = done.err.lines().filter(|l| !l.trim().is_empty()).collect();
    assert!(lines.len() <= 3 && lines[0].starts_with("error: "), "one clear sentence and what to do: {done:?}");
    for word in says {
        assert!(done.err.contains(word), "lacks `{word}`: {done:?}");
    }
    for noise in ["panicked", "backtrace", "Error {", "Err(", "RUST_"] {
        assert!(!done.err.contains(noise), "`{noise}` is not for people: {done:?}");
    }
}

#[track_caller]
fn nothing_was_sent(node: &Node) {
    assert_eq!(node.jobs(), Ok(vec![]), "a refused job left something behind");
}

fn one() -> Cluster {
    let cluster = Cluster::start(1);
    for name in ["a", "b"] {
        std::fs::write(cluster.nodes[0].work().join(name), name).unwrap();
    }
    cluster
}

#[test]
fn what_map_can_see_for_itself() {
    let c = one();
    let n = &c.nodes[0];
    let map = |args: &[&str]| n.filch(["map"]).args(args).run();
    let copy = ["--", "cp", "{in}", "{out}", ":::", "a", "b"];
    let with = |options: &[&'static str], rest: &[&'static str]| -> Done { map(&[options, rest].concat()) };

    refused(
        with(&["-i", "{}"], &["--", "cat", "{in}", ":::", "a", "missing.txt"]),
        2,
        &["missing.txt", "does not exist"],
    );
    refused(with(&["-i", "{}.x", "-o", "o/{}"], &copy), 2, &["a.x", "does not exist"]);
    refused(map(&["--", "echo", "{nope}", ":::", "a"]), 2, &["unknown placeholder", "{nope}", "{{"]);
    refused(map(&["--", "echo", "{3}", ":::", "a"]), 2, &["{3}"]);
    refused(map(&["--", "echo", "{out}", ":::", "a"]), 2, &["{out}", "-o"]);
    refused(with(&["-i", "{}", "-o", "../{}"], &copy), 2, &["../a", "leaves", "relative"]);
    refused(with(&["-i", "{}", "-o", "x/../../{}"], &copy), 2, &["x/../../a", "leaves"]);
    refused(with(&["-i", "{}", "-o", "/tmp/{}"], &copy), 2, &["/tmp/a", "absolute", "relative"]);
    refused(with(&["-i", "{}", "-o", "same"], &copy), 2, &["tasks 0 and 1", "same", "{#}"]);
    refused(with(&["-i", "{}", "-o", "{}.gz", "-o", "{}.gz"], &copy), 2, &["a.gz", "task 0"]);
    refused(with(&["-i", "."], &["--", "ls", ":::", "a"]), 2, &["is a directory"]);
    refused(map(&["--array", "1-20000000", "--", "true"]), 2, &["20000000", "10000000"]);
    refused(map(&["--array", "5-1", "--", "true"]), 2, &["5-1"]);
    refused(map(&["--", "echo", "::::", "no-such-list"]), 2, &["no-such-list"]);
    nothing_was_sent(n);
    assert!(!n.work().join("o").exists());
    c.down();
}

#[test]
fn an_output_does_not_follow_a_link_out_of_the_directory() {
    let c = one();
    let n = &c.nodes[0];
    let outside = c.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "untouched").unwrap();

    // The submitter's directory has a link to elsewhere: nothing may be written through it.
    symlink(&outside, n.work().join("link")).unwrap();
    let done = n.filch(["map", "-i", "{}", "-o", "link/{}", "--", "cp", "{in}", "{out}", ":::", "a"]).run();
    assert_eq!(done.code(), 2, "{done:?}");
    assert!(done.err.contains("`link` is a symbolic link") && done.err.contains("nothing was sent"), "{done:?}");
    assert_eq!(n.jobs().map(|jobs| jobs.len()), Ok(0), "{done:?}");

    symlink(outside.join("secret"), n.work().join("lf")).unwrap();
    let done = n.filch(["run", "-o", "lf", "--", "sh", "-c", "echo x > lf"]).run();
    assert_eq!(done.code(), 2, "{done:?}");
    assert!(done.err.contains("`lf` is a symbolic link") && done.err.contains("nothing was sent"), "{done:?}");
    assert_eq!(n.jobs().map(|jobs| jobs.len()), Ok(0), "{done:?}");

    // It comes to be one while the job runs: the file stays with the job.
    let script = format!("ln -s {} {}/late && mkdir -p late && echo x > late/a", outside.display(), n.work().display());
    let done = n.filch(["run", "-o", "late/a", "--", "sh", "-c", &script]).run();
    assert_ne!(done.code(), 0, "{done:?}");
    assert!(done.err.contains("late"), "{done:?}");
    assert_eq!(harness::tree(&outside).len(), 1, "{done:?}");

    // The task leaves a link to a file of the host as its output: that file is not taken for it.
    let script = format!("ln -s {} got", outside.join("secret").display());
    let done = n.filch(["run", "-o", "got", "--", "sh", "-c", &script]).run();
    assert_ne!(done.code(), 0, "{done:?}");
    assert!(done.err.contains("got"), "{done:?}");
    assert!(!n.work().join("got").exists());

    // A directory that is a link, too.
    let script = format!("ln -s {} d", outside.display());
    let done = n.filch(["run", "-o", "d/secret", "--", "sh", "-c", &script]).run();
    assert_ne!(done.code(), 0, "{done:?}");
    assert!(!n.work().join("d").exists());
    assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"untouched");
    c.down();
}

#[test]
fn a_program_that_does_not_exist() {
    let c = one();
    let n = &c.nodes[0];
    let done = n.filch(["run", "--", "no-such-program-here"]).run().expect(127);
    assert!(done.err.contains("not found") && done.err.contains(&format!("on {}; ", n.name)), "{done:?}");
    let plain = n.work().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
    n.filch(["run".as_ref(), "--".as_ref(), plain.as_os_str()]).run().expect(126);
    let done = n.filch(["map", "--", "no-such-program-here", ":::", "x", "y"]).run().expect(1);
    assert!(done.err.contains("127") || done.err.contains("not found"), "{done:?}");
    c.down();
}

#[test]
fn a_socket_nobody_listens_on() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("nobody");
    let with = |args: &[&str]| Cmd::new(FILCH).args(args).env("FILCH_SOCKET", &socket).env("HOME", dir.path()).run();
    let where_ = socket.to_str().unwrap();
    for args in [&["ls"][..], &["nodes"], &["map", "--array", "1-3", "--", "true"], &["down"], &["show", "abcd1234"]] {
        refused(with(args), 4, &[where_, "filch up"]);
    }
    // What `run` exits with is the task's business; what is ours is 125.
    refused(with(&["run", "--", "true"]), 125, &[where_, "filch up"]);
    // A socket that was left behind is the same.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    refused(with(&["ls"]), 4, &[where_, "filch up"]);
}

fn up(dir: &Path, args: &[&str]) -> Done {
    Cmd::new(FILCH).arg("up").args(args).env("HOME", dir).dir(dir).run()
}

#[test]
fn a_configuration_that_makes_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("c.toml");
    let (file, data) = (config.to_str().unwrap().to_owned(), dir.path().join("d"));
    let data = data.to_str().unwrap().to_owned();
    let with = |text: &str| {
        std::fs::write(&config, text).unwrap();
        up(dir.path(), &["--config", &file, "--data-dir", &data])
    };
    refused(with("name = \"x\"\nsolts = 3\n"), 2, &["c.toml:2", "solts", "slots"]);
    refused(with("slots = \"many\"\n"), 2, &["c.toml:1", "slots"]);
    refused(with("[timing]\nlease = \"soon\"\n"), 2, &["lease", "soon"]);
    refused(with("[timing]\nlease = \"1s\"\n"), 2, &["lease"]);
    refused(with("not toml at all"), 2, &["c.toml:1"]);
    refused(with("listen = [\"192.168.1.1:7000\"]\n"), 2, &["listen", "192.168.1.1:7000"]);
    refused(up(dir.path(), &["--config", "/no/such/file.toml"]), 2, &["/no/such/file.toml"]);
    assert!(!dir.path().join("d").exists(), "nothing was made for a node that never was");
}

#[test]
fn a_cluster_key_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    let (path, data) = (key.to_str().unwrap(), dir.path().join("d"));
    let data = data.to_str().unwrap();
    let args = ["--data-dir", data, "--cluster-key", path];
    refused(up(dir.path(), &args), 2, &[path, "keygen"]);
    std::fs::write(&key, "hello\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    refused(up(dir.path(), &args), 2, &[path, "64 hex digits"]);
    std::fs::write(&key, "0".repeat(64)).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(up(dir.path(), &args), 2, &[path, "chmod 600"]);
    // A key that is there is not overwritten.
    let done = Cmd::new(FILCH).args(["keygen", path]).env("HOME", dir.path()).run();
    assert_ne!(done.code(), 0, "{done:?}");
    assert_eq!(std::fs::read_to_string(&key).unwrap(), "0".repeat(64));
}

#[test]
fn a_data_directory_from_a_newer_version() {
    let mut c = one();
    c.nodes[0].down();
    let data = c.nodes[0].data();
    let before = std::fs::read(data.join("identity")).unwrap();
    std::fs::write(data.join("format"), "99\n").unwrap();
    let done = up(c.dir.path(), &["--data-dir", data.to_str().unwrap()]);
    refused(done, 2, &[data.to_str().unwrap(), "99", "newer"]);
    assert_eq!(std::fs::read(data.join("identity")).unwrap(), before);
    // Nothing is lost: with its own version it is the same node.
    std::fs::write(data.join("format"), "1\n").unwrap();
    c.nodes[0].restart();
    c.down();
}

#[test]
fn a_second_node_on_the_same_directory() {
    let c = one();
    let n = &c.nodes[0];
    let data = n.data();
    let pid = n.pid().as_raw_nonzero().to_string();
    let done = up(c.dir.path(), &["--data-dir", data.to_str().unwrap()]);
    refused(done, 2, &[data.to_str().unwrap(), &pid, "--data-dir"]);
    // Without its socket, `filch down` does not find it.
    let socket = n.socket.clone();
    let hidden = socket.with_extension("hidden");
    std::fs::rename(&socket, &hidden).unwrap();
    let done = up(c.dir.path(), &["--data-dir", data.to_str().unwrap(), "--socket", socket.to_str().unwrap()]);
    refused(done, 2, &[&format!("`kill {pid}`"), socket.to_str().unwrap()]);
    for command in ["ls", "down", "nodes"] {
        let done = n.filch([command, "--data-dir", data.to_str().unwrap(), "--socket", socket.to_str().unwrap()]).run();
        refused(done, 4, &[&format!("`kill {pid}`"), socket.to_str().unwrap()]);
    }
    std::fs::rename(&hidden, &socket).unwrap();
    // The first one did not notice.
    assert_eq!(n.filch(["run", "--", "echo", "still here"]).run().ok().text(), "still here\n");
    c.down();
}

#[test]
fn a_data_directory_that_is_somebody_elses() {
    let tmp = tempfile::Builder::new().prefix("filch-t").tempdir().unwrap();
    let dir = tmp.path().join("thesis");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(dir.join("chapter1"), "").unwrap();
    let name = dir.to_str().unwrap();
    for options in [&["--data-dir", name][..], &["--data-dir", name, "--detach"]] {
        refused(up(tmp.path(), options), 2, &[name, "chapter1", "empty"]);
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing was written there");
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_first_start_warns_of_no_damage() {
    let c = one();
    let log = tail(&c.nodes[0].log, 200);
    assert!(!log.contains("blob index"), "{log}");
    c.down();
}

#[test]
fn a_stdout_that_is_full() {
    let c = one();
    let n = &c.nodes[0];
    let job = n.filch(["submit", "--", "echo", "x"]).run().ok().text();
    for command in ["nodes", "ls", "show", "logs", "map --dry-run -- echo ::: a", "completions bash", "keygen", "down"]
    {
        let job = if ["show", "logs"].contains(&command) { job.trim() } else { "" };
        let line = format!("exec {FILCH} {command} {job} > /dev/full");
        let done = n.shell(&line).run().expect(4);
        assert!(done.err.contains("cannot write to stdout"), "{command}: {done:?}");
    }
}

#[test]
fn a_wrong_cluster_key() {
    let mut c = Cluster::prepare(&[Default::default(), Default::default()]);
    let other = c.path("other.key");
    Cmd::new(FILCH).args(["keygen".as_ref(), other.as_os_str()]).env("HOME", c.dir.path()).run().ok();
    c.nodes[1].use_key(&other);
    c.start_all();
    let logs: Vec<_> = c.nodes.iter().map(|n| n.log.clone()).collect();
    until("both sides say that the keys differ", LONG, || {
        let told = |log: &Path| tail(log, 200).to_lowercase().contains("cluster key");
        check(logs.iter().all(|l| told(l)), logs.iter().map(|l| tail(l, 10)).collect::<Vec<_>>())
    });
    // Each stays a cluster of its own.
    for n in &c.nodes {
        assert_eq!(n.filch(["run", "--", "sh", "-c", "echo $FILCH_NODE"]).run().ok().text().lines().count(), 1);
        assert_eq!(n.sees(), Ok(vec![]));
        assert_eq!(n.jobs().unwrap().len(), 1);
    }
    c.down();
}

#[test]
fn an_id_that_is_none() {
    let c = one();
    let n = &c.nodes[0];
    for command in ["show", "wait", "cancel", "fetch"] {
        refused(n.filch([command, "xyz"]).run(), 2, &["xyz"]);
        refused(n.filch([command, "0123456789abcdef"]).run(), 2, &["0123456789abcdef"]);
    }
    c.down();
}
