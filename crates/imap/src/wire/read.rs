//! Cutting a byte stream into commands: lines joined by literals (RFC 9051 §4.3, RFC 7888).
//!
//! Small literals become part of the command's text; the contents of a message are streamed
//! through [`Reader::stream`] and never kept. The owner decides which, when
//! [`Event::Literal`] says that one is announced.

/// Longest line, not counting literals.
pub const LINE_MAX: usize = 65_536;
/// Longest command with its literals before anybody has logged in: an ID command with all that
/// RFC 2971 §3.3 lets it hold fits.
pub const BEFORE_LOGIN_MAX: usize = 49_152;
/// Octets of one command that are skipped before the client counts as hostile.
pub const SKIP_MAX: u64 = 4 << 20;
/// Longest command with its literals (message contents do not count).
pub const COMMAND_MAX: usize = 262_144;

/// What the reader found.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole command, literals included as `{3}CRLFabc`, without its last CRLF.
    Command(Vec<u8>),
    /// The text so far (in [`Reader::head`]) ends with the announcement of a literal. Call
    /// `inline`, `begin_stream`, `skip` or `forget` before `next`.
    Literal(Literal),
    /// The line or command grew beyond its limit and is being skipped; this is how it began.
    TooLong(Vec<u8>),
}

/// An announced literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal {
    pub size: u64,
    /// The client waits for our go-ahead.
    pub waits: bool,
    /// `~{…}`: may hold NUL.
    pub eight: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Line,
    Inline(usize),
    Stream(u64),
    Skip(u64),
    /// Discard up to the end of this line (and what literals it announces).
    SkipLine,
}

/// Unread bytes and the command under way. Holds no memory between commands.
pub struct Reader {
    input: Vec<u8>,
    at: usize,
    /// How far `input` was searched for a line end.
    searched: usize,
    head: Vec<u8>,
    mode: Mode,
    skipped: u64,
    pub limit: usize,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader {
            input: Vec::new(),
            at: 0,
            searched: 0,
            head: Vec::new(),
            mode: Mode::Line,
            skipped: 0,
            limit: BEFORE_LOGIN_MAX,
        }
    }
}

impl Reader {
    pub fn received(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.input.drain(..self.at);
            self.searched = self.searched.saturating_sub(self.at);
            self.at = 0;
        }
        self.input.extend_from_slice(bytes);
    }
    /// Drops everything unread: before TLS starts (RFC 9051 §6.2.1).
    pub fn clear(&mut self) {
        *self = Reader { limit: self.limit, ..Reader::default() };
    }
    /// More than [`SKIP_MAX`] octets of a line without end were skipped.
    pub fn is_flooded(&self) -> bool {
        self.skipped > SKIP_MAX
    }
    /// The command's text so far.
    pub fn head(&self) -> &[u8] {
        &self.head
    }
    pub fn is_empty(&self) -> bool {
        self.at == self.input.len()
    }
    /// Nothing of a command has come yet.
    pub fn between_commands(&self) -> bool {
        self.is_empty() && self.head.is_empty() && self.mode == Mode::Line
    }

    /// What has come of the next command, if no literal was begun.
    pub fn unread(&self) -> Option<&[u8]> {
        (self.head.is_empty() && self.mode == Mode::Line).then(|| &self.input[self.at..])
    }

    /// Octets of memory held.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.input.capacity() + self.head.capacity()
    }

    /// The announced literal becomes part of the command; false if it would be too long.
    pub fn inline(&mut self, literal: Literal) -> bool {
        let size = usize::try_from(literal.size).unwrap_or(usize::MAX);
        if size.saturating_add(self.head.len()) > self.limit {
            return false;
        }
        self.mode = if size == 0 { Mode::Line } else { Mode::Inline(size) };
        true
    }
    /// The announced literal is a message: take it with `stream`. The head is forgotten.
    pub fn begin_stream(&mut self, literal: Literal) {
        self.head = Vec::new();
        self.mode = Mode::Stream(literal.size);
    }
    /// Discard the announced literal and the rest of the command; [`Event::TooLong`] is not
    /// said for it.
    pub fn skip(&mut self, literal: Literal) {
        self.head = Vec::new();
        self.mode = Mode::Skip(literal.size);
    }
    /// Discard the rest of the line under way, silently.
    pub fn skip_line(&mut self) {
        self.head = Vec::new();
        self.mode = Mode::SkipLine;
    }
    /// Forget the command under way: the client waits for a go-ahead that will not come.
    pub fn forget(&mut self) {
        self.head = Vec::new();
        self.skipped = 0;
        self.mode = Mode::Line;
    }

    /// Some octets of the streamed literal, and whether they are the last.
    pub fn stream(&mut self) -> Option<(Vec<u8>, bool)> {
        let Mode::Stream(left) = self.mode else { return None };
        let have = self.input.len() - self.at;
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(have);
        if take == 0 && left > 0 {
            return None;
        }
        let bytes = if self.at == 0 && take == self.input.len() {
            self.searched = 0;
            std::mem::take(&mut self.input)
        } else {
            let bytes = self.input[self.at..self.at + take].to_vec();
            self.advance(take);
            bytes
        };
        let left = left - take as u64;
        self.mode = if left == 0 { Mode::Line } else { Mode::Stream(left) };
        Some((bytes, left == 0))
    }

    fn advance(&mut self, n: usize) {
        self.at += n;
        self.searched = self.searched.max(self.at);
        if self.at == self.input.len() {
            self.input = Vec::new();
            self.at = 0;
            self.searched = 0;
        }
    }

    /// A line as it is, without looking for literals (SASL responses, DONE); no terminator.
    pub fn line(&mut self) -> Option<Result<Vec<u8>, ()>> {
        match self.find_line() {
            Some((text, end)) => {
                let line = self.input[self.at..text].to_vec();
                self.advance(end - self.at);
                Some(Ok(line))
            }
            None if self.input.len() - self.at > self.limit => {
                self.skip_line();
                Some(Err(()))
            }
            None => None,
        }
    }

    /// Ends of the next line in `input`: without and with its terminator. A bare LF ends a line
    /// too; no literal can begin behind it that a CRLF reader would see elsewhere.
    fn find_line(&mut self) -> Option<(usize, usize)> {
        let from = self.searched.max(self.at);
        match self.input[from..].iter().position(|&b| b == b'\n') {
            Some(found) => {
                let lf = from + found;
                let text = if lf > self.at && self.input[lf - 1] == b'\r' { lf - 1 } else { lf };
                Some((text, lf + 1))
            }
            None => {
                self.searched = self.input.len();
                None
            }
        }
    }

    /// The next event, or nothing until more bytes come.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            match self.mode {
                Mode::Line => return self.next_line(),
                Mode::Stream(_) => return None,
                Mode::Inline(left) => {
                    let take = left.min(self.input.len() - self.at);
                    self.head.extend_from_slice(&self.input[self.at..self.at + take]);
                    self.advance(take);
                    if take < left {
                        self.mode = Mode::Inline(left - take);
                        return None;
                    }
                    self.mode = Mode::Line;
                }
                Mode::Skip(left) => {
                    let take = left.min((self.input.len() - self.at) as u64);
                    self.advance(take as usize);
                    if take < left {
                        self.mode = Mode::Skip(left - take);
                        return None;
                    }
                    self.mode = Mode::SkipLine;
                }
                Mode::SkipLine => self.skip_on()?,
            }
        }
    }

    fn skip_on(&mut self) -> Option<()> {
        let Some((text, end)) = self.find_line() else {
            // Keep a little, so that an announced literal at the end can still be read.
            let keep = self.input.len().saturating_sub(32).max(self.at);
            self.skipped += (keep - self.at) as u64;
            self.advance(keep - self.at);
            return None;
        };
        let announced = announced(&self.input[self.at..text]);
        self.advance(end - self.at);
        match announced {
            Some((literal, _)) if !literal.waits => {
                self.skipped = self.skipped.saturating_add(literal.size);
                self.mode = Mode::Skip(literal.size);
            }
            _ => self.forget(),
        }
        Some(())
    }

    fn too_long(&mut self) -> Event {
        let mut began = std::mem::take(&mut self.head);
        began.extend_from_slice(&self.input[self.at..self.input.len().min(self.at + 256)]);
        began.truncate(256);
        self.skip_line();
        let _ = self.skip_on();
        Event::TooLong(began)
    }

    fn next_line(&mut self) -> Option<Event> {
        let Some((text, end)) = self.find_line() else {
            let pending = self.input.len() - self.at;
            if pending > LINE_MAX || pending + self.head.len() > self.limit {
                return Some(self.too_long());
            }
            return None;
        };
        if text - self.at > LINE_MAX || self.head.len() + (text - self.at) > self.limit {
            return Some(self.too_long());
        }
        let line = &self.input[self.at..text];
        let found = announced(line);
        self.head.extend_from_slice(line);
        self.advance(end - self.at);
        match found {
            None => Some(Event::Command(std::mem::take(&mut self.head))),
            Some((literal, _)) => {
                self.head.extend_from_slice(b"\r\n");
                Some(Event::Literal(literal))
            }
        }
    }
}

/// The literal announced at the end of a line, and where its announcement begins.
pub fn announced(line: &[u8]) -> Option<(Literal, usize)> {
    let inner = line.strip_suffix(b"}")?;
    let brace = inner.iter().rposition(|&b| b == b'{')?;
    let (digits, waits) = match inner[brace + 1..].strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (&inner[brace + 1..], true),
    };
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits.iter().fold(0u64, |n, b| n * 10 + u64::from(b - b'0'));
    let eight = brace > 0 && line[brace - 1] == b'~';
    Some((Literal { size, waits, eight }, if eight { brace - 1 } else { brace }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(input: &[u8], step: usize) -> Vec<String> {
        let (mut reader, mut seen, mut message) =
            (Reader { limit: 100, ..Reader::default() }, vec![], vec![]);
        for chunk in input.chunks(step) {
            reader.received(chunk);
            loop {
                while let Some((bytes, last)) = reader.stream() {
                    message.extend(bytes);
                    if last {
                        seen.push(format!("message {}", String::from_utf8_lossy(&message)));
                        message.clear();
                    }
                }
                match reader.next_event() {
                    Some(Event::Literal(l)) if l.size == 99 => reader.skip(l),
                    Some(Event::Literal(l)) if l.eight => reader.begin_stream(l),
                    Some(Event::Literal(l)) => assert!(reader.inline(l)),
                    Some(Event::Command(c)) => seen.push(String::from_utf8_lossy(&c).into_owned()),
                    Some(Event::TooLong(began)) => {
                        assert!(began.starts_with(b"x"));
                        seen.push("too long".into());
                    }
                    None => break,
                }
            }
        }
        assert!(reader.between_commands());
        seen
    }

    #[test]
    fn commands_are_found_however_the_bytes_are_cut() {
        let long = "x".repeat(150);
        let input = format!(
            "a noop\r\nb login {{3}}\r\nabc {{2+}}\r\nx\n\r\nc append x ~{{5+}}\r\nhello (rest)\r\n{long}\r\nd\ne {{99+}}\r\n{}tail {{4+}}\r\nabc\nz\r\nf ok\r\n",
            "y\n".repeat(49) + "y"
        );
        let want =
            ["a noop", "b login {3}\r\nabc {2+}\r\nx\n", "message hello", " (rest)", "too long", "d", "f ok"];
        for step in [1, 2, 3, 7, 64, 1000] {
            assert_eq!(events(input.as_bytes(), step), want, "step {step}");
        }
    }

    #[test]
    fn announcements_are_told_from_text_that_looks_alike() {
        let all = |text: &str| announced(text.as_bytes()).map(|(l, at)| (l.size, l.waits, l.eight, at));
        assert_eq!(all("a {10}"), Some((10, true, false, 2)));
        assert_eq!(all("a ~{10+}"), Some((10, false, true, 2)));
        for text in ["a {}", "a {x}", "a {1", "{1}x", "{1111111111111111111}", "a"] {
            assert_eq!(all(text), None, "{text}");
        }
    }
}
