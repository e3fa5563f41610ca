//! The binary against a scripted node: exit codes, what goes to stdout and what to stderr. Real nodes are in `tests/`.
#![allow(missing_docs)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

const JOB: &str = "ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12";

struct Node {
    dir: tempfile::TempDir,
    served: Option<JoinHandle<Vec<String>>>,
}

/// Answers one request per response, in this order, and remembers what was asked.
fn node(responses: Vec<String>) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let served = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for response in responses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut got = Vec::new();
            let mut chunk = [0; 4096];
            while !complete(&got) {
                let n = stream.read(&mut chunk).unwrap();
                assert_ne!(n, 0, "the client hung up");
                got.extend_from_slice(&chunk[..n]);
            }
            asked.push(String::from_utf8_lossy(&got).into_owned());
            // A client that has what it wants may be gone.
            let _ = stream.write_all(response.as_bytes());
        }
        asked
    });
    Node { dir, served: Some(served) }
}

fn complete(got: &[u8]) -> bool {
    let text = String::from_utf8_lossy(got).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    body.len() >= head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |l| l.parse().unwrap())
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
fn lines(lines: &[String]) -> String {
    answer("200 OK", &lines.iter().map(|l| format!("{l}\n")).collect::<String>())
}
fn submitted() -> String {
    let accepted = format!(r#"{{"accepted":{{"job":"{JOB}","holders":[{{"id":"{JOB}","name":"a"}}]}}}}"#);
    lines(&[format!(r#"{{"submitted":{{"job":"{JOB}"}}}}"#), accepted])
}
fn counts(succeeded: u32, failed: u32) -> String {
    let total = succeeded + failed;
    format!(
        r#"{{"total":{total},"waiting":0,"queued":0,"leased":0,"succeeded":{succeeded},"failed":{failed},"cancelled":0,"final":{total}}}"#
    )
}
fn end(state: &str, succeeded: u32, failed: u32, delivery: &str) -> String {
    format!(r#"{{"end":{{"counts":{},"state":"{state}"{delivery}}}}}"#, counts(succeeded, failed))
}
fn result(task: u32, state: &str, rest: &str) -> String {
    format!(r#"{{"result":{{"cursor":"{task}","task":{task},"number":{task},"state":"{state}","final":true{rest}}}}}"#)
}
fn out(text: &str) -> String {
    format!(r#","stdout":{{"kept":{{"text":"{text}"}},"total":{}}}"#, text.len())
}

impl Node {
    fn filch(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_filch"))
            .args(args)
            .env_clear()
            .env("FILCH_SOCKET", self.dir.path().join("s"))
            .env("FILCH_RECONNECT", "0s")
            .current_dir(self.dir.path())
            .output()
            .unwrap()
    }
    fn asked(mut self) -> Vec<String> {
        self.served.take().unwrap().join().unwrap()
    }
}

#[track_caller]
fn check(output: &Output, code: i32, stdout: &str, stderr: &[&str]) {
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(code), stdout), "{err}");
    for word in stderr {
        assert!(err.contains(word), "lacks `{word}`: {err}");
    }
    if stderr.is_empty() {
        assert_eq!(err, "");
    }
}

#[test]
fn run_ends_as_its_task_did() {
    for (rest, code, says) in [
        (r#","stderr":{"kept":{"text":"oops\n"},"total":5},"cause":{"exit":7}"#, 7, "oops\n"),
        (r#","cause":{"signal":9}"#, 137, "signal 9"),
        (r#","cause":"timed_out""#, 124, "time limit"),
        (r#","cause":{"output_missing":"x"}"#, 1, "`x`"),
        (r#","cause":"node_lost""#, 125, "lost"),
        (r#","cause":{"handler":"no such tree"}"#, 1, "filch: no such tree"),
        (NOT_THERE, 127, "x: not found\nfilch: this was on attic; a program has to be on every node"),
        (r#","stderr":{"kept":{"text":"half"},"total":4},"cause":"timed_out""#, 124, "half\nfilch: time limit"),
    ] {
        let node = node(vec![submitted(), lines(&[result(0, "failed", rest)])]);
        check(&node.filch(&["run", "--", "x"]), code, "", &[says]);
    }
    let node = node(vec![submitted(), lines(&[result(0, "succeeded", &out("hi"))])]);
    check(&node.filch(&["run", "--", "echo", "{x}"]), 0, "hi", &[]);
    let asked = node.asked();
    assert!(asked[0].contains(r#""command":["echo","{{x}"]"#), "{}", asked[0]);
    assert!(asked[1].contains("follow=true&stage=visible"), "{}", asked[1]);
}

const NOT_THERE: &str = r#","stderr":{"kept":{"text":"x: not found\n"},"total":13},"cause":{"exit":127},"node":{"id":"ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12","name":"attic"}"#;

#[test]
fn run_of_a_job_that_somebody_cancels() {
    let ended = node(vec![submitted(), lines(&[end("cancelled", 0, 0, "")])]);
    check(&ended.filch(&["run", "--", "x"]), 3, "", &["the job was cancelled"]);
    let cut = node(vec![submitted(), lines(&[result(0, "cancelled", "")])]);
    check(&cut.filch(&["run", "--", "x"]), 3, "", &["the job was cancelled"]);
}

#[test]
fn a_stdout_that_takes_nothing() {
    let full = |node: &Node, args: &[&str]| {
        let mut filch = Command::new(env!("CARGO_BIN_EXE_filch"));
        filch.args(args).env_clear().env("FILCH_SOCKET", node.dir.path().join("s")).env("FILCH_RECONNECT", "0s");
        filch.stdout(std::fs::File::create("/dev/full").unwrap()).output().unwrap()
    };
    let one = node(vec![submitted(), lines(&[result(0, "succeeded", &out("hi"))])]);
    check(&full(&one, &["run", "--", "x"]), 125, "", &["cannot write to stdout", "filch logs ab12ab12ab 0"]);
    let all = [result(0, "succeeded", &out("hi")), end("succeeded", 1, 0, "")];
    let many = node(vec![submitted(), lines(&all)]);
    check(&full(&many, &["map", "--array", "1-1", "x"]), 4, "", &["cannot write to stdout", "filch wait ab12ab12ab"]);
}

#[test]
fn usage_errors_as_json() {
    let node = node(vec![]);
    let done = node.filch(&["map", "--json", "-i", "-x", "--", "cat", ":::", "a"]);
    let line = String::from_utf8(done.stderr).unwrap();
    let error: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((done.status.code(), &error["error"]["exit"]), (Some(2), &serde_json::json!(2)), "{line}");
    assert!(line.contains("unexpected argument '-x'") && line.contains("`-i=-x`"), "{line}");
    let key = node.filch(&["keygen", "--json"]);
    let key: serde_json::Value = serde_json::from_slice(&key.stdout).unwrap();
    assert_eq!(key["key"].as_str().map(str::len), Some(64));
}

#[test]
fn a_connection_that_breaks_is_our_fault() {
    let broken = || node(vec![submitted(), lines(&[])]);
    check(&broken().filch(&["run", "--", "x"]), 125, "", &["lost", "hint"]);
    check(&broken().filch(&["map", "--array", "1-2", "x"]), 4, "", &["lost", "hint"]);
}

#[test]
fn map_puts_the_list_first_and_ends_as_its_job_did() {
    let list = {
        let mut w = filch_types::items::Writer::default();
        for v in ["a", "b"] {
            w.push(&filch_types::items::Item { values: vec![v.into()], inputs: vec![] }).unwrap();
        }
        w.finish()
    };
    let stored = answer("200 OK", &format!(r#"{{"blob":"{}","len":{}}}"#, filch_types::BlobId::of(&list), list.len()));
    let failed_one = r#","delivery":{"dir":"/d","files":1,"bytes":1,"pending":0,"failed":1,"problems":["o: no room"]}"#;
    for (state, failed, delivery, code, says) in [
        ("succeeded", 0, "", 0, "accepted: 1 copy (a)"),
        ("failed", 1, "", 1, "task 1 (b) failed: exit 2"),
        ("cancelled", 0, "", 3, "cancelled"),
        ("succeeded", 0, failed_one, 4, "o: no room"),
    ] {
        let second = if failed == 1 {
            result(1, "failed", r#","cause":{"exit":2}"#)
        } else {
            result(1, "succeeded", &out("2\\n"))
        };
        let all = [result(0, "succeeded", &out("1\\n")), second, end(state, 2 - failed, failed, delivery)];
        let node = node(vec![stored.clone(), submitted(), lines(&all)]);
        let want = if failed == 1 { "a\t1\n" } else { "a\t1\nb\t2\n" };
        check(&node.filch(&["map", "-k", "--tag", "x", ":::", "a", "b"]), code, want, &[says]);
        let asked = node.asked();
        assert!(asked[0].starts_with("PUT /v1/blobs ") && asked[2].contains("ordered=true"), "{asked:?}");
    }
}

#[test]
fn problems_keep_their_code_and_hint_in_json_too() {
    let problem = r#"{"type":"urn:filch:problem:no_such_job","code":"no_such_job","status":404,"title":"no such job","detail":"abcd","hint":"look again","exit":2}"#;
    let text = node(vec![answer("404 Not Found", problem)]);
    check(&text.filch(&["show", "abcd"]), 2, "", &["error: no such job: abcd\nhint: look again\n"]);
    let json = node(vec![answer("404 Not Found", problem)]);
    check(&json.filch(&["show", "abcd", "--json"]), 2, "", &[r#""code":"no_such_job""#, r#""exit":2"#]);
}

#[test]
fn submit_prints_the_id_only_when_accepted() {
    check(&node(vec![submitted()]).filch(&["submit", "-q", "--", "x"]), 0, &format!("{JOB}\n"), &[]);
    let problem = r#"{"problem":{"type":"t","code":"too_few_copies","status":503,"title":"not enough copies could be made","exit":4}}"#;
    let refused = lines(&[format!(r#"{{"submitted":{{"job":"{JOB}"}}}}"#), problem.to_owned()]);
    check(&node(vec![refused]).filch(&["submit", "--", "x"]), 4, "", &["not enough copies", "not accepted"]);
}

#[test]
fn nothing_is_sent_of_what_cannot_be() {
    let node = node(vec![]);
    for (args, says) in [
        (&["map", "-i", "{}", "--", "cat", ":::", "nope.txt"][..], "nope.txt` does not exist"),
        (&["map", "x", "{nope}", ":::", "a"], "unknown placeholder"),
        (&["map", "-o", "../{}", "x", ":::", "a"], "leaves"),
        (&["map", "-o", "same", "x", ":::", "a", "b"], "tasks 0 and 1"),
        (&["map", "x"], "nothing to map over"),
        (&["show", "xyz"], "`xyz`"),
    ] {
        check(&node.filch(args), 2, "", &[says, "error: "]);
    }
    check(&node.filch(&["map", "--dry-run", "-q", "echo", ":::", "a b"]), 0, "echo 'a b'\n", &[]);
    assert!(node.asked().is_empty());
}

#[test]
fn no_node_at_all() {
    let node = node(vec![]);
    std::fs::remove_file(node.dir.path().join("s")).unwrap();
    check(&node.filch(&["ls"]), 4, "", &["no node is running here", "filch up"]);
    check(&node.filch(&["run", "--", "x"]), 125, "", &["no node is running here", "filch up"]);
}

/// The next request, and the nonce in it.
fn nonce(listener: &UnixListener) -> (UnixStream, String) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut got = Vec::new();
    let mut chunk = [0; 4096];
    while !complete(&got) {
        let n = stream.read(&mut chunk).unwrap();
        assert_ne!(n, 0, "the client hung up");
        got.extend_from_slice(&chunk[..n]);
    }
    let text = String::from_utf8_lossy(&got).into_owned();
    let nonce = text.split_once(r#""nonce":""#).unwrap_or_else(|| panic!("{text}")).1;
    (stream, nonce.chars().take_while(char::is_ascii_hexdigit).collect())
}

#[test]
fn a_submit_that_was_cut_off_before_its_answer_goes_on_as_the_same_job() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let submit = |program: &str| -> Child {
        let mut filch = Command::new(env!("CARGO_BIN_EXE_filch"));
        filch.args(["submit", "--", program]).env_clear().env("HOME", dir.path()).env("FILCH_RECONNECT", "0s");
        filch.env("FILCH_SOCKET", dir.path().join("s")).current_dir(dir.path());
        filch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // Killed after it sent and before anything came back.
    let mut child = submit("x");
    let (stream, first) = nonce(&listener);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stream);
    // Another command is another job; the node breaks off.
    let child = submit("y");
    let (stream, other) = nonce(&listener);
    assert_ne!(other, first);
    drop(stream);
    check(&child.wait_with_output().unwrap(), 4, "", &["lost", "same command within 10 minutes"]);
    // The same command again.
    let child = submit("x");
    let (mut stream, again) = nonce(&listener);
    assert_eq!(again, first);
    let known = submitted().replace(&format!(r#""job":"{JOB}"}}}}"#), &format!(r#""job":"{JOB}","known":true}}}}"#));
    let body = known.split_once("\r\n\r\n").unwrap().1;
    stream.write_all(answer("200 OK", body).as_bytes()).unwrap();
    check(&child.wait_with_output().unwrap(), 0, &format!("{JOB}\n"), &["going on with job ab12ab12", "cut off"]);
    // Answered: from now on it is a new job.
    let child = submit("x");
    let (mut stream, new) = nonce(&listener);
    assert_ne!(new, first);
    stream.write_all(submitted().as_bytes()).unwrap();
    check(&child.wait_with_output().unwrap(), 0, &format!("{JOB}\n"), &["accepted"]);
}
