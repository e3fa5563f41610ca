//! Runs that are kept: seeds that once broke a rule, or that show something, one a line.
//!
//! `crates/sim/corpus/seeds.txt` lists seeds by profile. What a seed draws changes with the generator, so what took long to find is
//! also kept expanded, as a recorded schedule in `crates/sim/corpus/schedules`. CI replays both.

use crate::options::Profile;

/// A kept seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Under which profile.
    pub profile: Profile,
    /// Which.
    pub seed: u64,
    /// Why.
    pub about: String,
}

/// A line that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadLine {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// Reads a list of seeds: `PROFILE SEED WHY` a line; empty lines and those that begin with `#` are skipped.
pub fn parse(text: &str) -> Result<Vec<Kept>, BadLine> {
    let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(line, text)| kept(text).map_err(|why| BadLine { line, why })).collect()
}

fn kept(line: &str) -> Result<Kept, String> {
    let mut words = line.splitn(3, char::is_whitespace);
    let name = words.next().unwrap_or_default();
    let known = || Profile::ALL.map(Profile::name).join(", ");
    let profile = Profile::named(name).ok_or_else(|| format!("`{name}` is no profile; there are {}", known()))?;
    let seed = words.next().unwrap_or_default();
    let seed = seed.parse().map_err(|_| format!("`{seed}` is no seed: a whole number"))?;
    let about = words.next().map(str::trim).filter(|a| !a.is_empty());
    Ok(Kept { profile, seed, about: about.ok_or("it does not say why the seed is kept")?.to_owned() })
}

/// Runs that are known to break a rule and are not fixed yet.
const OPEN: &str = include_str!("../open-seeds.txt");

/// Runs of this version that are known to break a rule.
pub fn open() -> Vec<Kept> {
    // The list is checked by a test; a bad one must not hide what breaks.
    parse(OPEN).unwrap_or_default()
}

/// Why a list says that it has this run.
pub fn about(list: &[Kept], profile: Profile, seed: u64) -> Option<&str> {
    list.iter().find(|k| (k.profile, k.seed) == (profile, seed)).map(|k| k.about.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_a_list_too() {
        assert_eq!(parse(OPEN).expect("well formed"), open());
        let list = parse("swarm 7 two stewards\ncrash 7 x").expect("good");
        assert_eq!(about(&list, Profile::Swarm, 7), Some("two stewards"));
        assert_eq!(about(&list, Profile::Scale, 7), None);
    }

    #[test]
    fn a_list_is_read_and_bad_lines_are_named() {
        let good = parse("# seeds\n\nswarm 7  two stewards\ncrash 1 x\n").expect("good");
        assert_eq!((good.len(), good[0].seed, good[0].about.as_str()), (2, 7, "two stewards"));
        let bad = |text: &str| parse(text).expect_err("bad").to_string();
        assert_eq!(bad("\nswarm 7"), "line 2: it does not say why the seed is kept");
        assert_eq!(bad("swarm x y"), "line 1: `x` is no seed: a whole number");
        assert!(bad("warm 1 y").starts_with("line 1: `warm` is no profile; there are fault-free, "));
    }
}
