//! Where members are: what two nodes tell each other on every new connection and now and then. Addresses are texts here; what
//! they mean is the network's matter.

use serde::{Deserialize, Serialize};

use crate::{NodeId, limits};

/// Bytes of one exchange.
pub const MAX_BYTES: usize = 64 * 1024;
/// Members in one exchange: with 16 addresses of a usual length each they fit `MAX_BYTES`.
pub const MAX_MEMBERS: usize = 64;
/// Bytes of one address.
pub const MAX_ADDRESS: usize = 300;

/// Where the sender and the members that it is connected to can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The sender's own.
    own: Vec<String>,
    members: Vec<(NodeId, Vec<String>)>,
}

impl Known {
    /// Leaves out what would be too much, so that it always fits `MAX_BYTES`.
    pub fn new(own: Vec<String>, members: impl IntoIterator<Item = (NodeId, Vec<String>)>) -> Self {
        let own = bounded(own);
        let mut bytes = size(&own);
        let mut list = Vec::new();
        for (node, addrs) in members {
            let addrs = bounded(addrs);
            if addrs.is_empty() {
                continue;
            }
            bytes += 40 + size(&addrs);
            if bytes > MAX_BYTES - 1024 || list.len() == MAX_MEMBERS {
                break;
            }
            list.push((node, addrs));
        }
        Self { own, members: list }
    }

    /// Addresses of the sender, as many as it may tell.
    pub fn own(&self) -> impl Iterator<Item = &str> {
        taken(&self.own)
    }

    /// Members with their addresses, as many as may be told.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, impl Iterator<Item = &str>)> {
        self.members.iter().take(MAX_MEMBERS).map(|(node, addrs)| (*node, taken(addrs)))
    }
}

fn bounded(mut addrs: Vec<String>) -> Vec<String> {
    addrs.retain(|a| a.len() <= MAX_ADDRESS);
    addrs.truncate(limits::MAX_ADDRS);
    addrs
}

fn taken(addrs: &[String]) -> impl Iterator<Item = &str> {
    addrs.iter().take(limits::MAX_ADDRS).map(String::as_str).filter(|a| a.len() <= MAX_ADDRESS)
}

fn size(addrs: &[String]) -> usize {
    addrs.iter().map(|a| a.len() + 3).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn the_largest_one_fits() {
        let addrs = vec!["x".repeat(MAX_ADDRESS); 40];
        let members = (0..=255u8).map(|n| (NodeId([n; 32]), addrs.clone()));
        let known = Known::new(addrs.clone(), members);
        assert!(codec::encode(&known, MAX_BYTES).unwrap().len() > MAX_BYTES / 2);
        assert_eq!(known.own().count(), limits::MAX_ADDRS);
        let short = (0..=255u8).map(|n| (NodeId([n; 32]), vec!["a".to_owned()]));
        assert_eq!(Known::new(vec![], short).members().count(), MAX_MEMBERS);
    }

    #[test]
    fn what_breaks_the_bounds_is_cut_where_it_is_read() {
        let long = "x".repeat(MAX_ADDRESS + 1);
        let much = Known {
            own: vec![long.clone(), "a".into()],
            members: vec![(NodeId([1; 32]), vec!["b".into(); 40]); MAX_MEMBERS + 1],
        };
        assert_eq!(much.own().collect::<Vec<_>>(), ["a"]);
        assert_eq!(much.members().count(), MAX_MEMBERS);
        assert!(much.members().all(|(_, addrs)| addrs.count() == limits::MAX_ADDRS));
        assert_eq!(Known::new(vec![long.clone()], [(NodeId([1; 32]), vec![long])]), Known::default());
    }
}
