//! Strings with what may stand in them: `${hex:…}`, `${unicode:…}` (RFC 5228 §2.4.2.4) and
//! variables (RFC 5229 §3).

/// A string, ready to be filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Template(pub(crate) Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// A variable of this script, by its name in lower case.
    Own(String),
    /// A variable all included scripts share (RFC 6609 §3.4.3).
    Global(String),
    /// What a wildcard or group matched.
    Match(usize),
}

/// Highest match variable that can be named.
const MATCH_MAX: usize = 32;

impl Template {
    pub(crate) fn plain(text: impl Into<String>) -> Template {
        Template(vec![Piece::Text(text.into())])
    }

    /// The string, if no variable stands in it.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub(crate) fn read(text: &str, encoded: bool, variables: bool) -> Result<Template, String> {
        let decoded;
        let text = if encoded && text.contains("${") {
            decoded = decode(text)?;
            &decoded
        } else {
            text
        };
        if !variables || !text.contains("${") {
            return Ok(Template::plain(text));
        }
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            plain.push_str(&rest[..at]);
            rest = &rest[at..];
            match reference(rest) {
                Some((name, len)) => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(variable(name)?);
                    rest = &rest[len..];
                }
                None => {
                    plain.push('$');
                    rest = &rest[1..];
                }
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template(pieces))
    }
}

/// The name in `${name}` at the start of a text, and the length of all of it.
fn reference(text: &str) -> Option<(&str, usize)> {
    let end = text.find('}')?;
    let name = &text[2..end];
    let well = !name.is_empty()
        && name.split('.').all(|part| is_identifier(part) || part.bytes().all(|b| b.is_ascii_digit()))
        && name.split('.').all(|part| !part.is_empty());
    let numbered = name.bytes().all(|b| b.is_ascii_digit());
    (well && (numbered || name.split('.').next().is_some_and(is_identifier))).then_some((name, end + 1))
}

pub(crate) fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A variable by its name, as `set` and the flag commands name it too.
pub(crate) fn variable(name: &str) -> Result<Piece, String> {
    if name.bytes().all(|b| b.is_ascii_digit()) {
        let number = name.parse::<usize>().ok().filter(|n| *n <= MATCH_MAX);
        return number
            .map(Piece::Match)
            .ok_or_else(|| format!("${{{name}}} is past ${{{MATCH_MAX}}}, the last match variable"));
    }
    match name.split_once('.') {
        None => Ok(Piece::Own(name.to_ascii_lowercase())),
        Some((space, name)) if space.eq_ignore_ascii_case("global") && is_identifier(name) => {
            Ok(Piece::Global(name.to_ascii_lowercase()))
        }
        #[cfg(test)]
        Some(("tst", name)) => Ok(Piece::Global(format!("tst.{name}"))),
        Some((space, _)) => Err(format!("there is no variable namespace \"{space}\"")),
    }
}

/// Replaces well-formed `${hex:…}` and `${unicode:…}`; anything else stays as it is written.
fn decode(text: &str) -> Result<String, String> {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        let coded =
            rest.find('}').and_then(|end| coded(&rest[2..end], &mut out).map(|r| r.map(|()| end + 1)));
        match coded {
            Some(len) => rest = &rest[len?..],
            None => {
                out.push(b'$');
                rest = &rest[1..];
            }
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// `None` if it is no encoded character, an error if it names one that does not exist.
fn coded(inner: &str, out: &mut Vec<u8>) -> Option<Result<(), String>> {
    let (kind, list) = inner.split_once(':')?;
    let words: Vec<&str> = list.split_ascii_whitespace().collect();
    let hex = |w: &&str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_hexdigit());
    if words.is_empty() || !words.iter().all(hex) {
        return None;
    }
    if kind.eq_ignore_ascii_case("hex") {
        if words.iter().any(|w| w.len() > 2) {
            return None;
        }
        out.extend(words.iter().filter_map(|w| u8::from_str_radix(w, 16).ok()));
        return Some(Ok(()));
    }
    if !kind.eq_ignore_ascii_case("unicode") {
        return None;
    }
    for word in words {
        let digits = word.trim_start_matches('0');
        let value = if digits.is_empty() { Some(0) } else { u32::from_str_radix(digits, 16).ok() };
        match value.and_then(char::from_u32) {
            Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            None => return Some(Err(format!("there is no Unicode character {word}"))),
        }
    }
    Some(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_taken_apart() {
        let own = |s: &str| Piece::Own(s.into());
        let text = |s: &str| Piece::Text(s.into());
        for (from, want) in [
            ("a${Name}b", vec![text("a"), own("name"), text("b")]),
            ("${1}", vec![Piece::Match(1)]),
            ("${global.x}", vec![Piece::Global("x".into())]),
            ("&%${}! ${doh!} $${x}", vec![text("&%${}! ${doh!} $"), own("x")]),
            ("${President, ${x}", vec![text("${President, "), own("x")]),
            ("$", vec![text("$")]),
        ] {
            assert_eq!(Template::read(from, false, true).expect("well"), Template(want), "{from}");
        }
        assert!(Template::read("${regex.0}", false, true).is_err());
    }

    #[test]
    fn encoded_characters_are_read() {
        for (from, want) in [
            ("$${hex:40}", "$@"),
            ("${hex: 40 }", "@"),
            ("${HEX: 40 41\r\n}", "@A"),
            ("${hex:40", "${hex:40"),
            ("${hex:400}", "${hex:400}"),
            ("${hex:c3 a9}", "é"),
            ("${unicode:40}${Unicode: Cool}", "@${Unicode: Cool}"),
            ("${unicode:0000000000000040}", "@"),
        ] {
            assert_eq!(Template::read(from, true, false).expect("well"), Template::plain(want), "{from}");
        }
        assert!(Template::read("${unicode:DF01}", true, false).is_err());
    }
}
