//! `filch up --detach`: the same program again in the background, watched until it answers.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use filch_client::{Client, ClientError};
use filch_node::Config;

use crate::args::Global;
use crate::context::Context;
use crate::error::Error;

/// How long the node may take until it answers.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between looks.
const LOOK: Duration = Duration::from_millis(10);
/// Of the log, what a failed start shows.
const SHOWN: u64 = 4096;

/// Starts the node and returns when it answers, or with what it said when it did not.
pub(super) fn up(config: &Config, global: &Global) -> Result<u8, Error> {
    let client = Client::new(&config.socket);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    if let Ok(node) = runtime.block_on(client.node()) {
        return Err(Error::usage(
            format!(
                "a node is already running here: {} (process {}) on {}",
                node.name,
                node.pid,
                config.socket.display()
            ),
            "use it, end it with `filch down`, or give the new one another --data-dir",
        ));
    }
    // Before the log is written there.
    filch_node::check_ours(&config.data_dir).map_err(|e| Error::usage(e.to_string(), &e.hint()))?;
    let log = config.data_dir.join("filch.log");
    let (mut file, begin) = open_log(&config.data_dir, &log)?;
    let mut child = spawn(&file)?;
    let until = Instant::now() + PATIENCE;
    loop {
        match runtime.block_on(client.node()) {
            Ok(node) if node.pid == child.id() => {
                let mut cx = Context::new(global.clone())?;
                if cx.json {
                    cx.out.node(&node)?;
                } else {
                    cx.say(format_args!("node {} is up (process {}), log in {}", node.name, node.pid, log.display()));
                }
                return Ok(0);
            }
            Ok(_) | Err(ClientError::NoNode { .. } | ClientError::Lost(_)) => {}
            Err(e) => return Err(e.into()),
        }
        if let Some(status) = child.try_wait()? {
            return Err(failed(&mut file, begin, &log, status.code()));
        }
        if Instant::now() > until {
            return Err(Error::failed(
                format!("the node (process {}) does not answer yet", child.id()),
                &format!("look into {}; `filch nodes` tells when it does", log.display()),
            ));
        }
        std::thread::sleep(LOOK);
    }
}

fn open_log(dir: &Path, log: &Path) -> Result<(File, u64), Error> {
    let no =
        |e: std::io::Error| Error::failed(format!("cannot write {}: {e}", log.display()), "choose another --data-dir");
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(no)?;
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(log).map_err(no)?;
    let begin = file.seek(SeekFrom::End(0)).map_err(no)?;
    Ok((file, begin))
}

/// The same command line without `--detach`.
fn spawn(log: &File) -> Result<Child, Error> {
    let args = std::env::args_os().skip(1).filter(|arg| arg != "--detach");
    Ok(Command::new(std::env::current_exe()?)
        .args(args)
        .arg("--background")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()?)
}

/// What the node said last, as an error of this process with its exit code.
fn failed(file: &mut File, begin: u64, log: &Path, code: Option<i32>) -> Error {
    let mut text = Vec::new();
    let end = file.seek(SeekFrom::End(0)).unwrap_or(begin);
    let from = begin.max(end.saturating_sub(SHOWN));
    if file.seek(SeekFrom::Start(from)).is_ok() {
        let _ = file.take(SHOWN).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let at = lines.iter().rposition(|l| l.starts_with("error: "));
    let hint = format!("all of it is in {}", log.display());
    match at {
        Some(at) => {
            let message = lines.get(at).and_then(|l| l.strip_prefix("error: ")).unwrap_or_default().to_owned();
            let said = lines.get(at + 1).and_then(|l| l.strip_prefix("hint: ")).map(str::to_owned);
            let hint = Some(said.unwrap_or(hint));
            if code == Some(2) { Error::Usage { message, hint } } else { Error::Failed { message, hint } }
        }
        None => {
            let tail = lines.iter().rev().take(5).rev().copied().collect::<Vec<_>>().join("\n");
            Error::Failed { message: format!("the node ended at once: {tail}"), hint: Some(hint) }
        }
    }
}
