//! Templates as text: the reverse of `filch_types::template::Template::parse`.

use filch_types::template::{Form, Part, Template};

/// The text that parses to this template.
pub fn to_text(template: &Template) -> String {
    let mut out = String::new();
    for part in &template.0 {
        match part {
            Part::Text(text) => out.push_str(&text.replace('{', "{{")),
            Part::Number => out.push_str("{#}"),
            Part::Slot => out.push_str("{%}"),
            Part::In(n) => push_numbered(&mut out, "in", *n),
            Part::Out(n) => push_numbered(&mut out, "out", *n),
            Part::Value { source, form } => {
                out.push('{');
                if let Some(n) = source {
                    out.push_str(&(u16::from(*n) + 1).to_string());
                }
                out.push_str(match form {
                    Form::Whole => "",
                    Form::NoExt => ".",
                    Form::Base => "/",
                    Form::Dir => "//",
                    Form::BaseNoExt => "/.",
                });
                out.push('}');
            }
        }
    }
    out
}

fn push_numbered(out: &mut String, word: &str, n: u8) {
    if n == 0 {
        out.push_str(&format!("{{{word}}}"));
    } else {
        out.push_str(&format!("{{{word}{}}}", u16::from(n) + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in [
            "",
            "plain",
            "a {} b",
            "{.}{/}{//}{/.}{#}{%}",
            "{2/.} {in} {in3} {out} {out2}",
            "awk '{print $1}'",
            "{{}",
            "{{{{{}",
            "x{",
            "${HOME}",
        ] {
            let parsed = Template::parse(text).unwrap();
            assert_eq!(Template::parse(&to_text(&parsed)).unwrap(), parsed, "{text}");
        }
    }
}
