//! Docs that must keep up with the code: the RFC index, the reasons for each dependency,
//! module heads.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Fault, Source};

pub fn check(root: &Path, sources: &[Source]) -> Vec<Fault> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let mut faults = rfc_index(&read("docs/rfc/index.toml"), sources, &|p| root.join(p).exists());
    faults.extend(dependencies(&read("Cargo.toml"), &read("docs/dependencies.md")));
    for source in sources.iter().filter(|s| s.path.contains("/src/") && !s.is_test()) {
        if !source.text.starts_with("//!") {
            faults.push(Fault::new(
                &source.path,
                "has no module head: say what it is, what it is not, where to begin",
            ));
        }
    }
    faults
}

fn rfc_index(index: &str, sources: &[Source], exists: &dyn Fn(&str) -> bool) -> Vec<Fault> {
    const AT: &str = "docs/rfc/index.toml";
    let table: toml::Table = match index.parse() {
        Ok(table) => table,
        Err(e) => return vec![Fault::new(AT, format!("is no valid TOML: {e}"))],
    };
    let mut faults = Vec::new();
    let mut known = BTreeSet::new();
    for row in table.get("rfc").and_then(|r| r.as_array()).into_iter().flatten() {
        let number = row.get("number").and_then(|n| n.as_integer()).unwrap_or(0);
        known.insert(number.to_string());
        let state = row.get("state").and_then(|s| s.as_str()).unwrap_or("");
        if !["yes", "partial", "planned", "no"].contains(&state) {
            faults.push(Fault::new(AT, format!("RFC {number}: state must be yes, partial, planned or no")));
        }
        let places = row.get("where").and_then(|w| w.as_array()).cloned().unwrap_or_default();
        if ["yes", "partial"].contains(&state) && places.is_empty() {
            faults.push(Fault::new(AT, format!("RFC {number}: says {state}, but not where")));
        }
        for place in places.iter().filter_map(|p| p.as_str()).filter(|p| !exists(p)) {
            faults.push(Fault::new(AT, format!("RFC {number}: {place} does not exist")));
        }
    }
    for source in sources.iter().filter(|s| s.room != "xtask") {
        for number in cited(&source.text).into_iter().filter(|n| !known.contains(n)) {
            faults.push(Fault::new(&source.path, format!("cites RFC {number}, which {AT} does not list")));
        }
    }
    faults
}

fn cited(text: &str) -> BTreeSet<String> {
    text.match_indices("RFC ")
        .map(|(at, _)| text[at + 4..].chars().take_while(char::is_ascii_digit).collect::<String>())
        .filter(|n| (3..=5).contains(&n.len()))
        .collect()
}

fn dependencies(manifest: &str, page: &str) -> Vec<Fault> {
    let Ok(table) = manifest.parse::<toml::Table>() else {
        return vec![Fault::new("Cargo.toml", "is no valid TOML")];
    };
    let listed = table.get("workspace").and_then(|w| w.get("dependencies")).and_then(|d| d.as_table());
    listed
        .into_iter()
        .flatten()
        .filter(|(name, value)| value.get("path").is_none() && !page.contains(&format!("| {name} |")))
        .map(|(name, _)| {
            Fault::new(
                "docs/dependencies.md",
                format!("does not explain {name}: add a row `| {name} | used by | why |`"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { room: "smtp".into(), path: "a.rs".into(), text: text.into() }
    }

    #[test]
    fn a_cited_rfc_must_be_listed() {
        let index = "[[rfc]]\nnumber = 5321\nstate = 'yes'\nwhere = ['crates/smtp']";
        assert!(rfc_index(index, &[source("// RFC 5321 §4")], &|_| true).is_empty());
        assert_eq!(rfc_index(index, &[source("// RFC 2034")], &|_| true).len(), 1);
        assert_eq!(rfc_index(index, &[], &|_| false).len(), 1);
        assert_eq!(rfc_index("[[rfc]]\nnumber = 1\nstate = 'maybe'", &[], &|_| true).len(), 1);
        assert_eq!(rfc_index("[[rfc]]\nnumber = 1\nstate = 'partial'", &[], &|_| true).len(), 1);
    }

    #[test]
    fn a_dependency_must_be_explained() {
        let manifest = "[workspace.dependencies]\nring = '1'\nwords = { path = 'x' }";
        assert_eq!(dependencies(manifest, "").len(), 1);
        assert!(dependencies(manifest, "| ring | host | crypto |").is_empty());
    }
}
