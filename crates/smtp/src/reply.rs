//! Replies of servers, read as they really come.

use std::str::FromStr;

use words::{Enhanced, Reply};

/// RFC 5321 §4.5.3.1.5 says 512 octets for a line; servers write more.
const LINE_OCTETS_MAX: usize = 8192;
/// No honest reply has more lines.
const LINES_MAX: usize = 256;

/// Why bytes are no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAReply {
    LineTooLong,
    TooManyLines,
    /// The line, made printable and cut short.
    NoCode(String),
}

/// Gathers bytes into replies.
#[derive(Debug, Default)]
pub struct ReplyReader {
    buffer: Vec<u8>,
    lines: Vec<(u16, String)>,
}

impl ReplyReader {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.lines.is_empty()
    }
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.lines.clear();
    }
    /// The next whole reply, if there is one.
    pub fn take(&mut self) -> Result<Option<Reply>, NotAReply> {
        let mut from = 0;
        let mut whole = None;
        while let Some(n) = memchr::memchr(b'\n', &self.buffer[from..]) {
            let line = &self.buffer[from..from + n];
            from += n + 1;
            let (code, more, text) = read_line(line.strip_suffix(b"\r").unwrap_or(line))?;
            if self.lines.len() >= LINES_MAX {
                return Err(NotAReply::TooManyLines);
            }
            self.lines.push((code, text));
            if !more {
                whole = Some(compose(std::mem::take(&mut self.lines)));
                break;
            }
        }
        self.buffer.drain(..from);
        if whole.is_none() && self.buffer.len() > LINE_OCTETS_MAX {
            return Err(NotAReply::LineTooLong);
        }
        Ok(whole)
    }
}

fn read_line(line: &[u8]) -> Result<(u16, bool, String), NotAReply> {
    if line.len() > LINE_OCTETS_MAX {
        return Err(NotAReply::LineTooLong);
    }
    let garbage = || {
        let text = String::from_utf8_lossy(line);
        NotAReply::NoCode(text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect())
    };
    let digits = line.get(..3).filter(|d| d.iter().all(u8::is_ascii_digit)).ok_or_else(garbage)?;
    let code = digits.iter().fold(0u16, |n, d| n * 10 + u16::from(d - b'0'));
    if !(200..600).contains(&code) {
        return Err(garbage());
    }
    let (more, rest) = match line.get(3) {
        None => (false, &line[3..]),
        Some(b'-') => (true, &line[4..]),
        Some(b' ' | b'\t') => (false, &line[4..]),
        Some(_) => return Err(garbage()),
    };
    let text = String::from_utf8_lossy(rest);
    let text = text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Ok((code, more, text))
}

fn compose(lines: Vec<(u16, String)>) -> Reply {
    // Codes that differ within one reply: the last line is the one that counts.
    let code = lines.last().map_or(0, |(code, _)| *code);
    let mut enhanced = None;
    let mut texts = Vec::with_capacity(lines.len());
    for (_, text) in lines {
        let (head, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match Enhanced::from_str(head) {
            // RFC 3463 §2: the class agrees with the code.
            Ok(e) if u16::from(e.0) == code / 100 && enhanced.is_none_or(|known| known == e) => {
                enhanced = Some(e);
                texts.push(rest.trim_start().to_owned());
            }
            _ => texts.push(text),
        }
    }
    Reply { code, enhanced, lines: texts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wire: &str, want: &str, lines: usize) {
        for cut in 0..=wire.len() {
            let mut r = ReplyReader::default();
            r.push(&wire.as_bytes()[..cut]);
            let early = r.take().expect("a reply");
            r.push(&wire.as_bytes()[cut..]);
            let reply = early.or_else(|| r.take().expect("a reply")).expect("whole");
            assert_eq!((reply.to_string().as_str(), reply.lines.len()), (want, lines), "{wire:?} at {cut}");
        }
    }

    #[test]
    fn replies_are_read_as_they_come() {
        check("250 ok\r\n", "250 ok", 1);
        check("250\r\n", "250", 1);
        check("250 ok\n", "250 ok", 1);
        check("250-a\r\n250-b\r\n250 c\r\n", "250 a b c", 3);
        check("550-5.7.1 no\r\n550 5.7.1 really\r\n", "550 5.7.1 no really", 2);
        check("550 5.7.606 Access denied\r\n", "550 5.7.606 Access denied", 1);
        check("550 2.0.0 liar\r\n", "550 2.0.0 liar", 1);
        check("450-one\r\n550 two\r\n", "550 one two", 2);
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for wire in ["HTTP/1.1 400\r\n", "25\r\n", "\r\n", "999 x\r\n", "250x\r\n"] {
            let mut r = ReplyReader::default();
            r.push(wire.as_bytes());
            assert!(matches!(r.take(), Err(NotAReply::NoCode(_))), "{wire:?}");
        }
        let mut r = ReplyReader::default();
        r.push(&[b'2'; LINE_OCTETS_MAX + 1]);
        assert_eq!(r.take(), Err(NotAReply::LineTooLong));
        let mut r = ReplyReader::default();
        r.push("250-x\r\n".repeat(LINES_MAX + 1).as_bytes());
        assert_eq!(r.take(), Err(NotAReply::TooManyLines));
    }
}
