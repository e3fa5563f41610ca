//! Where values come from: `:::`, `::::`, `--each-line`, several of which make a product.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use filch_types::limits;

use super::{Array, PlanError};

/// Sources of one job; `{1}` to `{64}`.
pub(crate) const MAX_SOURCES: usize = 64;

/// One source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `::: a b c`.
    Values(Vec<String>),
    /// `:::: FILE`; `-` is stdin.
    Lines(PathBuf),
}

/// What makes the tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    /// One task without values.
    Once,
    /// `--array`.
    Array(Array),
    /// All combinations, the first source varying slowest.
    Product(Vec<Source>),
}

/// Cuts `:::` and `::::` off the words of a command line.
pub(crate) fn split(words: Vec<String>) -> Result<(Vec<String>, Vec<Source>), PlanError> {
    let mut command = Vec::new();
    let mut sources = Vec::new();
    let mut kind: Option<&'static str> = None;
    for word in words {
        match word.as_str() {
            ":::" => {
                kind = Some(":::");
                sources.push(Source::Values(Vec::new()));
            }
            "::::" => kind = Some("::::"),
            ":::+" | "::::+" => return Err(PlanError::Separator(word)),
            _ => match (kind, sources.last_mut()) {
                (Some("::::"), _) => sources.push(Source::Lines(word.into())),
                (Some(_), Some(Source::Values(values))) => values.push(word),
                _ => command.push(word),
            },
        }
    }
    if sources.iter().any(|s| *s == Source::Values(Vec::new())) {
        return Err(PlanError::NoValues);
    }
    Ok((command, sources))
}

/// Calls `task` for every combination, the first source varying slowest. Only what has to be repeated is kept in memory: the
/// first source streams.
pub(crate) fn product(
    sources: &[Source],
    task: &mut dyn FnMut(&[String]) -> Result<(), PlanError>,
) -> Result<(), PlanError> {
    if sources.len() > MAX_SOURCES {
        return Err(PlanError::Sources);
    }
    let Some((outer, inner)) = sources.split_first() else { return Err(PlanError::NoSource) };
    let inner: Vec<Vec<String>> = inner.iter().map(Source::load).collect::<Result<_, _>>()?;
    let factor = inner.iter().fold(1u64, |n, values| n.saturating_mul(values.len() as u64));
    if let Source::Values(values) = outer {
        let got = factor.saturating_mul(values.len() as u64);
        if got > u64::from(limits::MAX_TASKS) {
            return Err(PlanError::TooMany { got });
        }
    }
    let mut values = vec![String::new(); sources.len()];
    outer.each(&mut |value| {
        replace(&mut values, 0, value);
        combine(&inner, 0, &mut values, task)
    })
}

fn combine(
    inner: &[Vec<String>],
    level: usize,
    values: &mut Vec<String>,
    task: &mut dyn FnMut(&[String]) -> Result<(), PlanError>,
) -> Result<(), PlanError> {
    let Some(here) = inner.get(level) else { return task(values) };
    for value in here {
        replace(values, level + 1, value);
        combine(inner, level + 1, values, task)?;
    }
    Ok(())
}

fn replace(values: &mut [String], at: usize, value: &str) {
    if let Some(slot) = values.get_mut(at) {
        slot.clear();
        slot.push_str(value);
    }
}

impl Source {
    fn load(&self) -> Result<Vec<String>, PlanError> {
        let mut all = Vec::new();
        self.each(&mut |value| {
            if all.len() >= limits::MAX_TASKS as usize {
                return Err(PlanError::TooMany { got: all.len() as u64 + 1 });
            }
            all.push(value.to_owned());
            Ok(())
        })?;
        Ok(all)
    }

    fn each(&self, take: &mut dyn FnMut(&str) -> Result<(), PlanError>) -> Result<(), PlanError> {
        match self {
            Source::Values(values) => values.iter().try_for_each(|v| take(v)),
            Source::Lines(path) if path == Path::new("-") => lines(path, std::io::stdin().lock(), take),
            Source::Lines(path) => {
                let file = File::open(path).map_err(|source| PlanError::Read { path: path.clone(), source })?;
                lines(path, file, take)
            }
        }
    }
}

/// Every line without its line feed; a last line needs none. At least one.
fn lines(path: &Path, from: impl Read, take: &mut dyn FnMut(&str) -> Result<(), PlanError>) -> Result<(), PlanError> {
    let mut reader = BufReader::with_capacity(64 * 1024, from);
    let mut line = Vec::new();
    let mut number = 0u64;
    let fail = |line, why| PlanError::Line { path: path.to_owned(), line, why };
    loop {
        line.clear();
        // One byte more than allowed: the line feed.
        let n = reader.by_ref().take(limits::MAX_TEXT as u64 + 1).read_until(b'\n', &mut line);
        if n.map_err(|source| PlanError::Read { path: path.to_owned(), source })? == 0 {
            break;
        }
        number += 1;
        match line.pop_if(|b| *b == b'\n') {
            None if line.len() > limits::MAX_TEXT => return Err(fail(number, "the line is longer than 64 KiB")),
            _ => {}
        }
        let text = std::str::from_utf8(&line).map_err(|_| fail(number, "the line is not UTF-8"))?;
        if text.contains('\0') {
            return Err(fail(number, "the line contains a NUL byte"));
        }
        take(text)?;
    }
    if number == 0 {
        let name = if path == Path::new("-") { "stdin".into() } else { path.display().to_string() };
        return Err(PlanError::Empty(name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }
    fn all(sources: &[Source]) -> Result<Vec<String>, PlanError> {
        let mut out = Vec::new();
        product(sources, &mut |values| {
            out.push(values.join(" "));
            Ok(())
        })?;
        Ok(out)
    }

    #[test]
    fn separators_as_in_gnu_parallel() {
        let (command, sources) = split(words("echo x ::: a b ::: 1 2 :::: f g")).unwrap();
        assert_eq!(command, ["echo", "x"]);
        let want = [
            Source::Values(words("a b")),
            Source::Values(words("1 2")),
            Source::Lines("f".into()),
            Source::Lines("g".into()),
        ];
        assert_eq!(sources, want);
        assert!(matches!(split(words("echo ::: ::: a")), Err(PlanError::NoValues)));
        assert!(matches!(split(words("echo ::: a :::+ b")), Err(PlanError::Separator(_))));
    }

    #[test]
    fn the_first_source_varies_slowest() {
        let sources = [Source::Values(words("a b")), Source::Values(words("1 2 3"))];
        assert_eq!(all(&sources).unwrap(), ["a 1", "a 2", "a 3", "b 1", "b 2", "b 3"]);
        let big = Source::Values(vec![String::new(); 4000]);
        assert!(matches!(all(&[big.clone(), big]), Err(PlanError::TooMany { got: 16_000_000 })));
    }

    #[test]
    fn files_of_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        for (text, want) in [("a\nb\n", vec!["a", "b"]), ("a\n\nb", vec!["a", "", "b"]), ("x y\n", vec!["x y"])] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(all(&[Source::Lines(path.clone())]).unwrap(), want);
        }
        for (bytes, want) in [
            (&b"a\n\xff\n"[..], "list:2: the line is not UTF-8"),
            (b"a\0\n", "list:1: the line contains a NUL byte"),
            (&[b'x'; 70_000], "list:1: the line is longer than 64 KiB"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = all(&[Source::Lines(path.clone())]).unwrap_err().to_string();
            assert!(error.ends_with(want), "{error}");
        }
        std::fs::write(&path, [b'x'; 65_536]).unwrap();
        assert_eq!(all(&[Source::Lines(path.clone())]).unwrap().len(), 1);
        std::fs::write(&path, "").unwrap();
        assert!(matches!(all(&[Source::Lines(path)]), Err(PlanError::Empty(_))));
        assert!(matches!(all(&[Source::Lines(dir.path().join("none"))]), Err(PlanError::Read { .. })));
    }

    proptest! {
        #[test]
        fn a_product_has_every_combination_once(sizes in prop::collection::vec(1usize..5, 1..4)) {
            let sources: Vec<Source> =
                sizes.iter().map(|n| Source::Values((0..*n).map(|i| i.to_string()).collect())).collect();
            let got = all(&sources).unwrap();
            prop_assert_eq!(got.len(), sizes.iter().product::<usize>());
            let distinct: std::collections::BTreeSet<_> = got.iter().collect();
            prop_assert_eq!(distinct.len(), got.len());
            prop_assert!(got.is_sorted());
        }
    }
}
