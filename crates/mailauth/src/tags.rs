//! Tag lists, `a=b; c=d`, as DKIM, DMARC, ARC and TLS-RPT write them (RFC 6376 §3.2).

/// Tags read of one list.
const TAGS_MAX: usize = 50;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<(String, String)>);

impl Tags {
    /// Reads a list; `Err` says what is wrong with it. Names keep their case (RFC 6376 §3.2).
    pub fn parse(text: &str) -> Result<Tags, String> {
        let mut out: Vec<(String, String)> = Vec::new();
        let mut pieces = text.split(';').peekable();
        while let Some(piece) = pieces.next() {
            let piece = piece.trim_matches(is_blank);
            if piece.is_empty() {
                // Only the last semicolon may stand before nothing.
                if pieces.peek().is_some() && pieces.clone().any(|p| !p.trim_matches(is_blank).is_empty()) {
                    return Err("an empty tag".into());
                }
                continue;
            }
            let Some((name, value)) = piece.split_once('=') else {
                return Err(format!("\"{}\" is no tag", short(piece)));
            };
            let (name, value) = (name.trim_end_matches(is_blank), value.trim_start_matches(is_blank));
            let good = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !good {
                return Err(format!("\"{}\" is no tag name", short(name)));
            }
            if out.iter().any(|(n, _)| n == name) {
                return Err(format!("tag {name} stands there twice"));
            }
            if out.len() >= TAGS_MAX {
                return Err("too many tags".into());
            }
            out.push((name.to_owned(), value.to_owned()));
        }
        Ok(Tags(out))
    }
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| &v[..])
    }
    /// The value without any blanks, as base64 values are written.
    pub fn dense(&self, name: &str) -> Option<String> {
        self.get(name).map(|v| v.chars().filter(|c| !is_blank(*c)).collect())
    }
    /// The name of the first tag, for those that must stand first.
    pub fn first(&self) -> Option<(&str, &str)> {
        self.0.first().map(|(n, v)| (&n[..], &v[..]))
    }
}

pub fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(40)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&[(&str, &str)]>) {
        let want = expected
            .map(|list| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>());
        assert_eq!(Tags::parse(text).ok().map(|t| t.0), want, "{text:?}");
    }

    #[test]
    fn tag_lists_are_read() {
        check("v=1; a = b c ;", Some(&[("v", "1"), ("a", "b c")]));
        check("a=\r\n b=c", Some(&[("a", "b=c")]));
        check("", Some(&[]));
        check("p=", Some(&[("p", "")]));
        check("a=1; a=2", None);
        check("a=1;;b=2", None);
        check("novalue", None);
        check("a b=1", None);
        check("_=1", None);
    }
}
