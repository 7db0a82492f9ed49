//! Writing mail of our own: plain text messages and multiparts of given parts.
//!
//! Begin with [`Letter`]. Nothing here asks a clock or dice: date, id and boundary come from what
//! is given.

use stdx::Now;

use crate::edit::{fold, mailbox};
use crate::transfer::{encode_base64, encode_quoted};

/// One part of a message to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Content-Type with its parameters.
    pub ctype: String,
    /// Further Content-* fields, each with its line ending.
    pub fields: String,
    pub body: Vec<u8>,
    pub how: How,
}

/// How a part's body is put into the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Text: 7bit if it can be, else quoted-printable.
    Text,
    Base64,
    /// As it is. For messages in messages, which may not be encoded (RFC 2046 §5.2.1).
    AsIs,
}

impl Piece {
    pub fn text(text: impl Into<String>) -> Piece {
        Piece {
            ctype: "text/plain; charset=utf-8".into(),
            fields: String::new(),
            body: text.into().into_bytes(),
            how: How::Text,
        }
    }
    pub fn attachment(ctype: &str, file_name: &str, bytes: Vec<u8>) -> Piece {
        let name = crate::words2047::encode(file_name).replace(['"', '\\'], "_");
        Piece {
            ctype: ctype.to_owned(),
            fields: fold("Content-Disposition", &format!("attachment; filename=\"{name}\"")),
            body: bytes,
            how: How::Base64,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(fold("Content-Type", &self.ctype).as_bytes());
        out.extend_from_slice(self.fields.as_bytes());
        let (encoding, body) = match self.how {
            How::Text if is_plain(&self.body) => ("7bit", crlf(&self.body)),
            How::Text => ("quoted-printable", encode_quoted(&self.body).into_bytes()),
            How::Base64 => ("base64", encode_base64(&self.body).into_bytes()),
            How::AsIs if self.body.is_ascii() => ("7bit", self.body.clone()),
            How::AsIs => ("8bit", self.body.clone()),
        };
        out.extend_from_slice(fold("Content-Transfer-Encoding", encoding).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&body);
    }
}

/// Short ASCII lines that no mailer will touch.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|b| matches!(b, b' '..=b'~' | b'\t' | b'\r' | b'\n'))
        && text
            .split(|b| *b == b'\n')
            .all(|l| l.len() <= 78 && !l.starts_with(b"From ") && !l.ends_with(b" ") && !l.ends_with(b"\t"))
}

/// Line endings to CRLF.
fn crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 30);
    for (i, line) in text.split(|b| *b == b'\n').enumerate() {
        if i > 0 {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
    }
    out
}

/// A message to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Display name and address.
    pub from: (Option<String>, String),
    pub to: Vec<(Option<String>, String)>,
    pub subject: String,
    pub at: Now,
    /// Without angle brackets.
    pub message_id: String,
    /// Further fields, each with its line ending (see [`fold`]).
    pub fields: String,
    /// One piece is the message's own body; more make a multipart.
    pub pieces: Vec<Piece>,
    /// `mixed`, `alternative`, `report; report-type=delivery-status`.
    pub multipart: String,
}

impl Letter {
    /// A plain text message.
    pub fn text(from: &str, to: &str, subject: &str, body: &str, at: Now, message_id: &str) -> Letter {
        Letter {
            from: (None, from.to_owned()),
            to: vec![(None, to.to_owned())],
            subject: subject.to_owned(),
            at,
            message_id: message_id.to_owned(),
            fields: String::new(),
            pieces: vec![Piece::text(body)],
            multipart: "mixed".into(),
        }
    }

    /// The message, with CRLF line endings.
    pub fn build(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024 + self.pieces.iter().map(|p| p.body.len()).sum::<usize>());
        let to: Vec<String> = self.to.iter().map(|(n, a)| mailbox(n.as_deref(), a)).collect();
        for (name, value) in [
            ("Date", self.at.rfc5322()),
            ("From", mailbox(self.from.0.as_deref(), &self.from.1)),
            ("To", to.join(", ")),
            ("Subject", crate::words2047::encode(&self.subject)),
            ("Message-ID", format!("<{}>", self.message_id)),
            ("MIME-Version", "1.0".to_owned()),
        ] {
            if !value.is_empty() {
                out.extend_from_slice(fold(name, &value).as_bytes());
            }
        }
        out.extend_from_slice(self.fields.as_bytes());
        match &self.pieces[..] {
            [one] => one.write(&mut out),
            many => self.write_multipart(many, &mut out),
        }
        if !out.ends_with(b"\n") {
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    fn write_multipart(&self, pieces: &[Piece], out: &mut Vec<u8>) {
        let boundary = self.boundary();
        let (kind, params) = self.multipart.split_once(';').unwrap_or((&self.multipart, ""));
        let params = if params.is_empty() { String::new() } else { format!("; {}", params.trim()) };
        let ctype = format!("multipart/{kind}{params}; boundary=\"{boundary}\"");
        out.extend_from_slice(fold("Content-Type", &ctype).as_bytes());
        for piece in pieces {
            out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
            piece.write(out);
        }
        out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    }

    /// RFC 2046 §5.1.1: a boundary that stands in no part. Made of the id, so that the same
    /// letter is written the same way.
    fn boundary(&self) -> String {
        let id: String =
            self.message_id.chars().filter(char::is_ascii_alphanumeric).take(24).collect::<String>();
        let mut n = 0u32;
        loop {
            let boundary = format!("=_{id}_{n}");
            let finder = memchr::memmem::Finder::new(boundary.as_bytes());
            if self.pieces.iter().all(|p| finder.find(&p.body).is_none()) {
                return boundary;
            }
            n += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mime::Structure;
    use crate::{text, transfer};
    use proptest::prelude::*;

    #[test]
    fn a_plain_letter_is_plain() {
        let letter =
            Letter::text("a@b.example", "c@d.example", "Hi", "Hello.\nBye.\n", Now(0), "x@b.example");
        assert_eq!(
            String::from_utf8(letter.build()).expect("ASCII"),
            "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nFrom: a@b.example\r\nTo: c@d.example\r\nSubject: Hi\r\n\
             Message-ID: <x@b.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\nHello.\r\nBye.\r\n"
        );
    }

    proptest! {
        #[test]
        fn a_letter_is_read_as_it_was_written(
            body in "[ -~\u{e0}-\u{ff}\n]{0,200}", subject in "\\PC{0,60}", file: Vec<u8>
        ) {
            let mut letter = Letter::text("a@b", "c@d", &subject, &body, Now(0), "x@b");
            letter.pieces.push(Piece::attachment("application/x-y", "\u{e9}.bin", file.clone()));
            let data = letter.build();
            let s = Structure::of(&data);
            prop_assert_eq!(s.parts().len(), 3);
            let got = text::of_part(&data, &s, 1, usize::MAX).expect("text");
            prop_assert_eq!(got.replace("\r\n", "\n"), body);
            let part = &s.parts()[2];
            prop_assert_eq!(transfer::decode(part.encoding, &data[part.body.clone()]), file);
            prop_assert_eq!(part.content(&data).file_name().expect("named"), "\u{e9}.bin");
            let head = crate::Head::parse(&data);
            let words = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
            prop_assert_eq!(words(&head.text("subject").unwrap_or_default()), words(&subject));
        }
    }
}
