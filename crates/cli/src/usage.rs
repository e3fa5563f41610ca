//! What the command line cannot be understood as: clap's sentences with hints of our own, as text or as JSON.

use std::ffi::OsString;
use std::time::Duration;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args::Cli;
use crate::error::Error;

/// Reports it and returns the exit code: 0 if it was a question for help.
pub(crate) fn report(mut error: clap::Error, args: &[OsString]) -> u8 {
    let exit = u8::try_from(error.exit_code()).unwrap_or(2);
    if exit != 0
        && let Some(hint) = hint(&error, args)
    {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    }
    let ours = match error.kind() {
        ErrorKind::InvalidUtf8 => Some(not_utf8(args)),
        _ if exit != 0 && wants_json(args) => Some(in_words(&error)),
        _ => None,
    };
    match ours {
        Some(ours) => ours.report(wants_json(args)),
        None => {
            let _ = error.print();
            exit
        }
    }
}

/// `--json`, unless it is behind `--` and another program's.
fn wants_json(args: &[OsString]) -> bool {
    args.iter().take_while(|a| *a != "--").any(|a| a == "--json")
}

/// What clap cannot know about a mistake.
fn hint(error: &clap::Error, args: &[OsString]) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let option = text(ContextKind::InvalidArg)?;
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    if option.starts_with("--tasks") && value.len() >= filch_api::routes::MIN_PREFIX && is_hex(value) {
        return Some(format!("what follows --tasks is a state; the job goes first: `filch show {value} --tasks`"));
    }
    if error.kind() == ErrorKind::UnknownArgument {
        // `-i -x`: an option waited for a value, and the next word looks like an option.
        let (flag, next) = args.windows(2).find_map(|pair| {
            let (flag, next) = (pair.first()?.to_str()?, pair.get(1)?.to_str()?);
            (next.starts_with(option) && wants_value(flag)).then_some((flag, next))
        })?;
        return Some(format!("if `{next}` is meant as the value of {flag}, write `{flag}={next}`"));
    }
    None
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether this word is an option that is followed by a value, of any command.
fn wants_value(word: &str) -> bool {
    let cli = Cli::command();
    let mut all = cli.get_subcommands().flat_map(clap::Command::get_arguments).chain(cli.get_arguments());
    all.any(|a| {
        let long = a.get_long().is_some_and(|l| word.strip_prefix("--") == Some(l));
        let short = a.get_short().is_some_and(|c| word.strip_prefix('-') == Some(c.encode_utf8(&mut [0; 4])));
        (long || short) && a.get_action().takes_values()
    })
}

fn not_utf8(args: &[OsString]) -> Error {
    let bad = args.iter().enumerate().find(|(_, a)| a.to_str().is_none());
    let what = bad.map_or_else(
        || "an argument is not UTF-8".to_owned(),
        |(n, a)| format!("argument {n}, `{}`, is not UTF-8", a.display()),
    );
    Error::usage(
        what,
        "words, values and the names of files are UTF-8 everywhere in filch: rename the file, or link to it",
    )
}

/// The same without colours and usage, as a sentence and a hint.
fn in_words(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(str::trim);
    let first = paragraphs.next().unwrap_or_default();
    let message = one_line(first.strip_prefix("error: ").unwrap_or(first));
    let tips = paragraphs.flat_map(str::lines).filter_map(|line| line.trim().strip_prefix("tip: "));
    let tips: Vec<String> = tips.map(one_line).collect();
    let hint = if tips.is_empty() { "see --help".to_owned() } else { tips.join("; ") };
    Error::Usage { message, hint: Some(hint) }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A time of an option.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| format!("{e}; write it like 500ms, 90s, 5m or 2h"))
}

/// A time limit: one that is over at once ends everything.
pub(crate) fn limit(text: &str) -> Result<Duration, String> {
    match time(text)? {
        t if t < Duration::from_millis(1) => Err("nothing can be done in no time; leave it out for no limit".into()),
        t => Ok(t),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use clap::Parser;

    use super::*;

    fn refused(line: &[&str]) -> Error {
        let args: Vec<OsString> = std::iter::once(&"filch").chain(line).map(OsString::from).collect();
        let mut error = Cli::try_parse_from(&args).unwrap_err();
        if let Some(hint) = hint(&error, &args) {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
        }
        in_words(&error)
    }
    fn words(line: &[&str]) -> String {
        match refused(line) {
            Error::Usage { message, hint } => format!("{message} | {}", hint.unwrap_or_default()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mistakes_and_what_is_said() {
        insta::assert_snapshot!(
            [
                words(&["mapp"]),
                words(&["map", "--retires", "3", "--", "x"]),
                words(&["map", "-i", "-x", "--", "cat", ":::", "a"]),
                words(&["run", "--output", "--x", "--", "cat"]),
                words(&["run", "-i", "--", "cat"]),
                words(&["run", "--timeout", "abc", "--", "x"]),
                words(&["run", "--timeout", "0s", "--", "x"]),
                words(&["wait", "--timeout", "0s", "abcd"]),
                words(&["map", "--copies", "9", "--", "x"]),
                words(&["show", "--tasks", "abcd1234"]),
                words(&["show", "--tasks", "sleeping", "abcd1234"]),
                words(&["show"]),
                words(&["--json"]),
            ]
            .join("\n")
        );
    }

    #[test]
    fn json_is_wanted_unless_it_is_the_programs() {
        let wants = |line: &[&str]| wants_json(&line.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(wants(&["filch", "--json", "ls"]) && wants(&["filch", "ls", "--jso", "--json"]));
        assert!(!wants(&["filch", "run", "--", "x", "--json"]));
    }

    #[test]
    fn the_argument_that_is_not_utf8_is_named() {
        let args = vec!["filch".into(), "run".into(), OsString::from_vec(b"a\xff".to_vec())];
        assert!(matches!(Cli::try_parse_from(&args), Err(e) if e.kind() == ErrorKind::InvalidUtf8));
        assert!(not_utf8(&args).to_string().contains("argument 2, `a"));
    }
}
