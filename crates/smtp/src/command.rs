//! One line of a client, read into a value.

use words::{Address, Body, Domain, Envelope, Recipient, Reply};

use crate::{params, path};

/// A command whose form is right; whether its time is right, the server machine knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Ehlo(String),
    Helo(String),
    Mail(MailFrom),
    Rcpt(RcptTo),
    Data,
    Bdat {
        size: u64,
        last: bool,
    },
    Rset,
    Noop,
    Quit,
    Vrfy,
    Expn,
    Help,
    StartTls,
    /// Mechanism in upper case; the initial response as it came (base 64 or `=`).
    Auth {
        mechanism: String,
        initial: Option<String>,
    },
    /// Another protocol's first line: a browser or a proxy that was led to this port.
    Foreign,
}

/// MAIL with its path and parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailFrom {
    /// Without recipients.
    pub envelope: Envelope,
    /// Any parameter at all was given; a client that said HELO may give none.
    pub extended: bool,
}

/// RCPT with its path and parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RcptTo {
    pub recipient: Recipient,
    /// The path holds characters beyond ASCII (RFC 6531 §3.4 wants SMTPUTF8 on MAIL then).
    pub beyond_ascii: bool,
    pub extended: bool,
}

/// Longest name taken in EHLO and HELO.
const NAME_OCTETS_MAX: usize = 512;

/// Reads one line without its CR LF. `here` completes `<postmaster>`.
pub fn parse(line: &[u8], here: &Domain) -> Result<Command, Reply> {
    let text = std::str::from_utf8(line)
        .map_err(|_| Reply::new(500, (5, 5, 2), "The line is no UTF-8; mail commands are ASCII or UTF-8"))?;
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Reply::new(500, (5, 5, 2), "The line holds control characters"));
    }
    let text = text.trim_end_matches([' ', '\t']);
    let (verb, rest) = text.split_at(text.find([' ', '\t']).unwrap_or(text.len()));
    let rest = rest.trim_start_matches([' ', '\t']);
    match verb.to_ascii_uppercase().as_str() {
        "EHLO" => name(rest).map(Command::Ehlo),
        "HELO" => name(rest).map(Command::Helo),
        "MAIL" => mail(rest, here).map(Command::Mail),
        "RCPT" => rcpt(rest, here).map(Command::Rcpt),
        "DATA" => alone(rest, "DATA").map(|()| Command::Data),
        "BDAT" => bdat(rest),
        "RSET" => alone(rest, "RSET").map(|()| Command::Rset),
        "NOOP" => Ok(Command::Noop),
        "QUIT" => alone(rest, "QUIT").map(|()| Command::Quit),
        "VRFY" => Ok(Command::Vrfy),
        "EXPN" => Ok(Command::Expn),
        "HELP" => Ok(Command::Help),
        "STARTTLS" => alone(rest, "STARTTLS").map(|()| Command::StartTls),
        "AUTH" => auth(rest),
        "GET" | "POST" | "PUT" | "HEAD" | "CONNECT" | "OPTIONS" | "USER-AGENT:" | "HOST:" => {
            Ok(Command::Foreign)
        }
        _ => Err(Reply::new(500, (5, 5, 1), "The command is not known here")),
    }
}

fn alone(rest: &str, verb: &str) -> Result<(), Reply> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(Reply::new(501, (5, 5, 4), format!("{verb} stands alone on its line")))
    }
}

fn name(rest: &str) -> Result<String, Reply> {
    let word = rest.split([' ', '\t']).next().unwrap_or("");
    if word.is_empty() || word.len() > NAME_OCTETS_MAX {
        return Err(Reply::new(501, (5, 5, 4), "Say your name: EHLO mail.example.org"));
    }
    Ok(word.to_owned())
}

fn after<'a>(rest: &'a str, word: &str) -> Option<&'a str> {
    let head = rest.get(..word.len())?;
    let tail = rest[word.len()..].trim_start_matches([' ', '\t']);
    if head.eq_ignore_ascii_case(word) { tail.strip_prefix(':') } else { None }
}

fn address(
    rest: &str,
    here: &Domain,
    (word, usage, detail): (&str, &str, u16),
) -> Result<(Option<Address>, bool, String), Reply> {
    let tail = after(rest, word).ok_or_else(|| Reply::new(501, (5, 5, 4), format!("Write {usage}")))?;
    let (inner, params) = path::cut(tail).ok_or_else(|| {
        Reply::new(501, (5, 1, detail), format!("The address cannot be read; write {usage}"))
    })?;
    let read = path::read(inner, here)
        .map_err(|why| Reply::new(501, (5, 1, detail), format!("The address cannot be used: {why}")))?;
    Ok((read, !inner.is_ascii(), params.to_owned()))
}

fn mail(rest: &str, here: &Domain) -> Result<MailFrom, Reply> {
    let (sender, beyond_ascii, params) = address(rest, here, ("FROM", "MAIL FROM:<name@example.org>", 7))?;
    let given = params::mail(&params)?;
    // RFC 6531 §3.4: an address beyond ASCII needs the SMTPUTF8 parameter.
    if beyond_ascii && !given.smtputf8 {
        return Err(Reply::new(553, (5, 6, 7), "The address is not ASCII; give the SMTPUTF8 parameter"));
    }
    let envelope = Envelope {
        sender,
        recipients: Vec::new(),
        body: given.body.unwrap_or(Body::SevenBit),
        size: given.size,
        smtputf8: given.smtputf8,
        requiretls: given.requiretls,
        tls_waived: false,
        ret: given.ret,
        envid: given.envid,
    };
    Ok(MailFrom { envelope, extended: !params.trim().is_empty() })
}

fn rcpt(rest: &str, here: &Domain) -> Result<RcptTo, Reply> {
    let (to, beyond_ascii, params) = address(rest, here, ("TO", "RCPT TO:<name@example.org>", 3))?;
    let to = to.ok_or_else(|| Reply::new(501, (5, 1, 3), "A recipient cannot be empty"))?;
    let given = params::rcpt(&params)?;
    let recipient = Recipient { address: to, notify: given.notify, orcpt: given.orcpt };
    Ok(RcptTo { recipient, beyond_ascii, extended: !params.trim().is_empty() })
}

// RFC 3030 §2: BDAT size [LAST].
fn bdat(rest: &str) -> Result<Command, Reply> {
    let wrong = || Reply::new(501, (5, 5, 4), "Write BDAT 1234 or BDAT 1234 LAST");
    let mut words = rest.split([' ', '\t']).filter(|w| !w.is_empty());
    let size = words.next().and_then(params::number).ok_or_else(wrong)?;
    let last = match words.next() {
        None => false,
        Some(w) if w.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(wrong()),
    };
    if words.next().is_some() { Err(wrong()) } else { Ok(Command::Bdat { size, last }) }
}

// RFC 4954 §4: AUTH mechanism [initial-response].
fn auth(rest: &str) -> Result<Command, Reply> {
    let mut words = rest.split([' ', '\t']).filter(|w| !w.is_empty());
    let mechanism = words.next().unwrap_or("").to_ascii_uppercase();
    let ok = (1..=20).contains(&mechanism.len())
        && mechanism.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let initial = words.next().map(str::to_owned);
    if !ok || words.next().is_some() {
        return Err(Reply::new(501, (5, 5, 4), "Write AUTH mechanism [initial-response]"));
    }
    Ok(Command::Auth { mechanism, initial })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, u16> {
        parse(line.as_bytes(), &Domain::new("mx.example").expect("valid")).map_err(|r| r.code)
    }

    #[test]
    fn verbs_are_read_in_any_case_and_with_blanks() {
        assert_eq!(read("ehlo Mail.Example  "), Ok(Command::Ehlo("Mail.Example".into())));
        assert_eq!(read("DaTa"), Ok(Command::Data));
        assert_eq!(read("NOOP anything goes"), Ok(Command::Noop));
        assert_eq!(read("bdat 12 last"), Ok(Command::Bdat { size: 12, last: true }));
        assert_eq!(read("BDAT 0"), Ok(Command::Bdat { size: 0, last: false }));
        assert_eq!(
            read("AUTH plain ="),
            Ok(Command::Auth { mechanism: "PLAIN".into(), initial: Some("=".into()) })
        );
    }

    #[test]
    fn wrong_lines_have_their_codes() {
        for (line, code) in [
            ("", 500),
            ("FOO", 500),
            ("EHLO", 501),
            ("DATA x", 501),
            ("QUIT now", 501),
            ("MAIL a@b.example", 501),
            ("MAIL FROM a@b.example", 501),
            ("MAIL FROM:<a@b.example", 501),
            ("MAIL FROM:<jürgen@b.example>", 553),
            ("RCPT TO:<>", 501),
            ("RCPT FROM:<a@b.example>", 501),
            ("BDAT", 501),
            ("BDAT -1", 501),
            ("BDAT 1 FIRST", 501),
            ("AUTH", 501),
            ("NOOP \u{1}", 500),
        ] {
            assert_eq!(read(line), Err(code), "{line:?}");
        }
        assert_eq!(read("GET / HTTP/1.1"), Ok(Command::Foreign));
    }

    #[test]
    fn mail_and_rcpt_carry_their_parameters() {
        let Ok(Command::Mail(m)) = read("mail from: <a@b.example> size=5 body=8BITMIME") else {
            panic!("mail")
        };
        assert_eq!((m.envelope.size, m.envelope.body, m.extended), (Some(5), Body::EightBitMime, true));
        let Ok(Command::Mail(m)) = read("MAIL FROM:<>") else { panic!("mail") };
        assert_eq!((m.envelope.sender, m.extended), (None, false));
        let Ok(Command::Rcpt(r)) = read("RCPT TO:<\"a b\"@c.example> NOTIFY=NEVER") else { panic!("rcpt") };
        assert_eq!(r.recipient.address.local(), "a b");
        assert!(r.recipient.notify.is_some_and(|n| n.never));
    }
}
