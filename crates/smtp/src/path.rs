//! Reverse and forward paths: `<>`, `<a@b>`, `<@x,@y:a@b>`, `<postmaster>`.

use words::{Address, AddressError, Domain};

/// A path as read: `None` is the null path.
pub type Path = Option<Address>;

/// Cuts a path off the front of `text`; the rest begins at the parameters.
///
/// A path in brackets ends at the first `>` outside of quotes. One without brackets (some senders
/// forget them) ends at the first blank outside of quotes.
pub fn cut(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let (bracketed, body) = match text.strip_prefix('<') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if bracketed && !quoted => return Some((&body[..at], &body[at + 1..])),
            ' ' | '\t' if !bracketed && !quoted => return Some((&body[..at], &body[at..])),
            _ => {}
        }
    }
    if bracketed || quoted || body.is_empty() { None } else { Some((body, "")) }
}

/// Reads what stood between the brackets. `here` completes `<postmaster>` (RFC 5321 §4.5.1).
pub fn read(inner: &str, here: &Domain) -> Result<Path, AddressError> {
    let inner = inner.trim_matches(' ');
    if inner.is_empty() {
        return Ok(None);
    }
    let mailbox = without_route(inner)?;
    if mailbox.eq_ignore_ascii_case("postmaster") {
        return Address::new(mailbox, here.clone()).map(Some);
    }
    Address::parse(mailbox).map(Some)
}

// RFC 5321 appendix C: a source route must be read and ought to be ignored.
fn without_route(inner: &str) -> Result<&str, AddressError> {
    if !inner.starts_with('@') {
        return Ok(inner);
    }
    let (route, mailbox) = inner.split_once(':').ok_or(AddressError::NoDomain)?;
    for hop in route.split(',') {
        Domain::new(hop.trim().strip_prefix('@').ok_or(AddressError::NoDomain)?)?;
    }
    Ok(mailbox)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Option<(&str, &str)>) {
        let here = Domain::new("mx.example").expect("valid");
        let got = cut(text).and_then(|(inner, rest)| {
            let path = read(inner, &here).ok()?;
            Some((path.map_or_else(|| "<>".to_owned(), |a| a.to_string()), rest.to_owned()))
        });
        assert_eq!(got, want.map(|(a, b)| (a.to_owned(), b.to_owned())), "{text:?}");
    }

    #[test]
    fn paths_are_read_as_peers_write_them() {
        check("<>", Some(("<>", "")));
        check("<a@b.example> SIZE=1", Some(("a@b.example", " SIZE=1")));
        check(" <a@b.example>", Some(("a@b.example", "")));
        check("a@b.example RET=HDRS", Some(("a@b.example", " RET=HDRS")));
        check("<@x.example,@y.example:a@b.example>", Some(("a@b.example", "")));
        check("<\"a>b c\"@b.example>x", Some(("\"a>b c\"@b.example", "x")));
        check("<\"a\\\"b\"@b.example>", Some(("\"a\\\"b\"@b.example", "")));
        check("<Postmaster>", Some(("Postmaster@mx.example", "")));
        check("<a@[192.0.2.1]>", Some(("a@[192.0.2.1]", "")));
        check("<a@[IPv6:2001:db8::1]>", Some(("a@[ipv6:2001:db8::1]", "")));
        check("<jürgen@bücher.example>", Some(("jürgen@xn--bcher-kva.example", "")));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for bad in
            ["", "<a@b.example", "<a>", "<a@>", "<@b.example>", "<a b@c.example>", "<a@b@c..d>", "\"a@b"]
        {
            check(bad, None);
        }
    }
}
