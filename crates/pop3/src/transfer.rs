//! Message texts on their way out: dots stuffed, TOP cut, at the speed of copying.

use memchr::{memchr, memmem};

/// Doubles the dots at line starts and ends the text, over pieces cut anywhere.
///
/// RFC 1939 §3: a line that begins with the termination octet gets another one before it. Lines
/// that end in a bare LF count here too: many clients end lines there, and a lone dot behind
/// one must not end the text for them.
pub struct Stuffer {
    /// The last two octets so far; a text begins as if after CRLF.
    last: [u8; 2],
}

impl Stuffer {
    pub const fn new() -> Stuffer {
        Stuffer { last: *b"\r\n" }
    }

    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let Some(&first) = piece.first() else { return };
        out.reserve(piece.len() + 64);
        if first == b'.' && self.last[1] == b'\n' {
            out.push(b'.');
        }
        let mut done = 0;
        for at in memmem::find_iter(piece, b"\n.") {
            out.extend_from_slice(&piece[done..=at]);
            out.push(b'.');
            done = at + 1;
        }
        out.extend_from_slice(&piece[done..]);
        match *piece {
            [.., a, b] => self.last = [a, b],
            [b] => self.last = [self.last[1], b],
            [] => {}
        }
    }

    pub fn finish(&self, out: &mut Vec<u8>) {
        if self.last != *b"\r\n" {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }
}

/// RFC 1939 §7 TOP: the header, the blank line, and so many lines of the body.
pub struct Top {
    in_header: bool,
    /// Only CR so far in the current line.
    blank: bool,
    lines_left: u32,
    over: bool,
}

impl Top {
    pub const fn new(lines: u32) -> Top {
        Top { in_header: true, blank: true, lines_left: lines, over: false }
    }

    /// How much of this piece belongs to the answer; after less than all of it nothing more does.
    pub fn take(&mut self, piece: &[u8]) -> usize {
        let mut at = 0;
        while at < piece.len() && !self.over {
            let end = memchr(b'\n', &piece[at..]).map(|n| at + n);
            let line = &piece[at..end.unwrap_or(piece.len())];
            self.blank &= line.iter().all(|&b| b == b'\r');
            let Some(end) = end else { return piece.len() };
            at = end + 1;
            if !self.in_header {
                self.lines_left -= 1;
            }
            self.in_header &= !self.blank;
            self.over = !self.in_header && self.lines_left == 0;
            self.blank = true;
        }
        at
    }

    pub const fn is_over(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuffed(text: &[u8], cut: usize) -> Vec<u8> {
        let (mut s, mut out) = (Stuffer::new(), Vec::new());
        s.push(&text[..cut], &mut out);
        s.push(&text[cut..], &mut out);
        s.finish(&mut out);
        out
    }

    #[test]
    fn dots_are_doubled_at_line_starts_wherever_the_text_is_cut() {
        for (text, want) in [
            (&b".\r\n"[..], &b"..\r\n.\r\n"[..]),
            (b"a\r\n.b\r\n..\r\nc.\r\n", b"a\r\n..b\r\n...\r\nc.\r\n.\r\n"),
            (b"no end", b"no end\r\n.\r\n"),
            (b"", b".\r\n"),
            (b"bare\n.\r\nlf\n", b"bare\n..\r\nlf\n\r\n.\r\n"),
            (b"cr\r", b"cr\r\r\n.\r\n"),
            (b"\n.\n.\n", b"\n..\n..\n\r\n.\r\n"),
        ] {
            for cut in 0..=text.len() {
                assert_eq!(stuffed(text, cut), want, "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn top_takes_the_header_and_so_many_lines() {
        let text = b"A: b\r\nC: d\r\n\r\none\r\ntwo\r\nthree\r\n";
        for (lines, want) in
            [(0, &text[..14]), (1, &text[..19]), (2, &text[..24]), (3, &text[..]), (9, &text[..])]
        {
            for cut in 0..=text.len() {
                let mut top = Top::new(lines);
                let mut got = text[..top.take(&text[..cut])].to_vec();
                if got.len() == cut {
                    got.extend_from_slice(&text[cut..cut + top.take(&text[cut..])]);
                }
                assert_eq!(got, want, "{lines} lines cut at {cut}");
            }
        }
        assert_eq!(Top::new(5).take(b"header without end\r\n"), 20);
    }
}
