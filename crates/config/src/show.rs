//! The file shown back, and the words about each key.

use std::fmt::Write;

use crate::keys::{Key, REQUIRED, SECTIONS, Section};
use crate::read::{Filled, Tree};
use crate::value::nearest;

/// The values in force as a file; with `all` also those that are the defaults.
pub(crate) fn show(tree: &Tree, all: bool) -> String {
    let mut out = String::new();
    for section in SECTIONS {
        for filled in tree.many(section.name) {
            show_table(&mut out, section, filled, all);
        }
    }
    out
}

fn show_table(out: &mut String, section: &Section, filled: &Filled, all: bool) {
    let shown =
        section.keys.iter().filter(|k| filled.was_given(k.name) || (all && filled.get(k.name).is_some()));
    let lines: Vec<String> = shown
        .filter_map(|k| filled.get(k.name).map(|v| (k, v)))
        .map(|(k, v)| {
            format!("{} = {v}{}", k.name, if filled.was_given(k.name) { "" } else { "  # default" })
        })
        .collect();
    if lines.is_empty() {
        return;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    if !section.name.is_empty() {
        let _ = writeln!(out, "{}", section.title());
    }
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
}

/// Words about a key (`limits.message_size`), a section (`limits`) or, without a name, the list
/// of all. `Err` says what there is instead.
pub fn explain(name: Option<&str>) -> Result<String, String> {
    let Some(name) = name else {
        let mut out = String::new();
        for section in SECTIONS {
            let _ = writeln!(out, "{}", section.title());
            for key in section.keys {
                let _ = writeln!(out, "  {:<28} {}", path(section, key), default_words(key));
            }
        }
        return Ok(out);
    };
    for section in SECTIONS {
        if section.name == name && !name.is_empty() {
            let keys: String =
                section.keys.iter().map(|k| explain_key(section, k)).collect::<Vec<_>>().join("\n");
            return Ok(format!("{}\n{}\n\n{keys}", section.title(), section.doc));
        }
        if let Some(key) = section.keys.iter().find(|k| path(section, k) == name) {
            return Ok(explain_key(section, key));
        }
    }
    let all: Vec<String> = SECTIONS.iter().flat_map(|s| s.keys.iter().map(|k| path(s, k))).collect();
    let by_last = all.iter().find(|p| p.rsplit('.').next() == Some(name));
    Err(match nearest(name, all.iter().map(String::as_str)).or(by_last.map(String::as_str)) {
        Some(near) => format!("there is no key {name}; did you mean {near}?"),
        None => format!("there is no key {name}; `postroad config explain` lists every key"),
    })
}

fn path(section: &Section, key: &Key) -> String {
    if section.name.is_empty() { key.name.to_owned() } else { format!("{}.{}", section.name, key.name) }
}

fn default_words(key: &Key) -> String {
    match key.default {
        REQUIRED => "required".into(),
        "" => "none by default".into(),
        default => format!("default {default}"),
    }
}

fn explain_key(section: &Section, key: &Key) -> String {
    let list = if key.many { ", any number in square brackets" } else { "" };
    let path = path(section, key);
    format!("{path}  ({})\n  {}\n  Write {}{list}.\n", default_words(key), key.doc, key.kind.wanted())
}

/// The reference page for people, in Markdown.
pub fn reference() -> String {
    let mut out = String::from(
        "# Configuration\n\nOne TOML file holds what belongs to the host; accounts, domains and other things that change while\n\
         it runs are kept in the store (`postroad domain`, `postroad account`, `postroad alias`).\n\
         `postroad config check` says what is wrong with a file and where, `config show` what is in force,\n\
         `config explain KEY` what this page says. This page is written by `postroad config explain --markdown`.\n",
    );
    for section in SECTIONS {
        let title = if section.name.is_empty() {
            "Top of the file".to_owned()
        } else {
            format!("`{}`", section.title())
        };
        let _ = write!(
            out,
            "\n## {title}\n\n{}\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
            section.doc
        );
        for key in section.keys {
            let value = if key.many { format!("list: {}", key.kind.wanted()) } else { key.kind.wanted() };
            let default = match key.default {
                REQUIRED => "required".to_owned(),
                "" => "–".to_owned(),
                default => format!("`{default}`"),
            };
            let _ = writeln!(out, "| `{}` | {value} | {default} | {} |", key.name, key.doc);
        }
    }
    out
}
