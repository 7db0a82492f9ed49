//! Changes of header fields that touch no other byte, and the fields a mail host writes itself.
//!
//! Begin with [`Changes`]; [`fold`] writes one field, [`Trace`] a Received field.

use std::fmt::Write;
use std::net::IpAddr;

use stdx::Now;
use words::Address;

use crate::{Field, Head};

/// RFC 5322 §2.1.1: lines should have at most 78 characters.
const LINE_WANTED: usize = 78;
/// And must have at most 998.
const LINE_MAX: usize = 998;

/// Says of a field whether it is to go.
type Rule<'c> = Box<dyn Fn(&Field<'_>) -> bool + 'c>;

/// What to do to a header.
#[derive(Default)]
pub struct Changes<'c> {
    prepend: Vec<u8>,
    append: Vec<u8>,
    remove: Vec<Rule<'c>>,
}

impl<'c> Changes<'c> {
    pub fn new() -> Changes<'c> {
        Changes::default()
    }
    /// Puts whole fields (each with its line ending) above all others, below earlier calls' ones.
    pub fn prepend(mut self, fields: impl AsRef<[u8]>) -> Changes<'c> {
        self.prepend.extend_from_slice(fields.as_ref());
        self
    }
    /// Puts whole fields below all others.
    pub fn append(mut self, fields: impl AsRef<[u8]>) -> Changes<'c> {
        self.append.extend_from_slice(fields.as_ref());
        self
    }
    /// Takes out every field of that name.
    pub fn remove(self, name: &'c str) -> Changes<'c> {
        self.remove_if(move |f| f.is(name))
    }
    pub fn remove_if(mut self, rule: impl Fn(&Field<'_>) -> bool + 'c) -> Changes<'c> {
        self.remove.push(Box::new(rule));
        self
    }
    pub fn is_empty(&self) -> bool {
        self.prepend.is_empty() && self.append.is_empty() && self.remove.is_empty()
    }
    /// The new header with its empty line; the body follows it as it is, from
    /// [`Head::body_start`]. `data` may be the header alone.
    pub fn header(&self, data: &[u8]) -> Vec<u8> {
        let head = Head::parse(data);
        let mut out = Vec::with_capacity(head.body_start() + self.prepend.len() + self.append.len() + 4);
        out.extend_from_slice(&self.prepend);
        for field in head.fields() {
            if !self.remove.iter().any(|rule| rule(&field)) {
                out.extend_from_slice(field.bytes());
            }
        }
        if !self.append.is_empty() {
            if !out.is_empty() && !out.ends_with(b"\n") {
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(&self.append);
        }
        out.extend_from_slice(&data[head.fields_end()..head.body_start()]);
        out
    }
    /// The whole message, changed.
    pub fn apply(&self, data: &[u8]) -> Vec<u8> {
        let mut out = self.header(data);
        out.extend_from_slice(&data[Head::parse(data).body_start()..]);
        out
    }
}

/// RFC 6409 §8 and §6.3: what a submission server adds and takes away. Bcc goes; a missing Date or
/// Message-ID comes. `id_host` is the right side of a new Message-ID, `id_left` the unique left.
pub fn submission<'c>(data: &[u8], now: Now, id_left: &str, id_host: &str) -> Changes<'c> {
    let head = Head::parse(data);
    let mut changes = Changes::new().remove("Bcc").remove("Resent-Bcc").remove("Return-Path");
    if !head.has("Date") {
        changes = changes.append(fold("Date", &now.rfc5322()));
    }
    if !head.has("Message-ID") {
        changes = changes.append(fold("Message-ID", &format!("<{id_left}@{id_host}>")));
    }
    changes
}

/// Writes one field with its line ending, folded at blanks where it is long (RFC 5322 §2.2.3).
/// Control characters cannot get in, so no value can add a field.
pub fn fold(name: &str, value: &str) -> String {
    let clean: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut out = String::with_capacity(clean.len() + name.len() + 8);
    out.push_str(name);
    out.push(':');
    let mut column = out.len();
    for word in clean.split(' ').filter(|w| !w.is_empty()) {
        if column + 1 + word.len() > LINE_WANTED && column > name.len() + 1 {
            out.push_str("\r\n");
            column = 0;
        }
        out.push(' ');
        column += 1;
        for piece in pieces(word) {
            if column + piece.len() > LINE_MAX {
                out.push_str("\r\n ");
                column = 1;
            }
            out.push_str(piece);
            column += piece.len();
        }
    }
    out.push_str("\r\n");
    out
}

/// A word cut so that each piece fits a line.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let at = rest.floor_char_boundary((LINE_MAX - 2).min(rest.len()));
        let (piece, after) = rest.split_at(at);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Writes a display name and an address for an address field: the name quoted or encoded as it
/// needs.
pub fn mailbox(name: Option<&str>, address: &str) -> String {
    let Some(name) = name.map(str::trim).filter(|n| !n.is_empty()) else { return address.to_owned() };
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~ ".contains(c);
    if !name.is_ascii() || name.contains("=?") || name.chars().any(|c| c.is_control()) {
        format!("{} <{address}>", crate::words2047::encode(name))
    } else if name.chars().all(plain) {
        format!("{name} <{address}>")
    } else {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{quoted}\" <{address}>")
    }
}

/// The facts of a Received field (RFC 5321 §4.4).
#[derive(Clone, Debug)]
pub struct Trace<'a> {
    /// What the peer called itself.
    pub helo: &'a str,
    /// Its name by reverse DNS, if it was confirmed.
    pub reverse: Option<&'a str>,
    pub ip: IpAddr,
    /// Our own name.
    pub by: &'a str,
    /// `ESMTP`, `ESMTPS`, `ESMTPSA`, `UTF8SMTPS`, `LMTP` (RFC 3848, RFC 6531 §4.3).
    pub with: &'a str,
    /// TLS version and cipher.
    pub tls: Option<(&'a str, &'a str)>,
    /// Our id, without brackets.
    pub id: &'a str,
    /// Only with a single recipient, so that none is told of others (RFC 5321 §7.6).
    pub recipient: Option<&'a Address>,
    pub at: Now,
}

impl Trace<'_> {
    /// The field with its line ending.
    pub fn field(&self) -> String {
        let clean = |s: &str| {
            s.chars().filter(|c| c.is_ascii_graphic() && !"()<>;\\\"".contains(*c)).collect::<String>()
        };
        let literal = match self.ip {
            IpAddr::V4(v4) => format!("[{v4}]"),
            IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
        };
        let helo = clean(self.helo);
        let mut value = format!("from {}", if helo.is_empty() { "unknown" } else { &helo });
        match self.reverse {
            Some(name) => drop(write!(value, " ({} {literal})", clean(name))),
            None => drop(write!(value, " ({literal})")),
        }
        let _ = write!(value, " by {} with {}", self.by, self.with);
        if let Some((version, cipher)) = self.tls {
            let _ = write!(value, " ({} {})", clean(version), clean(cipher));
        }
        let _ = write!(value, " id {}", self.id);
        if let Some(recipient) = self.recipient {
            let _ = write!(value, " for <{recipient}>");
        }
        let _ = write!(value, "; {}", self.at.rfc5322());
        fold("Received", &value)
    }
}

/// RFC 5321 §4.4: the envelope sender at final delivery.
pub fn return_path(sender: Option<&Address>) -> String {
    fold("Return-Path", &sender.map_or("<>".to_owned(), |a| format!("<{a}>")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(changes: Changes<'_>, input: &str, expected: &str) {
        assert_eq!(String::from_utf8_lossy(&changes.apply(input.as_bytes())), expected, "{input:?}");
    }

    #[test]
    fn only_the_fields_named_are_touched() {
        let bcc = || Changes::new().remove("bcc").prepend("X: 1\r\n").append("Y: 2\r\n");
        check(bcc(), "A: 1\r\nBcc: x,\r\n y\r\nB:2\n\r\nbody\n", "X: 1\r\nA: 1\r\nB:2\nY: 2\r\n\r\nbody\n");
        check(bcc(), "Bcc: x", "X: 1\r\nY: 2\r\n");
        check(bcc(), "A: 1", "X: 1\r\nA: 1\r\nY: 2\r\n");
        check(bcc(), "\r\nbody", "X: 1\r\nY: 2\r\n\r\nbody");
        check(Changes::new(), "Bcc : x\r\n\r\n", "Bcc : x\r\n\r\n");
    }

    #[test]
    fn a_submission_gets_what_it_lacks() {
        let now = Now::from_secs(1_795_358_886);
        let changes = submission(b"Subject: x\r\nBcc: b@c\r\n\r\nhi", now, "K7QF", "mx.example");
        check(
            changes,
            "Subject: x\r\nBcc: b@c\r\n\r\nhi",
            "Subject: x\r\nDate: Sun, 22 Nov 2026 14:48:06 +0000\r\nMessage-ID: <K7QF@mx.example>\r\n\r\nhi",
        );
        let whole = "Date: x\r\nmessage-id: <a@b>\r\n\r\n";
        check(submission(whole.as_bytes(), now, "a", "b"), whole, whole);
    }

    #[test]
    fn a_received_field_tells_the_walk() {
        let address = Address::parse("bob@example.org").expect("valid");
        let trace = Trace {
            helo: "mx.example (evil;\r\n",
            reverse: None,
            ip: "2001:db8::1".parse().expect("valid"),
            by: "mail.example",
            with: "ESMTPS",
            tls: Some(("TLSv1.3", "TLS_AES_128_GCM_SHA256")),
            id: "K7QF",
            recipient: Some(&address),
            at: Now::from_secs(0),
        };
        assert_eq!(
            trace.field(),
            "Received: from mx.exampleevil ([IPv6:2001:db8::1]) by mail.example with ESMTPS\r\n (TLSv1.3 \
             TLS_AES_128_GCM_SHA256) id K7QF for <bob@example.org>; Thu, 1 Jan\r\n 1970 00:00:00 +0000\r\n"
        );
    }

    #[test]
    fn names_are_quoted_or_encoded_as_they_need() {
        assert_eq!(mailbox(None, "a@b"), "a@b");
        assert_eq!(mailbox(Some("Joe Public"), "a@b"), "Joe Public <a@b>");
        assert_eq!(mailbox(Some("Doe, \"J\""), "a@b"), "\"Doe, \\\"J\\\"\" <a@b>");
        assert_eq!(mailbox(Some("J\u{fc}"), "a@b"), "=?UTF-8?B?SsO8?= <a@b>");
    }

    proptest! {
        #[test]
        fn no_value_adds_a_field(value in "\\PC{0,200}[\r\n\0 ]{0,5}\\PC{0,2000}") {
            let text = fold("X", &value);
            prop_assert_eq!(Head::parse(text.as_bytes()).fields().count(), 1);
            prop_assert!(text.split("\r\n").all(|l| l.len() <= 998));
        }
        #[test]
        fn what_is_put_on_and_taken_off_leaves_the_message(data: Vec<u8>) {
            let on = Changes::new().prepend("X-Only-Here: 1\r\n").apply(&data);
            let off = Changes::new().remove("X-Only-Here").apply(&on);
            // A message that begins with a blank would become part of the field put on.
            prop_assume!(!matches!(data.first(), Some(b' ' | b'\t')));
            prop_assume!(!crate::Head::parse(&data).has("X-Only-Here"));
            prop_assert_eq!(off, data);
        }
    }
}
