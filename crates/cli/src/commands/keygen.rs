//! `filch keygen`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::error::Error;

/// Make a cluster key: nodes that share one are one cluster
///
/// 32 random bytes as hex. Whoever has the file can join and run programs: carry it only over safe ways, e.g. scp.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  filch keygen cluster.key
  scp cluster.key other: && filch up --lan --cluster-key cluster.key")]
pub(crate) struct KeygenArgs {
    /// Write it to this new file, readable by its owner only [default: stdout]
    #[arg(value_name = "FILE", conflicts_with = "output")]
    file: Option<PathBuf>,
    /// The same
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &KeygenArgs, json: bool) -> Result<u8, Error> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|e| std::io::Error::other(e.to_string()))?;
    let key: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let text = match args.file.as_ref().or(args.output.as_ref()) {
        None if json => json!({ "key": key }).to_string(),
        None => key,
        Some(path) => {
            write(path, &format!("{key}\n"))?;
            if !json {
                return Ok(0);
            }
            // Where it is, not what it is: stdout ends up in logs.
            json!({ "file": path.display().to_string() }).to_string()
        }
    };
    crate::render::stdout(writeln!(std::io::stdout().lock(), "{text}"))?;
    Ok(0)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match file {
        Ok(mut file) => {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(Error::usage(
            format!("{} exists and is not overwritten: it may be the key of a cluster", path.display()),
            "choose another name, or remove it first",
        )),
        Err(e) => Err(Error::usage(format!("cannot write {}: {e}", path.display()), "choose another place")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_file_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let args = KeygenArgs { file: None, output: Some(path.clone()) };
        run(&args, false).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.trim_end().len() == 64 && text.trim_end().bytes().all(|b| b.is_ascii_hexdigit()), "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = run(&args, false).unwrap_err();
        assert_eq!(error.exit(), 2);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
