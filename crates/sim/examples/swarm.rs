//! `filch sim swarm` without the rest of filch: `swarm [SEEDS [FROM [PROFILE]]]`. FROM is a number, or anything else, such as the id
//! of a commit, that names a range which nobody has run before. Ends with 1 if a run breaks a rule, unless the seed is listed in
//! `open-seeds.txt` beside this crate as known and still open.
#![allow(clippy::print_stdout)]

mod common;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use filch_sim::swarm::{Judged, Outcome, Tally, range, run};
use filch_sim::{Profile, corpus};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn summary(tally: &Tally, times: &mut [(Duration, u64)], wall: Duration) {
    let (all, s) = (&tally.all, wall.as_secs_f64());
    println!(
        "{} of {} held in {s:.1} s: {:.0} seeds/min, {:.0} events/s; {} virtual hours, {} executions, {} faults, {} more could not take place",
        all.seeds - all.broken,
        all.seeds,
        all.seeds as f64 / s * 60.0,
        all.events as f64 / s,
        all.simulated_us / 3_600_000_000,
        all.executions,
        all.faults,
        all.skipped
    );
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 1000).min(times.len().saturating_sub(1)));
    let [half, most, max] = [500, 990, 1000].map(|share| at(share).copied().unwrap_or_default());
    let ms = |t: Duration| t.as_secs_f64() * 1e3;
    println!(
        "a run takes {:.1} ms, 1 in 100 more than {:.1} ms, seed {} took {:.1} ms",
        ms(half.0),
        ms(most.0),
        max.1,
        ms(max.0)
    );
}

/// Tells what is worth telling of a run; true if it broke a rule that it was not known to break.
fn tell(o: &Outcome, judged: Judged<'_>) -> bool {
    let text = o.broken.as_ref().map_or("", |b| &b.text);
    match judged {
        Judged::Held => return false,
        Judged::HeldAgain => println!("{} holds again: take it off open-seeds.txt", o.target()),
        Judged::Known(_) => println!("known {}, still open: {text}", o.target()),
        Judged::New => println!("BROKEN {}: {text}", o.target()),
    }
    if o.broken.is_some() {
        println!("    cargo run --release -p filch-sim --example hunt -- {} {} trace", o.profile.name(), o.seed);
    }
    judged == Judged::New
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let count: u64 = args.first().and_then(|s| s.parse().ok()).unwrap_or(5_000);
    let from = args.get(1).map_or(0, |from| range(from));
    let name = args.get(2).map_or("swarm", String::as_str);
    let Some(profile) = Profile::named(name) else {
        println!("no profile is named {name}");
        return ExitCode::from(2);
    };
    println!("{count} seeds of {name} from {from} on {} threads", common::processors());
    let begun = Instant::now();
    let mut done = common::work(from..from.saturating_add(count), |seed| run(profile, seed));
    let (mut tally, known) = (Tally::default(), corpus::open());
    done.sort_by_key(|(_, o)| o.seed);
    done.iter().for_each(|(_, o)| tally.add(o));
    let mut times: Vec<_> = done.iter().map(|(took, o)| (*took, o.seed)).collect();
    summary(&tally, &mut times, begun.elapsed());
    let new = done.iter().filter(|(_, o)| tell(o, o.judge(&known))).count();
    ExitCode::from(u8::from(new > 0))
}
