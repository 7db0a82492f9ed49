//! Message identifiers (RFC 5322 §3.6.4) of Message-ID, In-Reply-To and References.

/// Identifiers read of one field. Long threads pile them up; the newest are at the end.
pub const IDS_MAX: usize = 1000;
/// Longer ones are no identifiers.
pub const ID_LEN_MAX: usize = 998;

/// All identifiers in a value, without their angle brackets, blanks inside removed. Text that is
/// no identifier (`Your message of …`) is skipped.
pub fn parse(value: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = value;
    while let Some(open) = memchr::memchr(b'<', rest) {
        rest = &rest[open + 1..];
        let Some(close) = memchr::memchr2(b'>', b'<', rest) else { break };
        if rest[close] == b'>'
            && let Some(id) = clean(&rest[..close])
        {
            out.push(id);
            if out.len() == 2 * IDS_MAX {
                out.drain(..IDS_MAX);
            }
        }
        rest = &rest[close + usize::from(rest[close] == b'>')..];
    }
    out.drain(..out.len().saturating_sub(IDS_MAX));
    out
}

/// The one identifier of a Message-ID field: in brackets, or, as some programs write it, without.
pub fn one(value: &[u8]) -> Option<String> {
    if let Some(id) = parse(value).into_iter().next() {
        return Some(id);
    }
    let bare = crate::head::trim(value);
    if bare.contains(&b'@') && !bare.contains(&b' ') { clean(bare) } else { None }
}

fn clean(id: &[u8]) -> Option<String> {
    if id.len() > ID_LEN_MAX {
        return None;
    }
    let text = crate::charset::guess(id);
    let text: String = text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &[&str]) {
        assert_eq!(parse(input.as_bytes()), expected, "{input:?}");
    }

    #[test]
    fn identifiers_are_found_among_other_text() {
        check("<a@b>", &["a@b"]);
        check("<a@b>\r\n <c@d>,<e@f>", &["a@b", "c@d", "e@f"]);
        check("Your message of \"Mon\" <a@b>", &["a@b"]);
        check("<a\r\n b@c>", &["ab@c"]);
        check("<a <b@c>", &["b@c"]);
        check("<unclosed", &[]);
        check("<> x", &[]);
        assert_eq!(one(b" a@b ").as_deref(), Some("a@b"));
        assert_eq!(one(b"nothing here"), None);
    }
}
