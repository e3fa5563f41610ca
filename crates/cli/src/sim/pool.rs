//! Simulations on all processors: each is single-threaded, many run beside each other.

use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};

use super::stop;

/// Results that wait to be counted.
const WAITING: usize = 64;

/// Processors of this machine.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// Works on the items in their order, so many at a time, until there are none or Ctrl-C was pressed. `each` is called here with
/// every result, in the order in which they come, and with `None` now and then.
pub(super) fn work<I, T>(items: I, threads: usize, work: impl Fn(I::Item) -> T + Sync, mut each: impl FnMut(Option<T>))
where
    I: Iterator + Send,
    T: Send,
{
    let items = Mutex::new(items);
    let next = || items.lock().ok().and_then(|mut items| items.next());
    std::thread::scope(|scope| {
        let (give, take) = sync_channel(WAITING);
        for _ in 0..threads.max(1) {
            let (give, next, work) = (give.clone(), &next, &work);
            scope.spawn(move || {
                while !stop::stopped() {
                    let Some(item) = next() else { break };
                    if give.send(work(item)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(give);
        loop {
            match take.recv_timeout(stop::LOOK) {
                Ok(done) => each(Some(done)),
                Err(RecvTimeoutError::Timeout) => each(None),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_item_is_worked_on_once() {
        let mut got = Vec::new();
        super::work(0..500_u64, 3, |n| n * 2, |done| got.extend(done));
        got.sort_unstable();
        assert_eq!(got, (0..500).map(|n| n * 2).collect::<Vec<_>>());
    }
}
