//! What a node is told: a TOML file, then the command line on top, then defaults.

mod file;
mod timing;

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use filch_api::paths::{PathsError, Surroundings};
use filch_core::Timing;
use filch_exec::Handlers;
use filch_types::{MachineId, limits};

pub use file::Settings;
pub use timing::TimingSettings;

/// Why a configuration is not usable. Every message names the place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{}:{line}: {what}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What and which key.
        what: String,
    },
    /// A value breaks a rule.
    #[error("the setting `{key}` is `{value}`: {what}")]
    Value {
        /// Its key.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// The rule.
        what: String,
    },
    /// There is no place for the data directory or the socket.
    #[error(transparent)]
    Paths(#[from] PathsError),
}

impl ConfigError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            ConfigError::Read { .. } => "give the path of an existing file to --config, or leave it out".into(),
            ConfigError::Parse { .. } => "correct that line; `filch up --help` lists the settings".into(),
            ConfigError::Value { key, .. } => format!("change `{key}` in the configuration or on the command line"),
            ConfigError::Paths(_) => "set HOME, or give --data-dir DIR and --socket PATH".into(),
        }
    }
}

/// One loss does not take a visible result away.
const DEFAULT_RESULT_COPIES: u8 = 2;

/// Often enough that two copies seldom rot in the same pass, and no load.
const SCRUB: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

/// A complete configuration of a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything that the node keeps; mode 0700.
    pub data_dir: PathBuf,
    /// Its local API.
    pub socket: PathBuf,
    /// For people.
    pub name: String,
    /// Tasks at once; 0 keeps jobs and runs nothing.
    pub slots: u16,
    /// Addresses to listen on, as multiaddresses. Empty: nothing listens beyond this machine.
    pub listen: Vec<String>,
    /// Look for other members on the LAN.
    pub mdns: bool,
    /// Members to dial at the start.
    pub bootstrap: Vec<String>,
    /// Where the cluster key is; `cluster.key` in the data directory if absent.
    pub cluster_key: Option<PathBuf>,
    /// Handlers that this program has: the built-in ones, and whatever a program that embeds the node adds.
    pub registry: Handlers,
    /// Those of them that tasks may name; all if absent.
    pub handlers: Option<Vec<String>>,
    /// Names the machine; from `/etc/machine-id` if absent.
    pub machine: Option<MachineId>,
    /// Copies of a result before it is visible, unless fewer nodes keep the job.
    pub result_copies: u8,
    /// Program and arguments of the process that starts command tasks: one that ends in [`crate::spawner_main`]. This very program with
    /// the argument `__spawner` if absent; empty: no command tasks.
    pub spawner: Option<Vec<std::ffi::OsString>>,
    /// How long running tasks may go on after the node was told to end.
    pub grace: std::time::Duration,
    /// In which time all that is kept is read once, to find what rots; never if absent.
    pub scrub: Option<std::time::Duration>,
    /// Periods and time limits of the protocol.
    pub timing: Timing,
}

impl Config {
    /// Reads the file, if any, and puts `over` on top.
    pub fn load(file: Option<&Path>, over: Settings) -> Result<Self, ConfigError> {
        let below = match file {
            Some(path) => Settings::read(path)?,
            None => match default_file() {
                Some(path) if path.exists() => Settings::read(&path)?,
                _ => Settings::default(),
            },
        };
        Self::resolve(over.over(below))
    }

    /// Fills in the defaults and checks the values.
    pub fn resolve(s: Settings) -> Result<Self, ConfigError> {
        // The same rule as the clients', so that both find the same socket.
        let places = Surroundings::of_process(s.data_dir.as_deref(), s.socket.as_deref());
        let data_dir = absolute(places.data_dir()?);
        let socket = absolute(places.socket()?);
        let name = s.name.unwrap_or_else(host_name);
        if name.is_empty() || name.len() > limits::MAX_NAME || name.chars().any(char::is_control) {
            return Err(value("name", &name, "a name has 1 to 200 bytes and no control characters"));
        }
        let quic = s.quic.unwrap_or(false);
        let lan = s.lan.unwrap_or(false);
        let mut listen = s.listen.unwrap_or_default();
        if lan && listen.is_empty() {
            listen = lan_addresses(s.port.unwrap_or(0), quic);
        }
        for a in &listen {
            if !a.starts_with('/') {
                return Err(value("listen", a, "expected a multiaddress such as /ip4/192.168.1.5/tcp/7000"));
            }
        }
        let bootstrap = s.bootstrap.unwrap_or_default();
        for a in &bootstrap {
            if !a.starts_with('/') {
                return Err(value(
                    "bootstrap",
                    a,
                    "expected an address as `filch nodes` prints it: /ip4/…/tcp/…/p2p/…",
                ));
            }
        }
        let mut timing = Timing::default();
        s.timing.unwrap_or_default().apply(&mut timing)?;
        Ok(Self {
            data_dir,
            socket,
            name,
            slots: s.slots.unwrap_or_else(cpus),
            listen,
            mdns: s.mdns.unwrap_or(lan),
            bootstrap,
            cluster_key: s.cluster_key.map(absolute),
            registry: Handlers::builtin(),
            handlers: s.handlers,
            machine: s.machine.as_deref().map(machine_id).transpose()?,
            result_copies: s.result_copies.unwrap_or(DEFAULT_RESULT_COPIES),
            spawner: None,
            grace: match s.grace {
                Some(text) => timing::duration("grace", &text)?,
                None => std::time::Duration::from_secs(10),
            },
            scrub: scrub_period(s.scrub.as_deref())?,
            timing,
        })
    }
}

fn scrub_period(text: Option<&str>) -> Result<Option<std::time::Duration>, ConfigError> {
    match text {
        None => Ok(Some(SCRUB)),
        Some("off") => Ok(None),
        Some(text) => {
            let period = humantime::parse_duration(text)
                .map_err(|e| value("scrub", text, format!("{e}; write it as 7d or 12h, or off")))?;
            Ok(Some(period))
        }
    }
}

fn value(key: &'static str, value: &str, what: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, value: value.to_owned(), what: what.into() }
}

/// All interfaces, IPv4 and IPv6, TCP and QUIC if wanted.
fn lan_addresses(port: u16, quic: bool) -> Vec<String> {
    let mut all = vec![format!("/ip4/0.0.0.0/tcp/{port}"), format!("/ip6/::/tcp/{port}")];
    if quic {
        all.push(format!("/ip4/0.0.0.0/udp/{port}/quic-v1"));
        all.push(format!("/ip6/::/udp/{port}/quic-v1"));
    }
    all
}

/// A machine is named by 32 hex digits or by any word, which is hashed: tests run several "machines" on one.
fn machine_id(text: &str) -> Result<MachineId, ConfigError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    if text.is_empty() || text.len() > limits::MAX_NAME {
        return Err(value("machine", text, "expected 32 hex digits or a name of 1 to 200 bytes"));
    }
    Ok(crate::datadir::machine_from(text.as_bytes()))
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn cpus() -> u16 {
    std::thread::available_parallelism().map_or(1, |n| u16::try_from(n.get()).unwrap_or(u16::MAX))
}

fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    let name: String = name.split('.').next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() { "node".into() } else { name }
}

/// `$XDG_CONFIG_HOME/filch/config.toml`, normally `~/.config/filch/config.toml`.
pub fn default_file() -> Option<PathBuf> {
    etcetera::choose_base_strategy().ok().map(|s| s.config_dir().join("filch").join("config.toml"))
}
