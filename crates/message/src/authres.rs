//! The Authentication-Results field (RFC 8601): writing and reading.

use std::fmt;

use crate::params::Cursor;

/// Results read of one field.
const RESULTS_MAX: usize = 100;

/// A whole field's value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthResults {
    /// Who says it: the host that checked.
    pub host: String,
    pub results: Vec<MethodResult>,
}

/// One method's result with the facts it rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodResult {
    /// `spf`, `dkim`, `dmarc`, `arc`, `iprev`, `auth`.
    pub method: String,
    /// `pass`, `fail`, `none`, `softfail`, `neutral`, `temperror`, `permerror`, `policy`.
    pub result: String,
    pub reason: Option<String>,
    /// `smtp.mailfrom`, value.
    pub facts: Vec<(String, String)>,
}

impl MethodResult {
    pub fn new(method: &str, result: &str) -> MethodResult {
        MethodResult { method: method.into(), result: result.into(), ..MethodResult::default() }
    }
    pub fn reason(mut self, reason: impl Into<String>) -> MethodResult {
        self.reason = Some(reason.into());
        self
    }
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> MethodResult {
        self.facts.push((name.into(), value.to_string()));
        self
    }
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &v[..])
    }
}

impl fmt::Display for AuthResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        // RFC 8601 §2.2: `none` says that nothing was checked.
        if self.results.is_empty() {
            return f.write_str("; none");
        }
        for r in &self.results {
            write!(f, "; {r}")?;
        }
        Ok(())
    }
}

impl fmt::Display for MethodResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.method, self.result)?;
        if let Some(reason) = &self.reason {
            f.write_str(" reason=\"")?;
            for c in reason.chars().filter(|c| !c.is_control()) {
                if matches!(c, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
            f.write_str("\"")?;
        }
        for (name, value) in &self.facts {
            let token = |c: char| c.is_ascii_graphic() && !"()<>,;:\\\"[]?=".contains(c) || !c.is_ascii();
            if !value.is_empty() && value.chars().all(token) {
                write!(f, " {name}={value}")?;
            } else {
                let clean: String = value.chars().filter(|c| !c.is_control()).collect();
                write!(f, " {name}=\"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""))?;
            }
        }
        Ok(())
    }
}

impl AuthResults {
    /// The field, folded, with its line ending.
    pub fn field(&self) -> String {
        let mut out = format!("Authentication-Results: {}", self.host);
        if self.results.is_empty() {
            out += "; none";
        }
        for r in &self.results {
            let piece = crate::edit::fold("X", &r.to_string());
            out += ";\r\n\t";
            out += piece.trim_start_matches("X: ").trim_end_matches("\r\n");
        }
        out + "\r\n"
    }
    pub fn result(&self, method: &str) -> Option<&MethodResult> {
        self.results.iter().find(|r| r.method.eq_ignore_ascii_case(method))
    }
}

/// RFC 8601 §5: a field that claims to be ours came from outside and must go before we add our
/// own. Also true for one that cannot be read.
pub fn claims_to_be(value: &[u8], host: &str) -> bool {
    parse(value).is_none_or(|r| r.host.eq_ignore_ascii_case(host))
}

/// Reads a field's value. `None` if it has no host name.
pub fn parse(value: &[u8]) -> Option<AuthResults> {
    let mut c = Cursor::new(value);
    c.skip_cfws();
    let host = text(&mut c, |b| b == b';' || b <= 32 || b == b'(')?;
    let mut out = AuthResults { host, results: Vec::new() };
    while out.results.len() < RESULTS_MAX {
        // What stands before the next semicolon is a version number or garbage.
        loop {
            c.skip_cfws();
            match c.peek() {
                None => return Some(out),
                Some(b';') => break,
                Some(b'"') => drop(c.quoted()),
                Some(_) => c.at += 1,
            }
        }
        c.at += 1;
        c.skip_cfws();
        if let Some(result) = method(&mut c) {
            out.results.push(result);
        }
    }
    Some(out)
}

fn text(c: &mut Cursor<'_>, stop: impl Fn(u8) -> bool) -> Option<String> {
    let bytes = if c.peek() == Some(b'"') { c.quoted() } else { c.run(|b| !stop(b)).to_vec() };
    let text = crate::charset::guess(&bytes).into_owned();
    (!text.is_empty()).then_some(text)
}

fn method(c: &mut Cursor<'_>) -> Option<MethodResult> {
    let ends = |b: u8| matches!(b, b'=' | b';' | b'(') || b <= 32;
    let name = text(c, |b| ends(b) || b == b'/')?;
    c.skip_cfws();
    if c.eat(b'/') {
        c.skip_cfws();
        text(c, ends)?;
        c.skip_cfws();
    }
    if !c.eat(b'=') {
        return None;
    }
    c.skip_cfws();
    let mut out = MethodResult::new(&name.to_ascii_lowercase(), &text(c, ends)?.to_ascii_lowercase());
    loop {
        c.skip_cfws();
        if matches!(c.peek(), None | Some(b';')) {
            return Some(out);
        }
        let start = c.at;
        let Some(name) = text(c, ends) else {
            c.at = c.at.max(start + 1);
            continue;
        };
        c.skip_cfws();
        if !c.eat(b'=') {
            continue;
        }
        c.skip_cfws();
        let value = text(c, |b| matches!(b, b';' | b'(') || b <= 32).unwrap_or_default();
        if name.eq_ignore_ascii_case("reason") {
            out.reason = Some(value);
        } else if out.facts.len() < RESULTS_MAX {
            out.facts.push((name.to_ascii_lowercase(), value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &str, expected: &str) {
        let got = parse(input.as_bytes()).map_or("none".into(), |r| r.to_string());
        assert_eq!(got, expected, "{input:?}");
    }

    #[test]
    fn fields_of_others_are_read() {
        // RFC 8601 appendix B.
        check("example.org 1; none", "example.org; none");
        check(
            "example.com;\r\n spf=pass smtp.mailfrom=example.net",
            "example.com; spf=pass smtp.mailfrom=example.net",
        );
        check(
            "example.com; auth=pass (cram-md5) smtp.auth=sender@example.net; spf=pass smtp.mailfrom=example.net",
            "example.com; auth=pass smtp.auth=sender@example.net; spf=pass smtp.mailfrom=example.net",
        );
        check(
            "foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail \
             policy (A dot can go here) . (like that) expired (this surprised me) = (as I wasn't expecting it) \
             1362471462",
            "foo.example.net; dkim=fail expired=1362471462",
        );
        check("", "none");
        check("x; a=b reason=\"c \\\"d\\\"\" e.f=\"g h\"", "x; a=b reason=\"c \\\"d\\\"\" e.f=\"g h\"");
    }

    #[test]
    fn a_forged_field_of_ours_is_known() {
        assert!(claims_to_be(b"Mail.Example; spf=pass", "mail.example"));
        assert!(!claims_to_be(b"other.example; spf=pass", "mail.example"));
        assert!(claims_to_be(b"", "mail.example"));
    }

    #[test]
    fn the_field_is_folded() {
        let r = AuthResults {
            host: "mail.example".into(),
            results: vec![
                MethodResult::new("spf", "pass").with("smtp.mailfrom", "a@b.example"),
                MethodResult::new("dkim", "none").reason("no signature"),
            ],
        };
        assert_eq!(
            r.field(),
            "Authentication-Results: mail.example;\r\n\tspf=pass smtp.mailfrom=a@b.example;\r\n\t\
             dkim=none reason=\"no signature\"\r\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(reason in "[ -~]{1,30}", value in "[ -~]{0,30}", more: bool) {
            let mut r = MethodResult::new("dkim", "pass").with("header.d", &value);
            if more {
                r = r.reason(reason);
            }
            let all = AuthResults { host: "h.example".into(), results: vec![r] };
            prop_assert_eq!(parse(all.to_string().as_bytes()), Some(all));
        }
        #[test]
        fn any_text_is_read(text in "[a;=./\"() \r\n\\\\]{0,60}") {
            parse(text.as_bytes());
        }
    }
}
