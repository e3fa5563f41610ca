//! The only place where the command line touches the node's code.

use filch_node::Config;

use crate::error::Error;

pub(super) fn up(_config: Config) -> Result<u8, Error> {
    Err(Error::failed("this build has no node yet", "use a later one"))
}

pub(super) fn spawner() -> ! {
    std::process::exit(125)
}
