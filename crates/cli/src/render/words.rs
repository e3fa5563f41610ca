//! Small phrases that several commands use.

use std::time::Duration;

use filch_api::{Delay, NodeRef};

/// A node as people know it.
pub(crate) fn node(node: &NodeRef) -> String {
    if node.name.is_empty() { node.id.short() } else { node.name.clone() }
}

/// `3 copies (a, b, c); survives the loss of any 2`.
pub(crate) fn copies(holders: &[NodeRef]) -> String {
    let names: Vec<String> = holders.iter().map(node).collect();
    let names = names.join(", ");
    match holders.len() {
        1 => format!("1 copy ({names}); does not survive its loss"),
        2 => format!("2 copies ({names}); survives the loss of either"),
        n => format!("{n} copies ({names}); survives the loss of any {}", n.saturating_sub(1)),
    }
}

/// `waits for 2 copies: b (its disk is full)`.
pub(crate) fn delay(delay: &Delay) -> String {
    let missing = delay.missing.iter().map(|m| format!("{} ({})", tame(&node(&m.node), 30), m.why.phrase()));
    format!("waits for {} of a result; none yet at {}", copies_of(delay.copies), missing.collect::<Vec<_>>().join(", "))
}

fn copies_of(n: u8) -> String {
    if n == 1 { "1 copy".into() } else { format!("{n} copies") }
}

/// `1 task`, `2 tasks`.
pub(crate) fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// To the second, or to the millisecond below ten seconds.
pub(crate) fn span(ms: u64) -> String {
    let rounded = if ms < 10_000 { ms } else { ms / 1000 * 1000 };
    humantime::format_duration(Duration::from_millis(rounded)).to_string().replace(' ', "")
}

/// Bytes in powers of 1024.
pub(crate) fn bytes(n: u64) -> String {
    bytesize::ByteSize(n).display().iec().to_string()
}

/// Since then, coarsely; `-` if that is in the future.
pub(crate) fn age(created_ms: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    match now.checked_sub(created_ms) {
        None => "-".into(),
        Some(ms) => match ms / 1000 {
            s if s < 60 => format!("{s}s"),
            s if s < 3600 => format!("{}m", s / 60),
            s if s < 86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
            s => format!("{}d", s / 86_400),
        },
    }
}

/// Text of others on one line of a terminal: no control characters, not too long.
pub(crate) fn tame(text: &str, longest: usize) -> String {
    let mut out: String = text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).take(longest + 1).collect();
    if out.chars().count() > longest {
        out.pop();
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use filch_types::NodeId;

    #[test]
    fn phrases() {
        let n = |name: &str| NodeRef { id: NodeId([7; 32]), name: name.into() };
        assert_eq!(copies(&[n("a"), n("b"), n("c")]), "3 copies (a, b, c); survives the loss of any 2");
        assert_eq!(copies(&[n("")]), "1 copy (0707070707); does not survive its loss");
        assert_eq!((count(1, "task"), count(0, "task")), ("1 task".into(), "0 tasks".into()));
        assert_eq!((span(1234), span(61_999), span(0)), ("1s234ms".into(), "1m1s".into(), "0s".into()));
        let missing = vec![filch_api::MissingCopy { node: n("b"), why: filch_api::Missing::DiskFull }];
        let text = delay(&Delay { copies: 2, missing });
        assert_eq!(text, "waits for 2 copies of a result; none yet at b (its disk is full)");
        assert_eq!(tame("a\x1b[31mb", 10), "a\u{FFFD}[31mb");
        assert_eq!(tame("abcdef", 3), "abc…");
    }
}
