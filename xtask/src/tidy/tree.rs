//! Rules about the tree: which sources a crate reaches, which paths the documents name, which test folders are empty.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::lexer::{Kind, Token, tokens};
use super::{Finding, Rule};

/// Documents whose paths must exist.
const DOCUMENTS: [&str; 3] = ["README.md", "ARCHITECTURE.md", "RATIONALE.md"];

/// A `mod name;` or `include!("file")` in a file: the files that may hold it, as paths from the file's folder.
fn declared(tokens: &[Token<'_>], stem: Option<&str>) -> Vec<Vec<PathBuf>> {
    let code: Vec<&Token<'_>> = tokens.iter().filter(|t| t.kind != Kind::Comment).collect();
    let mut inline: Vec<(usize, &str)> = Vec::new();
    let mut depth = 0;
    let mut out = Vec::new();
    for (i, t) in code.iter().enumerate() {
        if t.is('{') {
            depth += 1;
        } else if t.is('}') {
            depth -= 1;
            while inline.last().is_some_and(|(d, _)| *d > depth) {
                inline.pop();
            }
        } else if t.is_word("include") && code.get(i + 1).is_some_and(|t| t.is('!')) {
            out.extend(code.get(i + 3).map(|name| vec![PathBuf::from(name.text.trim_matches('"'))]));
        } else if t.is_word("mod") && i + 2 < code.len() {
            let name = code[i + 1].text;
            if code[i + 2].is('{') {
                inline.push((depth + 1, name));
            } else if code[i + 2].is(';') {
                out.push(places(name, path_attribute(&code[..i]), stem, &inline));
            }
        }
    }
    out
}

fn places(name: &str, path: Option<&str>, stem: Option<&str>, inline: &[(usize, &str)]) -> Vec<PathBuf> {
    if let Some(path) = path {
        return vec![PathBuf::from(path)];
    }
    let folder: PathBuf = stem.into_iter().chain(inline.iter().map(|(_, n)| *n)).collect();
    vec![folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")]
}

/// The value of a `#[path = "..."]` that ends these tokens, visibility aside.
fn path_attribute<'a>(before: &[&Token<'a>]) -> Option<&'a str> {
    let end = before.iter().rposition(|t| t.is(']'))?;
    let tail = &before[end + 1..];
    if !tail.iter().all(|t| matches!(t.text, "pub" | "(" | ")" | "crate" | "super" | "in")) {
        return None;
    }
    let attribute = before.get(end.checked_sub(5)?..end)?;
    let texts: Vec<&str> = attribute.iter().map(|t| t.text).collect();
    (texts[..4] == ["#", "[", "path", "="]).then(|| texts[4].trim_matches('"'))
}

/// A path without `.` and `..`, by its text alone.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = out.pop(),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// The sources that these crate roots reach through `mod`, roots included; paths relative to the workspace.
pub(super) fn reached(workspace: &Path, roots: &[String]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut queue: Vec<(PathBuf, bool)> = roots.iter().map(|r| (PathBuf::from(r), true)).collect();
    while let Some((file, root)) = queue.pop() {
        if !seen.insert(file.to_string_lossy().into_owned()) {
            continue;
        }
        let Ok(source) = std::fs::read_to_string(workspace.join(&file)) else { continue };
        let folder = file.parent().unwrap_or(Path::new(""));
        let stem = file.file_stem().and_then(|s| s.to_str());
        let stem = stem.filter(|s| !root && *s != "mod");
        for candidates in declared(&tokens(&source), stem) {
            let found = candidates.into_iter().map(|c| normal(&folder.join(c))).find(|c| workspace.join(c).is_file());
            queue.extend(found.map(|f| (f, false)));
        }
    }
    seen
}

/// Sources in the crates' folders that no crate root reaches.
pub(super) fn dead_files(files: &[String], reached: &BTreeSet<String>) -> Vec<Finding> {
    let ours = |f: &&String| f.ends_with(".rs") && !["benches/", "fuzz/", "models/"].iter().any(|w| f.starts_with(w));
    files
        .iter()
        .filter(ours)
        .filter(|f| !reached.contains(*f))
        .map(|f| Finding::new(f, 1, Rule::DeadFile, "no crate reaches this file through `mod`".to_owned()))
        .collect()
}

/// Paths that the documents name and the tree lacks.
pub(super) fn named_paths(workspace: &Path, files: &[String]) -> Vec<Finding> {
    let tops: BTreeSet<&str> = files.iter().filter_map(|f| f.split_once('/')).map(|(top, _)| top).collect();
    let mut out = Vec::new();
    for document in DOCUMENTS {
        let Ok(text) = std::fs::read_to_string(workspace.join(document)) else { continue };
        for (i, line) in text.lines().enumerate() {
            for path in paths_in(line, &tops).into_iter().filter(|p| !workspace.join(p).exists()) {
                out.push(Finding::new(document, i + 1, Rule::NamedPath, format!("names {path}, which does not exist")));
            }
        }
    }
    out
}

/// What looks like a path of this tree in a line of text: a word that starts with a top-level folder. Groups as in
/// `tests/{a,b}` are spelled out, and what follows a `*` or `<` is left out.
fn paths_in(line: &str, tops: &BTreeSet<&str>) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || "/._-{},*<>:".contains(c);
    let mut out = Vec::new();
    for word in line.split(|c| !is_path(c)) {
        let word = word.trim_matches(|c| matches!(c, '.' | ',' | ':' | '<' | '>')).trim_start_matches("./");
        let Some((top, _)) = word.split_once('/') else { continue };
        if !tops.contains(top) || word.contains("::") {
            continue;
        }
        let cut = word.find(['*', '<']).map_or(word, |i| &word[..word[..i].rfind('/').unwrap_or(0)]);
        let cut = cut.split_once(':').map_or(cut, |(path, _)| path);
        match (cut.split_once('{'), cut.split_once('}')) {
            (Some((head, _)), Some((body, tail))) => {
                out.extend(body[head.len() + 1..].split(',').map(|part| format!("{head}{part}{tail}")));
            }
            _ => out.push(cut.to_owned()),
        }
    }
    out
}

/// Folders directly in tests/ that hold no case.
pub(super) fn empty_test_folders(workspace: &Path, files: &[String]) -> Vec<Finding> {
    let Ok(entries) = std::fs::read_dir(workspace.join("tests")) else { return Vec::new() };
    let folders = entries.flatten().filter(|e| e.path().is_dir()).map(|e| e.file_name().to_string_lossy().into_owned());
    let is_case = |f: &&String| [".wat", ".wast", ".json", ".rs", ".c"].iter().any(|ext| f.ends_with(ext));
    folders
        .map(|name| format!("tests/{name}/"))
        .filter(|folder| !files.iter().filter(is_case).any(|f| f.starts_with(folder)))
        .map(|folder| Finding::new(&folder, 1, Rule::EmptyTests, "test folder without a case".to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_where_they_may_live() {
        let source = "mod a; mod b { mod c; } #[path = \"x/y.rs\"] pub(crate) mod d; // mod e;\n#[cfg(test)] mod f;";
        let of_root = declared(&tokens(source), None);
        assert_eq!(of_root[0], [PathBuf::from("a.rs"), PathBuf::from("a/mod.rs")]);
        assert_eq!(of_root[1][0], PathBuf::from("b/c.rs"));
        assert_eq!(of_root[2], [PathBuf::from("x/y.rs")]);
        assert_eq!(of_root[3][0], PathBuf::from("f.rs"));
        assert_eq!(of_root.len(), 4);
        assert_eq!(declared(&tokens("mod a;"), Some("vm"))[0][1], PathBuf::from("vm/a/mod.rs"));
    }

    #[test]
    fn reached_files_are_this_crate() {
        let workspace = crate::root::workspace();
        let found = reached(&workspace, &["xtask/src/main.rs".to_owned()]);
        assert!(found.contains("xtask/src/tidy/tree.rs") && found.contains("xtask/src/tidy/mod.rs"), "{found:?}");
        let files = ["xtask/src/main.rs".to_owned(), "xtask/src/lost.rs".to_owned()];
        assert_eq!(dead_files(&files, &found).len(), 1);
    }

    #[test]
    fn paths_of_documents() {
        let tops = BTreeSet::from(["crates", "tests"]);
        assert_eq!(
            paths_in("see `crates/env/src/trap.rs` and tests/{disas,wast}.", &tops),
            ["crates/env/src/trap.rs", "tests/disas", "tests/wast"]
        );
        assert_eq!(paths_in("crates/*/src, other/x, `kiln::crates/x`", &tops), ["crates"]);
        assert_eq!(paths_in("crates/env/src/abi.rs:12", &tops), ["crates/env/src/abi.rs"]);
    }
}
