//! Hosts of their own on one machine: network namespaces on a bridge, so that mDNS and packet filters are real and no
//! packet leaves. Needs root and `ip`, packet filters also `nft`.

use std::ffi::OsString;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static LANS: AtomicU32 = AtomicU32::new(0);

/// A switch and hosts on it. Everything lives in namespaces that go with this value.
pub struct Lan {
    tag: String,
    hosts: usize,
}

/// Why this machine cannot do it; `None` if it can. Tried once for all tests of a binary.
pub fn missing() -> Option<String> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    WHY.get_or_init(|| try_it(false)).clone()
}

/// The same for tests that cut, heal or lose packets.
pub fn missing_filters() -> Option<String> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    WHY.get_or_init(|| try_it(true)).clone()
}

fn try_it(filters: bool) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root for network namespaces".into());
    }
    let tools: &[&str] = if filters { &["ip", "nft"] } else { &["ip"] };
    for tool in tools {
        if Command::new(tool).arg("-V").output().is_err() {
            return Some(format!("needs the program `{tool}`"));
        }
    }
    let probe = format!("ft{}-probe{}", std::process::id(), u8::from(filters));
    let made = Command::new("ip").args(["netns", "add", &probe]).output();
    let why = match made {
        Ok(out) if out.status.success() => {
            // A bridge and a packet filter may be missing from a kernel that has namespaces.
            [["link", "add", "br0", "type", "bridge"]]
                .iter()
                .find_map(|args| ip(Some(&probe), args).err())
                .or_else(|| filters.then(|| filter(&probe, "add table inet probe\n").err()).flatten())
        }
        Ok(out) => Some(String::from_utf8_lossy(&out.stderr).trim().to_owned()),
        Err(e) => Some(e.to_string()),
    };
    let _ = Command::new("ip").args(["netns", "del", &probe]).output();
    let what = if filters { "bridge and nft" } else { "bridge" };
    why.map(|w| format!("no network namespaces with {what} here: {w}"))
}

fn run(cmd: &mut Command) -> Result<(), String> {
    let out = cmd.output().map_err(|e| format!("{cmd:?}: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("{cmd:?}: {}", String::from_utf8_lossy(&out.stderr).trim()))
}

fn ip(ns: Option<&str>, args: &[&str]) -> Result<(), String> {
    let mut cmd = Command::new("ip");
    if let Some(ns) = ns {
        cmd.args(["-n", ns]);
    }
    run(cmd.args(args))
}

fn filter(ns: &str, rules: &str) -> Result<(), String> {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = Command::new("ip")
        .args(["netns", "exec", ns, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    child.stdin.take().expect("piped").write_all(rules.as_bytes()).map_err(|e| e.to_string())?;
    let out = child.wait_with_output().map_err(|e| e.to_string())?;
    let err = String::from_utf8_lossy(&out.stderr);
    if out.status.success() { Ok(()) } else { Err(format!("nft: {}", err.trim())) }
}

impl Lan {
    /// `n` hosts 10.99.0.1, 10.99.0.2, … on one switch.
    pub fn new(n: usize) -> Self {
        let tag = format!("ft{}x{}", std::process::id(), LANS.fetch_add(1, Ordering::Relaxed));
        let lan = Self { tag, hosts: n };
        lan.build().unwrap_or_else(|e| panic!("{e}"));
        lan
    }

    fn switch(&self) -> String {
        format!("{}-sw", self.tag)
    }
    /// The namespace of host `n`, from 0.
    pub fn host(&self, n: usize) -> String {
        format!("{}-h{n}", self.tag)
    }
    /// To be put in front of a command that runs on host `n`.
    pub fn wrap(&self, n: usize) -> Vec<OsString> {
        ["ip", "netns", "exec"].iter().map(OsString::from).chain([self.host(n).into()]).collect()
    }
    pub fn address(n: usize) -> String {
        format!("10.99.0.{}", n + 1)
    }

    fn build(&self) -> Result<(), String> {
        let sw = self.switch();
        ip(None, &["netns", "add", &sw])?;
        // Without multicast snooping the bridge floods multicast, as a plain switch does.
        ip(Some(&sw), &["link", "add", "br0", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0"])?;
        ip(Some(&sw), &["link", "set", "br0", "up"])?;
        for n in 0..self.hosts {
            let (host, port) = (self.host(n), format!("p{n}"));
            ip(None, &["netns", "add", &host])?;
            ip(Some(&host), &["link", "set", "lo", "up"])?;
            ip(Some(&sw), &["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &host])?;
            ip(Some(&sw), &["link", "set", &port, "master", "br0", "up"])?;
            ip(Some(&host), &["addr", "add", &format!("{}/24", Self::address(n)), "dev", "eth0"])?;
            ip(Some(&host), &["link", "set", "eth0", "up"])?;
            ip(Some(&host), &["route", "add", "default", "via", "10.99.0.254"])?;
        }
        Ok(())
    }

    /// Drops every packet between host `n` and the others, silently, as a pulled cable does.
    pub fn cut(&self, n: usize) {
        let rules = "add table inet cut
add chain inet cut in { type filter hook input priority 0; }
add chain inet cut out { type filter hook output priority 0; }
add rule inet cut in iifname \"eth0\" drop
add rule inet cut out oifname \"eth0\" drop
";
        filter(&self.host(n), rules).unwrap_or_else(|e| panic!("{e}"));
    }
    /// Plugs it in again.
    pub fn heal(&self, n: usize) {
        filter(&self.host(n), "delete table inet cut\n").unwrap_or_else(|e| panic!("{e}"));
    }
    /// Drops so many of a hundred packets that arrive at host `n`, at random.
    pub fn lossy(&self, n: usize, percent: u32) {
        let rules = format!(
            "add table inet loss
add chain inet loss in {{ type filter hook input priority 0; }}
add rule inet loss in iifname \"eth0\" numgen random mod 100 < {percent} drop
"
        );
        filter(&self.host(n), &rules).unwrap_or_else(|e| panic!("{e}"));
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for n in 0..self.hosts {
            let _ = ip(None, &["netns", "del", &self.host(n)]);
        }
        let _ = ip(None, &["netns", "del", &self.switch()]);
    }
}
