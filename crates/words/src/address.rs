//! Domains and mailbox addresses.

use std::fmt;
use std::str::FromStr;

/// A domain name in ASCII form (A-labels), lower case, without final dot; or an address
/// literal such as `[192.0.2.1]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

/// Why a text is no domain or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressError {
    Empty,
    NoDomain,
    /// RFC 5321 §4.5.3.1.2: a domain has at most 255 octets; a label 63.
    DomainTooLong,
    BadDomain(String),
    /// RFC 5321 §4.5.3.1.1 says 64 octets; real addresses go further, we stop at [`LOCAL_MAX`].
    LocalTooLong,
    BadLocal(String),
}

/// Longest local part taken, in octets. Bounce addresses of large senders pass 64 (VERP, BATV).
pub const LOCAL_MAX: usize = 255;

impl Domain {
    /// Reads a domain as a person or a peer writes it: any case, U-labels or A-labels, with or
    /// without the final dot, or an address literal.
    pub fn new(text: &str) -> Result<Domain, AddressError> {
        if text.starts_with('[') && text.ends_with(']') && text.len() > 2 {
            return literal(text);
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let ascii = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(text).map_err(|_| AddressError::BadDomain(text.to_owned()))?
        };
        if ascii.len() > 255 || ascii.split('.').any(|l| l.len() > 63) {
            return Err(AddressError::DomainTooLong);
        }
        // Underscores are no host names, but they stand in real domains; let them pass.
        let label_ok = |l: &str| {
            !l.is_empty()
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        if !ascii.split('.').all(label_ok) {
            return Err(AddressError::BadDomain(text.to_owned()));
        }
        Ok(Domain(ascii.into()))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }
    /// The address of a literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
    pub fn literal_ip(&self) -> Option<std::net::IpAddr> {
        let inner = self.0.strip_prefix('[')?.strip_suffix(']')?;
        inner.strip_prefix("ipv6:").unwrap_or(inner).parse().ok()
    }
    /// For people: U-labels where they are valid.
    pub fn display(&self) -> String {
        if self.0.contains("xn--") { idna::domain_to_unicode(&self.0).0 } else { self.0.to_string() }
    }
    /// Whether this is `suffix` or a name below it.
    pub fn is_under(&self, suffix: &str) -> bool {
        match self.0.strip_suffix(suffix) {
            Some("") => true,
            Some(rest) => rest.ends_with('.'),
            None => false,
        }
    }
}

fn literal(text: &str) -> Result<Domain, AddressError> {
    let lower = text.to_ascii_lowercase();
    let inner = &lower[1..lower.len() - 1];
    let ok = match inner.strip_prefix("ipv6:") {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => inner.parse::<std::net::Ipv4Addr>().is_ok(),
    };
    if ok { Ok(Domain(lower.into())) } else { Err(AddressError::BadDomain(text.to_owned())) }
}

impl FromStr for Domain {
    type Err = AddressError;
    fn from_str(s: &str) -> Result<Domain, AddressError> {
        Domain::new(s)
    }
}
impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A mailbox address. The local part is kept as it was written (without needless quotes).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    local: Box<str>,
    domain: Domain,
}

impl Address {
    /// From an unquoted local part and a domain.
    pub fn new(local: &str, domain: Domain) -> Result<Address, AddressError> {
        if local.is_empty() {
            return Err(AddressError::Empty);
        }
        if local.len() > LOCAL_MAX {
            return Err(AddressError::LocalTooLong);
        }
        // RFC 5321 §4.1.2: even quoted text holds no control characters.
        if local.chars().any(|c| c.is_control()) {
            return Err(AddressError::BadLocal(local.to_owned()));
        }
        Ok(Address { local: local.into(), domain })
    }
    /// From `local@domain` or `"quoted local"@domain`.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoDomain)?;
        let domain = Domain::new(domain)?;
        if let Some(inner) = local.strip_prefix('"').and_then(|l| l.strip_suffix('"')) {
            return Address::new(&unquote(inner)?, domain);
        }
        let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b) || b >= 0x80;
        if !local.bytes().all(atom) {
            return Err(AddressError::BadLocal(local.to_owned()));
        }
        Address::new(local, domain)
    }
    pub fn local(&self) -> &str {
        &self.local
    }
    pub fn domain(&self) -> &Domain {
        &self.domain
    }
    /// Whether the address needs SMTPUTF8 (RFC 6531).
    pub fn needs_utf8(&self) -> bool {
        !self.local.is_ascii()
    }
    /// The key for look-ups: local part in lower case (as practically every mail host compares it).
    pub fn key(&self) -> String {
        format!("{}@{}", self.local.to_lowercase(), self.domain)
    }
    /// Local part before the first `+`, if there is something before it (RFC 5233 subaddress).
    pub fn base_local(&self) -> &str {
        match self.local.split_once('+') {
            Some((base, _)) if !base.is_empty() => base,
            _ => &self.local,
        }
    }
    pub fn detail(&self) -> Option<&str> {
        match self.local.split_once('+') {
            Some((base, detail)) if !base.is_empty() => Some(detail),
            _ => None,
        }
    }
}

fn unquote(inner: &str) -> Result<String, AddressError> {
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().ok_or_else(|| AddressError::BadLocal(inner.to_owned()))?),
            '"' => return Err(AddressError::BadLocal(inner.to_owned())),
            c => out.push(c),
        }
    }
    Ok(out)
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(s: &str) -> Result<Address, AddressError> {
        Address::parse(s)
    }
}
impl fmt::Display for Address {
    /// As the wire wants it: quoted only where it must be (RFC 5321 §4.1.2).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b) || b >= 0x80;
        let dots_ok =
            !self.local.starts_with('.') && !self.local.ends_with('.') && !self.local.contains("..");
        if self.local.bytes().all(atom) && dots_ok {
            return write!(f, "{}@{}", self.local, self.domain);
        }
        f.write_str("\"")?;
        for c in self.local.chars() {
            if c == '"' || c == '\\' {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "\"@{}", self.domain)
    }
}
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::Empty => f.write_str("it is empty"),
            AddressError::NoDomain => f.write_str("it has no @domain"),
            AddressError::DomainTooLong => {
                f.write_str("its domain is longer than 255 octets or has a label over 63")
            }
            AddressError::BadDomain(d) => write!(f, "\"{d}\" is no domain name"),
            AddressError::LocalTooLong => {
                write!(f, "the part before the @ is longer than {LOCAL_MAX} octets")
            }
            AddressError::BadLocal(l) => write!(f, "\"{l}\" cannot stand before the @ unquoted"),
        }
    }
}
impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_folded_and_checked() {
        for (text, want) in [
            ("Example.ORG.", "example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]"),
        ] {
            assert_eq!(Domain::new(text).expect("valid").as_str(), want);
        }
        for bad in ["", ".", "a..b", "-a.b", "a b", "[300.1.1.1]", "a\r\nb"] {
            assert!(Domain::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_prints_as_it_is_read() {
        for text in [
            "a@b.example",
            "a+tag@b.example",
            "\"a b\"@b.example",
            "\"a\\\"b\"@b.example",
            "jürgen@b.example",
            "\"a..b\"@c.example",
        ] {
            assert_eq!(Address::parse(text).expect("valid").to_string(), text);
        }
    }

    #[test]
    fn a_name_is_under_its_suffix_only_at_a_label() {
        let d = Domain::new("x.mail.protection.outlook.com").expect("valid");
        assert!(d.is_under("mail.protection.outlook.com") && d.is_under("outlook.com"));
        assert!(!d.is_under("protection.outlook.co") && !d.is_under("il.protection.outlook.com"));
    }

    #[test]
    fn a_subaddress_needs_a_base() {
        let a = Address::parse("bob+news@x.example").expect("valid");
        assert_eq!((a.base_local(), a.detail()), ("bob", Some("news")));
        let b = Address::parse("+x@x.example").expect("valid");
        assert_eq!((b.base_local(), b.detail()), ("+x", None));
    }
}
