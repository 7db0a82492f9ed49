//! The grammar of SPF records (RFC 7208 §4.6.1, §12). Parsing a record checks all of it before
//! any of it is evaluated, as §4.6 asks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Terms in a record; TXT answers end long before.
const TERMS_MAX: usize = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mechanism {
    All,
    Include(Spec),
    /// Bits for IPv4 and for IPv6.
    A(Option<Spec>, (u8, u8)),
    Mx(Option<Spec>, (u8, u8)),
    Ptr(Option<Spec>),
    Ip(IpAddr, u8),
    Exists(Spec),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub directives: Vec<(Qualifier, Mechanism)>,
    pub redirect: Option<Spec>,
    pub explanation: Option<Spec>,
}

/// A domain-spec or an explanation with its macros (RFC 7208 §7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    text: String,
    pub tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Text(String),
    Macro {
        letter: char,
        /// Upper case letters are URL-escaped.
        escape: bool,
        /// Right-hand parts kept; 0 for all.
        keep: usize,
        reverse: bool,
        delimiters: String,
    },
}

impl Spec {
    pub fn uses(&self, wanted: char) -> bool {
        self.tokens.iter().any(|t| matches!(t, Token::Macro { letter, .. } if *letter == wanted))
    }
    /// RFC 7208 §6.2: blanks are allowed, and the macros c, r, t.
    pub fn explanation(text: &str) -> Option<Spec> {
        tokens(text, true).ok().map(|tokens| Spec { text: text.to_owned(), tokens })
    }
    fn domain(text: &str) -> Result<Spec, String> {
        let tokens = tokens(text, false)?;
        let spec = Spec { text: text.to_owned(), tokens };
        // RFC 7208 §7.1: it ends in a macro or in `.` and a top label.
        let good = match spec.tokens.last() {
            None => false,
            Some(Token::Macro { .. }) => true,
            // `%%`, `%_` and `%-` are macros too.
            Some(Token::Text(_)) if ends_in_escape(text) => true,
            Some(Token::Text(t)) => {
                let t = t.strip_suffix('.').unwrap_or(t);
                t.rsplit_once('.').is_some_and(|(_, top)| is_top_label(top))
            }
        };
        if good { Ok(spec) } else { Err(format!("\"{text}\" does not end like a domain name")) }
    }
}

fn ends_in_escape(text: &str) -> bool {
    let Some(before) = text.strip_suffix(['%', '_', '-']) else { return false };
    let percents = before.bytes().rev().take_while(|b| *b == b'%').count();
    percents % 2 == 1
}

/// RFC 7208 §7.1: letters, digits and inner hyphens, not only digits.
fn is_top_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
        && !label.bytes().all(|b| b.is_ascii_digit())
}

fn tokens(text: &str, explanation: bool) -> Result<Vec<Token>, String> {
    let mut out = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '%' {
            if !(('\x21'..='\x7e').contains(&c) || explanation && c == ' ') {
                return Err(format!("\"{text}\" holds a character that may not stand there"));
            }
            plain.push(c);
            continue;
        }
        if let Some(after) = rest.strip_prefix('{') {
            let end = after.find('}').ok_or_else(|| format!("a macro in \"{text}\" has no end"))?;
            let token = macro_token(&after[..end], explanation)
                .ok_or_else(|| format!("\"%{{{}}}\" is no macro", &after[..end]))?;
            if !plain.is_empty() {
                out.push(Token::Text(std::mem::take(&mut plain)));
            }
            out.push(token);
            rest = &after[end + 1..];
            continue;
        }
        match rest.chars().next() {
            Some('%') => plain.push('%'),
            Some('_') => plain.push(' '),
            Some('-') => plain.push_str("%20"),
            _ => return Err(format!("a percent sign in \"{text}\" stands alone")),
        }
        rest = &rest[1..];
    }
    if !plain.is_empty() {
        out.push(Token::Text(plain));
    }
    Ok(out)
}

fn macro_token(inner: &str, explanation: bool) -> Option<Token> {
    let mut chars = inner.chars();
    let first = chars.next()?;
    let letter = first.to_ascii_lowercase();
    let known = "slodipvh".contains(letter) || explanation && "crt".contains(letter);
    if !known {
        return None;
    }
    let rest = chars.as_str();
    let digits_len = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = rest.split_at(digits_len);
    let keep = match digits {
        "" => 0,
        d => d.parse::<usize>().unwrap_or(usize::MAX),
    };
    // RFC 7208 §7.3: zero parts cannot be wanted.
    if keep == 0 && !digits.is_empty() {
        return None;
    }
    let (reverse, delimiters) = match rest.strip_prefix(['r', 'R']) {
        Some(after) => (true, after),
        None => (false, rest),
    };
    delimiters.chars().all(|c| ".-+,/_=".contains(c)).then(|| Token::Macro {
        letter,
        escape: first.is_ascii_uppercase(),
        keep,
        reverse,
        delimiters: delimiters.to_owned(),
    })
}

impl Record {
    /// Reads the text of a TXT record that begins with `v=spf1`.
    pub fn parse(text: &str) -> Result<Record, String> {
        let mut record = Record::default();
        for term in text.split(' ').skip(1).filter(|t| !t.is_empty()).take(TERMS_MAX) {
            let special = term.find([':', '/', '=']);
            match special {
                Some(at) if term.as_bytes()[at] == b'=' => record.modifier(&term[..at], &term[at + 1..])?,
                _ => record.directives.push(directive(term)?),
            }
        }
        Ok(record)
    }

    fn modifier(&mut self, name: &str, value: &str) -> Result<(), String> {
        let good_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !good_name {
            return Err(format!("\"{name}={value}\" is no term"));
        }
        let slot = if name.eq_ignore_ascii_case("redirect") {
            &mut self.redirect
        } else if name.eq_ignore_ascii_case("exp") {
            &mut self.explanation
        } else {
            // RFC 7208 §6: unknown ones must still be well formed. They may name any macro.
            return tokens(value, true).map(drop);
        };
        // RFC 7208 §6: each at most once.
        if slot.replace(Spec::domain(value)?).is_some() {
            return Err(format!("\"{name}\" stands there twice"));
        }
        Ok(())
    }
}

fn directive(term: &str) -> Result<(Qualifier, Mechanism), String> {
    let bad = || format!("\"{term}\" is no mechanism");
    let (qualifier, rest) = match term.as_bytes().first() {
        Some(b'+') => (Qualifier::Pass, &term[1..]),
        Some(b'-') => (Qualifier::Fail, &term[1..]),
        Some(b'~') => (Qualifier::SoftFail, &term[1..]),
        Some(b'?') => (Qualifier::Neutral, &term[1..]),
        _ => (Qualifier::Pass, term),
    };
    let name_len = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(name_len);
    let argument = rest.strip_prefix(':');
    let mechanism = match &name.to_ascii_lowercase()[..] {
        "all" if rest.is_empty() => Mechanism::All,
        "include" => Mechanism::Include(Spec::domain(argument.ok_or_else(bad)?)?),
        "exists" => Mechanism::Exists(Spec::domain(argument.ok_or_else(bad)?)?),
        "ptr" if rest.is_empty() => Mechanism::Ptr(None),
        "ptr" => Mechanism::Ptr(Some(Spec::domain(argument.ok_or_else(bad)?)?)),
        "a" => {
            let (spec, cidr) = domain_cidr(rest).ok_or_else(bad)??;
            Mechanism::A(spec, cidr)
        }
        "mx" => {
            let (spec, cidr) = domain_cidr(rest).ok_or_else(bad)??;
            Mechanism::Mx(spec, cidr)
        }
        "ip4" => {
            let (ip, bits) = net(argument.ok_or_else(bad)?, 32).ok_or_else(bad)?;
            Mechanism::Ip(IpAddr::V4(ip.parse::<Ipv4Addr>().map_err(|_| bad())?), bits)
        }
        "ip6" => {
            let (ip, bits) = net(argument.ok_or_else(bad)?, 128).ok_or_else(bad)?;
            Mechanism::Ip(IpAddr::V6(ip.parse::<Ipv6Addr>().map_err(|_| bad())?), bits)
        }
        _ => return Err(bad()),
    };
    Ok((qualifier, mechanism))
}

fn net(text: &str, max: u8) -> Option<(&str, u8)> {
    match text.split_once('/') {
        None => Some((text, max)),
        Some((ip, bits)) => Some((ip, prefix(bits, max)?)),
    }
}

/// RFC 7208 §12: no leading zeros.
fn prefix(digits: &str, max: u8) -> Option<u8> {
    let clean = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|n| clean && *n <= max)
}

type DomainCidr = (Option<Spec>, (u8, u8));

/// `[":" domain-spec] ["/" bits] ["//" bits]`. A slash that no number follows is part of the
/// domain-spec.
fn domain_cidr(rest: &str) -> Option<Result<DomainCidr, String>> {
    let (mut rest, mut cidr) = (rest, (32, 128));
    let digits_at_end = |t: &str| t.len() - t.bytes().rev().take_while(u8::is_ascii_digit).count();
    let at = digits_at_end(rest);
    if at < rest.len() && rest[..at].ends_with("//") {
        cidr.1 = prefix(&rest[at..], 128)?;
        rest = &rest[..at - 2];
    }
    let at = digits_at_end(rest);
    if at < rest.len() && rest[..at].ends_with('/') {
        cidr.0 = prefix(&rest[at..], 32)?;
        rest = &rest[..at - 1];
    }
    if rest.is_empty() {
        return Some(Ok((None, cidr)));
    }
    Some(Spec::domain(rest.strip_prefix(':')?).map(|spec| (Some(spec), cidr)))
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Qualifier::Pass => "+",
            Qualifier::Fail => "-",
            Qualifier::SoftFail => "~",
            Qualifier::Neutral => "?",
        })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |f: &mut fmt::Formatter<'_>, name: &str, spec: &Option<Spec>, cidr: (u8, u8)| {
            f.write_str(name)?;
            if let Some(spec) = spec {
                write!(f, ":{spec}")?;
            }
            if cidr.0 != 32 {
                write!(f, "/{}", cidr.0)?;
            }
            if cidr.1 != 128 {
                write!(f, "//{}", cidr.1)?;
            }
            Ok(())
        };
        match self {
            Mechanism::All => f.write_str("all"),
            Mechanism::Include(spec) => write!(f, "include:{spec}"),
            Mechanism::A(spec, cidr) => with(f, "a", spec, *cidr),
            Mechanism::Mx(spec, cidr) => with(f, "mx", spec, *cidr),
            Mechanism::Ptr(spec) => with(f, "ptr", spec, (32, 128)),
            Mechanism::Ip(IpAddr::V4(ip), 32) => write!(f, "ip4:{ip}"),
            Mechanism::Ip(IpAddr::V4(ip), bits) => write!(f, "ip4:{ip}/{bits}"),
            Mechanism::Ip(IpAddr::V6(ip), 128) => write!(f, "ip6:{ip}"),
            Mechanism::Ip(IpAddr::V6(ip), bits) => write!(f, "ip6:{ip}/{bits}"),
            Mechanism::Exists(spec) => write!(f, "exists:{spec}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, good: bool) {
        assert_eq!(Record::parse(text).is_ok(), good, "{text:?}: {:?}", Record::parse(text));
    }

    #[test]
    fn records_are_checked_whole() {
        check("v=spf1", true);
        check("v=spf1 a mx/24 a:b.example/24//64 ip4:192.0.2.0/24 ip6:2001:db8::/32 ~all", true);
        check("v=spf1 include:%{d}.x.example exists:%{i}._.%{d2r} redirect=a.example exp=e.%{d}", true);
        check("v=spf1 unknown=x%{c} -ALL", true);
        for bad in [
            "a/33",
            "a/",
            "a/024",
            "a//129",
            "a:x",
            "a:x.123",
            "include",
            "include:",
            "all:x",
            "all/8",
            "ip4:1.2.3",
            "ip4:1.2.3.4/33",
            "ip6:::1/129",
            "ip4:::1",
            "ptr/8",
            "exists",
            "nonsense",
            "redirect=",
            "redirect=x.y redirect=x.y",
            "exp=%{c}.x",
            "a:%{z}.x",
            "a:%{d0}.x",
            "a:%x.y",
            "a:x.-y",
            "=x",
            "1a=x",
            "a:x.y%",
        ] {
            check(&format!("v=spf1 {bad}"), false);
        }
    }

    proptest! {
        #[test]
        fn a_mechanism_reads_as_it_prints(text in "[-~?]?(a|mx|a:b\\.c|mx:%\\{d\\}/2|ip4:1\\.2\\.3\\.4/8|ptr|include:x\\.y|all)") {
            let (q, m) = directive(&text).expect("well formed");
            prop_assert_eq!(directive(&format!("{q}{m}")), Ok((q, m)));
        }
        #[test]
        fn any_text_is_read_or_refused(text in "v=spf1 [ -~\u{e9}]{0,60}") {
            let _ = Record::parse(&text);
        }
    }
}
