//! The simulator has no threads and no clock: these examples bring them.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Processors of this machine.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// Works on all items, as many at a time as there are processors; the answers come with what each took, in no order.
pub fn work<I: Iterator + Send, T: Send>(items: I, work: impl Fn(I::Item) -> T + Sync) -> Vec<(Duration, T)> {
    let (items, done) = (Mutex::new(items), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..processors() {
            scope.spawn(|| {
                while let Some(item) = items.lock().ok().and_then(|mut items| items.next()) {
                    let begun = Instant::now();
                    let answer = work(item);
                    if let Ok(mut done) = done.lock() {
                        done.push((begun.elapsed(), answer));
                    }
                }
            });
        }
    });
    done.into_inner().unwrap_or_default()
}
