//! The end of a process whose disk or own threads failed: nothing that it says afterwards could be trusted (P2).

/// What the process exits with.
pub const EXIT: i32 = 125;

/// The disk failed in a way that leaves open what is on it. Does not return.
pub fn disk(why: &str) {
    tracing::error!(why, "the disk failed; this process ends");
    std::process::exit(EXIT);
}

/// A thread without which the node would only look alive. Its panic ends the process.
pub fn vital(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<std::thread::JoinHandle<()>> {
    let run = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() {
            tracing::error!("a vital thread panicked; this process ends");
            std::process::exit(EXIT);
        }
    };
    std::thread::Builder::new().name(name.into()).spawn(run)
}
