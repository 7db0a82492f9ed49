//! SMTP replies as values, ours and the remotes'.

use std::fmt;
use std::str::FromStr;

/// RFC 3463: class, subject, detail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Enhanced(pub u8, pub u16, pub u16);

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}
impl fmt::Debug for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Enhanced {
    type Err = ();
    fn from_str(s: &str) -> Result<Enhanced, ()> {
        let mut parts = s.split('.');
        let mut number = |max: u16| -> Result<u16, ()> {
            let part = parts.next().ok_or(())?;
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(());
            }
            part.parse::<u16>().ok().filter(|n| *n <= max).ok_or(())
        };
        let (class, subject, detail) = (number(5)?, number(999)?, number(999)?);
        if parts.next().is_some() || ![2, 4, 5].contains(&class) {
            return Err(());
        }
        Ok(Enhanced(class as u8, subject, detail))
    }
}

/// A reply: code, enhanced code if there is one, and its lines of text (at least one, which may
/// be empty; without the enhanced code).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub enhanced: Option<Enhanced>,
    pub lines: Vec<String>,
}

impl Reply {
    pub fn new(code: u16, enhanced: (u8, u16, u16), text: impl Into<String>) -> Reply {
        Reply { code, enhanced: Some(Enhanced(enhanced.0, enhanced.1, enhanced.2)), lines: vec![text.into()] }
    }
    /// Without an enhanced code (greeting, EHLO, 354, 334).
    pub fn plain(code: u16, text: impl Into<String>) -> Reply {
        Reply { code, enhanced: None, lines: vec![text.into()] }
    }
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }
    pub fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }
    pub fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }
    /// All lines joined with blanks.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }
    /// The bytes for the wire. Control characters become `?`, so that no text can add a line.
    pub fn wire(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let last = self.lines.len().saturating_sub(1);
        for (i, line) in self.lines.iter().enumerate() {
            let sep = if i == last { ' ' } else { '-' };
            out.extend_from_slice(format!("{}{sep}", self.code).as_bytes());
            if let Some(e) = self.enhanced {
                out.extend_from_slice(format!("{e} ").as_bytes());
            }
            out.extend(
                line.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>().bytes(),
            );
            out.extend_from_slice(b"\r\n");
        }
        out
    }
}

impl fmt::Display for Reply {
    /// One line, as logs and DSNs quote it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(e) = self.enhanced {
            write!(f, " {e}")?;
        }
        let text = self.text();
        if text.is_empty() { Ok(()) } else { write!(f, " {text}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_carries_both_codes() {
        let mut r = Reply::new(550, (5, 7, 1), "no");
        r.lines.push("really\r\n250 ok".into());
        assert_eq!(r.wire(), b"550-5.7.1 no\r\n550 5.7.1 really??250 ok\r\n");
        assert_eq!(r.to_string(), "550 5.7.1 no really\r\n250 ok");
    }

    #[test]
    fn enhanced_codes_are_checked() {
        assert_eq!("5.7.606".parse(), Ok(Enhanced(5, 7, 606)));
        for bad in ["3.0.0", "5.7", "5.7.1.1", "5..1", "+5.7.1", "5.7.1000", "x"] {
            assert_eq!(bad.parse::<Enhanced>(), Err(()), "{bad}");
        }
    }
}
