//! Imports go down only. Keepers and judges never import each other; a role never imports a role.

use std::path::Path;

use super::Fault;

/// Rooms from the ground up. A room may import rooms of a smaller number only.
const FLOORS: &[(u32, &[&str])] = &[
    (0, &["stdx"]),
    (5, &["world", "words", "talk"]),
    (20, &["message", "sasl"]),
    (21, &["smtp", "imap", "pop3", "sieve", "mailauth", "link"]),
    (30, &["accept", "route", "guard", "watch"]),
    (40, &["store"]),
    (41, &["mailbox", "directory", "spool", "ledger"]),
    (50, &["drive", "config"]),
    (51, &["web"]),
    (52, &["webmail", "panel", "statuspage", "migrate"]),
    (55, &["host", "sim"]),
    (60, &["role-mail", "role-relay", "role-dns", "role-monitor", "role-status"]),
    (65, &["scenes"]),
    (70, &["postroad"]),
    (80, &["xtask"]),
];

const JUDGES: &[&str] = &["accept", "route", "guard", "watch"];
const KEEPERS: &[&str] = &["store", "mailbox", "directory", "spool", "ledger"];
/// Only the door and whole-farm tests choose a world.
const WORLDS: &[&str] = &["host", "sim"];

/// A crate and the rooms it imports (not for tests).
pub struct Manifest {
    pub room: String,
    pub imports: Vec<String>,
}

pub fn manifests(root: &Path) -> Vec<Manifest> {
    let mut dirs: Vec<_> = std::fs::read_dir(root.join("crates"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .chain([root.join("xtask")])
        .collect();
    dirs.sort();
    dirs.iter().filter_map(|dir| manifest(&std::fs::read_to_string(dir.join("Cargo.toml")).ok()?)).collect()
}

fn manifest(text: &str) -> Option<Manifest> {
    let table: toml::Table = text.parse().ok()?;
    let room = table.get("package")?.get("name")?.as_str()?.to_owned();
    let ours = |name: &String| floor(name).is_some();
    let imports = table
        .get("dependencies")
        .and_then(|d| d.as_table())
        .map(|d| d.keys().filter(|k| ours(k)).cloned().collect())
        .unwrap_or_default();
    Some(Manifest { room, imports })
}

fn floor(room: &str) -> Option<u32> {
    FLOORS.iter().find(|(_, rooms)| rooms.contains(&room)).map(|(n, _)| *n)
}

pub fn check(manifests: &[Manifest]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for m in manifests {
        let Some(own) = floor(&m.room) else {
            faults.push(Fault::new(
                &m.room,
                "this crate stands on no floor: a new crate needs a reason and a line in xtask/src/tidy/floors.rs",
            ));
            continue;
        };
        for import in &m.imports {
            if let Some(why) = forbidden(&m.room, own, import) {
                faults.push(Fault::new(
                    format!("crates/{}/Cargo.toml", m.room),
                    format!("imports {import}: {why}"),
                ));
            }
        }
    }
    faults
}

fn forbidden(room: &str, own: u32, import: &str) -> Option<&'static str> {
    let down = floor(import).is_some_and(|theirs| theirs < own);
    let has = |set: &[&str], name: &str| set.contains(&name);
    if has(KEEPERS, room) && has(JUDGES, import) {
        return Some("a keeper never judges");
    }
    if has(JUDGES, room) && has(KEEPERS, import) {
        return Some("a judge never keeps");
    }
    if room.starts_with("role-") && (import.starts_with("role-")) {
        return Some("a role never imports a role; hosts agree through `link` values");
    }
    if room.starts_with("role-") && has(WORLDS, import) {
        return Some("a role takes its world as an argument");
    }
    if !down { Some("imports go down only") } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(room: &str, imports: &[&str]) -> usize {
        let imports = imports.iter().map(|s| s.to_string()).collect();
        check(&[Manifest { room: room.into(), imports }]).len()
    }

    #[test]
    fn imports_that_go_down_pass() {
        assert_eq!(faults("mailbox", &["stdx", "words", "message", "store"]), 0);
        assert_eq!(faults("postroad", &["host", "role-mail", "config"]), 0);
    }

    #[test]
    fn imports_that_go_up_or_sideways_fail() {
        assert_eq!(faults("smtp", &["drive"]), 1);
        assert_eq!(faults("mailbox", &["spool"]), 1);
        assert_eq!(faults("spool", &["route"]), 1);
        assert_eq!(faults("guard", &["ledger"]), 1);
        assert_eq!(faults("role-mail", &["role-relay", "host"]), 2);
        assert_eq!(faults("sidecar", &[]), 1);
    }

    #[test]
    fn dev_dependencies_are_free() {
        let m = manifest("[package]\nname='smtp'\n[dependencies]\nwords.workspace=true\nserde='1'\n[dev-dependencies]\nsim='1'")
            .expect("valid");
        assert_eq!(m.imports, ["words"]);
    }
}
