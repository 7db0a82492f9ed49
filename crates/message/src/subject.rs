//! The base subject (RFC 5256 §2.1), by which SORT and THREAD compare.

/// Longer subjects are compared by their beginning, octets.
pub const SUBJECT_MAX: usize = 4000;

/// A subject without the marks of replies and forwards.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Base {
    pub text: String,
    /// A mark was taken off: this is a reply or a forward (RFC 5256 §3, THREAD=REFERENCES 5).
    pub is_reply: bool,
}

/// Reduces a subject whose encoded words are already decoded.
pub fn base(subject: &str) -> Base {
    let subject = &subject[..subject.floor_char_boundary(SUBJECT_MAX)];
    // Step 1: blanks of any kind become one.
    let mut text = String::with_capacity(subject.len());
    for word in subject.split([' ', '\t', '\r', '\n']).filter(|w| !w.is_empty()) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    let mut rest = &text[..];
    let mut is_reply = false;
    loop {
        // Step 2: trailers.
        rest = rest.trim_matches(' ');
        while let Some(shorter) = strip_suffix(rest, "(fwd)") {
            rest = shorter.trim_end_matches(' ');
            is_reply = true;
        }
        // Steps 3 to 5: leaders and blobs, until nothing changes.
        loop {
            if let Some(after) = strip_leader(rest) {
                rest = after;
                is_reply = true;
            } else if let Some(after) = strip_blob(rest).filter(|a| !a.is_empty()) {
                rest = after;
            } else {
                break;
            }
        }
        // Step 6: `[fwd: …]` around all of it.
        let inner = strip_prefix(rest, "[fwd:").and_then(|r| r.strip_suffix(']'));
        match inner {
            Some(inner) => {
                rest = inner;
                is_reply = true;
            }
            None => break,
        }
    }
    Base { text: rest.trim_matches(' ').to_owned(), is_reply }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn strip_suffix<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len())?;
    let tail = text.get(at..)?;
    tail.eq_ignore_ascii_case(suffix).then(|| &text[..at])
}

/// `[…]` with no bracket inside, and the blanks after it.
fn strip_blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    (inner.as_bytes()[end] == b']').then(|| inner[end + 1..].trim_start_matches(' '))
}

/// `Re:`, `Fw:`, `Fwd:`, with blobs before and one between the word and the colon.
fn strip_leader(text: &str) -> Option<&str> {
    let mut rest = text;
    // Blobs before the word belong to the leader, whatever remains.
    while let Some(after) = strip_blob(rest) {
        rest = after;
    }
    let rest = strip_prefix(rest, "re")
        .or_else(|| strip_prefix(rest, "fwd"))
        .or_else(|| strip_prefix(rest, "fw"))?;
    let rest = rest.trim_start_matches(' ');
    let rest = strip_blob(rest).unwrap_or(rest);
    Some(rest.strip_prefix(':')?.trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &str, expected: &str, is_reply: bool) {
        assert_eq!(base(input), Base { text: expected.into(), is_reply }, "{input:?}");
    }

    #[test]
    fn subjects_are_reduced() {
        check("Hello", "Hello", false);
        check("Re: Hello", "Hello", true);
        check("RE:Hello", "Hello", true);
        check("Re: Fwd: [list] Re : hello   world (fwd)", "hello world", true);
        check("[list] Hello", "Hello", false);
        check("[a] [b]", "[b]", false);
        check("[only]", "[only]", false);
        check("[list] Re: Hello", "Hello", true);
        check("re[2]: Hello", "Hello", true);
        check("[fwd: Re: Hello]", "Hello", true);
        check("Regarding", "Regarding", false);
        check("Fwd", "Fwd", false);
        check("Re:", "", true);
        check("\tA\r\n B", "A B", false);
        check("", "", false);
    }

    proptest! {
        #[test]
        fn a_base_is_its_own_base(text in "(re|fwd|:|\\[|\\]| |\\(fwd\\)|x){0,12}") {
            let once = base(&text);
            prop_assert_eq!(&base(&once.text).text, &once.text);
        }
    }
}
