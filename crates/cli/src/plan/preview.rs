//! `--dry-run`: the plan as it would run, a task a line.

use std::io::Write;

use serde_json::json;

use super::{Plan, PlanError};

impl Plan {
    /// Writes every task's command line, quoted for a shell, or as JSON with everything that belongs to it.
    pub(crate) fn preview(&self, out: &mut dyn Write, as_json: bool) -> Result<std::io::Result<()>, PlanError> {
        let mut written = Ok(());
        self.each(&mut |plan, task, values| {
            let view = plan.view(task, values);
            let line = if as_json {
                let inputs: Vec<_> = view.inputs.iter().map(|(from, to)| json!({"file": from, "path": to})).collect();
                json!({"task": task, "values": view.values, "argv": view.argv, "inputs": inputs, "outputs": view.outputs})
                    .to_string()
            } else {
                let words: Vec<String> = view.argv.iter().map(|w| quote(w)).collect();
                words.join(" ")
            };
            written = writeln!(out, "{line}");
            Ok(written.is_ok())
        })?;
        Ok(written)
    }
}

/// A word as a POSIX shell reads it back.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=./:,@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn quoting() {
        for (word, want) in [("a/b.c", "a/b.c"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$x", "'$x'")] {
            assert_eq!(quote(word), want);
        }
    }
}
