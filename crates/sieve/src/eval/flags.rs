//! RFC 5232: lists of IMAP flags.

/// Adds the flags in these texts (each may hold several with blanks between) that are not there
/// yet. What cannot be a flag is left out.
pub(super) fn add(flags: &mut Vec<String>, texts: &[String]) {
    for flag in texts.iter().flat_map(|t| t.split_ascii_whitespace()) {
        if is_flag(flag) && !flags.iter().any(|f| f.eq_ignore_ascii_case(flag)) && flags.len() < 100 {
            flags.push(flag.to_owned());
        }
    }
}

pub(super) fn remove(flags: &mut Vec<String>, texts: &[String]) {
    for flag in texts.iter().flat_map(|t| t.split_ascii_whitespace()) {
        flags.retain(|f| !f.eq_ignore_ascii_case(flag));
    }
}

/// The flags these texts name, as they are written.
pub(super) fn split(texts: &[String]) -> Vec<String> {
    texts.iter().flat_map(|t| t.split_ascii_whitespace()).map(str::to_owned).collect()
}

pub(super) fn clean(texts: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    add(&mut out, texts);
    out
}

/// RFC 9051 §9 `flag`: an atom, or one of the system flags.
fn is_flag(flag: &str) -> bool {
    let atom = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| (0x21..=0x7e).contains(&b) && !b"(){%*\"\\]".contains(&b))
    };
    match flag.strip_prefix('\\') {
        Some(name) => {
            ["answered", "flagged", "deleted", "seen", "draft"].iter().any(|s| s.eq_ignore_ascii_case(name))
        }
        None => atom(flag) && flag.len() <= 200,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_hold_each_flag_once() {
        let texts: Vec<String> = ["\\Seen \\seen", "$Label1  junk", "\\Bad a(b"].map(String::from).to_vec();
        let mut flags = clean(&texts);
        assert_eq!(flags, ["\\Seen", "$Label1", "junk"]);
        remove(&mut flags, &["\\SEEN Junk".to_owned()]);
        assert_eq!(flags, ["$Label1"]);
    }
}
