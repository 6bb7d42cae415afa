//! Names that somebody may have meant.

/// How many are shown.
const SHOWN: usize = 3;

/// Up to three of the names `given` (of two levels) that are near to `module` and `name`, nearest first, quoted.
pub(crate) fn names<'a>(module: &str, name: &str, given: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut near: Vec<(usize, String)> = given
        .filter_map(|(m, n)| {
            let apart = distance(module, m) + distance(name, n);
            let same_name = n == name;
            let near = same_name || (apart <= 1 + name.chars().count() / 3 && apart < name.chars().count().max(2));
            near.then(|| (if same_name { 1 } else { apart }, format!("`{m}::{n}`")))
        })
        .collect();
    near.sort();
    near.into_iter().take(SHOWN).map(|(_, text)| text).collect()
}

/// Edit distance (Levenshtein), case aside.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 256;
    let lower = |s: &str| s.chars().take(LONGEST).flat_map(char::to_lowercase).collect::<Vec<_>>();
    let (a, b) = (lower(a), lower(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("fd_Write", "fd_write"), 0);
    }

    #[test]
    fn nearest_come_first_and_strangers_not_at_all() {
        let given = [("wasi", "fd_read"), ("wasi", "fd_write"), ("env", "fd_writ"), ("wasi", "proc_exit")];
        assert_eq!(names("wasi", "fd_writ", given.into_iter()), ["`env::fd_writ`", "`wasi::fd_write`"]);
        assert!(names("a", "b", given.into_iter()).is_empty());
    }
}
