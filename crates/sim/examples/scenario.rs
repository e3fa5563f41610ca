//! Runs scenario files and prints what came of each: `scenario FILE…`.
#![allow(clippy::print_stdout)]

fn main() {
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        match filch_sim::Scenario::parse(&text).and_then(|s| s.start(None, None)) {
            Err(e) => println!("{path}: {e}; {}", e.hint.as_deref().unwrap_or("")),
            Ok(running) => {
                let report = running.finish();
                println!("{path}: held {}", report.held());
                report.checks.iter().for_each(|c| println!("   {} {} {}: {}", c.what, c.wanted, c.got, c.held));
                println!(
                    "   {:?} {:?} exec {} redone {} lost {} stolen {} eff {:.3} busy {:.3} msgs {:.2} events {} took {} sim {} faults {} failed {}",
                    report.violation,
                    report.unfinished,
                    report.executions,
                    report.redone,
                    report.lost,
                    report.stolen,
                    report.efficiency,
                    report.busy,
                    report.messages_per_task,
                    report.events,
                    report.took_us,
                    report.simulated_us,
                    report.faults,
                    report.failed
                );
            }
        }
    }
}
