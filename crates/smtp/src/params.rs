//! Parameters of MAIL and RCPT, and the xtext they are written in.

use words::{Body, Notify, Reply, Ret};

/// Parameters of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParams {
    pub size: Option<u64>,
    pub body: Option<Body>,
    pub smtputf8: bool,
    pub requiretls: bool,
    pub ret: Option<Ret>,
    pub envid: Option<String>,
    /// RFC 4954 §5; read, and not believed.
    pub auth: Option<String>,
}

/// Parameters of RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptParams {
    pub notify: Option<Notify>,
    pub orcpt: Option<String>,
}

/// RFC 3461 §4.4: an envelope id has at most 100 characters, encoded.
const ENVID_OCTETS_MAX: usize = 100;
/// RFC 3461 §4.2: an original recipient has at most 500 characters, encoded.
const ORCPT_OCTETS_MAX: usize = 500;

fn bad(what: &str) -> Reply {
    Reply::new(501, (5, 5, 4), format!("The parameter {what} cannot be read"))
}

fn unknown(what: &str) -> Reply {
    // RFC 5321 §4.1.1.11: 555 for a parameter that is not known.
    Reply::new(555, (5, 5, 4), format!("The parameter {} is not supported here", shown(what)))
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

fn set<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), Reply> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Reply::new(501, (5, 5, 4), format!("The parameter {name} stands twice"))),
    }
}

fn words(rest: &str) -> impl Iterator<Item = (&str, String, Option<&str>)> {
    rest.split([' ', '\t']).filter(|w| !w.is_empty()).map(|word| match word.split_once('=') {
        Some((key, value)) => (word, key.to_ascii_uppercase(), Some(value)),
        None => (word, word.to_ascii_uppercase(), None),
    })
}

/// Reads the parameters of MAIL.
pub fn mail(rest: &str) -> Result<MailParams, Reply> {
    let mut got = MailParams::default();
    for (word, key, value) in words(rest) {
        match (key.as_str(), value) {
            ("SIZE", Some(v)) => set(&mut got.size, number(v).ok_or_else(|| bad("SIZE"))?, "SIZE")?,
            ("BODY", Some(v)) => set(&mut got.body, body(v).ok_or_else(|| bad("BODY"))?, "BODY")?,
            ("SMTPUTF8", None) => got.smtputf8 = true,
            ("REQUIRETLS", None) => got.requiretls = true,
            ("RET", Some(v)) => set(&mut got.ret, ret(v).ok_or_else(|| bad("RET"))?, "RET")?,
            ("ENVID", Some(v)) if v.len() <= ENVID_OCTETS_MAX => {
                set(&mut got.envid, unxtext(v).ok_or_else(|| bad("ENVID"))?, "ENVID")?;
            }
            ("AUTH", Some(v)) => set(&mut got.auth, unxtext(v).ok_or_else(|| bad("AUTH"))?, "AUTH")?,
            ("SIZE" | "BODY" | "SMTPUTF8" | "REQUIRETLS" | "RET" | "ENVID" | "AUTH", _) => {
                return Err(bad(&key));
            }
            _ => return Err(unknown(word)),
        }
    }
    Ok(got)
}

/// Reads the parameters of RCPT.
pub fn rcpt(rest: &str) -> Result<RcptParams, Reply> {
    let mut got = RcptParams::default();
    for (word, key, value) in words(rest) {
        match (key.as_str(), value) {
            ("NOTIFY", Some(v)) => set(&mut got.notify, notify(v).ok_or_else(|| bad("NOTIFY"))?, "NOTIFY")?,
            ("ORCPT", Some(v)) if v.len() <= ORCPT_OCTETS_MAX => {
                set(&mut got.orcpt, orcpt(v).ok_or_else(|| bad("ORCPT"))?, "ORCPT")?;
            }
            ("NOTIFY" | "ORCPT", _) => return Err(bad(&key)),
            _ => return Err(unknown(word)),
        }
    }
    Ok(got)
}

/// RFC 1870 §6: up to twenty digits.
pub fn number(text: &str) -> Option<u64> {
    let ok = !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
    if ok { Some(text.parse().unwrap_or(u64::MAX)) } else { None }
}

fn body(text: &str) -> Option<Body> {
    match text.to_ascii_uppercase().as_str() {
        "7BIT" => Some(Body::SevenBit),
        "8BITMIME" => Some(Body::EightBitMime),
        "BINARYMIME" => Some(Body::BinaryMime),
        _ => None,
    }
}

fn ret(text: &str) -> Option<Ret> {
    match text.to_ascii_uppercase().as_str() {
        "FULL" => Some(Ret::Full),
        "HDRS" => Some(Ret::Headers),
        _ => None,
    }
}

fn notify(text: &str) -> Option<Notify> {
    let mut n = Notify::default();
    for word in text.split(',') {
        match word.to_ascii_uppercase().as_str() {
            "NEVER" => n.never = true,
            "SUCCESS" => n.success = true,
            "FAILURE" => n.failure = true,
            "DELAY" => n.delay = true,
            _ => return None,
        }
    }
    // RFC 3461 §4.1: NEVER stands alone.
    if n.never && (n.success || n.failure || n.delay) { None } else { Some(n) }
}

fn orcpt(text: &str) -> Option<String> {
    let (kind, value) = text.split_once(';')?;
    let atom = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if kind.is_empty() || !kind.bytes().all(atom) {
        return None;
    }
    // RFC 6533 §3: utf-8-addr-xtext writes a character as \x{2014}; kept as it came.
    let value = unxtext(value).filter(|v| !v.is_empty())?;
    Some(format!("{kind};{value}"))
}

/// RFC 3461 §4: `+` and two upper-case hex digits stand for an octet. Control characters have no
/// place in what comes out: it is printed into headers later.
pub fn unxtext(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => {
                let (hi, lo) = (bytes.next()? as char, bytes.next()? as char);
                out.push((hi.to_digit(16)? * 16 + lo.to_digit(16)?) as u8);
            }
            b'=' => return None,
            b if b > b' ' && b != 0x7f => out.push(b),
            _ => return None,
        }
    }
    String::from_utf8(out).ok().filter(|s| !s.chars().any(char::is_control))
}

/// The inverse of [`unxtext`].
pub fn xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if (b'!'..=b'~').contains(&b) && b != b'+' && b != b'=' {
            out.push(b as char);
        } else {
            out.push_str(&format!("+{b:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_parameters_are_read_in_any_case() {
        let got =
            mail(" size=1234 Body=8bitmime SMTPUTF8 RET=HDRS ENVID=a+2Bb REQUIRETLS AUTH=<>").expect("valid");
        assert_eq!((got.size, got.body, got.ret), (Some(1234), Some(Body::EightBitMime), Some(Ret::Headers)));
        assert_eq!((got.envid.as_deref(), got.smtputf8, got.requiretls), (Some("a+b"), true, true));
        assert_eq!(got.auth.as_deref(), Some("<>"));
    }

    #[test]
    fn a_wrong_parameter_says_which() {
        for (text, code) in [
            ("SIZE=", 501),
            ("SIZE=1x", 501),
            ("SIZE", 501),
            ("BODY=9BIT", 501),
            ("SIZE=1 SIZE=2", 501),
            ("HOLDFOR=60", 555),
            ("XSHOE=1", 555),
        ] {
            assert_eq!(mail(text).expect_err(text).code, code, "{text}");
        }
        for (text, code) in
            [("NOTIFY=NEVER,DELAY", 501), ("NOTIFY=", 501), ("ORCPT=rfc822", 501), ("SIZE=1", 555)]
        {
            assert_eq!(rcpt(text).expect_err(text).code, code, "{text}");
        }
    }

    #[test]
    fn recipient_parameters_are_decoded() {
        let got = rcpt("NOTIFY=SUCCESS,delay ORCPT=rfc822;Bob+2Bx@example.org").expect("valid");
        let n = got.notify.expect("given");
        assert!(n.success && n.delay && !n.failure && !n.never);
        assert_eq!(got.orcpt.as_deref(), Some("rfc822;Bob+x@example.org"));
    }

    // RFC 3461 §4: xtext may not carry a line break into what we print later.
    #[test]
    fn xtext_cannot_smuggle_a_line_break() {
        assert_eq!(unxtext("a+0D+0Ab"), None);
        assert_eq!(unxtext("+4"), None);
        assert_eq!(unxtext(&xtext("a=b+c ü")).as_deref(), Some("a=b+c ü"));
    }
}
