//! Tokens (RFC 5228 §8.1) with their places.

use crate::fault::{Faults, Place};
use crate::limits::NAME_MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Name(String),
    Tag(String),
    Number(u64),
    Text(String),
    /// One of `[ ] ( ) { } , ;`.
    Sign(char),
    /// Characters that fit nowhere; the lexer has complained already.
    Garbage,
    End,
}

impl Token {
    pub(crate) fn describe(&self) -> String {
        match self {
            Token::Name(name) => format!("\"{name}\""),
            Token::Tag(tag) => format!("\":{tag}\""),
            Token::Number(n) => format!("the number {n}"),
            Token::Text(_) => "a string".into(),
            Token::Sign(c) => format!("\"{c}\""),
            Token::Garbage => "something unreadable".into(),
            Token::End => "the end of the script".into(),
        }
    }
}

pub(crate) struct Lexer<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    place: Place,
}

/// All tokens of a script, the last of which is [`Token::End`].
pub(crate) fn tokens(text: &str, faults: &mut Faults) -> Vec<(Place, Token)> {
    let mut lexer = Lexer { chars: text.chars().peekable(), place: Place { line: 1, column: 1 } };
    let mut out = Vec::new();
    loop {
        lexer.skip_blanks(faults);
        let place = lexer.place;
        let token = lexer.token(place, faults);
        let end = token == Token::End;
        out.push((place, token));
        if end {
            return out;
        }
    }
}

impl Lexer<'_> {
    fn peek(&mut self) -> Option<char> {
        self.chars.peek().copied()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        if c == '\n' {
            self.place = Place { line: self.place.line + 1, column: 1 };
        } else {
            self.place.column += 1;
        }
        Some(c)
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> String {
        let mut out = String::new();
        while let Some(c) = self.peek().filter(|c| fits(*c)) {
            out.push(c);
            self.bump();
        }
        out
    }

    fn skip_blanks(&mut self, faults: &mut Faults) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r' | '\n') => {
                    self.bump();
                }
                Some('#') => {
                    self.take_while(|c| c != '\n');
                }
                Some('/') => {
                    let mut ahead = self.chars.clone();
                    ahead.next();
                    if ahead.next() != Some('*') {
                        return;
                    }
                    self.comment(faults);
                }
                _ => return,
            }
        }
    }

    fn comment(&mut self, faults: &mut Faults) {
        let start = self.place;
        self.bump();
        self.bump();
        let mut last = ' ';
        while let Some(c) = self.bump() {
            if last == '*' && c == '/' {
                return;
            }
            last = c;
        }
        faults.add(start, "this comment has no end; close it with */");
    }

    fn token(&mut self, place: Place, faults: &mut Faults) -> Token {
        let Some(c) = self.peek() else { return Token::End };
        match c {
            'a'..='z' | 'A'..='Z' | '_' => self.name(place, faults),
            ':' => {
                self.bump();
                if !self.peek().is_some_and(is_name_start) {
                    faults.add(place, "a colon stands alone; a tag has its name right behind it");
                    return Token::Garbage;
                }
                Token::Tag(self.identifier(place, faults))
            }
            '0'..='9' => self.number(place, faults),
            '"' => self.quoted(place, faults),
            '[' | ']' | '(' | ')' | '{' | '}' | ',' | ';' => {
                self.bump();
                Token::Sign(c)
            }
            _ => {
                let junk = self
                    .take_while(|c| !c.is_whitespace() && !"[](){},;\"#".contains(c) && !is_name_start(c));
                if junk.is_empty() {
                    self.bump();
                }
                faults.add(place, format!("\"{}\" has no meaning here", c.escape_default()));
                Token::Garbage
            }
        }
    }

    fn identifier(&mut self, place: Place, faults: &mut Faults) -> String {
        let mut name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.len() > NAME_MAX {
            faults.add(place, format!("this name is longer than {NAME_MAX} characters"));
            name.truncate(NAME_MAX);
        }
        name.make_ascii_lowercase();
        name
    }

    fn name(&mut self, place: Place, faults: &mut Faults) -> Token {
        let name = self.identifier(place, faults);
        if name == "text" && self.peek() == Some(':') {
            self.bump();
            return self.multi_line(place, faults);
        }
        Token::Name(name)
    }

    // RFC 5228 §2.4.1: digits and a quantifier K, M or G.
    fn number(&mut self, place: Place, faults: &mut Faults) -> Token {
        let digits = self.take_while(|c| c.is_ascii_digit());
        let shift = match self.peek().map(|c| c.to_ascii_uppercase()) {
            Some('K') => 10,
            Some('M') => 20,
            Some('G') => 30,
            _ => 0,
        };
        if shift > 0 {
            self.bump();
        }
        let value = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
        if value.is_none() {
            faults.add(place, "this number is too large");
        }
        if self.peek().is_some_and(is_name_start) {
            faults.add(place, "a number has letters right behind it");
            self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        }
        Token::Number(value.unwrap_or(u64::MAX))
    }

    fn quoted(&mut self, place: Place, faults: &mut Faults) -> Token {
        self.bump();
        let mut out = String::new();
        loop {
            match self.bump() {
                Some('"') => return Token::Text(out),
                // RFC 5228 §2.4.2: a backslash only ever takes the meaning from " and \.
                Some('\\') => out.extend(self.bump()),
                Some('\r') if self.peek() == Some('\n') => {}
                Some('\n') => out.push_str("\r\n"),
                Some('\0') => faults.add(place, "a string holds a NUL character"),
                Some(c) => out.push(c),
                None => {
                    faults.add(place, "this string has no end; close it with \"");
                    return Token::Text(out);
                }
            }
        }
    }

    // RFC 5228 §2.4.2: text: up to a line with a single dot; dots at line starts are doubled.
    fn multi_line(&mut self, place: Place, faults: &mut Faults) -> Token {
        let rest = self.take_while(|c| c != '\n');
        let rest = rest.trim();
        if !rest.is_empty() && !rest.starts_with('#') {
            faults.add(place, "only a comment may follow text: in its line");
        }
        self.bump();
        let mut out = String::new();
        loop {
            if self.peek().is_none() {
                faults.add(place, "this text: has no end; close it with a line that holds a single dot");
                return Token::Text(out);
            }
            let line = self.take_while(|c| c != '\n');
            self.bump();
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if line == "." {
                return Token::Text(out);
            }
            out.push_str(line.strip_prefix('.').filter(|l| l.starts_with('.')).unwrap_or(line));
            out.push_str("\r\n");
        }
    }
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &[Token]) {
        let mut faults = Faults::default();
        let got: Vec<_> = tokens(text, &mut faults).into_iter().map(|(_, t)| t).collect();
        assert_eq!(got[..got.len() - 1], *want, "{text}");
        assert!(faults.list.is_empty(), "{:?}", faults.list);
    }

    #[test]
    fn tokens_are_read() {
        let text = |s: &str| Token::Text(s.into());
        check("Keep;", &[Token::Name("keep".into()), Token::Sign(';')]);
        check(":OVER 2K # c\n/* x */", &[Token::Tag("over".into()), Token::Number(2048)]);
        check(r#""a\"b\\c\d""#, &[text("a\"b\\cd")]);
        check("text: # c\na\n..b\n...\n.c\n.\n", &[text("a\r\n.b\r\n..\r\n.c\r\n")]);
        check("text:\r\na\r\n.\r\n", &[text("a\r\n")]);
        check("\"two\nlines\"", &[text("two\r\nlines")]);
    }

    #[test]
    fn faults_have_their_places() {
        let mut faults = Faults::default();
        tokens("keep;\n  \"open", &mut faults);
        assert_eq!(faults.list[0].place, Place { line: 2, column: 3 });
    }
}
