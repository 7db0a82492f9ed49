//! SPF macros (RFC 7208 §7).

use std::net::IpAddr;

use stdx::Now;

use crate::spf_record::{Spec, Token};

/// What macros stand for.
pub struct Context<'a> {
    pub ip: IpAddr,
    pub helo: &'a str,
    pub local: &'a str,
    pub sender_domain: &'a str,
    pub domain: &'a str,
    pub receiver: &'a str,
    /// The validated name of the address, or `unknown`.
    pub validated: &'a str,
    pub now: Now,
}

/// Octets an expansion may have; names end at 253, explanations are cut anyway.
const EXPANDED_MAX: usize = 4000;

pub fn expand(spec: &Spec, context: &Context<'_>) -> String {
    let mut out = String::new();
    for token in &spec.tokens {
        match token {
            Token::Text(text) => out.push_str(text),
            Token::Macro { letter, escape, keep, reverse, delimiters } => {
                let value = transform(&value(*letter, context), *keep, *reverse, delimiters);
                if *escape {
                    url_escape(&value, &mut out);
                } else {
                    out.push_str(&value);
                }
            }
        }
        if out.len() > EXPANDED_MAX {
            break;
        }
    }
    out
}

fn value(letter: char, c: &Context<'_>) -> String {
    match letter {
        's' => format!("{}@{}", c.local, c.sender_domain),
        'l' => c.local.to_owned(),
        'o' => c.sender_domain.to_owned(),
        'd' => c.domain.to_owned(),
        'i' => match c.ip {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => {
                let nibbles: Vec<String> =
                    format!("{:032X}", v6.to_bits()).chars().map(String::from).collect();
                nibbles.join(".")
            }
        },
        'p' => c.validated.to_owned(),
        'v' => if c.ip.is_ipv4() { "in-addr" } else { "ip6" }.to_owned(),
        'h' => c.helo.to_owned(),
        'c' => c.ip.to_string(),
        'r' => c.receiver.to_owned(),
        't' => c.now.secs().to_string(),
        _ => String::new(),
    }
}

/// RFC 7208 §7.3: split, turn round, keep the right-hand parts, join with dots.
fn transform(value: &str, keep: usize, reverse: bool, delimiters: &str) -> String {
    if keep == 0 && !reverse && delimiters.is_empty() {
        return value.to_owned();
    }
    let is_delimiter = |c: char| if delimiters.is_empty() { c == '.' } else { delimiters.contains(c) };
    let mut parts: Vec<&str> = value.split(is_delimiter).collect();
    if reverse {
        parts.reverse();
    }
    let from = if keep == 0 { 0 } else { parts.len().saturating_sub(keep) };
    parts[from..].join(".")
}

fn url_escape(value: &str, out: &mut String) {
    for b in value.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(b as char);
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let context = Context {
            ip: "192.0.2.3".parse().expect("valid"),
            helo: "mx.example",
            local: "strong-bad",
            sender_domain: "email.example.com",
            domain: "email.example.com",
            receiver: "here.example",
            validated: "mx.example.org",
            now: Now::from_secs(5),
        };
        let spec = Spec::explanation(text).expect("valid");
        assert_eq!(expand(&spec, &context), expected, "{text}");
    }

    /// RFC 7208 §7.4.
    #[test]
    fn macros_expand_as_the_standard_shows() {
        check("%{s}", "strong-bad@email.example.com");
        check("%{d4}", "email.example.com");
        check("%{d1}", "com");
        check("%{dr}", "com.example.email");
        check("%{d2r}", "example.email");
        check("%{l-}", "strong.bad");
        check("%{l1r-}", "strong");
        check("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com");
        check("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com");
        check("%{S} %%%_%-", "strong-bad%40email.example.com % %20");
        check("%{c} %{r} %{t} %{p}", "192.0.2.3 here.example 5 mx.example.org");
    }
}
