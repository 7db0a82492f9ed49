//! Structured MIME values: `type/subtype; name=value`, RFC 2045 §5.1 with RFC 2231.
//!
//! Tolerant as real mail needs: unquoted values with tspecials in them, comments, missing
//! semicolons, broken continuations. Begin with [`content_type`].

use crate::charset;

/// Parameters read of one field; the rest is left out.
pub const PARAMS_MAX: usize = 1000;

/// A value with parameters, in the order and case they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Valued {
    /// `text/plain` has `text` here.
    pub kind: Vec<u8>,
    /// and `plain` here; empty for a value without a slash.
    pub subtype: Vec<u8>,
    /// Continuations (RFC 2231 §3) are joined; a name with a charset keeps its star and its
    /// percent signs, as IMAP clients expect them. [`Valued::get`] decodes.
    pub params: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Valued {
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes())
            && self.subtype.eq_ignore_ascii_case(subtype.as_bytes())
    }
    pub fn kind_is(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind.as_bytes())
    }
    /// The bytes of a plain parameter.
    pub fn raw(&self, name: &str) -> Option<&[u8]> {
        self.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| &v[..])
    }
    /// A parameter for people: RFC 2231 decoded if it was so written, RFC 2047 words decoded as
    /// many programs wrongly write them.
    pub fn get(&self, name: &str) -> Option<String> {
        let starred = [name.as_bytes(), b"*"].concat();
        if let Some((_, v)) = self.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(&starred)) {
            return Some(decode_2231(v));
        }
        self.raw(name).map(crate::words2047::decode)
    }
}

/// RFC 2231 §4: `charset'language'percent-encoded`.
pub fn decode_2231(value: &[u8]) -> String {
    let mut split = value.splitn(3, |b| *b == b'\'');
    let (cs, text) = match (split.next(), split.next(), split.next()) {
        (Some(cs), Some(_), Some(text)) => (cs, text),
        _ => (&b""[..], value),
    };
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'%'
            && let Some(byte) = hex_pair(&text[at + 1..])
        {
            out.push(byte);
            at += 3;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    charset::decode(cs, &out)
}

pub(crate) fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |b: u8| (b as char).to_digit(16);
    match bytes {
        [a, b, ..] => Some((digit(*a)? * 16 + digit(*b)?) as u8),
        _ => None,
    }
}

/// Characters that may stand in a MIME token (RFC 2045 §5.1), and 8-bit bytes as mail has them.
fn is_token(b: u8) -> bool {
    b > 32 && b != 127 && !b"()<>@,;:\\\"/[]?=".contains(&b)
}

/// A place in a structured value.
pub(crate) struct Cursor<'a> {
    pub data: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(data: &'a [u8]) -> Cursor<'a> {
        Cursor { data, at: 0 }
    }
    pub fn peek(&self) -> Option<u8> {
        self.data.get(self.at).copied()
    }
    pub fn eat(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }
    /// Skips blanks and comments (RFC 5322 §3.2.2).
    pub fn skip_cfws(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(b'(') => self.skip_comment(),
                _ => return,
            }
        }
    }
    /// At a `(`: skips to after its `)`, nested ones included, or to the end.
    pub fn skip_comment(&mut self) {
        let mut level = 0usize;
        while let Some(b) = self.peek() {
            self.at += 1;
            match b {
                b'(' => level += 1,
                b')' => {
                    level -= 1;
                    if level == 0 {
                        return;
                    }
                }
                b'\\' if self.at < self.data.len() => self.at += 1,
                _ => {}
            }
        }
    }
    pub fn run(&mut self, take: impl Fn(u8) -> bool) -> &'a [u8] {
        let start = self.at;
        while self.peek().is_some_and(&take) {
            self.at += 1;
        }
        &self.data[start..self.at]
    }
    /// At a `"`: the text inside, unescaped and unfolded; to the end if it is never closed.
    pub fn quoted(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.at += 1;
        while let Some(b) = self.peek() {
            self.at += 1;
            match b {
                b'"' => return out,
                b'\r' | b'\n' => {}
                b'\\' => match self.peek() {
                    Some(b'\r' | b'\n') => {}
                    Some(next) => {
                        out.push(next);
                        self.at += 1;
                    }
                    None => {}
                },
                b => out.push(b),
            }
        }
        out
    }
}

/// Reads a Content-Type value. `None` if there is no `type/subtype` in it; the caller then takes
/// text/plain (RFC 2045 §5.2).
pub fn content_type(value: &[u8]) -> Option<Valued> {
    let mut c = Cursor::new(value);
    c.skip_cfws();
    let kind = c.run(is_token);
    c.skip_cfws();
    if kind.is_empty() || !c.eat(b'/') {
        return None;
    }
    c.skip_cfws();
    let subtype = c.run(is_token);
    if subtype.is_empty() {
        return None;
    }
    Some(Valued { kind: kind.to_vec(), subtype: subtype.to_vec(), params: parameters(&mut c) })
}

/// Reads a Content-Disposition value (RFC 2183).
pub fn disposition(value: &[u8]) -> Option<Valued> {
    let mut c = Cursor::new(value);
    c.skip_cfws();
    let kind = c.run(is_token);
    if kind.is_empty() {
        return None;
    }
    Some(Valued { kind: kind.to_vec(), subtype: Vec::new(), params: parameters(&mut c) })
}

/// The first token of a value, such as a Content-Transfer-Encoding.
pub fn token(value: &[u8]) -> &[u8] {
    let mut c = Cursor::new(value);
    c.skip_cfws();
    c.run(is_token)
}

/// Tokens divided by commas, such as a Content-Language.
pub fn token_list(value: &[u8]) -> Vec<&[u8]> {
    let mut c = Cursor::new(value);
    let mut out = Vec::new();
    loop {
        c.skip_cfws();
        let token = c.run(is_token);
        if token.is_empty() || out.len() >= PARAMS_MAX {
            return out;
        }
        out.push(token);
        c.skip_cfws();
        if !c.eat(b',') {
            return out;
        }
    }
}

struct Piece {
    name: Vec<u8>,
    order: u32,
    starred: bool,
    value: Vec<u8>,
}

fn parameters(c: &mut Cursor<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut plain: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut pieces: Vec<Piece> = Vec::new();
    while plain.len() + pieces.len() < PARAMS_MAX && c.at < c.data.len() {
        // To after the next semicolon; what stands before it belongs to no parameter.
        c.skip_cfws();
        match c.peek() {
            None => break,
            Some(b';') => c.at += 1,
            Some(_) => {
                c.at += 1;
                continue;
            }
        }
        c.skip_cfws();
        let name = c.run(is_token);
        c.skip_cfws();
        if name.is_empty() || !c.eat(b'=') {
            continue;
        }
        c.skip_cfws();
        let value = if c.peek() == Some(b'"') {
            c.quoted()
        } else {
            c.run(|b| b > 32 && !matches!(b, b';' | b'(' | b'"')).to_vec()
        };
        match continuation(name) {
            Some((base, order, starred)) => pieces.push(Piece { name: base.to_vec(), order, starred, value }),
            None => plain.push((name.to_vec(), value)),
        }
    }
    join(plain, pieces)
}

/// RFC 2231 §3: `name*3` and `name*3*` are pieces.
fn continuation(name: &[u8]) -> Option<(&[u8], u32, bool)> {
    let star = memchr::memchr(b'*', name)?;
    let (base, rest) = (&name[..star], &name[star + 1..]);
    let (digits, starred) = match rest.strip_suffix(b"*") {
        Some(digits) => (digits, true),
        None => (rest, false),
    };
    let order = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((base, order, starred))
}

fn join(mut plain: Vec<(Vec<u8>, Vec<u8>)>, mut pieces: Vec<Piece>) -> Vec<(Vec<u8>, Vec<u8>)> {
    if pieces.is_empty() {
        return plain;
    }
    for piece in &mut pieces {
        piece.name.make_ascii_lowercase();
    }
    pieces.sort_by(|a, b| a.name.cmp(&b.name).then(a.order.cmp(&b.order)));
    let mut rest = &pieces[..];
    while let Some(first) = rest.first() {
        let len = rest.iter().take_while(|p| p.name == first.name).count();
        let (mine, after) = rest.split_at(len);
        rest = after;
        let any_starred = mine.iter().any(|p| p.starred);
        let mut value = Vec::new();
        for piece in mine {
            if any_starred && !piece.starred {
                percent(&piece.value, &mut value);
            } else {
                value.extend_from_slice(&piece.value);
            }
        }
        let mut name = first.name.clone();
        if any_starred {
            name.push(b'*');
        }
        if !plain.iter().any(|(n, _)| n.eq_ignore_ascii_case(&name)) {
            plain.push((name, value));
        }
    }
    plain
}

/// A piece without its star among starred ones is literal text: write it so that decoding the
/// whole gives it back.
fn percent(text: &[u8], out: &mut Vec<u8>) {
    for &b in text {
        if b == b'%' || b == b'\'' || b <= 32 || b >= 127 {
            out.extend_from_slice(format!("%{b:02X}").as_bytes());
        } else {
            out.push(b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str) {
        let got = match content_type(input.as_bytes()) {
            None => "none".to_owned(),
            Some(v) => {
                let mut s =
                    format!("{}/{}", String::from_utf8_lossy(&v.kind), String::from_utf8_lossy(&v.subtype));
                for (n, val) in &v.params {
                    s += &format!("|{}={}", String::from_utf8_lossy(n), String::from_utf8_lossy(val));
                }
                s
            }
        };
        assert_eq!(got, expected, "{input:?}");
    }

    #[test]
    fn content_types_are_read_as_they_come() {
        check("text/plain", "text/plain");
        check("TEXT/Plain; CharSet=\"us-ascii\" (note)", "TEXT/Plain|CharSet=us-ascii");
        check("multipart/mixed; boundary=----=_Part_1?x/y", "multipart/mixed|boundary=----=_Part_1?x/y");
        check("text/plain;; charset=a;format=flowed;", "text/plain|charset=a|format=flowed");
        check("text/plain; name=my file.txt; x=y", "text/plain|name=my|x=y");
        check("text / plain ; a = \"b\\\"c\"", "text/plain|a=b\"c");
        check("text", "none");
        check("", "none");
        check("a/b; c=\"never closed", "a/b|c=never closed");
        check("a/b (unclosed; c=d", "a/b");
    }

    #[test]
    fn continuations_are_joined() {
        // RFC 2231 §3 and §4.1.
        check("a/b; t*0=\"x y\"; t*1=z", "a/b|t=x yz");
        check("a/b; t*1=z; t*0=x; u=1", "a/b|u=1|t=xz");
        check("a/b; t*0*=utf-8''%C3%A9; t*1=\" %\"", "a/b|t*=utf-8''%C3%A9%20%25");
        let v = content_type(b"a/b; name*0*=utf-8''%C3%A9; name*1=\" %\"").expect("valid");
        assert_eq!(v.get("name").as_deref(), Some("\u{e9} %"));
        let v = content_type(b"a/b; name*=iso-8859-1'en'%E9").expect("valid");
        assert_eq!(v.get("NAME").as_deref(), Some("\u{e9}"));
    }
}
