//! `postroad why <message | session | attempt | Message-ID | address>`: the walk, from the ledger.
//!
//! Facts and reasons are printed as they were noted; nothing is decided here.

use ledger::Fact;
use serde_json::{Value, json};
use store::StoreError;
use store::rusqlite::Connection;
use words::{Address, AttemptId, MessageId, SessionId};

/// Most facts printed.
const FACTS_MAX: usize = 500;

/// What was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Message(MessageId),
    Session(SessionId),
    Attempt(AttemptId),
    Header(String),
    About(Address),
}

/// Reads the question as a person pastes it: `m=K7QF…`, `s=…`, `a=…`, `<id@host>`, an address, or
/// a bare message id. A text with an `@` is an address unless it stands in angle brackets; the
/// answer to an address falls back to the Message-ID of that form.
pub fn asked(text: &str) -> Result<Asked, String> {
    let text = text.trim().trim_end_matches(['.', ',', ';', ')']);
    let bad = || {
        format!(
            "\"{text}\" is neither an id (m=…, s=…, a=… as replies and logs print them), nor a Message-ID in angle \
             brackets, nor an address"
        )
    };
    match text.get(..2) {
        Some("m=") => text.parse().map(Asked::Message).map_err(|_| bad()),
        Some("s=") => text.parse().map(Asked::Session).map_err(|_| bad()),
        Some("a=") => text.parse().map(Asked::Attempt).map_err(|_| bad()),
        _ if text.starts_with('<') => Ok(Asked::Header(text.to_owned())),
        _ if text.contains('@') => {
            Address::parse(text).map(Asked::About).or(Ok(Asked::Header(text.to_owned())))
        }
        _ => text.parse().map(Asked::Message).map_err(|_| bad()),
    }
}

/// The facts that answer, oldest first.
pub fn facts(conn: &Connection, asked: &Asked) -> Result<Vec<Fact>, StoreError> {
    match asked {
        Asked::Message(id) => ledger::walk(conn, *id),
        Asked::Session(id) => ledger::of_session(conn, *id, FACTS_MAX),
        Asked::Attempt(id) => match ledger::of_attempt(conn, *id, 1)?.first().and_then(|f| f.message) {
            Some(message) => ledger::walk(conn, message),
            None => ledger::of_attempt(conn, *id, FACTS_MAX),
        },
        Asked::Header(header) => by_header(conn, header),
        Asked::About(address) => {
            let found = ledger::about(conn, address, FACTS_MAX)?;
            if found.is_empty() { by_header(conn, &address.to_string()) } else { Ok(found) }
        }
    }
}

/// A Message-ID may name several messages (a list's copies, a sender's second try): all walks.
fn by_header(conn: &Connection, header: &str) -> Result<Vec<Fact>, StoreError> {
    let found = ledger::by_header(conn, header, FACTS_MAX)?;
    let mut ids: Vec<MessageId> = found.iter().filter_map(|f| f.message).collect();
    ids.sort();
    ids.dedup();
    if ids.is_empty() {
        return Ok(found);
    }
    let mut all = Vec::new();
    for id in ids {
        all.extend(ledger::walk(conn, id)?);
    }
    Ok(all)
}

/// For people: a line per fact, its particulars and its reasons below it.
pub fn text(asked: &str, facts: &[Fact]) -> String {
    if facts.is_empty() {
        return format!(
            "Nothing is known of {asked}. The ledger keeps what happened here for as long as `ledger.keeps` says; \
             is it the id of another host, or older?\n"
        );
    }
    let mut out = String::new();
    let mut last_message = None;
    for fact in facts {
        if fact.message.is_some() && fact.message != last_message {
            last_message = fact.message;
            out.push_str(&heading(fact));
        }
        out.push_str(&line(fact));
    }
    out
}

fn heading(fact: &Fact) -> String {
    let id = fact.message.map(|m| m.tagged()).unwrap_or_default();
    match &fact.header {
        Some(header) => format!("\nmessage {id}  {header}\n"),
        None => format!("\nmessage {id}\n"),
    }
}

fn line(fact: &Fact) -> String {
    let at = fact.at.iso().replace('T', " ").replace('Z', "");
    let ids = [fact.session.map(|s| s.tagged()), fact.attempt.map(|a| a.tagged())];
    let ids: Vec<String> = ids.into_iter().flatten().collect();
    let mut out = format!("{at}  {:<22} {}\n", fact.kind, ids.join(" "));
    if !fact.about.is_empty() {
        out.push_str(&format!("{:21}about {}\n", "", fact.about.join(", ")));
    }
    for (name, value) in &fact.detail {
        if name == "reasons" {
            continue;
        }
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        out.push_str(&format!("{:21}{name} {value}\n", ""));
    }
    for reason in fact.reasons() {
        out.push_str(&format!("{:21}because {reason}\n", ""));
    }
    out
}

/// For machines.
pub fn json(facts: &[Fact]) -> Value {
    let one = |f: &Fact| {
        json!({
            "at": f.at.iso(), "kind": &*f.kind, "about": f.about, "header": f.header, "detail": f.detail,
            "session": f.session.map(|i| i.to_string()), "message": f.message.map(|i| i.to_string()),
            "attempt": f.attempt.map(|i| i.to_string()),
        })
    };
    Value::Array(facts.iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_as_it_is_pasted() {
        let id = MessageId(77);
        assert_eq!(asked(&id.tagged()), Ok(Asked::Message(id)));
        assert_eq!(asked(&format!("{id}.")), Ok(Asked::Message(id)));
        assert_eq!(asked("<a@b>"), Ok(Asked::Header("<a@b>".into())));
        assert!(matches!(asked("bob@example.org"), Ok(Asked::About(_))));
        assert!(
            matches!(asked("s=1"), Ok(Asked::Session(_))) && matches!(asked("a=1"), Ok(Asked::Attempt(_)))
        );
        assert!(asked("m=???").is_err() && asked("what?").is_err());
    }

    #[test]
    fn nothing_known_says_so() {
        assert!(text("m=1", &[]).starts_with("Nothing is known of m=1"));
    }
}
