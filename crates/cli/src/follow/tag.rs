//! `--tag`: every line of output with the task's values in front.

/// Puts a prefix in front of every line of a stream of chunks.
pub(super) struct Tagger {
    prefix: Vec<u8>,
    at_start: bool,
}

impl Tagger {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: format!("{prefix}\t").into_bytes(), at_start: true }
    }
    /// Adds a chunk to `out`.
    pub(super) fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for line in chunk.split_inclusive(|b| *b == b'\n') {
            if self.at_start {
                out.extend_from_slice(&self.prefix);
            }
            out.extend_from_slice(line);
            self.at_start = line.ends_with(b"\n");
        }
    }
    /// Ends the last line, so that the next task's begins on its own.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.at_start, true) {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_tagged_however_they_are_cut() {
        let text = b"one\ntwo\n\nlast";
        for cut in 0..text.len() {
            let mut out = Vec::new();
            let mut t = Tagger::new("v");
            t.push(&text[..cut], &mut out);
            t.push(&text[cut..], &mut out);
            t.finish(&mut out);
            assert_eq!(out, b"v\tone\nv\ttwo\nv\t\nv\tlast\n", "{cut}");
        }
    }
}
