//! Replies of line protocols as they come in pieces: SMTP, IMAP, POP3, ManageSieve. Bytes in, whole
//! replies out; no socket. Written apart from our servers' engines, so that each checks the other.

/// A reply may have this many octets, literals included.
const REPLY_BYTES_MAX: usize = 1 << 20;
const LINE_BYTES_MAX: usize = 16 * 1024;
const LINES_MAX: usize = 2000;

/// How a reply ends, and what is a yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A code that begins with this: `2`, `354`. RFC 5321 §4.2: the last line has a space behind it.
    Smtp(&'static str),
    /// The line with this tag says OK; `*` takes one untagged line (the greeting).
    Imap(String),
    /// RFC 3501 §7.5: a line that begins with `+`.
    ImapMore,
    /// RFC 1939 §3.
    Pop3,
    /// RFC 5804 §1.2: lines until OK, NO or BYE.
    Sieve,
}

/// A whole reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub yes: bool,
    pub lines: Vec<String>,
    /// Contents of IMAP literals, in order.
    pub literals: Vec<Vec<u8>>,
}

impl Reply {
    /// The line that decided.
    pub fn last(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }
}

/// Takes pieces, gives replies.
#[derive(Default)]
pub struct Replies {
    held: Vec<u8>,
    now: Reply,
    literal: Option<usize>,
    bytes: usize,
}

impl Replies {
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Bytes after the last reply: there must be none when TLS begins.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The next whole reply; `Ok(None)`: more bytes are needed.
    pub fn next(&mut self, wait: &Wait) -> Result<Option<Reply>, String> {
        loop {
            if let Some(n) = self.literal {
                if self.held.len() < n {
                    return Ok(None);
                }
                self.now.literals.push(self.held.drain(..n).collect());
                self.literal = None;
            }
            let Some(end) = self.held.iter().position(|b| *b == b'\n') else {
                return if self.held.len() > LINE_BYTES_MAX {
                    Err("an endless line".into())
                } else {
                    Ok(None)
                };
            };
            let line: Vec<u8> = self.held.drain(..=end).collect();
            self.bytes += line.len();
            let line = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            if matches!(wait, Wait::Imap(_) | Wait::ImapMore) {
                self.literal = literal(&line);
                self.bytes += self.literal.unwrap_or(0);
            }
            if self.bytes > REPLY_BYTES_MAX || self.now.lines.len() == LINES_MAX {
                return Err("an endless reply".into());
            }
            let end =
                if self.literal.is_some() { None } else { ends(&line, wait, self.now.lines.is_empty())? };
            self.now.lines.push(line);
            if let Some(yes) = end {
                self.bytes = 0;
                return Ok(Some(Reply { yes, ..std::mem::take(&mut self.now) }));
            }
        }
    }
}

/// `{123}` at the end of a line.
fn literal(line: &str) -> Option<usize> {
    let digits = line.strip_suffix('}')?.rsplit_once('{')?.1;
    digits.trim_end_matches('+').parse().ok()
}

/// `Some(yes)` if this line is the last.
fn ends(line: &str, wait: &Wait, first: bool) -> Result<Option<bool>, String> {
    let shown: String = line.chars().take(120).collect();
    Ok(match wait {
        Wait::Smtp(code) => {
            let digits = line.get(..3).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
            if digits.is_none() {
                return Err(format!("this is no SMTP: {shown}"));
            }
            if line.as_bytes().get(3) == Some(&b'-') { None } else { Some(line.starts_with(code)) }
        }
        Wait::Imap(tag) => {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            if first && word != tag && !matches!(word, "*" | "+") {
                return Err(format!("this is no IMAP: {shown}"));
            }
            let ok = |text: &str| text.get(..2).is_some_and(|w| w.eq_ignore_ascii_case("OK"));
            if word == tag { Some(ok(rest)) } else { None }
        }
        Wait::ImapMore if line.starts_with('+') => Some(true),
        Wait::ImapMore if line.starts_with('*') => None,
        Wait::ImapMore => Some(false),
        Wait::Pop3 if line.starts_with("+OK") => Some(true),
        Wait::Pop3 if line.starts_with("-ERR") => Some(false),
        Wait::Pop3 => return Err(format!("this is no POP3: {shown}")),
        Wait::Sieve => {
            let word = line.split([' ', '(']).next().unwrap_or_default().to_ascii_uppercase();
            match word.as_str() {
                "OK" => Some(true),
                "NO" | "BYE" => Some(false),
                _ if line.starts_with('"') || line.starts_with('{') => None,
                _ => return Err(format!("this is no ManageSieve: {shown}")),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole and at every split.
    #[track_caller]
    fn check(wire: &str, wait: &Wait, want: &Result<Reply, ()>) {
        for cut in 0..=wire.len() {
            let mut replies = Replies::default();
            let (a, b) = wire.as_bytes().split_at(cut);
            replies.push(a);
            let mut got = replies.next(wait);
            if got == Ok(None) {
                replies.push(b);
                got = replies.next(wait);
            }
            assert_eq!(&got.map(|r| r.expect("whole")).map_err(drop), want, "at {cut}");
        }
    }

    fn reply(yes: bool, lines: &[&str], literals: &[&str]) -> Result<Reply, ()> {
        Ok(Reply {
            yes,
            lines: lines.iter().map(|l| (*l).to_owned()).collect(),
            literals: literals.iter().map(|l| l.as_bytes().to_vec()).collect(),
        })
    }

    #[test]
    fn each_protocols_replies_end_where_they_end() {
        let imap = |tag: &str| Wait::Imap(tag.into());
        check("220-a\r\n220 b\r\n", &Wait::Smtp("2"), &reply(true, &["220-a", "220 b"], &[]));
        check("554 no\r\n", &Wait::Smtp("2"), &reply(false, &["554 no"], &[]));
        check("* OK hi\r\n", &imap("*"), &reply(true, &["* OK hi"], &[]));
        check("* SEARCH 1\r\na1 NO bad\r\n", &imap("a1"), &reply(false, &["* SEARCH 1", "a1 NO bad"], &[]));
        check(
            "* 1 FETCH (BODY[] {9}\r\na1 OK x\r\n)\r\na1 OK done\r\n",
            &imap("a1"),
            &reply(true, &["* 1 FETCH (BODY[] {9}", ")", "a1 OK done"], &["a1 OK x\r\n"]),
        );
        check("+OK ready\r\n", &Wait::Pop3, &reply(true, &["+OK ready"], &[]));
        check(
            "\"SIEVE\" \"fileinto\"\r\nOK\r\n",
            &Wait::Sieve,
            &reply(true, &["\"SIEVE\" \"fileinto\"", "OK"], &[]),
        );
    }

    #[test]
    fn another_protocol_is_refused() {
        for wait in [Wait::Smtp("2"), Wait::Imap("a1".into()), Wait::Pop3, Wait::Sieve] {
            check("SSH-2.0-OpenSSH\r\n", &wait, &Err(()));
        }
    }
}
