//! Reading scripts.

use std::fmt;

use stdx::Span;

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Client(Vec<u8>),
    /// Pieces between which anything may stand.
    Server(Vec<Vec<u8>>),
    Content(Vec<Vec<u8>>),
    Question(Vec<Vec<u8>>),
    Answer(String),
    StartTls,
    Deflate,
    Close,
    Quiet,
    Wait(Span),
    TlsStands,
    Closed,
    Shutdown,
    Notice(String),
}

/// A script that was read, with the line numbers of its text.
#[derive(Clone, Debug)]
pub struct Script {
    pub(crate) lines: Vec<(usize, String, Line)>,
}

/// What is wrong with a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadScript {
    pub line: usize,
    pub text: String,
    pub why: String,
}

impl fmt::Display for BadScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "script line {}: {}\n    {}", self.line, self.why, self.text)
    }
}

impl Script {
    pub fn read(text: &str) -> Result<Script, BadScript> {
        let mut lines = Vec::new();
        for (at, raw) in text.lines().enumerate() {
            let line = raw.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let read = read_line(line).map_err(|why| BadScript { line: at + 1, text: line.into(), why })?;
            lines.push((at + 1, line.to_owned(), read));
        }
        Ok(Script { lines })
    }

    /// How many bytes the peer sends in all.
    pub fn input_len(&self) -> usize {
        let len = |line: &Line| if let Line::Client(bytes) = line { bytes.len() } else { 0 };
        self.lines.iter().map(|(_, _, line)| len(line)).sum()
    }
}

fn read_line(line: &str) -> Result<Line, String> {
    if let Some((head, text)) = line.split_once(':')
        && let Some(read) = wire_line(head, text.strip_prefix(' ').unwrap_or(text))?
    {
        return Ok(read);
    }
    let (sign, rest) = line.split_at(line.chars().next().map_or(0, char::len_utf8));
    let rest = rest.trim();
    Ok(match (sign, rest) {
        ("?", text) => Line::Question(pieces(text, false)?),
        ("!", text) => Line::Answer(text.to_owned()),
        ("=", "starttls") => Line::StartTls,
        ("=", "deflate") => Line::Deflate,
        ("=", "close") => Line::Close,
        ("=", "quiet") => Line::Quiet,
        ("@", text) => Line::Wait(span(text)?),
        ("~", "tls") => Line::TlsStands,
        ("~", "closed") => Line::Closed,
        ("~", "shutdown") => Line::Shutdown,
        ("~", text) if text.starts_with("notice") => Line::Notice(text["notice".len()..].trim().to_owned()),
        _ => return Err("no such kind of line (C: S: B: ? ! = @ ~)".into()),
    })
}

fn wire_line(head: &str, text: &str) -> Result<Option<Line>, String> {
    let line = match head {
        "C" => Line::Client([bytes(text)?.as_slice(), b"\r\n"].concat()),
        "C-" => Line::Client(bytes(text)?),
        "S" => Line::Server(pieces(text, true)?),
        "S-" => Line::Server(pieces(text, false)?),
        "B" => Line::Content(pieces(text, true)?),
        "B-" => Line::Content(pieces(text, false)?),
        head => match head.strip_prefix("C*") {
            Some(n) => {
                let n: usize = n.parse().map_err(|_| "C*N: wants a number".to_owned())?;
                Line::Client(bytes(text)?.repeat(n))
            }
            None => return Ok(None),
        },
    };
    Ok(Some(line))
}

/// Text with `‹hex hex›` read as bytes.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('‹') {
        out.extend_from_slice(&rest.as_bytes()[..start]);
        let after = &rest[start + '‹'.len_utf8()..];
        let end = after.find('›').ok_or("‹ without ›")?;
        for hex in after[..end].split_whitespace() {
            out.push(u8::from_str_radix(hex, 16).map_err(|_| format!("\"{hex}\" is no byte in hex"))?);
        }
        rest = &after[end + '›'.len_utf8()..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

fn pieces(text: &str, line_end: bool) -> Result<Vec<Vec<u8>>, String> {
    let mut out = text.split('…').map(bytes).collect::<Result<Vec<_>, _>>()?;
    if line_end && let Some(last) = out.last_mut() {
        last.extend_from_slice(b"\r\n");
    }
    Ok(out)
}

fn span(text: &str) -> Result<Span, String> {
    let text = text.trim_start_matches('+').trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let n: u64 = text[..digits].parse().map_err(|_| "@ wants a number and a unit".to_owned())?;
    Ok(match text[digits..].trim() {
        "ms" => Span::ms(n),
        "s" => Span::secs(n),
        "min" => Span::mins(n),
        "h" => Span::hours(n),
        "d" => Span::days(n),
        unit => return Err(format!("\"{unit}\" is no unit (ms, s, min, h, d)")),
    })
}

/// Whether `pieces` match the beginning of `bytes`, and how many bytes they take. Between two
/// pieces anything but a line end may stand. `None`: cannot match. `Some(None)`: more is needed.
pub(crate) fn match_front(pieces: &[Vec<u8>], bytes: &[u8]) -> Option<Option<usize>> {
    let first = pieces.first()?;
    let n = first.len().min(bytes.len());
    if first[..n] != bytes[..n] {
        return None;
    }
    if n < first.len() {
        return Some(None);
    }
    let mut at = n;
    for piece in &pieces[1..] {
        let line_end = bytes[at..].windows(2).position(|w| w == b"\r\n").map(|p| at + p + 2);
        let window = &bytes[at..line_end.unwrap_or(bytes.len())];
        if piece.is_empty() {
            at += window.len();
            continue;
        }
        match window.windows(piece.len()).position(|w| w == piece.as_slice()) {
            Some(p) => at += p + piece.len(),
            None if line_end.is_none() => return Some(None),
            None => return None,
        }
    }
    Some(Some(at))
}
