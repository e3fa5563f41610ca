//! A network of the demo's own: a namespace without a way out, with one virtual interface that carries multicast, so that
//! nodes meet by mDNS and nothing listens where anybody else could reach it. It ends with the last process in it.
//!
//! Whether a machine allows this is found out by a child: a half-made namespace cannot be left again.

/// How the nodes of a demo meet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Network {
    /// This process is in a network of its own; the nodes look for each other by mDNS.
    Private,
    /// On loopback, with addresses given to each other.
    Loopback {
        /// Why there is no private network.
        why: String,
    },
    /// Nobody has looked yet.
    #[default]
    Unknown,
}

/// The hidden subcommand of the child that tries it.
pub(crate) const PROBE: &str = "__private-network";

/// Goes into a private network if this machine allows it. To be called while the process has one thread.
pub(crate) fn choose(loopback: bool) -> Network {
    if loopback {
        return Network::Loopback { why: "as asked by --loopback".into() };
    }
    match linux::probe_in_child().and_then(|()| linux::enter()) {
        Ok(()) => Network::Private,
        Err(why) => Network::Loopback { why: format!("no private network for mDNS here: {why}") },
    }
}

/// The child's whole life: one line on stdout says why not.
pub(crate) fn probe() -> std::process::ExitCode {
    use std::io::Write;
    match linux::enter() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stdout(), "{why}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod linux {
    pub(super) fn probe_in_child() -> Result<(), String> {
        Err("namespaces are a thing of Linux".into())
    }
    pub(super) fn enter() -> Result<(), String> {
        probe_in_child()
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::Read;
    use std::net::{IpAddr, Ipv4Addr};
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use rtnetlink::{Handle, LinkDummy, LinkUnspec, LinkVeth};
    use rustix::io::Errno;
    use rustix::thread::UnshareFlags;

    /// The interface and the other end of it, where it needs one.
    const NAMES: [&str; 2] = ["filch0", "filch1"];
    /// Private by RFC 1918; nobody else is in this network.
    const ADDRESS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 99, 0, 1), 24);
    /// A child that has not tried it after so long hangs in the kernel.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Whether [`enter`] works here, tried by a process that ends afterwards.
    pub(super) fn probe_in_child() -> Result<(), String> {
        let no = |e: std::io::Error| format!("cannot try it: {e}");
        let me = std::env::current_exe().map_err(no)?;
        let mut command = Command::new(me);
        command.arg(super::PROBE).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(no)?;
        let started = Instant::now();
        let status = loop {
            match child.try_wait().map_err(no)? {
                Some(status) => break status,
                None if started.elapsed() > PATIENCE => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("it took more than {} s", PATIENCE.as_secs()));
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        if status.success() {
            return Ok(());
        }
        let mut why = String::new();
        // One line, far smaller than a pipe.
        let _ = child.stdout.take().map(|out| out.take(4096).read_to_string(&mut why));
        Err(if why.trim().is_empty() {
            format!("the process that tried it ended with {status}")
        } else {
            why.trim().into()
        })
    }

    /// Leaves the machine's network for an empty one, and puts an interface there.
    pub(super) fn enter() -> Result<(), String> {
        unshare()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|e| format!("no runtime: {e}"))?;
        let made = async { tokio::time::timeout(PATIENCE, interfaces()).await };
        runtime.block_on(made).unwrap_or_else(|_| Err("the kernel does not answer about interfaces".into()))
    }

    /// A network namespace; with a user namespace around it unless this process may do without.
    fn unshare() -> Result<(), String> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        match namespaces(UnshareFlags::NEWNET) {
            Ok(()) => return Ok(()),
            Err(Errno::PERM) => {}
            Err(e) => return Err(format!("no network namespace: {}", words(e))),
        }
        namespaces(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)
            .map_err(|e| format!("no user namespace: {}", words(e)))?;
        // Everybody stays who they are, so that files belong to whom they belonged. The kernel wants groups fixed first.
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("{uid} {uid} 1")),
            ("gid_map", format!("{gid} {gid} 1")),
        ] {
            std::fs::write(format!("/proc/self/{file}"), text)
                .map_err(|e| format!("a user namespace without rights ({file}: {e})"))?;
        }
        Ok(())
    }

    fn namespaces(flags: UnshareFlags) -> Result<(), Errno> {
        // SAFETY: without FILES no thread loses a descriptor of another's.
        unsafe { rustix::thread::unshare_unsafe(flags) }
    }

    fn words(e: Errno) -> String {
        match e {
            Errno::NOSPC => {
                "this system allows no more of them (user.max_user_namespaces, user.max_net_namespaces)".into()
            }
            Errno::PERM => "not permitted".into(),
            Errno::INVAL | Errno::NOSYS => "the kernel has none".into(),
            e => std::io::Error::from(e).to_string(),
        }
    }

    /// Loopback, and one interface with an address that carries multicast.
    async fn interfaces() -> Result<(), String> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| format!("no netlink: {e}"))?;
        let connection = tokio::spawn(connection);
        raise(&handle, "lo").await?;
        let [near, far] = NAMES;
        // Kernels without the one often have the other.
        match handle.link().add(LinkDummy::new(near).build()).execute().await {
            Ok(()) => {}
            Err(dummy) => {
                let pair = handle.link().add(LinkVeth::new(near, far).build()).execute().await;
                pair.map_err(|veth| format!("no virtual interface (dummy: {dummy}; veth: {veth})"))?;
                raise(&handle, far).await?;
            }
        }
        raise(&handle, near).await?;
        let (address, bits) = ADDRESS;
        let added = handle.address().add(index(near)?, IpAddr::V4(address), bits).execute().await;
        added.map_err(|e| format!("no address for {near}: {e}"))?;
        connection.abort();
        Ok(())
    }

    async fn raise(handle: &Handle, name: &str) -> Result<(), String> {
        let up = LinkUnspec::new_with_index(index(name)?).up().build();
        handle.link().set(up).execute().await.map_err(|e| format!("cannot raise {name}: {e}"))
    }

    fn index(name: &str) -> Result<u32, String> {
        use rustix::net::{AddressFamily, SocketType, netdevice, socket};
        let any = socket(AddressFamily::INET, SocketType::DGRAM, None).map_err(|e| format!("no socket: {e}"))?;
        netdevice::name_to_index(any, name).map_err(|e| format!("no interface {name}: {e}"))
    }
}
