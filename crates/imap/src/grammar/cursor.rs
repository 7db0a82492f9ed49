//! Reading the small pieces of the grammar (RFC 9051 §9): atoms, strings, numbers, dates.

use crate::ask::{Code, DateTime};
use crate::set::SeqSet;
use crate::wire::{read, utf7, write};
use std::borrow::Cow;

/// What is wrong with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not grammatical: BAD.
    Bad(&'static str),
    /// Grammatical, but it names something that cannot be: NO.
    No(Code, &'static str),
}

pub type Parsed<T> = Result<T, Fault>;

/// A place in a command's text.
pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// UTF-8 folder names and strings (IMAP4rev2 or UTF8=ACCEPT is enabled).
    pub utf8: bool,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8], utf8: bool) -> Cursor<'a> {
        Cursor { text, at: 0, utf8 }
    }
    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
    pub fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }
    pub fn is_end(&self) -> bool {
        self.at == self.text.len()
    }
    /// Takes `b` if it is next.
    pub fn eat(&mut self, b: u8) -> bool {
        let found = self.peek() == Some(b);
        self.at += usize::from(found);
        found
    }
    pub fn need(&mut self, b: u8, why: &'static str) -> Parsed<()> {
        if self.eat(b) { Ok(()) } else { Err(Fault::Bad(why)) }
    }
    /// A space; more of them are forgiven, old clients send them.
    pub fn space(&mut self) -> Parsed<()> {
        self.need(b' ', "a space is missing between the arguments")?;
        self.skip_spaces();
        Ok(())
    }
    pub fn skip_spaces(&mut self) {
        while self.eat(b' ') {}
    }
    /// The end of the command; trailing spaces are forgiven.
    pub fn end(&mut self) -> Parsed<()> {
        while self.eat(b' ') {}
        if self.is_end() { Ok(()) } else { Err(Fault::Bad("there is more than this command takes")) }
    }
    /// Takes `word`, in any case, if it comes next and ends there.
    pub fn eat_word(&mut self, word: &str) -> bool {
        let rest = self.rest();
        let fits = rest.len() >= word.len() && rest[..word.len()].eq_ignore_ascii_case(word.as_bytes());
        let ends = rest.get(word.len()).is_none_or(|&b| !write::is_atom_char(b) || b == b'[');
        if fits && ends {
            self.at += word.len();
        }
        fits && ends
    }
    pub fn take_while(&mut self, f: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let n = rest.iter().position(|&b| !f(b)).unwrap_or(rest.len());
        self.at += n;
        &rest[..n]
    }
    pub fn atom(&mut self) -> Parsed<&'a str> {
        match self.take_while(write::is_atom_char) {
            b"" => Err(Fault::Bad("a word is missing")),
            atom => std::str::from_utf8(atom).map_err(|_| Fault::Bad("a word has bytes outside ASCII")),
        }
    }
    /// An atom in capitals.
    pub fn word(&mut self) -> Parsed<String> {
        Ok(self.atom()?.to_ascii_uppercase())
    }
    pub fn number64(&mut self) -> Parsed<u64> {
        let digits = self.take_while(|b| b.is_ascii_digit());
        if digits.is_empty() || digits.len() > 19 {
            return Err(Fault::Bad("a number is missing or too great"));
        }
        let n = digits.iter().fold(0u64, |n, b| n * 10 + u64::from(b - b'0'));
        if n <= i64::MAX as u64 { Ok(n) } else { Err(Fault::Bad("a number is too great")) }
    }
    pub fn number(&mut self) -> Parsed<u32> {
        u32::try_from(self.number64()?).map_err(|_| Fault::Bad("a number is too great"))
    }
    pub fn string(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{' | b'~') => self.literal().map(Cow::Borrowed),
            _ => Err(Fault::Bad("a string is missing")),
        }
    }
    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        let inner = &self.text[self.at + 1..];
        let Some(end) = inner.iter().position(|&b| matches!(b, b'"' | b'\\' | b'\r' | b'\n' | 0)) else {
            return Err(Fault::Bad("a quoted string does not end"));
        };
        if inner[end] == b'"' {
            self.at += end + 2;
            return Ok(Cow::Borrowed(&inner[..end]));
        }
        let (mut out, mut i) = (inner[..end].to_vec(), end);
        loop {
            match inner.get(i) {
                Some(b'"') => break,
                Some(b'\\') => {
                    let Some(&b) = inner.get(i + 1).filter(|&&b| b == b'"' || b == b'\\') else {
                        return Err(Fault::Bad("a backslash in a quoted string must stand before \" or \\"));
                    };
                    out.push(b);
                    i += 2;
                }
                Some(&b) if !matches!(b, b'\r' | b'\n' | 0) => {
                    out.push(b);
                    i += 1;
                }
                _ => return Err(Fault::Bad("a quoted string does not end")),
            }
        }
        self.at += i + 2;
        Ok(Cow::Owned(out))
    }
    fn literal(&mut self) -> Parsed<&'a [u8]> {
        let rest = self.rest();
        let bad = Fault::Bad("a literal is broken");
        let head = rest.windows(2).position(|w| w == b"\r\n").ok_or(bad)?;
        let (literal, at) = read::announced(&rest[..head]).ok_or(bad)?;
        let size = usize::try_from(literal.size).map_err(|_| bad)?;
        if at != 0 || rest.len() - head - 2 < size {
            return Err(bad);
        }
        self.at += head + 2 + size;
        let octets = &rest[head + 2..head + 2 + size];
        // RFC 9051 §4.3: only a literal8 may hold NUL.
        if !literal.eight && octets.contains(&0) {
            Err(Fault::Bad("a literal holds a NUL"))
        } else {
            Ok(octets)
        }
    }
    pub fn astring(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => match self.take_while(write::is_astring_char) {
                b"" => Err(Fault::Bad("an argument is missing")),
                atom => Ok(Cow::Borrowed(atom)),
            },
        }
    }
    /// An `astring` that must be UTF-8.
    pub fn text(&mut self) -> Parsed<String> {
        utf8_of(self.astring()?)
    }
    /// A string or NIL.
    pub fn nstring(&mut self) -> Parsed<Option<Cow<'a, [u8]>>> {
        if self.eat_word("NIL") { Ok(None) } else { self.string().map(Some) }
    }
    /// A folder name, `INBOX` in capitals. A client that sends raw UTF-8 without having said so is
    /// understood: it can mean nothing else.
    pub fn folder(&mut self) -> Parsed<String> {
        let raw = utf8_of(self.astring()?)?;
        folder_name(&raw, self.utf8)
    }
    /// A LIST pattern: as a folder name, with `%` and `*` allowed unquoted.
    pub fn pattern(&mut self) -> Parsed<String> {
        let raw = match self.peek() {
            Some(b'"' | b'{') => self.string()?,
            _ => Cow::Borrowed(self.take_while(|b| write::is_astring_char(b) || b == b'%' || b == b'*')),
        };
        let raw = utf8_of(raw)?;
        let decoded = if self.utf8 { None } else { utf7::decode(&raw) };
        Ok(decoded.unwrap_or(raw))
    }
    pub fn seq_set(&mut self) -> Parsed<SeqSet> {
        let text = self.take_while(|b| b.is_ascii_digit() || matches!(b, b'*' | b':' | b','));
        SeqSet::parse(text).ok_or(Fault::Bad("a set of message numbers is broken"))
    }
    /// RFC 9051 §9 `date`: `1-Feb-2026`, quoted or not; in days since 1970.
    pub fn date(&mut self) -> Parsed<i32> {
        let quoted = self.eat(b'"');
        let (day, month, year) = self.day_month_year()?;
        if quoted {
            self.need(b'"', "a date's quotation mark is missing")?;
        }
        day_number(year, month, day)
    }
    fn day_month_year(&mut self) -> Parsed<(u32, u32, i64)> {
        let bad = Fault::Bad("a date is broken: write 1-Feb-2026");
        let day = self.number()?;
        self.need(b'-', "a date is broken: write 1-Feb-2026")?;
        let name = self.take_while(|b| b.is_ascii_alphabetic());
        let month =
            stdx::time::MONTHS.iter().position(|m| m.as_bytes().eq_ignore_ascii_case(name)).ok_or(bad)?;
        self.need(b'-', "a date is broken: write 1-Feb-2026")?;
        let digits = self.take_while(|b| b.is_ascii_digit());
        if digits.len() != 4 {
            return Err(bad);
        }
        let year = digits.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0'));
        Ok((day, month as u32 + 1, year))
    }
    /// RFC 9051 §9 `date-time`: `" 1-Feb-2026 15:04:05 +0100"`.
    pub fn date_time(&mut self) -> Parsed<DateTime> {
        const BAD: &str = "a date and time is broken: write \" 1-Feb-2026 15:04:05 +0100\"";
        self.need(b'"', BAD)?;
        self.eat(b' ');
        let (day, month, year) = self.day_month_year()?;
        self.need(b' ', BAD)?;
        let hour = self.two_digits(BAD)?;
        self.need(b':', BAD)?;
        let minute = self.two_digits(BAD)?;
        self.need(b':', BAD)?;
        let second = self.two_digits(BAD)?;
        self.need(b' ', BAD)?;
        let east = self.eat(b'+');
        if !east {
            self.need(b'-', BAD)?;
        }
        let zone = (self.two_digits(BAD)? * 60 + self.two_digits(BAD)?) as i16;
        self.need(b'"', BAD)?;
        if hour > 23 || minute > 59 || second > 60 || zone > 24 * 60 {
            return Err(Fault::Bad(BAD));
        }
        let zone = if east { zone } else { -zone };
        let days = i64::from(day_number(year, month, day)?);
        let local = days * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        Ok(DateTime { secs: local - i64::from(zone) * 60, zone })
    }
    fn two_digits(&mut self, why: &'static str) -> Parsed<u32> {
        match self.rest() {
            [a, b, ..] if a.is_ascii_digit() && b.is_ascii_digit() => {
                self.at += 2;
                Ok(u32::from(a - b'0') * 10 + u32::from(b - b'0'))
            }
            _ => Err(Fault::Bad(why)),
        }
    }
}

fn day_number(year: i64, month: u32, day: u32) -> Parsed<i32> {
    let days = stdx::time::days_from_civil(year, month, day);
    let (y, m) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    if day == 0 || days >= stdx::time::days_from_civil(y, m, 1) {
        return Err(Fault::Bad("there is no such day in that month"));
    }
    i32::try_from(days).map_err(|_| Fault::Bad("a date is out of range"))
}

/// UTF-8 or a fault.
pub fn utf8_of(raw: Cow<'_, [u8]>) -> Parsed<String> {
    String::from_utf8(raw.into_owned()).map_err(|_| Fault::Bad("a string is not UTF-8"))
}

/// A folder name from its wire spelling.
pub fn folder_name(raw: &str, utf8: bool) -> Parsed<String> {
    let name = if utf8 || !raw.is_ascii() {
        raw.to_owned()
    } else {
        utf7::decode(raw)
            .ok_or(Fault::No(Code::Cannot, "this folder name is not modified UTF-7 (write & as &-)"))?
    };
    Ok(canonical(name))
}

/// RFC 9051 §5.1: INBOX in any case is one folder; also as the first level of a name.
pub fn canonical(name: String) -> String {
    let first = name.split('/').next().unwrap_or("");
    if first.eq_ignore_ascii_case("INBOX") && first != "INBOX" {
        return format!("INBOX{}", &name[5..]);
    }
    name
}
