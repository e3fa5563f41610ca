//! Submits that were begun and not answered yet, on disk: the nonce is there before anything is sent, so that whoever asks again after a
//! crash asks for the same job.
//!
//! A file a submit, locked by its process for as long as that lives. The same submit (node, job, directory, copies) that finds
//! the file of a process that is gone goes on with its nonce; beside one that still runs it is a job of its own.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use filch_api::SubmitRequest;
use filch_types::{BlobId, Nonce};

/// A submit that was not answered can be gone on with for so long.
pub const GOES_ON: Duration = Duration::from_secs(600);
/// Files that are looked at; more are left for the next time.
const MAX_FILES: usize = 4096;

/// Where they are kept.
#[derive(Clone, Debug)]
pub struct Unanswered {
    dir: PathBuf,
}

/// A submit under way.
#[derive(Debug)]
pub struct Attempt {
    path: PathBuf,
    /// Locked.
    file: Option<File>,
    nonce: Nonce,
    age: Option<Duration>,
}

impl Unanswered {
    /// Below this directory, which is made when it is needed.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Begins a submit, or goes on with one that was cut off. Durable on return. Blocks on the disk. `request.nonce` does not count: the
    /// nonce to send is the answer's. `socket` says which node is asked.
    pub fn begin(&self, socket: &Path, request: &SubmitRequest) -> io::Result<Attempt> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let key = key(socket, request)?;
        if let Some(attempt) = self.cut_off(&key)? {
            return Ok(attempt);
        }
        let nonce = crate::nonce().map_err(io::Error::other)?;
        let path = self.dir.join(format!("{key}-{nonce}"));
        let temp = self.dir.join(format!("{nonce}.new"));
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&temp)?;
        // Locked before it has its name: nobody else can take it for one that was cut off.
        file.lock()?;
        file.write_all(nonce.to_string().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temp, &path)?;
        File::open(&self.dir)?.sync_all()?;
        Ok(Attempt { path, file: Some(file), nonce, age: None })
    }

    /// The same submit by a process that is gone. Removes what is too old on the way.
    fn cut_off(&self, key: &str) -> io::Result<Option<Attempt>> {
        let now = SystemTime::now();
        let mut found = None;
        for entry in std::fs::read_dir(&self.dir)?.take(MAX_FILES) {
            let path = entry?.path();
            let Ok(mut file) = OpenOptions::new().read(true).open(&path) else { continue };
            let age =
                file.metadata()?.modified().map_or(Duration::MAX, |at| now.duration_since(at).unwrap_or_default());
            let same = path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(key));
            if (!same && age <= GOES_ON) || file.try_lock().is_err() || !path.exists() {
                continue;
            }
            let mut text = String::new();
            match (&mut file).take(64).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok()) {
                Some(nonce) if same && age <= GOES_ON && found.is_none() => {
                    found = Some(Attempt { path, file: Some(file), nonce, age: Some(age) });
                }
                // Of two that were cut off the other may still be gone on with.
                Some(_) if same && age <= GOES_ON => {}
                _ => drop(std::fs::remove_file(&path)),
            }
        }
        Ok(found)
    }
}

impl Attempt {
    /// One that is kept nowhere, where there is no place for it: safe against a broken connection, not against the end of the process.
    pub fn unkept() -> Result<Self, crate::ClientError> {
        Ok(Self { path: PathBuf::new(), file: None, nonce: crate::nonce()?, age: None })
    }
    /// What to send.
    pub fn nonce(&self) -> Nonce {
        self.nonce
    }
    /// How long ago it was begun, if it is not new.
    pub fn age(&self) -> Option<Duration> {
        self.age
    }
    /// Whoever asked has the answer: the same submit is a new job from now on. Without this call it can be gone on with.
    pub fn answered(self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Names the submit, but for its nonce.
fn key(socket: &Path, request: &SubmitRequest) -> io::Result<String> {
    let socket = std::path::absolute(socket)?;
    let mut bytes = socket.as_os_str().as_encoded_bytes().to_vec();
    bytes.push(0);
    let same = SubmitRequest { nonce: Nonce::default(), ..request.clone() };
    serde_json::to_writer(&mut bytes, &same)?;
    let mut name = BlobId::of(&bytes).to_string();
    name.truncate(32);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use filch_api::spec::JobSpec;

    fn request(program: &str) -> SubmitRequest {
        let spec: JobSpec =
            serde_json::from_str(&format!(r#"{{"groups":[{{"program":{{"command":["{program}"]}}}}]}}"#)).unwrap();
        SubmitRequest { nonce: Nonce::default(), spec, deliver_to: None, copies: None }
    }

    #[test]
    fn only_the_same_submit_of_a_process_that_is_gone_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let all = Unanswered::new(dir.path().join("a/b"));
        let begin = |socket: &str, program: &str| all.begin(Path::new(socket), &request(program)).unwrap();
        let first = begin("/s", "x");
        assert_eq!(first.age(), None);
        let beside = begin("/s", "x");
        assert_ne!(beside.nonce(), first.nonce(), "the first one still runs");
        beside.answered();
        let nonce = first.nonce();
        drop(first);
        assert_ne!(begin("/s", "y").nonce(), nonce, "another job");
        assert_ne!(begin("/t", "x").nonce(), nonce, "another node");
        let again = begin("/s", "x");
        assert_eq!(again.nonce(), nonce);
        assert!(again.age().is_some());
        again.answered();
        assert_ne!(begin("/s", "x").nonce(), nonce, "it was answered");
    }

    #[test]
    fn what_is_old_or_damaged_is_not_gone_on_with_and_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let all = Unanswered::new(dir.path());
        let files = || std::fs::read_dir(dir.path()).unwrap().count();
        let old = all.begin(Path::new("/s"), &request("x")).unwrap();
        let (nonce, path) = (old.nonce(), old.path.clone());
        drop(old);
        let then = SystemTime::now() - GOES_ON - Duration::from_secs(5);
        File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        let new = all.begin(Path::new("/s"), &request("x")).unwrap();
        assert_ne!(new.nonce(), nonce);
        let path = new.path.clone();
        drop(new);
        std::fs::write(&path, "no nonce").unwrap();
        let new = all.begin(Path::new("/s"), &request("x")).unwrap();
        assert_eq!(new.age(), None);
        assert_eq!(files(), 1);
        new.answered();
        assert_eq!(files(), 0);
    }
}
