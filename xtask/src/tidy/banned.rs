//! Names that a floor may not speak. Comments, strings and test code do not count.

use super::{Fault, Source};

/// Rooms that must be pure: bytes, facts and the time go in, values come out.
const PURE: &[&str] = &[
    "stdx", "words", "message", "smtp", "imap", "pop3", "sasl", "sieve", "link", "accept", "route", "guard",
    "watch",
];
/// What a pure room may not name, and why.
const IMPURE: &[(&str, &str)] = &[
    ("async", "engines and judges have no async"),
    ("await", "engines and judges have no async"),
    ("tokio", "engines and judges know no runtime"),
    ("SystemTime", "time is an argument (`Now`)"),
    ("Instant", "time is an argument (`Now`)"),
    ("TcpStream", "no sockets here"),
    ("TcpListener", "no sockets here"),
    ("UdpSocket", "no sockets here"),
    ("std::fs", "no files here"),
    ("std::env", "no environment here"),
    ("std::thread", "no threads here"),
    ("Mutex", "no locks here"),
    ("RwLock", "no locks here"),
    ("HashMap", "iteration order must be the same each time: use BTreeMap"),
    ("HashSet", "iteration order must be the same each time: use BTreeSet"),
    ("getrandom", "randomness is an argument"),
];
/// What only `host` may name (beside the store's own engine, tests and developers' commands).
const OUTSIDE: &[(&str, &str)] =
    &[("tokio::net", "only `host` names sockets"), ("SystemTime", "only `host` asks the clock")];
// `store` keeps its own engine's files and their times behind a trait of its own.
const OUTSIDE_ALLOWED: &[&str] = &["host", "store", "xtask"];
/// Module names that say nothing.
const EMPTY_NAMES: &[&str] =
    &["manager", "handler", "helper", "helpers", "util", "utils", "common", "core", "service"];

pub fn check(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    let stem = source.path.rsplit('/').next().and_then(|f| f.strip_suffix(".rs")).unwrap_or("");
    if EMPTY_NAMES.contains(&stem) {
        faults.push(Fault::new(
            &source.path,
            format!("\"{stem}\" says nothing: name it by the noun an operator would use"),
        ));
    }
    if !source.path.contains("/src/") || source.is_test() {
        return faults;
    }
    let code = product_code(&source.text);
    if PURE.contains(&source.room.as_str()) {
        faults.extend(find(source, &code, IMPURE));
    }
    if !OUTSIDE_ALLOWED.contains(&source.room.as_str()) {
        faults.extend(find(source, &code, OUTSIDE));
    }
    faults
}

fn find(source: &Source, code: &str, names: &[(&str, &str)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, line) in code.lines().enumerate() {
        for (name, why) in names {
            if has_word(line, name) {
                faults
                    .push(Fault::new(format!("{}:{}", source.path, number + 1), format!("`{name}`: {why}")));
            }
        }
    }
    faults
}

fn has_word(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(at, _)| !part(line[..at].chars().next_back()) && !part(line[at + word.len()..].chars().next()))
}

/// The text with comments and strings blanked, up to the first `#[cfg(test)]` (tests stand last).
fn product_code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or("");
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |n| n + 2)
        } else if c == '"' {
            string_end(rest)
        } else {
            0
        };
        if skip > 0 {
            out.extend(rest[..skip].chars().filter(|c| *c == '\n'));
            rest = &rest[skip..];
        } else if rest.starts_with("'\"'") {
            rest = &rest[3..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(room: &str, path: &str, text: &str) -> usize {
        check(&Source { room: room.into(), path: path.into(), text: text.into() }).len()
    }

    #[test]
    fn an_engine_may_not_name_the_clock() {
        assert_eq!(faults("smtp", "crates/smtp/src/a.rs", "let t = Instant::now();"), 1);
        assert_eq!(
            faults("smtp", "crates/smtp/src/a.rs", "// Instant\nlet s = \"Mutex\"; let i = InstantX;"),
            0
        );
        assert_eq!(faults("smtp", "crates/smtp/src/a.rs", "#[cfg(test)]\nmod t { use std::fs; }"), 0);
        assert_eq!(faults("route", "crates/route/src/a.rs", "async fn f() {}"), 1);
    }

    #[test]
    fn only_host_names_sockets() {
        assert_eq!(faults("drive", "crates/drive/src/a.rs", "use tokio::net::TcpStream;"), 1);
        assert_eq!(faults("host", "crates/host/src/a.rs", "use tokio::net::TcpStream;"), 0);
        assert_eq!(faults("drive", "crates/drive/tests/a.rs", "use tokio::net::TcpStream;"), 0);
    }

    #[test]
    fn a_module_has_a_name_that_says_something() {
        assert_eq!(faults("store", "crates/store/src/utils.rs", ""), 1);
    }
}
