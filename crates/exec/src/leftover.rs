//! .
pub(crate) fn kill_all(_: &std::path::Path) -> Result<(), usize> {
    Ok(())
}
