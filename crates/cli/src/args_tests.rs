//! The command line itself: what is understood, and how it explains itself.

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command};

fn parse(line: &[&str]) -> Command {
    Cli::try_parse_from(std::iter::once("filch").chain(line.iter().copied())).unwrap().command
}
fn refused(line: &[&str]) -> String {
    Cli::try_parse_from(std::iter::once("filch").chain(line.iter().copied())).unwrap_err().to_string()
}
fn map_words(line: &[&str]) -> Vec<String> {
    match parse(line) {
        Command::Map(args) => args.job.words,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn everything_after_the_program_belongs_to_it() {
    assert_eq!(map_words(&["map", "--", "ls", "-l", ":::", "a", "--json"]), ["ls", "-l", ":::", "a", "--json"]);
    assert_eq!(map_words(&["map", "-k", "ls", "-k", "--tag", ":::", "a"]), ["ls", "-k", "--tag", ":::", "a"]);
    assert_eq!(map_words(&["map", "echo", "--", "x"]), ["echo", "--", "x"]);
    assert_eq!(map_words(&["map", "--handler", "hash", ":::", "a"]), [":::", "a"]);
    assert_eq!(map_words(&["map", "-i", "{}", "-o", "{}.x", "--array", "-5-5", "--", "x"]), ["x"]);
}

#[test]
fn a_typing_error_is_not_taken_for_a_program() {
    assert!(refused(&["map", "--retires", "3", "--", "x"]).contains("--retires"));
    assert!(refused(&["run", "--tmieout", "3s", "--", "x"]).contains("--tmieout"));
    assert!(refused(&["mapp"]).contains("map"));
    assert!(refused(&["map", "--timeout", "soon", "--", "x"]).contains("soon"));
    assert!(refused(&["map", "--copies", "9", "--", "x"]).contains('9'));
}

/// Every help text in one snapshot: what a user reads changes only on purpose. The demo and `sim` have their own.
#[test]
fn help_texts() {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut all = format!("{}\n", command.render_help());
    for sub in command.get_subcommands_mut().filter(|s| !["help", "demo", "sim"].contains(&s.get_name())) {
        let name = sub.get_name().to_owned();
        let mut sub = sub.clone().term_width(100);
        all.push_str(&format!("\n==== filch {name} --help\n{}\n", sub.render_long_help()));
    }
    let tidy: Vec<&str> = all.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(tidy.join("\n"));
}
