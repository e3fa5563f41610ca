//! The executor with real processes. The binary is its own spawner, and its own victim: a node that is killed.
#![cfg(target_os = "linux")]

mod commands;
mod divisible;
mod endings;
mod files;
mod handlers;
mod restart;
mod world;

use libtest_mimic::{Arguments, Trial};

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("__spawner") => filch_exec::spawner_main(),
        Some("__victim") => restart::victim(),
        _ => {}
    }
    let args = Arguments::from_args();
    let mut trials = Vec::new();
    for (group, tests) in [
        ("commands", commands::TESTS),
        ("divisible", divisible::TESTS),
        ("endings", endings::TESTS),
        ("files", files::TESTS),
        ("handlers", handlers::TESTS),
        ("restart", restart::TESTS),
    ] {
        trials.extend(tests.iter().map(|&(name, test)| {
            Trial::test(format!("{group}::{name}"), move || {
                test();
                Ok(())
            })
        }));
    }
    libtest_mimic::run(&args, trials).exit();
}
