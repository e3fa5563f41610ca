//! Columns of text.

/// Left-aligned columns, two spaces apart, the first row emphasised; no trailing spaces.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |s: &str| s.chars().count();
    let widths: Vec<usize> =
        (0..columns).map(|c| rows.iter().filter_map(|r| r.get(c)).map(|s| width(s)).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for (n, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, wide) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', wide.saturating_sub(width(cell)) + 2));
        }
        let line = line.trim_end();
        out.push_str(&if n == 0 { format!("\x1b[1m{line}\x1b[0m\n") } else { format!("{line}\n") });
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up() {
        let rows = [vec!["A".into(), "BB".into()], vec!["ü".into(), "c".into()], vec!["long".into(), String::new()]];
        assert_eq!(super::table(&rows), "\x1b[1mA     BB\x1b[0m\nü     c\nlong\n");
    }
}
