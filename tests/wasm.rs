//! The core builds for a target that has no clock, no files, no threads and no randomness: a proof that it is pure.
#![allow(missing_docs)]

mod harness;

use std::path::Path;
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";

fn installed() -> Result<(), String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|e| format!("rustc does not start: {e}"))?;
    let dir = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    let core = std::fs::read_dir(&dir).ok().and_then(|mut entries| {
        entries.find(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with("libcore-")))
    });
    core.map(drop).ok_or_else(|| format!("{TARGET} is not installed; `rustup target add {TARGET}` adds it"))
}

#[test]
fn the_core_builds_for_wasm() {
    if let Err(why) = installed() {
        harness::skip("the_core_builds_for_wasm", &why);
        return;
    }
    let mut cargo = Command::new(env!("CARGO"));
    // Nothing of this runs, so nothing needs to be fast.
    for package in ["\"*\"", "filch-types", "filch-core", "blake3", "curve25519-dalek", "chacha20"] {
        cargo.arg("--config").arg(format!("profile.dev.package.{package}.opt-level=0"));
    }
    // A directory of its own: the outer cargo holds the lock of the usual one.
    let out = cargo
        .args(["build", "-q", "-p", "filch-core", "--target", TARGET, "--locked", "--target-dir"])
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("wasm"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .output()
        .expect("cargo starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
