//! .
/// The body of the hidden subcommand that spawns tasks.
pub fn spawner_main() -> ! {
    std::process::exit(1)
}
