//! What arbitrary bytes may not do. Each target takes bytes and panics if something is wrong; `libfuzzer/` drives them with
//! cargo-fuzz, `cargo test -p filch-fuzz` runs what is kept in `corpus/` through them. See `README.md`.

mod bags;
mod decode;
mod pieces;
mod run;
pub mod talk;
mod texts;

/// A target: its name and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("api", texts::api),
    ("asks", decode::asks),
    ("bags", bags::bags),
    ("facts", decode::facts),
    ("frames", decode::frames),
    ("items", decode::items),
    ("members", decode::members),
    ("pieces", pieces::pieces),
    ("records", decode::records),
    ("run", run::run),
    ("scenarios", texts::scenarios),
    ("schedules", texts::schedules),
    ("talk", talk::talk),
    ("templates", texts::templates),
];

/// Runs one input through the target of this name.
///
/// # Panics
/// If there is no such target, or it finds something wrong.
pub fn run_one(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(n, _)| *n == name);
    let (_, run) = target.unwrap_or_else(|| panic!("there is no target {name}"));
    run(bytes);
}
