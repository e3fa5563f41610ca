//! Ctrl-C: once ends the work and prints what there is, twice ends the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

static STOP: AtomicBool = AtomicBool::new(false);

/// Between looks at whether it was pressed.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Hears SIGINT and SIGTERM from now on.
pub(super) fn listen() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut int, mut term) = runtime.block_on(async {
        Ok::<_, std::io::Error>((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    })?;
    let hear = move || {
        runtime.block_on(async move {
            loop {
                tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
                if STOP.swap(true, Ordering::Relaxed) {
                    std::process::exit(i32::from(super::INTERRUPTED));
                }
            }
        });
    };
    std::thread::Builder::new().name("signals".into()).spawn(hear).map(drop)
}

/// Whether the work should end.
pub(super) fn stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// The value of a work that cannot be told to end; `None` when it was left alone because of Ctrl-C. A panic of it is passed on.
pub(super) fn unless<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::io::Result<Option<T>> {
    let (give, take) = channel();
    let thread = std::thread::Builder::new().name("simulation".into()).spawn(move || drop(give.send(work())))?;
    loop {
        match take.recv_timeout(LOOK) {
            Ok(value) => return Ok(Some(value)),
            Err(RecvTimeoutError::Timeout) if stopped() => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => return Ok(None),
            },
        }
    }
}
