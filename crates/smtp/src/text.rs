//! The text of a message on the wire: dots taken off on the way in, put on on the way out.
//!
//! Both directions work on pieces cut anywhere, look for line ends only (`memchr2`) and copy whole
//! runs. On the way in nothing but CR LF `.` CR LF ends the text (RFC 5321 §4.1.1.4); on the way out
//! no bare CR or LF ever leaves (RFC 5321 §2.3.8), so no next hop can see an end that we did not mean.

use memchr::memchr2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Mid,
    /// After a CR that is already handed on.
    Cr,
    /// After a dot that began a line and is withheld.
    Dot,
    /// After such a dot and a CR; both withheld.
    DotCr,
}

/// Takes dots off an incoming text and finds its end.
#[derive(Clone, Debug)]
pub struct Unstuff {
    at: At,
    line: u64,
    longest: u64,
    bare: Bare,
}

/// What was seen outside of CR LF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bare {
    pub cr: bool,
    pub lf: bool,
}

/// How much of a piece was used and whether the text ended there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    pub used: usize,
    pub ended: bool,
}

impl Default for Unstuff {
    fn default() -> Unstuff {
        Unstuff { at: At::LineStart, line: 0, longest: 0, bare: Bare::default() }
    }
}

impl Unstuff {
    /// What was seen outside of CR LF.
    pub fn bare(&self) -> Bare {
        self.bare
    }
    /// Octets of the longest line so far.
    pub fn longest_line(&self) -> u64 {
        self.longest.max(self.line)
    }
    /// Appends the text of `input` to `out` up to the end of the text or of the piece.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Fed {
        let (mut run, mut i) = (0, 0);
        while let Some(&b) = input.get(i) {
            match (self.at, b) {
                (At::Mid, _) => i = self.line_end(input, i),
                (At::Cr, b'\n') => {
                    i += 1;
                    self.longest = self.longest.max(self.line);
                    self.line = 0;
                    self.at = At::LineStart;
                }
                (At::Cr, b'\r') => {
                    self.bare.cr = true;
                    i += 1;
                }
                (At::Cr, _) => {
                    self.bare.cr = true;
                    self.at = At::Mid;
                }
                (At::LineStart, b'.') => {
                    out.extend_from_slice(&input[run..i]);
                    i += 1;
                    run = i;
                    self.at = At::Dot;
                }
                (At::Dot, b'\r') => {
                    i += 1;
                    run = i;
                    self.at = At::DotCr;
                }
                (At::LineStart | At::Dot, _) => self.at = At::Mid,
                (At::DotCr, b'\n') => {
                    self.at = At::LineStart;
                    return Fed { used: i + 1, ended: true };
                }
                // CR LF `.` CR and something else: the CR belongs to the text.
                (At::DotCr, _) => {
                    out.push(b'\r');
                    self.at = At::Cr;
                }
            }
        }
        out.extend_from_slice(&input[run..]);
        Fed { used: input.len(), ended: false }
    }
    fn line_end(&mut self, input: &[u8], from: usize) -> usize {
        let Some(n) = memchr2(b'\r', b'\n', &input[from..]) else {
            self.line += (input.len() - from) as u64;
            return input.len();
        };
        self.line += n as u64 + 1;
        if input[from + n] == b'\n' {
            self.bare.lf = true;
        } else {
            self.at = At::Cr;
        }
        from + n + 1
    }
}

/// Watches a text that comes by BDAT: no dots, but bare newlines count there too.
#[derive(Clone, Debug, Default)]
pub struct Newlines {
    cr: bool,
    bare: Bare,
}

impl Newlines {
    pub fn feed(&mut self, input: &[u8]) {
        let mut i = 0;
        while i < input.len() && !(self.bare.cr && self.bare.lf) {
            if self.cr {
                self.cr = false;
                if input[i] == b'\n' {
                    i += 1;
                    continue;
                }
                self.bare.cr = true;
            }
            let Some(n) = memchr2(b'\r', b'\n', &input[i..]) else { return };
            if input[i + n] == b'\n' {
                self.bare.lf = true;
            } else {
                self.cr = true;
            }
            i += n + 1;
        }
    }
    /// What was seen; at the end of the text a final CR stands alone.
    pub fn bare(&self, at_end: bool) -> Bare {
        Bare { cr: self.bare.cr || (at_end && self.cr), lf: self.bare.lf }
    }
}

/// Puts dots on an outgoing text and mends bare newlines (LF and CR each become CR LF).
#[derive(Clone, Debug)]
pub struct Stuff {
    at: At,
    dots: bool,
}

impl Stuff {
    /// For DATA.
    pub fn dotted() -> Stuff {
        Stuff { at: At::LineStart, dots: true }
    }
    /// For BDAT: newlines are mended, dots stay as they are.
    pub fn plain() -> Stuff {
        Stuff { at: At::LineStart, dots: false }
    }
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) {
        out.reserve(input.len() + 64);
        let (mut run, mut i) = (0, 0);
        while let Some(&b) = input.get(i) {
            match (self.at, b) {
                (At::Cr, b'\n') => {
                    i += 1;
                    self.at = At::LineStart;
                }
                (At::Cr, _) => {
                    out.extend_from_slice(&input[run..i]);
                    out.push(b'\n');
                    run = i;
                    self.at = At::LineStart;
                }
                (At::LineStart, b'.') if self.dots => {
                    out.extend_from_slice(&input[run..i]);
                    out.push(b'.');
                    run = i;
                    self.at = At::Mid;
                }
                _ => {
                    let Some(n) = memchr2(b'\r', b'\n', &input[i..]) else {
                        self.at = At::Mid;
                        break;
                    };
                    i += n;
                    if input[i] == b'\n' {
                        out.extend_from_slice(&input[run..i]);
                        out.extend_from_slice(b"\r\n");
                        i += 1;
                        run = i;
                        self.at = At::LineStart;
                    } else {
                        i += 1;
                        self.at = At::Cr;
                    }
                }
            }
        }
        out.extend_from_slice(&input[run..]);
    }
    /// Ends the last line if it is open and, for DATA, writes the final dot.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self.at {
            At::Cr => out.push(b'\n'),
            At::LineStart => {}
            _ => out.extend_from_slice(b"\r\n"),
        }
        self.at = At::LineStart;
        if self.dots {
            out.extend_from_slice(b".\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unstuff(pieces: &[&[u8]]) -> (Vec<u8>, Option<usize>, bool) {
        let (mut u, mut out, mut seen) = (Unstuff::default(), Vec::new(), 0);
        for piece in pieces {
            let fed = u.feed(piece, &mut out);
            if fed.ended {
                return (out, Some(seen + fed.used), u.bare().cr || u.bare().lf);
            }
            seen += piece.len();
        }
        (out, None, u.bare().cr || u.bare().lf)
    }

    /// Every way to cut `wire` in two or three gives the same.
    fn check(wire: &[u8], text: &[u8], ended: bool, bare: bool) {
        for a in 0..=wire.len() {
            for b in a..=wire.len() {
                let got = unstuff(&[&wire[..a], &wire[a..b], &wire[b..]]);
                assert_eq!(got, (text.to_vec(), ended.then_some(wire.len()), bare), "{a} {b} {wire:?}");
            }
        }
    }

    // RFC 5321 §4.5.2: the first dot of a line that has more is taken off.
    #[test]
    fn dots_are_taken_off_at_every_cut() {
        check(b"a\r\n..b\r\n.\r\n", b"a\r\n.b\r\n", true, false);
        check(b".\r\n", b"", true, false);
        check(b"..\r\n.\r\n", b".\r\n", true, false);
        check(b"a.\r\n.b\r\n", b"a.\r\nb\r\n", false, false);
    }

    // RFC 5321 §4.1.1.4: only CR LF . CR LF ends the text.
    #[test]
    fn nothing_else_ends_the_text() {
        for wire in [
            &b"a\n.\nb"[..],
            b"a\n.\r\nb",
            b"a\r\n.\nb",
            b"a\r.\rb",
            b"a\r.\r\nb",
            b"a\r\n.\rb",
            b"a\r\n.\r\r\nb",
            b"a\r\r\n.\r.\r\nb",
            b"a\n\r.\n\rb",
        ] {
            let (_, ended, bare) = unstuff(&[wire]);
            assert_eq!((ended, bare), (None, true), "{wire:?}");
        }
        for wire in [&b"a\r\n\0.\r\nb"[..], b"a\r\n.\0\r\nb"] {
            let (_, ended, bare) = unstuff(&[wire]);
            assert_eq!((ended, bare), (None, false), "{wire:?}");
        }
        check(b"a\r\n.\r\r\n.\r\n", b"a\r\n\r\r\n", true, true);
    }

    #[test]
    fn an_outgoing_text_holds_no_bare_newline_and_no_early_end() {
        for (text, wire) in [
            (&b"a\r\n.b"[..], &b"a\r\n..b\r\n.\r\n"[..]),
            (b"a\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r.\rb\r", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r\n.\r\r\nb", b"a\r\n..\r\n\r\nb\r\n.\r\n"),
            (b"", b".\r\n"),
            (b".", b"..\r\n.\r\n"),
        ] {
            for cut in 0..=text.len() {
                let (mut s, mut out) = (Stuff::dotted(), Vec::new());
                s.feed(&text[..cut], &mut out);
                s.feed(&text[cut..], &mut out);
                s.finish(&mut out);
                assert_eq!(out, wire, "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn bdat_text_is_watched_across_cuts() {
        for (pieces, bare) in [
            (&[&b"a\r"[..], b"\nb"][..], false),
            (&[b"a\r", b"b"], true),
            (&[b"a\nb"], true),
            (&[b"a\r"], true),
        ] {
            let mut n = Newlines::default();
            for p in pieces {
                n.feed(p);
            }
            assert_eq!(n.bare(true) != Bare::default(), bare, "{pieces:?}");
        }
    }
}
