//! Values as a person writes them: `"30s"`, `"10MB"`, `"20%"`, `["0-3", 7]`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Longest time in a scenario: a year.
const MAX_TIME_US: u64 = 366 * 24 * 3600 * 1_000_000;
/// Largest size: a TiB.
const MAX_SIZE: u64 = 1 << 40;

/// A span of virtual time, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub u64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(TimeText)
    }
}

struct TimeText;

impl Visitor<'_> for TimeText {
    type Value = Time;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time with its unit, such as \"30s\", \"100us\" or \"1h 30m\"")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
        let time = humantime::parse_duration(text).map_err(|e| {
            E::custom(format!("`{text}` is no time ({e}); write it as \"30s\", \"100us\" or \"1h 30m\""))
        })?;
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if us == 0 && !time.is_zero() {
            return Err(E::custom(format!("`{text}` is less than a microsecond, the simulator's smallest step")));
        }
        if us > MAX_TIME_US {
            return Err(E::custom(format!("`{text}` is too long: a year at most")));
        }
        Ok(Time(us))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(SizeText)
    }
}

struct SizeText;

impl Visitor<'_> for SizeText {
    type Value = Size;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"10MB\" or \"64KiB\"")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        let size: bytesize::ByteSize =
            text.parse().map_err(|_| E::custom(format!("`{text}` is no size; write it as \"10MB\" or \"64KiB\"")))?;
        if size.as_u64() > MAX_SIZE {
            return Err(E::custom(format!("`{text}` is too large: 1TiB at most")));
        }
        Ok(Size(size.as_u64()))
    }
}

/// A share, in millionths: `"1%"` or `0.01`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Share(pub u32);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ShareText)
    }
}

/// A share as a person writes it, in millionths: `1%` or `0.01`. The error says what is wrong.
pub fn share(text: &str) -> Result<u32, String> {
    let bad = || format!("`{text}` is no share; write it as \"1%\" or 0.01");
    let (number, of) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim(), 100.0),
        None => (text.trim(), 1.0),
    };
    let part: f64 = number.parse().map_err(|_| bad())?;
    fraction(part / of).ok_or_else(|| format!("`{text}` is not between 0% and 100%"))
}

fn fraction(part: f64) -> Option<u32> {
    (0.0..=1.0).contains(&part).then(|| (part * 1e6).round() as u32)
}

struct ShareText;

impl Visitor<'_> for ShareText {
    type Value = Share;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share such as \"1%\" or 0.01")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Share, E> {
        share(text).map(Share).map_err(E::custom)
    }
    fn visit_f64<E: Error>(self, part: f64) -> Result<Share, E> {
        fraction(part).map(Share).ok_or_else(|| E::custom(format!("{part} is not between 0 and 1")))
    }
    fn visit_i64<E: Error>(self, part: i64) -> Result<Share, E> {
        self.visit_f64(part as f64)
    }
}

/// One time, or a shortest and a longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Between(pub Time, pub Time);

impl<'de> Deserialize<'de> for Between {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(BetweenTimes)
    }
}

struct BetweenTimes;

impl<'de> Visitor<'de> for BetweenTimes {
    type Value = Between;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as \"10ms\", or two: [\"10ms\", \"50ms\"]")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Between, E> {
        TimeText.visit_str(text).map(|t| Between(t, t))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Between, A::Error> {
        let two = (seq.next_element()?, seq.next_element()?, seq.next_element::<Time>()?);
        match two {
            (Some(lo), Some(hi), None) if lo <= hi => Ok(Between(lo, hi)),
            (Some(_), Some(_), None) => Err(A::Error::custom("the first time of a pair is the shorter one")),
            _ => Err(A::Error::custom("expected two times, the shorter one first")),
        }
    }
}

/// How long a task takes: `"20ms"`, `["10ms", "50ms"]`, or `{ mean = "20ms" }` with a long tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Between(Between),
    Tail(Time),
}

impl<'de> Deserialize<'de> for Takes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(TakesText)
    }
}

struct TakesText;

impl<'de> Visitor<'de> for TakesText {
    type Value = Takes;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"20ms\", [\"10ms\", \"50ms\"] or { mean = \"20ms\" }")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Takes, E> {
        BetweenTimes.visit_str(text).map(Takes::Between)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Takes, A::Error> {
        BetweenTimes.visit_seq(seq).map(Takes::Between)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Takes, A::Error> {
        let mut mean = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "mean" {
                return Err(A::Error::unknown_field(&key, &["mean"]));
            }
            mean = Some(map.next_value()?);
        }
        mean.map(Takes::Tail).ok_or_else(|| A::Error::missing_field("mean"))
    }
}

/// Nodes by their numbers: `3`, `"0-3"`, `["0-3", 7]`, or `"any"`: one that the seed draws.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Any,
    These(Vec<usize>),
}

/// Nodes that a scenario may have.
pub(super) const MAX_NODES: usize = 20_000;

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(WhoText)
    }
}

struct WhoText;

impl<'de> Visitor<'de> for WhoText {
    type Value = Who;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node's number, \"0-3\", a list of these, or \"any\"")
    }
    fn visit_i64<E: Error>(self, n: i64) -> Result<Who, E> {
        match usize::try_from(n) {
            Ok(n) if n < MAX_NODES => Ok(Who::These(vec![n])),
            _ => Err(E::custom(format!("{n} is no node's number: they count from 0"))),
        }
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Who, E> {
        if text == "any" {
            return Ok(Who::Any);
        }
        let bad = || E::custom(format!("`{text}` is no node; write 3, \"0-3\", [\"0-3\", 7] or \"any\""));
        let (lo, hi) = text.split_once('-').unwrap_or((text, text));
        let lo: usize = lo.trim().parse().map_err(|_| bad())?;
        let hi: usize = hi.trim().parse().map_err(|_| bad())?;
        if lo > hi || hi >= MAX_NODES {
            return Err(bad());
        }
        Ok(Who::These((lo..=hi).collect()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Who, A::Error> {
        let mut all = Vec::new();
        while let Some(next) = seq.next_element::<Who>()? {
            match next {
                Who::These(some) if all.len() + some.len() <= MAX_NODES => all.extend(some),
                Who::These(_) => return Err(A::Error::custom("too many nodes")),
                Who::Any => return Err(A::Error::custom("\"any\" stands alone, not in a list")),
            }
        }
        if all.is_empty() {
            return Err(A::Error::custom("a list of nodes has at least one"));
        }
        Ok(Who::These(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct One<T> {
        x: T,
    }
    fn read<T: serde::de::DeserializeOwned>(value: &str) -> Result<T, String> {
        toml::from_str::<One<T>>(&format!("x = {value}")).map(|o| o.x).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn what_a_person_writes() {
        assert_eq!(read("'1m 30s'"), Ok(Time(90_000_000)));
        assert_eq!(read("'100us'"), Ok(Time(100)));
        assert_eq!(read("'10MB'"), Ok(Size(10_000_000)));
        assert_eq!(read("'64KiB'"), Ok(Size(65_536)));
        assert_eq!(read("'1%'"), Ok(Share(10_000)));
        assert_eq!(read("0.25"), Ok(Share(250_000)));
        assert_eq!(read("['1ms', '2ms']"), Ok(Between(Time(1_000), Time(2_000))));
        assert_eq!(read("['0-2', 7]"), Ok(Who::These(vec![0, 1, 2, 7])));
        assert_eq!(read("'any'"), Ok(Who::Any));
    }

    #[test]
    fn what_cannot_be() {
        assert!(read::<Time>("5").unwrap_err().contains("with its unit"));
        assert!(read::<Time>("'5 parsecs'").unwrap_err().contains("parsecs"));
        assert!(read::<Time>("'5ns'").unwrap_err().contains("smallest step"));
        assert!(read::<Time>("'2y'").unwrap_err().contains("too long"));
        assert!(read::<Size>("'9PB'").unwrap_err().contains("too large"));
        assert!(read::<Share>("'120%'").unwrap_err().contains("between"));
        assert!(read::<Share>("-0.1").unwrap_err().contains("between"));
        assert!(read::<Between>("['2ms', '1ms']").unwrap_err().contains("shorter"));
        assert!(read::<Who>("-1").unwrap_err().contains("count from 0"));
        assert!(read::<Who>("['any']").unwrap_err().contains("alone"));
        assert!(read::<Who>("'5-2'").unwrap_err().contains("5-2"));
    }
}
