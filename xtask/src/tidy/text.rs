//! Rules about every text file: nothing in it may belong to one machine.

use std::path::Path;

use super::{Finding, Rule};

/// Words that must not stand in the tree, with the reason. Partly told by the machine this runs on.
pub(super) struct Foreign {
    words: Vec<(String, &'static str)>,
}

/// Starts of absolute paths of someone's machine; each in two pieces so that this file does not find itself.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/wo", "rk/"), concat!("/opt/ri", "vals")];

/// Environment variables that name package registries of this machine.
const REGISTRIES: [&str; 6] =
    ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "NPM_CONFIG_REGISTRY", "npm_config_registry", "GOPROXY", "UV_INDEX_URL"];

/// Hosts that everybody may name.
const PUBLIC_HOSTS: [&str; 5] =
    ["pypi.org", "files.pythonhosted.org", "registry.npmjs.org", "proxy.golang.org", "localhost"];

impl Foreign {
    /// What this machine would leak.
    pub(super) fn of_this_machine(workspace: &Path) -> Foreign {
        let mut words: Vec<(String, &'static str)> =
            MACHINE_PATHS.iter().map(|p| ((*p).to_owned(), "absolute path of a machine")).collect();
        words.push((workspace.display().to_string(), "path of this checkout"));
        if let Ok(name) = std::fs::read_to_string("/etc/hostname") {
            let name = name.trim();
            if name.len() >= 8 && name.contains(|c: char| c.is_ascii_digit()) {
                words.push((name.to_owned(), "name of this machine"));
            }
        }
        for url in REGISTRIES.iter().filter_map(|v| std::env::var(v).ok()) {
            let host = url.split("//").nth(1).unwrap_or(&url).split(['/', ':', '@']).next().unwrap_or("");
            if host.contains('.') && !PUBLIC_HOSTS.contains(&host) {
                words.push((host.to_owned(), "host of this machine's package registry"));
            }
        }
        Foreign { words }
    }

    /// Where the text names what belongs to one machine, or a registry other than the public one.
    pub(super) fn findings(&self, path: &str, text: &str) -> Vec<Finding> {
        let mut out = Vec::new();
        for (i, line) in text.lines().enumerate() {
            for (word, why) in &self.words {
                if line.contains(word.as_str()) {
                    out.push(Finding::new(path, i + 1, Rule::Foreign, format!("{why}: {word}")));
                }
            }
        }
        if path.ends_with("Cargo.lock") {
            let public = "registry+https://github.com/rust-lang/crates.io-index";
            let sources = text.lines().enumerate().filter_map(|(i, l)| Some((i, l.strip_prefix("source = \"")?)));
            for (i, source) in sources.filter(|(_, s)| s.trim_end_matches('"') != public) {
                out.push(Finding::new(
                    path,
                    i + 1,
                    Rule::Foreign,
                    format!("package source is not crates.io: {source}"),
                ));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths() {
        let foreign = Foreign::of_this_machine(Path::new("/some/check-out"));
        let bad = format!("see {}x/y", concat!("/ho", "me/"));
        assert_eq!(foreign.findings("a.md", &bad).len(), 1);
        assert_eq!(foreign.findings("a.md", "cd /some/check-out/x").len(), 1);
        assert_eq!(foreign.findings("a.md", "/tmp, /usr/lib, /w/prog.js").len(), 0);
    }

    #[test]
    fn registries() {
        let foreign = Foreign { words: Vec::new() };
        let lock = "source = \"registry+https://example.org/index\"\n\
                    source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        assert_eq!(foreign.findings("Cargo.lock", lock).len(), 1);
    }
}
