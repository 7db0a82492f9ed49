//! Commands as RFC 5804 §4 writes them: words, numbers and strings, quoted or as literals.

/// Longest command without its literals. SASL responses set it.
const LINE_MAX: usize = 16 * 1024;
/// Words of one command.
const WORDS_MAX: usize = 8;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    Atom(String),
    Number(u64),
    Text(Vec<u8>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// More bytes are needed.
    Wait,
    /// A command, and the octets it took.
    Command(Vec<Word>, usize),
    /// Not a command; the octets to throw away.
    Broken(&'static str, usize),
    /// A literal is longer than `literal_max`; the octets to throw away may not all be here yet.
    TooLarge(u64),
}

/// Reads one command from the start of `input`.
pub(super) fn command(input: &[u8], literal_max: u64) -> Read {
    let mut words = Vec::new();
    let mut at = 0;
    // Octets of literals, which do not count for the line.
    let mut literal = 0;
    loop {
        let Some(&byte) = input.get(at) else {
            return if at - literal > LINE_MAX {
                Read::Broken("the command is too long", at)
            } else {
                Read::Wait
            };
        };
        let word = match byte {
            b' ' | b'\t' => {
                at += 1;
                continue;
            }
            b'\r' | b'\n' => match (byte, input.get(at + 1)) {
                (b'\r', None) => return Read::Wait,
                (b'\r', Some(b'\n')) => return Read::Command(words, at + 2),
                (b'\n', _) => return Read::Command(words, at + 1),
                _ => return broken(input, at, "a line end is broken"),
            },
            b'"' => match quoted(&input[at..]) {
                Ok((text, used)) => {
                    at += used;
                    Word::Text(text)
                }
                Err(Some(why)) => return broken(input, at, why),
                Err(None) if input.len() - at > LINE_MAX => {
                    return broken(input, at, "a quoted string is too long");
                }
                Err(None) => return Read::Wait,
            },
            b'{' => match literal_size(&input[at..]) {
                Ok((size, head)) if size > literal_max => return Read::TooLarge((at + head) as u64 + size),
                Ok((size, head)) => {
                    let start = at + head;
                    let Some(end) = usize::try_from(size).ok().and_then(|s| start.checked_add(s)) else {
                        return Read::TooLarge(size);
                    };
                    let Some(text) = input.get(start..end) else { return Read::Wait };
                    literal += end - at;
                    at = end;
                    Word::Text(text.to_vec())
                }
                Err(true) => return broken(input, at, "a literal is written {size+}"),
                Err(false) => return Read::Wait,
            },
            _ => match atom(&input[at..]) {
                Some((word, used)) => {
                    at += used;
                    word
                }
                None if input.len() - at > LINE_MAX => return broken(input, at, "a word is too long"),
                None => return Read::Wait,
            },
        };
        words.push(word);
        if words.len() > WORDS_MAX {
            return broken(input, at, "the command has too many words");
        }
    }
}

/// A word or number and its length; nothing if it may go on.
fn atom(input: &[u8]) -> Option<(Word, usize)> {
    let len = input.iter().position(|b| b" \t\r\n\"{(".contains(b))?.max(1);
    let text = String::from_utf8_lossy(&input[..len]).into_owned();
    let word = match text.parse::<u64>() {
        Ok(n) if text.bytes().all(|b| b.is_ascii_digit()) => Word::Number(n),
        _ => Word::Atom(text.to_ascii_uppercase()),
    };
    Some((word, len))
}

/// Throws away up to the end of the line.
fn broken(input: &[u8], at: usize, why: &'static str) -> Read {
    match input[at..].iter().position(|&b| b == b'\n') {
        Some(n) => Read::Broken(why, at + n + 1),
        None if input.len() > LINE_MAX => Read::Broken(why, input.len()),
        None => Read::Wait,
    }
}

/// A quoted string and its length; `Err(None)` if it goes on.
fn quoted(input: &[u8]) -> Result<(Vec<u8>, usize), Option<&'static str>> {
    let mut out = Vec::new();
    let mut at = 1;
    loop {
        match input.get(at) {
            None => return Err(None),
            Some(b'"') => return Ok((out, at + 1)),
            Some(b'\r' | b'\n' | 0) => return Err(Some("a quoted string ends with the line")),
            Some(b'\\') => {
                out.extend(input.get(at + 1));
                at += 2;
            }
            Some(&b) => {
                out.push(b);
                at += 1;
            }
        }
    }
}

/// The size in `{size+}` CRLF and the length of that; `Err(true)` if it is broken.
fn literal_size(input: &[u8]) -> Result<(u64, usize), bool> {
    let Some(end) = input.iter().take(32).position(|&b| b == b'\n') else { return Err(input.len() >= 32) };
    let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    let inner = line.strip_prefix(b"{").and_then(|l| l.strip_suffix(b"}")).ok_or(true)?;
    // RFC 5804 §4: clients write the +; some forget it, and mean the same.
    let digits = inner.strip_suffix(b"+").unwrap_or(inner);
    let text = std::str::from_utf8(digits).map_err(|_| true)?;
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(true);
    }
    Ok((text.parse().map_err(|_| true)?, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_when_they_are_whole() {
        let text = |s: &str| Word::Text(s.into());
        let atom = |s: &str| Word::Atom(s.into());
        let whole = b"PutScript \"a\\\"b\" {6+}\r\nkeep;\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(command(&whole[..end], 100), Read::Wait, "{end}");
        }
        let want = vec![atom("PUTSCRIPT"), text("a\"b"), text("keep;\n")];
        assert_eq!(command(whole, 100), Read::Command(want, whole.len()));
        assert_eq!(
            command(b"havespace \"x\" 99\n", 9),
            Read::Command(vec![atom("HAVESPACE"), text("x"), Word::Number(99)], 17)
        );
        assert_eq!(command(b"X {100+}\r\n", 99), Read::TooLarge(110));
        assert!(matches!(command(b"X \"a\r\nNOOP\r\n", 9), Read::Broken(_, 6)));
        assert!(matches!(command(b"X {a}\r\n", 9), Read::Broken(_, 7)));
        assert_eq!(command(b"\r\n", 9), Read::Command(vec![], 2));
        assert!(matches!(command(&vec![b'x'; 20_000], 9), Read::Broken(..)));
    }
}
