//! Measures the real `filch` binary against the goals of BENCHMARKS.md, beside the limits of the same machine in the same run.
//!
//! `cargo build --release && cargo run --release -p filch-bench -- [--quick] [--xl] [--rounds=N] [g1 g2 g3 g4 g5 g6 g11 g12]`
//!
//! What is compared alternates (A B A B …); every figure is a median. Nothing is asserted: timing is for people to judge.

mod cpus;
mod figures;
mod g1;
mod g11;
mod g12;
mod g2;
mod g3;
mod g4;
mod g5;
mod g6;
mod procs;
mod rig;

use std::path::PathBuf;

use anyhow::{Context, bail};

/// What to measure, and how thoroughly.
pub(crate) struct Plan {
    /// The binary under test.
    pub filch: PathBuf,
    /// A smoke test: every measurement runs, no figure means anything.
    pub quick: bool,
    /// Times that a comparison is repeated.
    pub rounds: usize,
    /// The largest tree, too: some ten minutes.
    pub xl: bool,
    /// Nodes of the idle cluster.
    pub idle_nodes: usize,
}

impl Plan {
    /// Times that a comparison is repeated.
    pub fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds }
    }
    /// A size for the real thing or for a smoke test.
    pub fn size(&self, real: u32, quick: u32) -> u32 {
        if self.quick { quick } else { real }
    }
}

const ALL: [&str; 8] = ["g1", "g2", "g3", "g4", "g5", "g6", "g11", "g12"];

fn main() -> anyhow::Result<()> {
    let mut wanted = Vec::new();
    let mut plan = Plan { filch: binary()?, quick: cfg!(debug_assertions), rounds: 5, xl: false, idle_nodes: 3 };
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--quick" => plan.quick = true,
            "--xl" => plan.xl = true,
            // Given by `cargo bench`.
            "--bench" => {}
            g if ALL.contains(&g) => wanted.push(g.to_owned()),
            other => match other.split_once('=').map(|(key, n)| (key, n.parse())) {
                Some(("--idle-nodes", Ok(n))) if (1..=64).contains(&n) => plan.idle_nodes = n,
                Some(("--rounds", Ok(n))) if (1..=100).contains(&n) => plan.rounds = n,
                _ => bail!(
                    "unknown argument `{other}`; known are --quick --xl --rounds=N --idle-nodes=N {}",
                    ALL.join(" ")
                ),
            },
        }
    }
    if wanted.is_empty() {
        wanted = ALL.iter().map(|s| (*s).to_owned()).collect();
    }
    figures::note(&format!(
        "filch-bench: {}{}",
        plan.filch.display(),
        if plan.quick { " (quick: figures mean nothing)" } else { "" }
    ));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for g in wanted {
        runtime.block_on(one(&g, &plan)).with_context(|| g.clone())?;
    }
    Ok(())
}

async fn one(g: &str, plan: &Plan) -> anyhow::Result<()> {
    match g {
        "g1" => g1::run(plan).await,
        "g2" => g2::run(plan).await,
        "g3" => g3::run(plan).await,
        "g4" => g4::run(plan).await,
        "g5" => g5::run(plan).await,
        "g6" => g6::run(plan).await,
        "g11" => g11::run(plan).await,
        _ => g12::run(plan).await,
    }
}

/// `$FILCH_BIN`, or `filch` beside this program.
fn binary() -> anyhow::Result<PathBuf> {
    let path = match std::env::var_os("FILCH_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("filch"),
    };
    if !path.is_file() {
        bail!("there is no {}: build it first (cargo build --release), or set FILCH_BIN", path.display());
    }
    Ok(std::fs::canonicalize(path)?)
}
