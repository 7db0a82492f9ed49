//! Strings, ENVELOPE, BODY and BODYSTRUCTURE as IMAP writes them (RFC 9051 §7.5.2, §9).
//!
//! Begin with [`envelope`] and [`body`]; [`string`] and [`nstring`] serve any other answer.

use crate::addresses::{self, Entry};
use crate::head::{Head, unfold};
use crate::mime::{Content, Kind, Structure};
use crate::params::Valued;

/// Octets of one field's text, and of one address field, that an ENVELOPE takes in, so that no
/// message makes a cached row as long as itself.
const TEXT_MAX: usize = 64 * 1024;
const LIST_MAX: usize = 1024 * 1024;

/// After this many `"` or `\` a literal is shorter than a quoted string.
const ESCAPES_MAX: usize = 4;

/// Writes a string: quoted where that can be, else a literal. NUL, which no IMAP string may hold
/// (RFC 9051 §4.3), becomes U+FFFD.
pub fn string(bytes: &[u8], out: &mut Vec<u8>) {
    let mut escapes = 0;
    let mut literal = false;
    let mut nul = false;
    for &b in bytes {
        match b {
            b'"' | b'\\' => escapes += 1,
            0 => nul = true,
            b'\r' | b'\n' | 0x80.. => literal = true,
            _ => {}
        }
    }
    if nul {
        let clean: Vec<u8> = bytes
            .iter()
            .flat_map(|b| if *b == 0 { "\u{fffd}".as_bytes() } else { std::slice::from_ref(b) })
            .copied()
            .collect();
        put_literal(&clean, out);
    } else if literal || escapes > ESCAPES_MAX {
        put_literal(bytes, out);
    } else if escapes == 0 {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
    } else {
        out.push(b'"');
        for &b in bytes {
            if matches!(b, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(b);
        }
        out.push(b'"');
    }
}

fn put_literal(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'{');
    number(bytes.len() as u64, out);
    out.extend_from_slice(b"}\r\n");
    out.extend_from_slice(bytes);
}

/// Writes a string, or `NIL` for none.
pub fn nstring(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => string(bytes, out),
        None => out.extend_from_slice(b"NIL"),
    }
}

pub(crate) fn number(n: u64, out: &mut Vec<u8>) {
    let mut buf = [0u8; 20];
    let mut at = buf.len();
    let mut n = n;
    loop {
        at -= 1;
        buf[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&buf[at..]);
}

/// Text for people: blanks of any kind become one, none stand at the ends.
fn human(bytes: &[u8], out: &mut Vec<u8>) {
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let tidy = !bytes.windows(2).any(|w| blank(&w[0]) && blank(&w[1]))
        && !bytes.iter().any(|b| blank(b) && *b != b' ')
        && !bytes.first().is_some_and(blank)
        && !bytes.last().is_some_and(blank);
    if tidy {
        return string(bytes, out);
    }
    let words: Vec<&[u8]> = bytes.split(blank).filter(|w| !w.is_empty()).collect();
    string(&words.join(&b' '), out);
}

/// The fields that an ENVELOPE is made of, raw values.
#[derive(Default)]
pub(crate) struct EnvelopeFields<'a> {
    pub date: Option<&'a [u8]>,
    pub subject: Option<&'a [u8]>,
    pub in_reply_to: Option<&'a [u8]>,
    pub message_id: Option<&'a [u8]>,
    pub references: Option<&'a [u8]>,
    pub from: Vec<Entry>,
    pub sender: Vec<Entry>,
    pub reply_to: Vec<Entry>,
    pub to: Vec<Entry>,
    pub cc: Vec<Entry>,
    pub bcc: Vec<Entry>,
}

impl<'a> EnvelopeFields<'a> {
    /// Several fields of one name: addresses are put together, so that no reader sees fewer
    /// senders than another; of texts the last one counts.
    pub fn of(head: &Head<'a>) -> EnvelopeFields<'a> {
        let mut e = EnvelopeFields::default();
        let cut = |raw: &'a [u8], max: usize| &raw[..raw.len().min(max)];
        for field in head.fields() {
            let name = field.name();
            if name.len() < 2 || name.len() > 11 {
                continue;
            }
            let list = match name[0] | 0x20 {
                b'f' if field.is("From") => &mut e.from,
                b's' if field.is("Sender") => &mut e.sender,
                b'r' if field.is("Reply-To") => &mut e.reply_to,
                b't' if field.is("To") => &mut e.to,
                b'c' if field.is("Cc") => &mut e.cc,
                b'b' if field.is("Bcc") => &mut e.bcc,
                b'd' if field.is("Date") => {
                    e.date = Some(cut(field.raw(), TEXT_MAX));
                    continue;
                }
                b's' if field.is("Subject") => {
                    e.subject = Some(cut(field.raw(), TEXT_MAX));
                    continue;
                }
                b'i' if field.is("In-Reply-To") => {
                    e.in_reply_to = Some(cut(field.raw(), TEXT_MAX));
                    continue;
                }
                b'm' if field.is("Message-ID") => {
                    e.message_id = Some(cut(field.raw(), TEXT_MAX));
                    continue;
                }
                b'r' if field.is("References") => {
                    e.references = Some(cut(field.raw(), TEXT_MAX));
                    continue;
                }
                _ => continue,
            };
            if list.len() < addresses::ENTRIES_MAX {
                list.extend(addresses::parse(cut(field.raw(), LIST_MAX)));
            }
        }
        e
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let text = |value: Option<&[u8]>, out: &mut Vec<u8>| match value {
            Some(value) => string(&unfold(value), out),
            None => out.extend_from_slice(b"NIL"),
        };
        // RFC 9051 §7.5.2: where Sender or Reply-To is missing or empty, From stands for it.
        let or_from = |list: &'_ [Entry]| if list.is_empty() { self.from.len() } else { 0 };
        out.push(b'(');
        text(self.date, out);
        out.push(b' ');
        match self.subject {
            Some(subject) => human(&unfold(subject), out),
            None => out.extend_from_slice(b"NIL"),
        }
        out.push(b' ');
        address_list(&self.from, out);
        for list in [&self.sender, &self.reply_to] {
            out.push(b' ');
            address_list(if or_from(list) > 0 { &self.from } else { list }, out);
        }
        for list in [&self.to, &self.cc, &self.bcc] {
            out.push(b' ');
            address_list(list, out);
        }
        out.push(b' ');
        text(self.in_reply_to, out);
        out.push(b' ');
        text(self.message_id, out);
        out.push(b')');
    }
}

/// Writes the ENVELOPE of a header.
pub fn envelope(head: &Head<'_>, out: &mut Vec<u8>) {
    EnvelopeFields::of(head).write(out);
}

fn address_list(list: &[Entry], out: &mut Vec<u8>) {
    if list.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for entry in list {
        match entry {
            Entry::Mailbox { name, route, local, domain } => {
                out.push(b'(');
                match name {
                    Some(name) => human(name, out),
                    None => out.extend_from_slice(b"NIL"),
                }
                out.push(b' ');
                nstring(route.as_deref(), out);
                out.push(b' ');
                // NIL means a group here, so a missing half needs a word of its own; these are
                // the ones clients know.
                string(if local.is_empty() { b"MISSING_MAILBOX" } else { local }, out);
                out.push(b' ');
                string(if domain.is_empty() { b"MISSING_DOMAIN" } else { domain }, out);
                out.push(b')');
            }
            Entry::GroupStart(name) => {
                out.extend_from_slice(b"(NIL NIL ");
                string(name, out);
                out.extend_from_slice(b" NIL)");
            }
            Entry::GroupEnd => out.extend_from_slice(b"(NIL NIL NIL NIL)"),
        }
    }
    out.push(b')');
}

/// Writes BODY, or BODYSTRUCTURE if `extended`, of a message.
pub fn body(data: &[u8], structure: &Structure, extended: bool) -> Vec<u8> {
    let contents: Vec<Content<'_>> = structure.parts().iter().map(|p| p.content(data)).collect();
    let mut out = Vec::with_capacity(256);
    BodyWriter { data, structure, contents: &contents, extended }.part(0, &mut out);
    out
}

pub(crate) struct BodyWriter<'a, 'b> {
    pub data: &'a [u8],
    pub structure: &'b Structure,
    pub contents: &'b [Content<'a>],
    pub extended: bool,
}

impl BodyWriter<'_, '_> {
    pub fn part(&self, index: u32, out: &mut Vec<u8>) {
        let Some(part) = self.structure.part(index) else { return };
        out.push(b'(');
        if part.kind == Kind::Multipart {
            self.multipart(index, out);
        } else {
            self.single(index, out);
        }
        out.push(b')');
    }

    fn multipart(&self, index: u32, out: &mut Vec<u8>) {
        let mut any = false;
        for child in self.structure.children(index) {
            self.part(child, out);
            any = true;
        }
        if !any {
            // RFC 9051 §9: a multipart has at least one part.
            out.extend_from_slice(b"(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0");
            out.extend_from_slice(if self.extended { b" NIL NIL NIL NIL)" } else { b")" });
        }
        let content = &self.contents[index as usize];
        out.push(b' ');
        let empty = Valued::default();
        let ctype = content.ctype.as_ref().unwrap_or(&empty);
        string(&ctype.subtype, out);
        if self.extended {
            out.push(b' ');
            parameters(ctype, false, out);
            self.tail(content, out);
        }
    }

    fn single(&self, index: u32, out: &mut Vec<u8>) {
        let Some(part) = self.structure.part(index) else { return };
        let content = &self.contents[index as usize];
        let is_text = self.media(index, out);
        out.push(b' ');
        let empty = Valued::default();
        parameters(content.ctype.as_ref().unwrap_or(&empty), is_text, out);
        out.push(b' ');
        nstring(content.id.map(unfold).as_deref(), out);
        out.push(b' ');
        nstring(content.description.map(unfold).as_deref(), out);
        out.push(b' ');
        match content.encoding.map(crate::params::token).filter(|t| !t.is_empty()) {
            Some(token) => string(token, out),
            None => out.extend_from_slice(b"\"7bit\""),
        }
        out.push(b' ');
        number(part.body.len() as u64, out);
        if part.kind == Kind::Message {
            for child in self.structure.children(index) {
                out.push(b' ');
                if let Some(inner) = self.structure.part(child) {
                    envelope(&Head::within(self.data, inner.head.clone()), out);
                }
                out.push(b' ');
                self.part(child, out);
            }
        }
        if is_text || part.kind == Kind::Message {
            out.push(b' ');
            number(u64::from(part.lines), out);
        }
        if self.extended {
            out.push(b' ');
            nstring(content.md5.map(unfold).as_deref(), out);
            self.tail(content, out);
        }
    }

    /// Writes type and subtype; says whether it is text.
    fn media(&self, index: u32, out: &mut Vec<u8>) -> bool {
        let Some(part) = self.structure.part(index) else { return false };
        let ctype = self.contents[index as usize].ctype.as_ref();
        let message = |v: &Valued| v.is("message", "rfc822") || v.is("message", "global");
        match (part.kind, ctype) {
            (Kind::Message, None) => out.extend_from_slice(b"\"message\" \"rfc822\""),
            // Past the limits a container is a leaf, and the grammar allows no leaf of that name.
            (Kind::Leaf, Some(v)) if message(v) || v.kind_is("multipart") => {
                out.extend_from_slice(b"\"application\" \"octet-stream\"");
            }
            (Kind::Leaf, None) if part.in_digest() => {
                out.extend_from_slice(b"\"application\" \"octet-stream\"");
            }
            (_, None) => {
                out.extend_from_slice(b"\"text\" \"plain\"");
                return true;
            }
            (_, Some(v)) => {
                string(&v.kind, out);
                out.push(b' ');
                string(&v.subtype, out);
                return v.kind_is("text");
            }
        }
        false
    }

    /// Disposition, language, location.
    fn tail(&self, content: &Content<'_>, out: &mut Vec<u8>) {
        out.push(b' ');
        match content.disposition() {
            Some(d) => {
                out.push(b'(');
                string(&d.kind, out);
                out.push(b' ');
                parameters(&d, false, out);
                out.push(b')');
            }
            None => out.extend_from_slice(b"NIL"),
        }
        out.push(b' ');
        let languages = content.language.map(crate::params::token_list).unwrap_or_default();
        if languages.is_empty() {
            out.extend_from_slice(b"NIL");
        } else {
            for (i, language) in languages.iter().enumerate() {
                out.push(if i == 0 { b'(' } else { b' ' });
                string(language, out);
            }
            out.push(b')');
        }
        out.push(b' ');
        nstring(content.location.map(unfold).as_deref(), out);
    }
}

/// RFC 2045 §5.2: text without a charset is US-ASCII; say so, as servers do.
fn parameters(v: &Valued, is_text: bool, out: &mut Vec<u8>) {
    let add_charset = is_text && !v.params.iter().any(|(n, _)| n.eq_ignore_ascii_case(b"charset"));
    if v.params.is_empty() && !add_charset {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for (i, (name, value)) in v.params.iter().enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        string(name, out);
        out.push(b' ');
        string(value, out);
    }
    if add_charset {
        if !v.params.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(b"\"charset\" \"us-ascii\"");
    }
    out.push(b')');
}

#[cfg(test)]
#[path = "imapfmt_tests.rs"]
mod tests;
