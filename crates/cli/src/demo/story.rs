//! What a person sees: lines as things happen on stderr, the table and the verdict on stdout.

use std::io::Write;
use std::time::Instant;

use serde::Serialize;

/// Tells what happens, with the time since the start in front.
pub(super) struct Story {
    started: Instant,
    quiet: bool,
}

impl Story {
    pub fn new(quiet: bool) -> Self {
        Self { started: Instant::now(), quiet }
    }
    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
    /// One line about `who`.
    pub fn tell(&self, who: &str, what: impl std::fmt::Display) {
        if self.quiet {
            return;
        }
        let mut err = anstream::stderr().lock();
        // A closed terminal is no reason to leave nodes running.
        let _ = writeln!(err, "\x1b[2m{:>5.1} s\x1b[0m  \x1b[1m{who:<7}\x1b[0m {what}", self.seconds());
    }
}

/// How the nodes came to know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MetBy {
    /// They found each other in a network of their own.
    Mdns,
    /// They were given addresses.
    Addresses,
}

/// One node's part.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NodeRow {
    pub name: String,
    pub id: String,
    pub slots: u16,
    /// Tasks whose final result is this node's.
    pub tasks: u64,
    pub steals: u64,
    pub stolen_tasks: u64,
    /// Blob bytes that it got from other nodes.
    pub bytes_fetched: u64,
    pub killed: bool,
}

/// Everything that the demo found out.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    pub ok: bool,
    pub met_by: MetBy,
    pub directory: String,
    pub files: usize,
    pub bytes: u64,
    pub job: String,
    pub tasks: u64,
    pub succeeded: u64,
    pub nodes: Vec<NodeRow>,
    pub steals: u64,
    pub stolen_tasks: u64,
    pub killed: Option<String>,
    /// Tasks taken back from the killed node: waiting there, running there.
    pub taken_back: u64,
    pub were_running: u64,
    /// Tasks started once more than needed.
    pub re_executions: u64,
    /// Milliseconds from the kill until somebody noticed, and until its tasks were free for others.
    pub noticed_ms: Option<u64>,
    pub freed_ms: Option<u64>,
    /// Blob bytes between nodes.
    pub bytes_moved: u64,
    pub job_ms: u64,
    pub plain_ms: u64,
    pub plain_lanes: usize,
    pub total_ms: u64,
    pub results: String,
    /// What to remove when nobody wants the results any more; none in a directory of the user's.
    pub temporary: Option<String>,
    pub result_files: usize,
    pub equal: usize,
    pub different: Vec<String>,
    pub missing: Vec<String>,
    /// Processes that were still there at the end.
    pub left_running: Vec<String>,
    /// Everything that was not as it should be, for people.
    pub problems: Vec<String>,
}

impl Summary {
    /// As one JSON object, or as a table with a verdict below it.
    pub fn print(&self, json: bool) -> std::io::Result<()> {
        let mut out = anstream::stdout().lock();
        if json {
            serde_json::to_writer(&mut out, self)?;
            return writeln!(out);
        }
        writeln!(out, "\n{}\n{}", self.per_node(), self.facts())?;
        for problem in &self.problems {
            writeln!(out, "PROBLEM: {problem}")?;
        }
        writeln!(out, "{}", self.verdict())?;
        match &self.temporary {
            Some(dir) => writeln!(out, "The results are in a temporary directory; `rm -r {}` removes it.", quoted(dir)),
            None => writeln!(out, "The results are in {}, as asked.", self.results),
        }
    }

    fn per_node(&self) -> String {
        let mut rows = vec![["node", "slots", "tasks", "steals", "stolen", "fetched", ""].map(str::to_owned)];
        rows.extend(self.nodes.iter().map(|n| {
            [
                n.name.clone(),
                n.slots.to_string(),
                n.tasks.to_string(),
                n.steals.to_string(),
                n.stolen_tasks.to_string(),
                bytes(n.bytes_fetched),
                if n.killed { "killed half-way".into() } else { String::new() },
            ]
        }));
        columns(&rows, &[1, 2, 3, 4, 5])
    }

    fn facts(&self) -> String {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let mut rows = Vec::new();
        let mut row = |what: &str, value: String| rows.push([what.to_owned(), value]);
        let met = match self.met_by {
            MetBy::Mdns => "by mDNS, in a network of their own",
            MetBy::Addresses => "by addresses given to one another",
        };
        row("met", met.into());
        row("tasks", format!("{} of {} succeeded", self.succeeded, self.tasks));
        row("steals", format!("{}, of {} tasks", self.steals, self.stolen_tasks));
        if let (Some(name), Some(ms)) = (&self.killed, self.freed_ms) {
            let back = self.taken_back + self.were_running;
            let after = seconds(ms);
            row("death", format!("{name}; {after:.1} s later its {back} open tasks were free for others"));
        }
        row("re-executions", self.re_executions.to_string());
        row("bytes moved", format!("{} between nodes", bytes(self.bytes_moved)));
        row(
            "time",
            format!(
                "{:.1} s{}; {:.1} s by a plain loop, {} at a time; {:.1} s for all of this",
                seconds(self.job_ms),
                if self.killed.is_some() { " with a death" } else { "" },
                seconds(self.plain_ms),
                self.plain_lanes,
                seconds(self.total_ms)
            ),
        );
        if self.nodes.iter().map(|n| n.slots as usize).sum::<usize>() > self.plain_lanes {
            let shared =
                "the nodes share them with each other: this shows what filch costs; other machines would add their own";
            row("", format!("{} processors here, and {shared}", self.plain_lanes));
        }
        row("results", format!("{} files in {}", self.result_files, self.results));
        columns(&rows, &[])
    }

    fn verdict(&self) -> String {
        if self.ok {
            format!("Every result is there, and all {} files equal those of a plain run, byte for byte.", self.equal)
        } else {
            let (different, missing) = (self.different.len(), self.missing.len());
            format!(
                "FAILED: {} files equal those of a plain run, {different} differ, {missing} are missing.",
                self.equal
            )
        }
    }
}

/// Columns two spaces apart; those in `right` are aligned to the right.
fn columns<const N: usize>(rows: &[[String; N]], right: &[usize]) -> String {
    let width = |s: &String| s.chars().count();
    let widths: [usize; N] = std::array::from_fn(|c| rows.iter().map(|r| width(&r[c])).max().unwrap_or(0));
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (c, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[c] - width(cell));
            let cell = if right.contains(&c) { format!("  {pad}{cell}") } else { format!("  {cell}{pad}") };
            line.push_str(&cell);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// As a shell reads it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if path.chars().all(plain) { path.into() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// Bytes for people.
pub(super) fn bytes(n: u64) -> String {
    bytesize::ByteSize::b(n).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let node = |name: &str, killed| NodeRow {
            name: name.into(),
            id: "ab".into(),
            slots: 2,
            tasks: 10,
            steals: 1,
            stolen_tasks: 4,
            bytes_fetched: 2048,
            killed,
        };
        Summary {
            ok: true,
            met_by: MetBy::Mdns,
            directory: "/d".into(),
            files: 20,
            bytes: 4096,
            job: "cd".into(),
            tasks: 20,
            succeeded: 20,
            nodes: vec![node("alder", false), node("birch", true)],
            steals: 2,
            stolen_tasks: 8,
            killed: Some("birch".into()),
            taken_back: 5,
            were_running: 2,
            re_executions: 2,
            noticed_ms: Some(700),
            freed_ms: Some(701),
            bytes_moved: 4096,
            job_ms: 9000,
            plain_ms: 8000,
            plain_lanes: 2,
            total_ms: 20_000,
            results: "/tmp/filch-demo-x/results".into(),
            temporary: Some("/tmp/filch-demo-x".into()),
            result_files: 40,
            equal: 40,
            different: vec![],
            missing: vec![],
            left_running: vec![],
            problems: vec![],
        }
    }

    #[test]
    fn the_table_has_what_a_person_asks_for() {
        let s = summary();
        let text = format!("{}\n{}\n{}", s.per_node(), s.facts(), s.verdict());
        for want in [
            "killed half-way",
            "20 of 20",
            "2 processors here",
            "its 7 open tasks",
            "9.0 s",
            "/tmp/filch-demo-x/results",
            "byte for byte",
        ] {
            assert!(text.contains(want), "{want} in {text}");
        }
        assert_eq!(quoted("/tmp/a-b"), "/tmp/a-b");
        assert_eq!(quoted("/tmp/it's"), "'/tmp/it'\\''s'");
        let bad = Summary { ok: false, different: vec!["a".into()], ..summary() };
        assert!(bad.verdict().starts_with("FAILED") && bad.verdict().contains("1 differ"));
    }
}
