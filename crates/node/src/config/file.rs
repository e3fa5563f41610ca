//! The settings as they are written down, every one optional.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ConfigError, TimingSettings};

macro_rules! settings {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        /// Settings of one source: the file or the command line.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Settings { $($(#[$doc])* pub $field: Option<$type>,)* }

        impl Settings {
            /// These where they are set, `below` elsewhere.
            pub fn over(self, below: Settings) -> Settings {
                Settings { $($field: self.$field.or(below.$field),)* }
            }
        }
    };
}

settings! {
    /// Everything that the node keeps.
    data_dir: PathBuf,
    /// Its local API; `filch.sock` in the data directory by default.
    socket: PathBuf,
    /// For people; the host's name by default.
    name: String,
    /// Tasks at once; the number of CPUs by default.
    slots: u16,
    /// Addresses to listen on, as multiaddresses; none by default.
    listen: Vec<String>,
    /// Listen on all interfaces and look for others by mDNS.
    lan: bool,
    /// Port for `lan`; chosen by the system by default.
    port: u16,
    /// Look for others by mDNS; as `lan` by default.
    mdns: bool,
    /// Members to dial at the start.
    bootstrap: Vec<String>,
    /// Where the cluster key is; made in the data directory by default.
    cluster_key: PathBuf,
    /// With `lan`, listen on QUIC too.
    quic: bool,
    /// Handlers that tasks may name; all that the program has by default.
    handlers: Vec<String>,
    /// Names the machine: 32 hex digits or any word.
    machine: String,
    /// Copies of a result before it is visible, 1 to 8; 2 by default, and never more than there are nodes that keep the job.
    result_copies: u8,
    /// How long running tasks may go on after `down`, as `10s`.
    grace: String,
    /// In which time all that is kept is read once, to find what rots, as `7d`, which is the default; `off` for never.
    scrub: String,
    /// Periods and time limits of the protocol.
    timing: TimingSettings,
}

impl Settings {
    /// Reads a file. Errors name file, line and key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        const LONGEST: u64 = 1024 * 1024;
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let len = std::fs::metadata(path).map_err(failed)?.len();
        if len > LONGEST {
            return Err(failed(std::io::Error::other("it is longer than 1 MiB")));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let mut settings = Self::parse(path, &text)?;
        // Paths in a file are meant from where the file is, not from where somebody happened to start the node.
        if let Some(dir) = path.parent() {
            for p in [&mut settings.data_dir, &mut settings.socket, &mut settings.cluster_key].into_iter().flatten() {
                if p.is_relative() {
                    *p = dir.join(&*p);
                }
            }
        }
        Ok(settings)
    }

    /// Reads a text; `path` is for the messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |s| s.start);
            let line = text.get(..at).unwrap_or(text).matches('\n').count() + 1;
            let mut what = e.message().trim().to_owned();
            if let Some(key) = key_at(text, line)
                && !what.contains(&format!("`{key}`"))
            {
                what = format!("`{key}`: {what}");
            }
            ConfigError::Parse { path: path.to_owned(), line, what }
        })
    }
}

/// The key that a line sets, if it does.
fn key_at(text: &str, line: usize) -> Option<&str> {
    let (key, _) = text.lines().nth(line.checked_sub(1)?)?.split_once('=')?;
    Some(key.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Settings::parse(Path::new("c.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let e = error("name = \"a\"\n\nsolts = 3\n");
        assert!(e.starts_with("c.toml:3: ") && e.contains("solts") && e.contains("slots"), "{e}");
        let e = error("name = \"a\"\nslots = \"many\"\n");
        assert!(e.starts_with("c.toml:2: ") && e.contains("`slots`"), "{e}");
        let e = error("[timing]\nbeat = \"1s\"\nlaese = \"2s\"\n");
        assert!(e.starts_with("c.toml:3: ") && e.contains("laese") && e.contains("lease"), "{e}");
        assert!(error("slots = [").starts_with("c.toml:1: "));
    }

    #[test]
    fn the_upper_source_wins_setting_by_setting() {
        let file = Settings { name: Some("file".into()), slots: Some(3), ..Settings::default() };
        let line = Settings { name: Some("line".into()), ..Settings::default() };
        let both = line.over(file);
        assert_eq!((both.name.as_deref(), both.slots), (Some("line"), Some(3)));
    }
}
