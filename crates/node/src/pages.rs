//! Huge pages are for programs with much memory. An idle node has little, spread over the heaps of some threads; in pages of 2 MiB
//! it would be 40 MB instead of 25.

/// No huge pages for this process. Inherited by what it starts.
pub fn small() {
    if let Err(e) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%e, "huge pages cannot be turned off");
    }
}

/// The body of the hidden subcommand that starts command tasks, which get huge pages as if no node were there.
pub fn spawner_main() -> ! {
    // Failing means that the system does not know the setting; then it was not made either.
    let _ = rustix::thread::disable_transparent_huge_pages(false);
    filch_exec::spawner_main()
}
