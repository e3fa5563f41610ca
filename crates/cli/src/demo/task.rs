//! What is done with each file: a shell script that every Linux can run. The same by the nodes and by the plain run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::DemoError;
use super::files::Pick;

/// Sent along as an input of every task.
pub(super) const SCRIPT: &str = include_str!("analyse.sh");
/// The script's name in a task's directory.
pub(super) const SCRIPT_NAME: &str = "analyse.sh";
/// What is put behind a file's name to name what its task leaves.
pub(super) const LEAVES: [&str; 2] = [".gz", ".report"];
/// What the script calls.
const PROGRAMS: [&str; 11] = ["sh", "tr", "sed", "sort", "uniq", "gzip", "sha256sum", "cut", "wc", "awk", "head"];
/// Seconds that all tasks should take on this machine: long enough to lose a node half-way.
const WANTED: f64 = 9.0;
/// Seconds that one task may take: many small tasks show more than few large ones.
const LONGEST: f64 = 1.5;
/// Samples at most, whatever the measurement says.
const MAX_SAMPLES: u32 = 20_000;
/// A single run of the script that takes longer does not end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fails if a program is missing.
pub(super) fn check_programs() -> Result<(), DemoError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |name: &&str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let missing: Vec<&str> = PROGRAMS.iter().copied().filter(|p| !there(p)).collect();
    if missing.is_empty() { Ok(()) } else { Err(DemoError::Programs(missing.join(", "))) }
}

/// One run of the script over one file, in a directory of its own.
async fn run_one(script: PathBuf, file: Pick, samples: u32, work: PathBuf, out: PathBuf) -> Result<(), DemoError> {
    let failed = |why: String| DemoError::Plain { file: file.name.clone(), why };
    let leaves = LEAVES.map(|ext| out.join(format!("{}{ext}", file.name)));
    for dir in leaves.iter().filter_map(|p| p.parent()).chain([work.as_path()]) {
        std::fs::create_dir_all(dir).map_err(|e| failed(e.to_string()))?;
    }
    let mut command = tokio::process::Command::new("sh");
    command.arg(&script).arg(&file.path).args(&leaves).arg(&file.name).arg(samples.to_string());
    command.current_dir(&work).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = ended.map_err(|_| failed("it takes too long".into()))?.map_err(|e| failed(e.to_string()))?;
    let _ = std::fs::remove_dir_all(&work);
    if output.status.success() {
        return Ok(());
    }
    Err(failed(format!("{}; it wrote: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end())))
}

/// Runs the script over all files without filch, `lanes` at a time, results below `out`. Returns how long it took.
pub(super) async fn run_plain(files: &[Pick], samples: u32, dir: &Path, lanes: usize) -> Result<Duration, DemoError> {
    let started = Instant::now();
    let script = dir.join(SCRIPT_NAME);
    std::fs::write(&script, SCRIPT).map_err(|e| DemoError::io(&script, e))?;
    let mut running = JoinSet::new();
    for (n, file) in files.iter().enumerate() {
        if running.len() >= lanes {
            joined(running.join_next().await)?;
        }
        let (work, out) = (dir.join("work").join(n.to_string()), dir.join("out"));
        running.spawn(run_one(script.clone(), file.clone(), samples, work, out));
    }
    while !running.is_empty() {
        joined(running.join_next().await)?;
    }
    Ok(started.elapsed())
}

type Joined = Option<Result<Result<(), DemoError>, tokio::task::JoinError>>;

fn joined(end: Joined) -> Result<(), DemoError> {
    match end {
        Some(Ok(result)) => result,
        Some(Err(e)) => Err(DemoError::Plain { file: "a file".into(), why: e.to_string() }),
        None => Ok(()),
    }
}

/// Tries the script on a few files; how many samples make the whole job last long enough with `lanes` at a time.
pub(super) async fn measure(files: &[Pick], dir: &Path, lanes: usize) -> Result<u32, DemoError> {
    const PROBE: u32 = 100;
    let mut by_size: Vec<Pick> = files.to_vec();
    by_size.sort_by_key(|f| f.len);
    let some: Vec<Pick> = [1, 3, 5, 7].iter().filter_map(|n| by_size.get(by_size.len() * n / 8)).cloned().collect();
    let base = run_plain(&some, 1, dir, 1).await?.as_secs_f64() / some.len().max(1) as f64;
    let full = run_plain(&some, 1 + PROBE, dir, 1).await?.as_secs_f64() / some.len().max(1) as f64;
    Ok(samples(files.len(), base, (full - base) / f64::from(PROBE), lanes))
}

/// `base`: seconds of a task without samples; `each`: seconds of one.
fn samples(files: usize, base: f64, each: f64, lanes: usize) -> u32 {
    let per_task = (WANTED * lanes as f64 / files.max(1) as f64).min(LONGEST);
    let wanted = (per_task - base) / each.max(1e-6);
    // A cast of a float saturates; NaN becomes 0.
    (wanted as u32).clamp(1, MAX_SAMPLES)
}

/// The files that `all` should have left below `dir` and that differ from those of the plain run, or are missing.
pub(super) fn compare(all: &[Pick], got: &Path, plain: &Path) -> Comparison {
    let mut c = Comparison::default();
    for file in all {
        for ext in LEAVES {
            let name = format!("{}{ext}", file.name);
            let Ok(want) = std::fs::read(plain.join(&name)) else {
                c.missing.push(format!("{name} (of the plain run)"));
                continue;
            };
            match std::fs::read(got.join(&name)) {
                Ok(bytes) if bytes == want => {
                    c.equal += 1;
                    c.bytes += want.len() as u64;
                }
                Ok(_) => c.different.push(name),
                Err(_) => c.missing.push(name),
            }
        }
    }
    c
}

/// What `compare` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Files that are the same, byte for byte.
    pub equal: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that differ.
    pub different: Vec<String>,
    /// Files that are not there.
    pub missing: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &Path, name: &str, text: &str) -> Pick {
        std::fs::write(dir.join(name), text).unwrap();
        Pick { name: name.into(), path: dir.join(name), len: text.len() as u64 }
    }

    #[tokio::test]
    async fn the_script_says_what_is_in_a_file_and_says_it_again() {
        let tmp = tempfile::tempdir().unwrap();
        let files = [
            file(tmp.path(), "verse", "The cat, the dog and THE bird\n"),
            file(tmp.path(), "no words", "--- ... ---\n"),
            file(tmp.path(), "-dash", "a a\n"),
        ];
        for run in ["one", "two"] {
            std::fs::create_dir(tmp.path().join(run)).unwrap();
            run_plain(&files, 20, &tmp.path().join(run), 2).await.unwrap();
        }
        let (one, two) = (tmp.path().join("one/out"), tmp.path().join("two/out"));
        let same = compare(&files, &one, &two);
        assert_eq!((same.equal, same.different.len(), same.missing.len()), (6, 0, 0));
        let report = std::fs::read_to_string(one.join("verse.report")).unwrap();
        assert!(report.contains("words:     7, 5 different") && report.contains("3 the"), "{report}");
        assert!(std::fs::read_to_string(one.join("no words.report")).unwrap().contains("words:     none"));
        std::fs::write(two.join("-dash.gz"), "x").unwrap();
        std::fs::remove_file(one.join("verse.gz")).unwrap();
        let c = compare(&files, &one, &two);
        assert_eq!((c.equal, c.different, c.missing), (4, vec!["-dash.gz".to_owned()], vec!["verse.gz".to_owned()]));
    }

    #[test]
    fn few_files_get_more_samples_within_bounds() {
        assert_eq!(samples(200, 0.0195, 0.001, 2), 70);
        assert_eq!(samples(3, 0.0195, 0.001, 2), 1480);
        assert_eq!(samples(1_000_000, 0.02, 0.001, 2), 1);
        assert_eq!(samples(1, 0.0, 0.0, 2), MAX_SAMPLES);
    }
}
