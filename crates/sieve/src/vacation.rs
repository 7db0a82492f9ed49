//! RFC 5230: whether a vacation notice may be sent, and its text.

use message::manners::Manners;
use message::{Head, addresses, edit, transfer, words2047};
use stdx::Now;

use crate::actions::{Facts, Reply, Vacation, redirect_target};

/// Characters of a subject that repeats theirs.
const SUBJECT_MAX: usize = 256;

/// The arguments, filled in.
pub(crate) struct Wish {
    pub(crate) reason: String,
    pub(crate) seconds: u64,
    pub(crate) subject: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) addresses: Vec<String>,
    pub(crate) mime: bool,
    pub(crate) handle: Option<String>,
}

pub(crate) fn vacation(wish: &Wish, facts: &Facts<'_>, message: &[u8], now: Now) -> Vacation {
    let head = Head::parse(message);
    let sender = facts.sender.unwrap_or("");
    let reply = may_reply(wish, facts, &head, sender).map(|own| {
        let from = wish.from.clone().unwrap_or(own);
        Reply { to: sender.to_owned(), message: write(wish, facts, &head, (&from, sender), now), from }
    });
    // RFC 5230 §4.2: without a handle, replies are told apart by everything that makes them.
    let handle = wish.handle.clone().unwrap_or_else(|| {
        let (subject, from) = (wish.subject.as_deref().unwrap_or(""), wish.from.as_deref().unwrap_or(""));
        format!("{subject}\0{from}\0{}\0{}", wish.mime, wish.reason)
    });
    let mark = format!("{handle}\0{}", sender.to_lowercase());
    Vacation { mark, seconds: wish.seconds, reply }
}

/// The owner's address that was written to, if a notice may answer this message.
fn may_reply(wish: &Wish, facts: &Facts<'_>, head: &Head<'_>, sender: &str) -> Result<String, &'static str> {
    // RFC 5230 §4.6, RFC 3834 §2.
    if sender.is_empty() {
        return Err("the message has no sender to answer");
    }
    if redirect_target(sender).is_none() {
        return Err("the sender's address cannot be answered");
    }
    let extra = wish.addresses.iter().map(String::as_str);
    let own: Vec<&str> =
        std::iter::once(facts.recipient).chain(facts.own.iter().map(String::as_str)).chain(extra).collect();
    let is_own = |address: &str| own.iter().any(|o| !o.is_empty() && o.eq_ignore_ascii_case(address));
    if is_own(sender) {
        return Err("the message comes from the owner");
    }
    if is_machine(sender) {
        return Err("the sender is a program");
    }
    let manners = Manners::of(head);
    if manners.list {
        return Err("the message comes from a list");
    }
    if manners.forbids_auto_reply() {
        return Err("the message was sent by a program or in bulk");
    }
    // RFC 5230 §4.5.
    for name in ["To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc"] {
        for field in head.all(name) {
            if let Some(found) = addresses::mailboxes(field.raw()).into_iter().find(|m| is_own(&m.address)) {
                return Ok(found.address);
            }
        }
    }
    Err("the message is not addressed to the owner")
}

/// Mailboxes that programs use.
fn is_machine(sender: &str) -> bool {
    let lower = sender.to_ascii_lowercase();
    let local = lower.rsplit_once('@').map_or(lower.as_str(), |(local, _)| local);
    let names =
        ["mailer-daemon", "listserv", "majordomo", "noreply", "no-reply", "do-not-reply", "donotreply"];
    names.contains(&local)
        || local.starts_with("owner-")
        || local.ends_with("-request")
        || local.ends_with("-owner")
}

fn write(wish: &Wish, facts: &Facts<'_>, head: &Head<'_>, (from, to): (&str, &str), now: Now) -> Vec<u8> {
    let subject = match (&wish.subject, head.text("Subject")) {
        (Some(subject), _) => subject.clone(),
        (None, Some(theirs)) if !theirs.trim().is_empty() => shortened(&format!("Auto: {}", theirs.trim())),
        (None, _) => "Automated reply".to_owned(),
    };
    let host = from.rsplit_once('@').map_or("localhost", |(_, h)| h.trim_end_matches('>'));
    let mut out = String::new();
    let mut field = |name: &str, value: &str| out.push_str(&edit::fold(name, value));
    field("From", &author(from));
    field("To", &named(head, to));
    field("Subject", &if subject.is_ascii() { subject } else { words2047::encode(&subject) });
    field("Date", &now.rfc5322());
    field("Message-ID", &format!("<{}@{host}>", facts.reply_id));
    // RFC 5230 §5.8.
    if let Some(id) = head.text("Message-ID").filter(|id| id.is_ascii() && !id.is_empty()) {
        let earlier = head.text("References").or_else(|| head.text("In-Reply-To")).unwrap_or_default();
        field("In-Reply-To", &id);
        field("References", format!("{earlier} {id}").trim());
    }
    field("Auto-Submitted", "auto-replied (vacation)");
    field("Precedence", "bulk");
    field("MIME-Version", "1.0");
    if wish.mime {
        // RFC 5230 §4.4: the reason is a MIME entity with its own header.
        let entity = wish.reason.trim_start_matches(['\r', '\n']);
        let clean =
            entity.split_once("\r\n\r\n").map_or(entity.to_owned(), |(h, b)| format!("{h}\r\n\r\n{b}"));
        out.push_str(&clean);
        return out.into_bytes();
    }
    field("Content-Type", "text/plain; charset=utf-8");
    let long = wish.reason.lines().any(|l| l.len() > 900);
    if wish.reason.is_ascii() && !long {
        field("Content-Transfer-Encoding", "7bit");
        out.push_str("\r\n");
        out.push_str(&wish.reason);
    } else {
        field("Content-Transfer-Encoding", "quoted-printable");
        out.push_str("\r\n");
        out.push_str(&transfer::encode_quoted(wish.reason.as_bytes()));
    }
    if !out.ends_with("\r\n") {
        out.push_str("\r\n");
    }
    out.into_bytes()
}

/// The sender with the name the message gives him.
fn named(head: &Head<'_>, to: &str) -> String {
    let fields = ["Sender", "Resent-From", "From", "Reply-To"];
    let boxes = fields.iter().flat_map(|name| head.all(name)).flat_map(|f| addresses::mailboxes(f.raw()));
    let name = boxes.into_iter().find(|m| m.address.eq_ignore_ascii_case(to)).and_then(|m| m.name);
    match name {
        Some(name) if name.is_ascii() => {
            let quoted = name.replace(['\\', '"'], "");
            format!("\"{quoted}\" <{to}>")
        }
        Some(name) => edit::mailbox(Some(&name), to),
        None => format!("<{to}>"),
    }
}

/// A subject of bearable length.
fn shortened(subject: &str) -> String {
    match subject.char_indices().nth(SUBJECT_MAX) {
        Some(_) => subject.chars().take(SUBJECT_MAX - 1).chain(['…']).collect(),
        None => subject.to_owned(),
    }
}

/// A From value: an address, or a name with one.
fn author(from: &str) -> String {
    match addresses::mailboxes(from.as_bytes()).into_iter().next() {
        Some(mailbox) => edit::mailbox(mailbox.name.as_deref(), &mailbox.address),
        None => from.to_owned(),
    }
}
