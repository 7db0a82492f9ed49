//! What a mailbox keeps of a message so that it need not read it again.
//!
//! What it is: [`Summary::of`] makes ENVELOPE, BODY and BODYSTRUCTURE as IMAP text, the offsets of
//! all parts, and the keys that SORT and THREAD compare; [`Summary::to_bytes`] packs them for one
//! row. A warm FETCH is then a copy.
//! What it is not: the message. Ranges point into the bytes it was made of.

use crate::date::{self, Date};
use crate::head::{Head, unfold};
use crate::imapfmt::{BodyWriter, EnvelopeFields};
use crate::mime::{self, Kind, Part, Structure};
use crate::transfer::Encoding;
use crate::{addresses, ids, subject, words2047};

/// First byte of the packed form. Change it with the form; older rows are then made anew.
const VERSION: u8 = 1;
/// References kept of one message; the newest.
const REFERENCES_MAX: usize = 100;
/// Octets of a subject that are decoded; its base is shorter still.
const SUBJECT_MAX: usize = 16 * 1024;
/// Octets kept of a name or address to sort by.
const KEY_MAX: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Octets of the message (RFC822.SIZE).
    pub size: u64,
    /// `(…)`, as FETCH ENVELOPE answers it.
    pub envelope: Vec<u8>,
    /// As FETCH BODY answers it.
    pub body: Vec<u8>,
    /// As FETCH BODYSTRUCTURE answers it.
    pub bodystructure: Vec<u8>,
    pub structure: Structure,
    pub keys: Keys,
}

/// What SORT (RFC 5256, RFC 5957), THREAD and SEARCH compare; texts decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// The Date field.
    pub sent: Option<Date>,
    /// Base subject.
    pub subject: subject::Base,
    /// Local part of the first address (RFC 5256 §3).
    pub from: String,
    pub to: String,
    pub cc: String,
    /// Display name of the first address, or the address (RFC 5957 §3).
    pub from_shown: String,
    pub to_shown: String,
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// References, or the first of In-Reply-To (RFC 5256 §3 step 1), oldest first.
    pub references: Vec<String>,
}

impl Summary {
    /// Never fails.
    pub fn of(data: &[u8]) -> Summary {
        let (structure, contents) = mime::parse(data);
        let fields = EnvelopeFields::of(&Head::within(data, structure.root().head.clone()));
        let mut envelope = Vec::with_capacity(384);
        fields.write(&mut envelope);
        let mut body = Vec::with_capacity(128 * contents.len());
        let mut writer = BodyWriter { data, structure: &structure, contents: &contents, extended: false };
        writer.part(0, &mut body);
        let mut bodystructure = Vec::with_capacity(body.len() + 64 * contents.len());
        writer.extended = true;
        writer.part(0, &mut bodystructure);
        Summary { size: data.len() as u64, envelope, body, bodystructure, keys: Keys::of(&fields), structure }
    }

    /// Packs it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let len = self.envelope.len() + self.body.len() + self.bodystructure.len();
        let mut out = Pack(Vec::with_capacity(len + 300));
        out.0.push(VERSION);
        out.int(self.size);
        out.bytes(&self.envelope);
        out.bytes(&self.body);
        out.bytes(&self.bodystructure);
        out.int(self.structure.parts().len() as u64);
        for part in self.structure.parts() {
            out.part(part);
        }
        out.keys(&self.keys);
        out.0
    }

    /// Unpacks it; `None` if the bytes are of another version or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Option<Summary> {
        let mut from = Unpack(bytes.strip_prefix(&[VERSION])?);
        let size = from.int()?;
        let envelope = from.bytes()?.to_vec();
        let body = from.bytes()?.to_vec();
        let bodystructure = from.bytes()?.to_vec();
        let count = from.int()? as usize;
        let mut parts = Vec::with_capacity(count.min(mime::PARTS_MAX));
        for _ in 0..count {
            parts.push(from.part(size)?);
        }
        let structure = Structure::from_parts(parts)?;
        let keys = from.keys()?;
        from.0.is_empty().then_some(Summary { size, envelope, body, bodystructure, structure, keys })
    }

    /// ENVELOPE out of the packed form without unpacking the rest.
    pub fn packed_envelope(bytes: &[u8]) -> Option<&[u8]> {
        packed(bytes, 0)
    }
    /// BODY likewise.
    pub fn packed_body(bytes: &[u8]) -> Option<&[u8]> {
        packed(bytes, 1)
    }
    /// BODYSTRUCTURE likewise.
    pub fn packed_bodystructure(bytes: &[u8]) -> Option<&[u8]> {
        packed(bytes, 2)
    }
}

fn packed(bytes: &[u8], skip: usize) -> Option<&[u8]> {
    let mut from = Unpack(bytes.strip_prefix(&[VERSION])?);
    from.int()?;
    for _ in 0..skip {
        from.bytes()?;
    }
    from.bytes()
}

impl Keys {
    fn of(fields: &EnvelopeFields<'_>) -> Keys {
        let mut references = fields.references.map(ids::parse).unwrap_or_default();
        if references.is_empty() {
            references = fields.in_reply_to.map(ids::parse).unwrap_or_default();
            references.truncate(1);
        }
        references.drain(..references.len().saturating_sub(REFERENCES_MAX));
        let subject = fields.subject.map(|s| &s[..s.len().min(SUBJECT_MAX)]);
        let subject = subject.map(|s| words2047::decode(&unfold(s))).unwrap_or_default();
        let (from, from_shown) = first(&fields.from);
        let (to, to_shown) = first(&fields.to);
        let (cc, _) = first(&fields.cc);
        Keys {
            sent: fields.date.and_then(date::parse),
            subject: subject::base(&subject),
            from,
            to,
            cc,
            from_shown,
            to_shown,
            message_id: fields.message_id.and_then(ids::one),
            references,
        }
    }
}

fn first(list: &[addresses::Entry]) -> (String, String) {
    match list.first() {
        None | Some(addresses::Entry::GroupEnd) => (String::new(), String::new()),
        Some(addresses::Entry::GroupStart(name)) => {
            let name = key(words2047::decode(name));
            (name.clone(), name)
        }
        Some(addresses::Entry::Mailbox { name, local, domain, .. }) => {
            let local = key(crate::charset::guess(local).into_owned());
            let shown = match name.as_deref().map(words2047::decode).filter(|n| !n.is_empty()) {
                Some(name) => key(name),
                None => key(format!("{local}@{}", crate::charset::guess(domain))),
            };
            (local, shown)
        }
    }
}

fn key(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(KEY_MAX));
    text
}

struct Pack(Vec<u8>);

impl Pack {
    fn int(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }
    fn signed(&mut self, n: i64) {
        self.int(((n << 1) ^ (n >> 63)) as u64);
    }
    fn bytes(&mut self, bytes: &[u8]) {
        self.int(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
    fn part(&mut self, part: &Part) {
        let kind = match part.kind {
            Kind::Leaf => 0,
            Kind::Multipart => 1,
            Kind::Message => 2,
        };
        let encoding = match part.encoding {
            Encoding::Identity => 0,
            Encoding::Base64 => 1,
            Encoding::QuotedPrintable => 2,
            Encoding::Unknown => 3,
        };
        self.0.push(kind | encoding << 2 | part.marks() << 4);
        self.int(u64::from(part.depth));
        self.int(part.head.start as u64);
        self.int(part.head.len() as u64);
        self.int((part.body.start - part.head.end) as u64);
        self.int(part.body.len() as u64);
        self.int(u64::from(part.lines));
    }
    fn keys(&mut self, keys: &Keys) {
        match keys.sent {
            Some(date) => {
                self.0.push(1);
                self.signed(date.secs);
                self.signed(i64::from(date.zone_min));
            }
            None => self.0.push(0),
        }
        self.0.push(u8::from(keys.subject.is_reply));
        for text in [&keys.subject.text, &keys.from, &keys.to, &keys.cc, &keys.from_shown, &keys.to_shown] {
            self.bytes(text.as_bytes());
        }
        self.bytes(keys.message_id.as_deref().unwrap_or("").as_bytes());
        self.int(keys.references.len() as u64);
        for id in &keys.references {
            self.bytes(id.as_bytes());
        }
    }
}

struct Unpack<'a>(&'a [u8]);

impl<'a> Unpack<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
    fn int(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.byte()?;
            n |= u64::from(b & 0x7F) << shift;
            if b < 0x80 {
                return Some(n);
            }
        }
        None
    }
    fn signed(&mut self) -> Option<i64> {
        let n = self.int()?;
        Some((n >> 1) as i64 ^ -((n & 1) as i64))
    }
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.int()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }
    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }
    fn part(&mut self, size: u64) -> Option<Part> {
        let flags = self.byte()?;
        let kind = match flags & 3 {
            0 => Kind::Leaf,
            1 => Kind::Multipart,
            2 => Kind::Message,
            _ => return None,
        };
        let encoding = match flags >> 2 & 3 {
            0 => Encoding::Identity,
            1 => Encoding::Base64,
            2 => Encoding::QuotedPrintable,
            _ => Encoding::Unknown,
        };
        let depth = u32::try_from(self.int()?).ok()?;
        let start = self.int()?;
        let head_end = start.checked_add(self.int()?)?;
        let body_start = head_end.checked_add(self.int()?)?;
        let body_end = body_start.checked_add(self.int()?).filter(|e| *e <= size)?;
        let lines = u32::try_from(self.int()?).ok()?;
        let spans = (start as usize..head_end as usize, body_start as usize..body_end as usize);
        let mut part = Part::bare(depth, kind, encoding, spans);
        part.lines = lines;
        part.set_marks(flags >> 4);
        Some(part)
    }
    fn keys(&mut self) -> Option<Keys> {
        let sent = match self.byte()? {
            0 => None,
            _ => Some(Date { secs: self.signed()?, zone_min: i32::try_from(self.signed()?).ok()? }),
        };
        let is_reply = self.byte()? != 0;
        let subject = subject::Base { text: self.text()?, is_reply };
        let (from, to, cc) = (self.text()?, self.text()?, self.text()?);
        let (from_shown, to_shown) = (self.text()?, self.text()?);
        let message_id = Some(self.text()?).filter(|id| !id.is_empty());
        let count = self.int()?;
        let mut references = Vec::new();
        for _ in 0..count {
            references.push(self.text()?);
        }
        Some(Keys { sent, subject, from, to, cc, from_shown, to_shown, message_id, references })
    }
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
