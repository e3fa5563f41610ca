//! The built-in handlers; described at `Handlers::builtin`.

use std::fs::File;
use std::time::{Duration, Instant};

use super::HandlerCx;

/// The longest duration that an argument may give.
const MAX_SECONDS: f64 = 366.0 * 86400.0;

pub(super) fn sleep(cx: &HandlerCx<'_>) -> Result<Vec<u8>, String> {
    cx.sleep(duration(cx, "sleep")?).map(|()| Vec::new())
}

pub(super) fn spin(cx: &HandlerCx<'_>) -> Result<Vec<u8>, String> {
    let (time, began) = (duration(cx, "spin")?, Instant::now());
    while began.elapsed() < time {
        if cx.is_cancelled() {
            return Err("cancelled".to_owned());
        }
        for _ in 0..200 {
            std::hint::spin_loop();
        }
    }
    Ok(Vec::new())
}

pub(super) fn fail(cx: &HandlerCx<'_>) -> Result<Vec<u8>, String> {
    let message = cx.args().first().map_or("failed, as it was asked to", String::as_str);
    if let Some(share) = cx.args().get(1) {
        let share: f64 = share.parse().map_err(|_| format!("fail: `{share}` is not a share from 0 to 1"))?;
        if draw(cx) >= share {
            return Ok(Vec::new());
        }
    }
    Err(message.to_owned())
}

/// A number in [0, 1) that depends on the attempt only.
fn draw(cx: &HandlerCx<'_>) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(cx.job().as_bytes()).update(&cx.index().to_le_bytes()).update(&cx.attempt().to_le_bytes());
    let head = hasher.finalize().as_bytes().first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
    f64::from(head) / (f64::from(u32::MAX) + 1.0)
}

pub(super) fn hash(cx: &HandlerCx<'_>) -> Result<Vec<u8>, String> {
    let mut lines = String::new();
    for (name, path) in cx.inputs() {
        let mut hasher = blake3::Hasher::new();
        let file = File::open(&path).map_err(|e| format!("{name}: {e}"))?;
        hasher.update_reader(file).map_err(|e| format!("{name}: {e}"))?;
        lines.push_str(&format!("{}  {name}\n", hasher.finalize().to_hex()));
        if cx.is_cancelled() {
            return Err("cancelled".to_owned());
        }
    }
    Ok(lines.into_bytes())
}

fn duration(cx: &HandlerCx<'_>, name: &str) -> Result<Duration, String> {
    let text = cx.args().first().ok_or_else(|| format!("{name}: give a duration, e.g. 20ms"))?;
    parse(text).ok_or_else(|| format!("{name}: `{text}` is no duration; try 20ms, 1.5s or 2m"))
}

/// A number with a unit: `us ms s m h`; seconds without one.
fn parse(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(at)?;
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * scale;
    (0.0..=MAX_SECONDS).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, want) in [("20ms", 20_000), ("1.5s", 1_500_000), ("2m", 120_000_000), ("3", 3_000_000), ("7us", 7)] {
            assert_eq!(parse(text).map(|d| d.as_micros()), Some(want), "{text}");
        }
        for text in ["", "ms", "1x", "-1s", "1e9h", "99999999h", "1.2.3s"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
