//! Comparators and match types (RFC 5228 §2.7, RFC 4790, RFC 5231, regex draft).

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};

/// RFC 5228 §2.7.3: how texts are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Comparator {
    Octet,
    #[default]
    AsciiCasemap,
    AsciiNumeric,
    UnicodeCasemap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Gt,
    Ge,
    Lt,
    Le,
    Eq,
    Ne,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Is,
    Contains,
    Matches,
    Regex,
    Count(Relation),
    Value(Relation),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matching {
    pub(crate) kind: Kind,
    pub(crate) comparator: Comparator,
}

/// Size of a compiled regular expression, in octets.
const REGEX_SIZE_MAX: usize = 1 << 20;

impl Relation {
    pub(crate) fn parse(text: &str) -> Option<Relation> {
        Some(match text.to_ascii_lowercase().as_str() {
            "gt" => Relation::Gt,
            "ge" => Relation::Ge,
            "lt" => Relation::Lt,
            "le" => Relation::Le,
            "eq" => Relation::Eq,
            "ne" => Relation::Ne,
            _ => return None,
        })
    }
    pub(crate) fn holds(self, order: Ordering) -> bool {
        match self {
            Relation::Gt => order.is_gt(),
            Relation::Ge => order.is_ge(),
            Relation::Lt => order.is_lt(),
            Relation::Le => order.is_le(),
            Relation::Eq => order.is_eq(),
            Relation::Ne => order.is_ne(),
        }
    }
}

impl Comparator {
    pub(crate) fn parse(name: &str) -> Option<Comparator> {
        Some(match name {
            "i;octet" => Comparator::Octet,
            "i;ascii-casemap" => Comparator::AsciiCasemap,
            "i;ascii-numeric" => Comparator::AsciiNumeric,
            "i;unicode-casemap" => Comparator::UnicodeCasemap,
            _ => return None,
        })
    }
    /// RFC 5228 §2.7.3: these need no require; nor does i;unicode-casemap, as elsewhere.
    pub(crate) fn is_core(self) -> bool {
        self != Comparator::AsciiNumeric
    }
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Comparator::AsciiNumeric => "comparator-i;ascii-numeric",
            _ => "",
        }
    }
    fn fold(self, text: &str) -> String {
        match self {
            Comparator::AsciiCasemap => text.to_ascii_lowercase(),
            // RFC 5051 §2 titlecases and decomposes; lower case of every character finds the
            // same pairs in all but a handful of letters.
            Comparator::UnicodeCasemap => text.to_lowercase(),
            Comparator::Octet | Comparator::AsciiNumeric => text.to_owned(),
        }
    }
    fn fold_char(self, c: char) -> char {
        match self {
            Comparator::AsciiCasemap => c.to_ascii_lowercase(),
            Comparator::UnicodeCasemap => c.to_lowercase().next().unwrap_or(c),
            Comparator::Octet | Comparator::AsciiNumeric => c,
        }
    }
    pub(crate) fn order(self, a: &str, b: &str) -> Ordering {
        if self == Comparator::AsciiNumeric {
            return numeric(a, b);
        }
        self.fold(a).as_bytes().cmp(self.fold(b).as_bytes())
    }
}

// RFC 4790 §9.1: the digits a text begins with; none are larger than any number.
fn numeric(a: &str, b: &str) -> Ordering {
    let digits = |text: &str| {
        let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
        (end > 0).then(|| text[..end].trim_start_matches('0').to_owned())
    };
    match (digits(a), digits(b)) {
        (Some(a), Some(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(&b)),
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
    }
}

/// A key, made ready once for many values.
pub(crate) enum Key<'k> {
    Text(&'k str),
    Regular(&'k str, Regex),
}

impl<'k> Key<'k> {
    pub(crate) fn new(how: Matching, key: &'k str) -> Result<Key<'k>, String> {
        match how.kind {
            Kind::Regex => regular(key, how.comparator).map(|regex| Key::Regular(key, regex)),
            _ => Ok(Key::Text(key)),
        }
    }
    pub(crate) fn len(&self) -> usize {
        match self {
            Key::Text(key) | Key::Regular(key, _) => key.len(),
        }
    }
}

/// What wildcards and groups stand for if a value fits a key.
pub(crate) fn fits(how: Matching, value: &str, key: &Key<'_>) -> Option<Vec<String>> {
    let comparator = how.comparator;
    let key = match key {
        Key::Text(key) => key,
        Key::Regular(_, regex) => {
            let groups = regex.captures(value)?;
            return Some(
                groups.iter().map(|m| m.map_or_else(String::new, |m| m.as_str().to_owned())).collect(),
            );
        }
    };
    let yes = match how.kind {
        Kind::Matches => return glob(comparator, value, key),
        Kind::Is => comparator.order(value, key).is_eq(),
        Kind::Contains => comparator.fold(value).contains(&comparator.fold(key)),
        Kind::Value(relation) | Kind::Count(relation) => relation.holds(comparator.order(value, key)),
        Kind::Regex => false,
    };
    yes.then(Vec::new)
}

enum Wild {
    Char(char),
    One,
}

/// RFC 5228 §2.7.1: `*` is any text, `?` one character, a backslash takes their meaning away.
/// RFC 5229 §3.2: `*` takes as little as it can.
fn glob(comparator: Comparator, value: &str, pattern: &str) -> Option<Vec<String>> {
    let mut sections: Vec<Vec<Wild>> = vec![Vec::new()];
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => sections.push(Vec::new()),
            c => {
                let wild = match c {
                    '?' => Wild::One,
                    '\\' => Wild::Char(comparator.fold_char(chars.next().unwrap_or('\\'))),
                    c => Wild::Char(comparator.fold_char(c)),
                };
                if let Some(last) = sections.last_mut() {
                    last.push(wild);
                }
            }
        }
    }
    let original: Vec<char> = value.chars().collect();
    let folded: Vec<char> = original.iter().map(|c| comparator.fold_char(*c)).collect();
    let here = |section: &[Wild], at: usize| {
        at + section.len() <= folded.len()
            && section.iter().zip(&folded[at..]).all(|(w, c)| match w {
                Wild::One => true,
                Wild::Char(w) => w == c,
            })
    };
    let text = |range: std::ops::Range<usize>| original[range].iter().collect::<String>();
    let mut groups = vec![value.to_owned()];
    let ones = |section: &[Wild], at: usize, groups: &mut Vec<String>| {
        for (i, wild) in section.iter().enumerate() {
            if matches!(wild, Wild::One) {
                groups.push(text(at + i..at + i + 1));
            }
        }
    };
    let (first, rest) = sections.split_first()?;
    if !here(first, 0) || (rest.is_empty() && first.len() != folded.len()) {
        return None;
    }
    ones(first, 0, &mut groups);
    let mut at = first.len();
    for (i, section) in rest.iter().enumerate() {
        let last = i + 1 == rest.len();
        let found = if last {
            folded.len().checked_sub(section.len()).filter(|s| *s >= at && here(section, *s))
        } else {
            (at..=folded.len()).find(|s| here(section, *s))
        }?;
        groups.push(text(at..found));
        ones(section, found, &mut groups);
        at = found + section.len();
    }
    Some(groups)
}

/// A POSIX extended regular expression in our engine's dialect.
pub(crate) fn regular(pattern: &str, comparator: Comparator) -> Result<Regex, String> {
    if comparator == Comparator::AsciiNumeric {
        return Err("numbers have none".to_owned());
    }
    RegexBuilder::new(&translate(pattern)?)
        .case_insensitive(comparator != Comparator::Octet)
        .size_limit(REGEX_SIZE_MAX)
        .dot_matches_new_line(true)
        .build()
        .map_err(|e| match e {
            regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
            e => e.to_string().lines().last().unwrap_or("it is broken").trim().to_owned(),
        })
}

/// POSIX knows no classes such as `\d`, and in brackets a backslash is a backslash.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars().peekable();
    let mut at_start = true;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let c = chars.next().ok_or("it ends with a backslash")?;
                if !c.is_ascii_alphanumeric() && c.is_ascii() {
                    out.push('\\');
                }
                out.push(c);
            }
            '[' => bracket(&mut chars, &mut out)?,
            '*' | '+' | '?' if at_start => return Err(format!("\"{c}\" has nothing before it to repeat")),
            c => out.push(c),
        }
        at_start = matches!(c, '(' | '|' | '^');
    }
    Ok(out)
}

fn bracket(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) -> Result<(), String> {
    const OPEN: &str = "a [ is never closed";
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut first = true;
    loop {
        let c = chars.next().ok_or(OPEN)?;
        match c {
            ']' if !first => {
                out.push(']');
                return Ok(());
            }
            '[' if matches!(chars.peek(), Some(':')) => {
                out.push_str("[:");
                chars.next();
                loop {
                    let c = chars.next().ok_or(OPEN)?;
                    out.push(c);
                    if c == ':' && chars.next_if_eq(&']').is_some() {
                        out.push(']');
                        break;
                    }
                }
            }
            '\\' | '[' | ']' | '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
        first = false;
    }
}

/// RFC 5229 §4.1.2: what makes wildcards into plain characters.
pub(crate) fn quote_wildcard(text: &str, octets_max: usize) -> String {
    quote(text, "*?\\", octets_max)
}

pub(crate) fn quote_regex(text: &str, octets_max: usize) -> String {
    quote(text, "\\*+?^$.[]{}()|", octets_max)
}

/// What gets too long is cut before a whole character, never behind its backslash.
fn quote(text: &str, special: &str, octets_max: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let quoted = special.contains(c);
        if out.len() + c.len_utf8() + usize::from(quoted) > octets_max {
            break;
        }
        if quoted {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, value: &str, want: Option<&[&str]>) {
        let got = glob(Comparator::AsciiCasemap, value, pattern);
        let want = want.map(|w| w.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(got, want, "{pattern} on {value}");
    }

    #[test]
    fn wildcards_take_as_little_as_they_can() {
        check("*a*b", "xaxbyb", Some(&["xaxbyb", "x", "xby"]));
        check("?*", "abc", Some(&["abc", "a", "bc"]));
        check("a\\*b", "a*b", Some(&["a*b"]));
        check("a\\*b", "axb", None);
        check("", "", Some(&[""]));
        check("*", "", Some(&["", ""]));
        check("abc", "ABC", Some(&["ABC"]));
        check("*aa", "aaa", Some(&["aaa", "a"]));
        check("a*a", "a", None);
    }

    #[test]
    fn numbers_compare_as_rfc_4790_says() {
        for (a, b, want) in [
            ("10", "9", Ordering::Greater),
            ("0010", "10", Ordering::Equal),
            ("10x", "10", Ordering::Equal),
            ("x", "10", Ordering::Greater),
            ("x", "y", Ordering::Equal),
            ("99999999999999999999999", "100000000000000000000000", Ordering::Less),
        ] {
            assert_eq!(numeric(a, b), want, "{a} {b}");
        }
    }

    #[test]
    fn posix_expressions_are_translated() {
        for (pattern, value, fits) in [
            ("^[[:alpha:]]+$", "abc", true),
            ("[\\d]", "d", true),
            ("[]x]", "]", true),
            ("[a&&b]", "&", true),
            ("a{2}\\.", "aa.", true),
        ] {
            assert_eq!(regular(pattern, Comparator::Octet).expect("well").is_match(value), fits, "{pattern}");
        }
        for bad in ["(", "[", "a\\", "(+x)", "[]"] {
            assert!(regular(bad, Comparator::Octet).is_err(), "{bad}");
        }
    }
}
