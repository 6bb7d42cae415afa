//! Tables on a terminal.

/// Lines of a table: the first row is the heading; columns after the first are aligned right.
pub(crate) fn lines(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (c, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[c] - cell.chars().count());
            if c == 0 {
                line.push_str(cell);
                line.push_str(&pad);
            } else {
                line.push_str("  ");
                line.push_str(&pad);
                line.push_str(cell);
            }
        }
        out.push(line.trim_end().to_owned());
        if i == 0 {
            out.push("-".repeat(widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1)));
        }
    }
    out
}

/// Seconds, worded for people: `0.123 s`, `12.3 s`, `4 m 05 s`.
pub(crate) fn seconds(s: f64) -> String {
    if s < 10.0 {
        format!("{s:.3} s")
    } else if s < 120.0 {
        format!("{s:.1} s")
    } else {
        format!("{} m {:02} s", s as u64 / 60, s as u64 % 60)
    }
}

/// Bytes in units of a thousand: `512 B`, `1.4 MB`.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "time".into()], vec!["long".into(), "1".into()]];
        assert_eq!(lines(&rows), ["a     time", "----------", "long     1"]);
    }

    #[test]
    fn units() {
        assert_eq!(seconds(0.5), "0.500 s");
        assert_eq!(seconds(245.0), "4 m 05 s");
        assert_eq!(bytes(1_427_671), "1.4 MB");
    }
}
