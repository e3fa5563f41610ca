//! Placeholders as GNU parallel's users know them: `{} {.} {/} {//} {/.} {#} {%} {1} {in} {out}`.
//!
//! Parsed and checked by the client before anything is sent; expanded by the node that runs the task.

use serde::{Deserialize, Serialize};

/// What is cut out of a value that is a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// `{}`: all of it.
    Whole,
    /// `{.}`: without the last extension.
    NoExt,
    /// `{/}`: the last component.
    Base,
    /// `{//}`: without the last component; `.` if there is none.
    Dir,
    /// `{/.}`: the last component without its extension.
    BaseNoExt,
}

/// One piece of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Taken as it is.
    Text(String),
    /// `{}`, `{2/.}`: a value of the item (0-based), or all of them joined by a space.
    Value {
        /// Which source; `None` for all.
        source: Option<u8>,
        /// What of it.
        form: Form,
    },
    /// `{#}`: the task's number, from 1.
    Number,
    /// `{%}`: the slot it runs in, from 1.
    Slot,
    /// `{in}`, `{in2}`: path of a declared input (0-based here).
    In(u8),
    /// `{out}`, `{out2}`: path of a declared output (0-based here).
    Out(u8),
}

/// A text with placeholders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template(pub Vec<Part>);

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `{name}` that means nothing here.
    #[error(
        "unknown placeholder `{{{name}}}` in `{text}`; known are {{}} {{.}} {{/}} {{//}} {{/.}} {{#}} {{%}} {{1}} {{in}} {{out}}"
    )]
    Unknown {
        /// What stood between the braces.
        name: String,
        /// The whole text.
        text: String,
    },
    /// `{3}` with two sources, `{in}` without `-i`, `{out}` without `-o`.
    #[error("`{{{name}}}` needs {needs}, but the task has {has}")]
    Missing {
        /// The placeholder.
        name: String,
        /// What it needs.
        needs: String,
        /// What there is.
        has: String,
    },
    /// Longer than `limits::MAX_TEXT`.
    #[error("an argument is longer than {} bytes", crate::limits::MAX_TEXT)]
    TooLong,
}

/// What a template is expanded with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The item's values, one per source.
    pub values: &'a [String],
    /// Paths of the declared inputs.
    pub inputs: &'a [String],
    /// Paths of the declared outputs.
    pub outputs: &'a [String],
    /// The task's number in its group, from 0.
    pub index: u32,
    /// The slot, from 0.
    pub slot: u32,
}

fn digits(s: &str) -> Option<u8> {
    (!s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse().ok())?
}

fn form(s: &str) -> Option<Form> {
    Some(match s {
        "" => Form::Whole,
        "." => Form::NoExt,
        "/" => Form::Base,
        "//" => Form::Dir,
        "/." => Form::BaseNoExt,
        _ => return None,
    })
}

/// The placeholder between two braces; `None` if the text is plainly not meant as one.
fn placeholder(name: &str) -> Option<Part> {
    match name {
        "#" => return Some(Part::Number),
        "%" => return Some(Part::Slot),
        _ => {}
    }
    for (prefix, make) in [("in", Part::In as fn(u8) -> Part), ("out", Part::Out as fn(u8) -> Part)] {
        if let Some(rest) = name.strip_prefix(prefix) {
            if rest.is_empty() {
                return Some(make(0));
            }
            if let Some(n) = digits(rest).filter(|n| *n > 0) {
                return Some(make(n - 1));
            }
        }
    }
    let cut = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    let (number, rest) = name.split_at(cut);
    let form = form(rest)?;
    let source = match number {
        "" => None,
        n => Some(digits(n).filter(|n| *n > 0)? - 1),
    };
    Some(Part::Value { source, form })
}

impl Template {
    /// A text that is taken as it is.
    pub fn literal(text: impl Into<String>) -> Self {
        Self(vec![Part::Text(text.into())])
    }

    /// Reads placeholders. Braces around anything but a word of `[a-z0-9#%./_]` are kept as text, so that
    /// `awk '{print $1}'` needs no escaping; `{{` stands for one brace.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > crate::limits::MAX_TEXT {
            return Err(TemplateError::TooLong);
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            plain.push_str(&rest[..open]);
            rest = &rest[open + 1..];
            if let Some(after) = rest.strip_prefix('{') {
                plain.push('{');
                rest = after;
                continue;
            }
            let word = rest
                .find('}')
                .map(|close| &rest[..close])
                .filter(|w| w.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "#%./_".contains(c)));
            let Some(word) = word else {
                plain.push('{');
                continue;
            };
            let part = placeholder(word)
                .ok_or_else(|| TemplateError::Unknown { name: word.to_owned(), text: text.to_owned() })?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(part);
            rest = &rest[word.len() + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// Whether any placeholder of a value (`{}` and its kin) occurs.
    pub fn uses_value(&self) -> bool {
        self.0.iter().any(|p| matches!(p, Part::Value { .. }))
    }

    /// Checks that everything it names exists.
    pub fn check(&self, sources: usize, inputs: usize, outputs: usize) -> Result<(), TemplateError> {
        let missing = |name: String, needs: &str, has: usize, what: &str| TemplateError::Missing {
            name,
            needs: needs.to_owned(),
            has: format!("{has} {what}"),
        };
        for part in &self.0 {
            match part {
                Part::Value { source: Some(n), .. } if usize::from(*n) >= sources => {
                    return Err(missing(format!("{}", n + 1), "that many sources (:::)", sources, "sources"));
                }
                Part::In(n) if usize::from(*n) >= inputs => {
                    return Err(missing("in".into(), "a declared input (-i)", inputs, "inputs"));
                }
                Part::Out(n) if usize::from(*n) >= outputs => {
                    return Err(missing("out".into(), "a declared output (-o)", outputs, "outputs"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The text for one task. What does not exist expands to nothing: `check` has refused it before.
    pub fn expand(&self, cx: &Context<'_>) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(t) => out.push_str(t),
                Part::Number => out.push_str(&(u64::from(cx.index) + 1).to_string()),
                Part::Slot => out.push_str(&(u64::from(cx.slot) + 1).to_string()),
                Part::In(n) => out.push_str(cx.inputs.get(usize::from(*n)).map_or("", |s| s)),
                Part::Out(n) => out.push_str(cx.outputs.get(usize::from(*n)).map_or("", |s| s)),
                Part::Value { source: Some(n), form } => {
                    out.push_str(&cut(cx.values.get(usize::from(*n)).map_or("", |s| s), *form));
                }
                Part::Value { source: None, form } => {
                    let all: Vec<String> = cx.values.iter().map(|v| cut(v, *form)).collect();
                    out.push_str(&all.join(" "));
                }
            }
        }
        out
    }
}

fn cut(value: &str, form: Form) -> String {
    let (dir, base) = value.rsplit_once('/').unwrap_or((".", value));
    let stem = |s: &str| match s.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem.to_owned(),
        _ => s.to_owned(),
    };
    match form {
        Form::Whole => value.to_owned(),
        Form::Base => base.to_owned(),
        Form::BaseNoExt => stem(base),
        Form::Dir => if dir.is_empty() { "/" } else { dir }.to_owned(),
        Form::NoExt => {
            let kept = stem(base).len() + value.len() - base.len();
            value[..kept].to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(t: &str, v: &str) -> String {
        let values = [v.to_owned()];
        Template::parse(t).unwrap().expand(&Context { values: &values, index: 4, ..Context::default() })
    }

    #[test]
    fn forms_match_gnu_parallel() {
        for (t, want) in [
            ("{}", "d/e/f.tar.gz"),
            ("{.}", "d/e/f.tar"),
            ("{/}", "f.tar.gz"),
            ("{//}", "d/e"),
            ("{/.}", "f.tar"),
            ("{#}", "5"),
            ("out/{/.}.webp", "out/f.tar.webp"),
            ("{1/}", "f.tar.gz"),
        ] {
            assert_eq!(one(t, "d/e/f.tar.gz"), want, "{t}");
        }
        assert_eq!(one("{//}", "plain"), ".");
        assert_eq!(one("{.}", "a.b/plain"), "a.b/plain");
        assert_eq!(one("{.}", ".hidden"), ".hidden");
    }

    #[test]
    fn program_text_is_left_alone() {
        for t in ["awk '{print $1}'", "{ echo; }", "x{", "${HOME}", "}"] {
            assert_eq!(one(t, "v"), t);
        }
        assert_eq!(one("{{}", "v"), "{}");
    }

    #[test]
    fn unknown_and_missing_are_errors() {
        assert!(matches!(Template::parse("{nope}"), Err(TemplateError::Unknown { .. })));
        assert!(matches!(Template::parse("{0}"), Err(TemplateError::Unknown { .. })));
        let t = Template::parse("{2} {in} {out2}").unwrap();
        assert!(t.check(2, 1, 2).is_ok());
        for (s, i, o) in [(1, 1, 2), (2, 0, 2), (2, 1, 1)] {
            assert!(t.check(s, i, o).is_err());
        }
    }
}
