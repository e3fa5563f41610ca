//! Who may depend on whom. The picture is in ARCHITECTURE.md; this is the same as a table that bites.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Every crate of the workspace with the workspace crates that it may name. A new crate needs a line here.
const MAY_USE: &[(&str, &[&str])] = &[
    ("filch-types", &[]),
    ("filch-core", &["filch-types"]),
    ("filch-sim", &["filch-types", "filch-core", "filch-handlers"]),
    ("filch-ledger", &["filch-types"]),
    ("filch-blobs", &["filch-types"]),
    ("filch-handlers", &["filch-types"]),
    ("filch-exec", &["filch-types", "filch-handlers"]),
    ("filch-net", &["filch-types", "filch-core"]),
    ("filch-api", &["filch-types"]),
    (
        "filch-node",
        &[
            "filch-types",
            "filch-core",
            "filch-handlers",
            "filch-net",
            "filch-ledger",
            "filch-blobs",
            "filch-exec",
            "filch-api",
        ],
    ),
    ("filch-client", &["filch-types", "filch-api"]),
    ("filch", &["filch-types", "filch-sim", "filch-api", "filch-client", "filch-node"]),
    // Tests that are crates of their own.
    ("filch-fuzz", &["filch-types", "filch-core", "filch-handlers", "filch-sim", "filch-api", "filch-blobs"]),
    ("filch-search", &["filch-types", "filch-core"]),
    ("filch-bench", &["filch-types", "filch-handlers", "filch-api", "filch-client"]),
];

/// What tests may name besides: the simulator's latencies are compared with real ones.
const MAY_TEST_WITH: &[(&str, &str)] = &[("filch-net", "filch-sim")];

/// Crates whose whole dependency tree must be free of these.
const FREE_OF: &[(&str, &[&str])] = &[
    ("filch-types", PURE),
    ("filch-core", PURE),
    ("filch-sim", PURE),
    ("filch-handlers", PURE),
    ("filch-ledger", &["libp2p"]),
    ("filch-blobs", &["libp2p"]),
    ("filch-exec", &["libp2p"]),
    ("filch-api", &["libp2p", "tokio"]),
    ("filch-client", &["libp2p"]),
];
const PURE: &[&str] = &["libp2p", "tokio", "getrandom", "rand", "mio", "async-std", "futures-timer"];

/// Crates whose sources must not name clocks, files, threads, sockets, ambient randomness or unordered collections.
const PURE_SOURCES: &[&str] = &["types", "core", "sim", "handlers"];
const BANNED_WORDS: &[&str] = &[
    "Instant",
    "SystemTime",
    "tokio",
    "libp2p",
    "getrandom",
    "thread_rng",
    "OsRng",
    "RandomState",
    "HashMap",
    "HashSet",
];
const BANNED_STD: &[&str] = &["thread", "fs", "net", "process", "env", "time", "os"];

struct Workspace {
    root: PathBuf,
    /// Package id to name.
    names: BTreeMap<String, String>,
    /// Members by name, with (dependency, kind) by name; kind is `normal`, `build` or `dev`.
    members: BTreeMap<String, BTreeSet<(String, String)>>,
    /// Resolved: package id to (package id, kind).
    edges: BTreeMap<String, Vec<(String, String)>>,
}

fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v[key].as_str().unwrap_or_else(|| panic!("cargo metadata: no `{key}` in {v}"))
}

fn list<'a>(v: &'a Value, key: &str) -> &'a [Value] {
    v[key].as_array().unwrap_or_else(|| panic!("cargo metadata: no list `{key}`"))
}

fn kind_of(v: &Value) -> String {
    v["kind"].as_str().unwrap_or("normal").to_owned()
}

fn workspace() -> Workspace {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(&manifest)
        .output()
        .expect("cargo metadata starts");
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    let all: Value = serde_json::from_slice(&out.stdout).expect("cargo metadata prints JSON");

    let ours: BTreeSet<&str> = list(&all, "workspace_members").iter().filter_map(Value::as_str).collect();
    let mut names = BTreeMap::new();
    let mut members = BTreeMap::new();
    for p in list(&all, "packages") {
        names.insert(text(p, "id").to_owned(), text(p, "name").to_owned());
        if ours.contains(text(p, "id")) {
            let deps = list(p, "dependencies").iter().map(|d| (text(d, "name").to_owned(), kind_of(d))).collect();
            members.insert(text(p, "name").to_owned(), deps);
        }
    }
    let mut edges: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for n in list(&all["resolve"], "nodes") {
        let to = edges.entry(text(n, "id").to_owned()).or_default();
        for d in list(n, "deps") {
            to.extend(list(d, "dep_kinds").iter().map(|k| (text(d, "pkg").to_owned(), kind_of(k))));
        }
    }
    Workspace { root: text(&all, "workspace_root").into(), names, members, edges }
}

impl Workspace {
    /// Everything that is linked with a member's library, with the way there. What build scripts use is not.
    fn closure(&self, member: &str) -> BTreeMap<String, String> {
        let start = self
            .names
            .iter()
            .find(|(id, name)| *name == member && id.contains(self.root.to_str().expect("UTF-8")))
            .map(|(id, _)| id.clone())
            .unwrap_or_else(|| panic!("no {member} in the workspace"));
        let mut way = BTreeMap::from([(start.clone(), member.to_owned())]);
        let mut todo = vec![start];
        while let Some(id) = todo.pop() {
            for (next, kind) in &self.edges[&id] {
                if kind == "normal" && !way.contains_key(next) {
                    way.insert(next.clone(), format!("{} -> {}", way[&id], self.names[next]));
                    todo.push(next.clone());
                }
            }
        }
        way.into_iter().map(|(id, path)| (self.names[&id].clone(), path)).collect()
    }
}

#[test]
fn every_crate_has_its_place_and_names_only_what_it_may() {
    let w = workspace();
    let may: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let listed: BTreeSet<&str> = may.keys().copied().collect();
    let present: BTreeSet<&str> = w.members.keys().map(String::as_str).collect();
    assert_eq!(present, listed, "crates of the workspace (left) and of MAY_USE (right)");
    let mut wrong = Vec::new();
    for (name, deps) in &w.members {
        for (dep, kind) in deps {
            let tests = kind == "dev" && MAY_TEST_WITH.contains(&(name.as_str(), dep.as_str()));
            if present.contains(dep.as_str()) && dep != name && !may[name.as_str()].contains(&dep.as_str()) && !tests {
                wrong.push(format!("{name} must not depend on {dep} ({kind})"));
            }
            if dep.starts_with("libp2p") && name != "filch-net" {
                wrong.push(format!("{name} names {dep}; only filch-net may"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_forbidden_comes_in_by_way_of_others() {
    let w = workspace();
    let mut wrong = Vec::new();
    for (name, forbidden) in FREE_OF {
        for (dep, way) in w.closure(name) {
            let hit = forbidden.iter().any(|f| dep == *f || (*f == "libp2p" && dep.starts_with("libp2p")));
            if hit {
                wrong.push(format!("{name} is built on {dep}: {way}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_sources_name_no_clock_file_thread_or_chance() {
    let root = workspace().root;
    let mut wrong = Vec::new();
    for name in PURE_SOURCES {
        let mut files = Vec::new();
        sources(&root.join("crates").join(name).join("src"), &mut files);
        assert!(!files.is_empty(), "no sources of {name}");
        for file in files {
            let text = std::fs::read_to_string(&file).expect("sources are readable");
            let place = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
            wrong.extend(impure(&text).into_iter().map(|(line, what)| format!("{place}:{line}: {what}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_source_check_bites() {
    for text in [
        "use std::time::Instant;",
        "let x = std::thread::spawn(f);",
        "use std::{collections::BTreeMap, fs};",
        "use std::{\n    fmt,\n    net::TcpStream,\n};",
        "let m: HashMap<u8, u8> = x;",
        "tokio::spawn(f);",
    ] {
        assert!(!impure(text).is_empty(), "{text}");
    }
    for text in [
        "// no Instant here",
        "use std::{fmt, ops::Add};",
        "let s = \"tokio\";",
        "let instant = 1;",
        "use crate::net::X;",
        "use std::time::Duration;",
    ] {
        assert!(impure(text).is_empty(), "{text}: {:?}", impure(text));
    }
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("a readable directory").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// (line, what) of everything banned, comments and strings aside.
fn impure(source: &str) -> Vec<(usize, String)> {
    let code = strip(source);
    let mut found = Vec::new();
    let words = words(&code);
    for (n, (line, word)) in words.iter().enumerate() {
        if BANNED_WORDS.contains(word) {
            found.push((*line, format!("`{word}`")));
        }
        let follows = |at: usize, what| words.get(n + at).is_some_and(|w| w.1 == what);
        // A span of time is a number, no clock.
        let span = follows(2, "time") && follows(3, "::") && follows(4, "Duration");
        if *word == "std" && follows(1, "::") && !span {
            for (line, module) in std_modules(&words[n + 2..]) {
                if BANNED_STD.contains(&module) {
                    found.push((line, format!("`std::{module}`")));
                }
            }
        }
    }
    found
}

/// The modules that follow `std::`, one or a braced list.
fn std_modules<'a>(rest: &[(usize, &'a str)]) -> Vec<(usize, &'a str)> {
    match rest.first() {
        Some((_, "{")) => {
            let mut depth = 0;
            let mut fresh = false;
            let mut out = Vec::new();
            for (line, word) in rest {
                match *word {
                    "{" => (depth, fresh) = (depth + 1, depth == 0),
                    "}" if depth == 1 => break,
                    "}" => depth -= 1,
                    "," => fresh = depth == 1,
                    word if fresh => {
                        out.push((*line, word));
                        fresh = false;
                    }
                    _ => {}
                }
            }
            out
        }
        Some(one) => vec![*one],
        None => vec![],
    }
}

/// Identifiers and the punctuation that paths consist of, with line numbers from 1.
fn words(code: &str) -> Vec<(usize, &str)> {
    let mut out = Vec::new();
    for (n, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let ident = |c: char| c.is_alphanumeric() || c == '_';
            let len = if ident(c) {
                rest.find(|c| !ident(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                c.len_utf8()
            };
            if ident(c) || matches!(c, ':' | '{' | '}' | ',') {
                out.push((n + 1, &rest[..len]));
            }
            rest = &rest[len..];
        }
    }
    out
}

/// Blanks comments and string literals; lines stay where they are.
fn strip(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for line in source.lines() {
        let mut chars = line.chars().peekable();
        let mut quoted = false;
        while let Some(c) = chars.next() {
            match c {
                '\\' if quoted => drop(chars.next()),
                '"' => quoted = !quoted,
                '/' if !quoted && chars.peek() == Some(&'/') => break,
                c if !quoted => out.push(c),
                _ => {}
            }
        }
        out.push('\n');
    }
    out
}
