//! Values as a person writes them: `20s..40s`, `1Gbit`, `5%`.

use std::time::Duration as Time;

use filch_sim::options::Duration;

/// Virtual time of so many microseconds, as short as it can be read: to the millisecond below ten seconds, to the second below
/// ten hours, else to the minute.
pub(super) fn time(us: u64) -> String {
    const S: u64 = 1_000_000;
    let step = match us {
        0..1_000 => 1,
        1_000..100_000 => 100,
        100_000..10_000_000 => 1_000,
        _ if us < 36_000 * S => S,
        _ => 60 * S,
    };
    let rounded = (us + step / 2) / step * step;
    humantime::format_duration(Time::from_micros(rounded)).to_string().replace(' ', "")
}

fn us(text: &str) -> Result<u64, String> {
    let time = humantime::parse_duration(text.trim())
        .map_err(|e| format!("`{text}` is no time ({e}); write it as 30s, 250ms or 1h30m"))?;
    match u64::try_from(time.as_micros()) {
        Ok(0) => Err(format!("`{text}` is less than a microsecond, the simulator's smallest step")),
        Ok(us) => Ok(us),
        Err(_) => Err(format!("`{text}` is too long")),
    }
}

/// Time of one task: `30s`, `20s..40s`, or `mean=30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if let Some(mean) = text.strip_prefix("mean=") {
        return us(mean).map(Duration::Tail);
    }
    let Some((lo, hi)) = text.split_once("..") else { return us(text).map(Duration::Fixed) };
    match (us(lo)?, us(hi)?) {
        (lo, hi) if lo <= hi => Ok(Duration::Uniform(lo, hi)),
        _ => Err(format!("`{text}`: the shorter time comes first")),
    }
}

/// A share in millionths: `1%` or `0.01`.
pub(super) fn share(text: &str) -> Result<u32, String> {
    filch_sim::scenario::share(text)
}

/// Nodes that die: `3`, or `5%` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deaths {
    Nodes(usize),
    /// In millionths.
    Share(u32),
}

pub(super) fn deaths(text: &str) -> Result<Deaths, String> {
    match text.trim().parse() {
        Ok(nodes) => Ok(Deaths::Nodes(nodes)),
        Err(_) => share(text)
            .map(Deaths::Share)
            .map_err(|_| format!("`{text}` is neither a number of nodes nor a share such as 5%")),
    }
}

impl Deaths {
    /// Of so many nodes; a share is rounded up.
    pub fn of(self, nodes: usize) -> usize {
        match self {
            Deaths::Nodes(n) => n,
            Deaths::Share(ppm) => (nodes as u64 * u64::from(ppm)).div_ceil(1_000_000) as usize,
        }
    }
}

/// A size in bytes: `100MB`, `64KiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>()
        .map(|s| s.as_u64())
        .map_err(|_| format!("`{text}` is no size; write it as 100MB or 64KiB"))
}

/// Bytes per second: `1Gbit`, `100Mbit/s`, `50MB`.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is no bandwidth; write it as 1Gbit, 100Mbit/s or 50MB/s");
    let plain = text.trim();
    let plain = plain.strip_suffix("/s").unwrap_or(plain);
    let bytes = match plain.strip_suffix("bit") {
        Some(bits) => size(&format!("{bits}B")).map_err(|_| bad())? / 8,
        None => size(plain).map_err(|_| bad())?,
    };
    if bytes == 0 { Err(bad()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_writes() {
        assert_eq!(duration("30s"), Ok(Duration::Fixed(30_000_000)));
        assert_eq!(duration("20s..1m"), Ok(Duration::Uniform(20_000_000, 60_000_000)));
        assert_eq!(duration("mean=10ms"), Ok(Duration::Tail(10_000)));
        assert_eq!((rate("1Gbit"), rate("100Mbit/s")), (Ok(125_000_000), Ok(12_500_000)));
        assert_eq!((rate("50MB"), size("64KiB")), (Ok(50_000_000), Ok(65_536)));
        assert_eq!(deaths("3").map(|d| d.of(10)), Ok(3));
        assert_eq!(deaths("5%").map(|d| d.of(10)), Ok(1));
    }

    #[test]
    fn what_makes_no_sense() {
        for bad in ["30", "5 parsecs", "40s..20s", "..", "mean=", "5ns", "0s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(duration("40s..20s").unwrap_err().contains("shorter"));
        assert!(rate("0Mbit").is_err() && rate("fast").is_err() && rate("4bit").is_err());
        assert!(deaths("-1").is_err() && deaths("120%").is_err() && deaths("some").is_err());
    }

    #[test]
    fn times_are_short() {
        let times = [0, 640, 1_540, 250_000, 9_999_000, 75_400_000, 9_391_000_000, 400_000_000_000];
        let texts = times.map(time);
        assert_eq!(texts, ["0s", "640us", "1ms500us", "250ms", "9s999ms", "1m15s", "2h36m31s", "4days15h7m"]);
    }
}
