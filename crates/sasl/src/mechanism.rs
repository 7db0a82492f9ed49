//! The mechanisms by name, and which of them to offer.

use std::fmt;

use stdx::TlsFacts;

use crate::scram::Hash;

/// A mechanism we speak, in the order a client should prefer them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    ScramSha256Plus,
    ScramSha256,
    ScramSha1Plus,
    ScramSha1,
    OAuthBearer,
    XOAuth2,
    Plain,
    Login,
}

impl Mechanism {
    pub const ALL: [Mechanism; 8] = [
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha256,
        Mechanism::ScramSha1Plus,
        Mechanism::ScramSha1,
        Mechanism::OAuthBearer,
        Mechanism::XOAuth2,
        Mechanism::Plain,
        Mechanism::Login,
    ];

    /// RFC 4422 §3.1: names are upper case; clients that write them otherwise are understood.
    pub fn parse(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|m| m.name().eq_ignore_ascii_case(name))
    }

    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha1Plus => "SCRAM-SHA-1-PLUS",
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::OAuthBearer => "OAUTHBEARER",
            Mechanism::XOAuth2 => "XOAUTH2",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }

    /// The hash of a SCRAM mechanism.
    pub const fn scram(self) -> Option<Hash> {
        match self {
            Mechanism::ScramSha256Plus | Mechanism::ScramSha256 => Some(Hash::Sha256),
            Mechanism::ScramSha1Plus | Mechanism::ScramSha1 => Some(Hash::Sha1),
            _ => None,
        }
    }

    pub const fn is_plus(self) -> bool {
        matches!(self, Mechanism::ScramSha256Plus | Mechanism::ScramSha1Plus)
    }

    /// Whether a listener on the line learns the secret itself.
    pub const fn shows_the_secret(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::Login | Mechanism::OAuthBearer | Mechanism::XOAuth2)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a listener offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// PLAIN and LOGIN.
    pub passwords: bool,
    /// SCRAM, worth offering only if accounts have keys for it.
    pub scram: bool,
    /// Whether the -PLUS variants are listed. They are always taken from who asks for one by name:
    /// some libraries choose them from a list although they cannot bind the channel.
    pub plus: bool,
    /// OAUTHBEARER and XOAUTH2, worth offering only if somebody can judge tokens.
    pub bearer: bool,
    /// Also where there is no TLS (a trusted network). Off unless the operator says so.
    pub without_tls: bool,
}

impl Default for Offer {
    fn default() -> Offer {
        Offer { passwords: true, scram: true, plus: true, bearer: false, without_tls: false }
    }
}

/// The mechanisms to list on this connection, best first. Without TLS none, unless tolerated:
/// even SCRAM over an open line hands a listener what he needs to guess the password at leisure.
pub fn offered(tls: Option<&TlsFacts>, offer: &Offer) -> Vec<Mechanism> {
    taken(tls, offer).into_iter().filter(|m| offer.plus || !m.is_plus()).collect()
}

/// The mechanisms that are taken when they are asked for, listed or not.
pub fn taken(tls: Option<&TlsFacts>, offer: &Offer) -> Vec<Mechanism> {
    if tls.is_none() && !offer.without_tls {
        return Vec::new();
    }
    let binds = tls.is_some_and(|t| t.exporter.is_some() || t.endpoint.is_some());
    let wanted = |m: &Mechanism| match m {
        Mechanism::ScramSha256Plus | Mechanism::ScramSha1Plus => offer.scram && binds,
        Mechanism::ScramSha256 | Mechanism::ScramSha1 => offer.scram,
        Mechanism::OAuthBearer | Mechanism::XOAuth2 => offer.bearer,
        Mechanism::Plain | Mechanism::Login => offer.passwords,
    };
    Mechanism::ALL.into_iter().filter(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_offered_without_tls_unless_tolerated() {
        assert!(offered(None, &Offer::default()).is_empty());
        let open = offered(None, &Offer { without_tls: true, ..Offer::default() });
        assert_eq!(open.first(), Some(&Mechanism::ScramSha256));
        assert!(!open.iter().any(|m| m.is_plus()));
    }

    #[test]
    fn plus_is_offered_where_the_channel_can_be_bound() {
        let facts = TlsFacts { exporter: Some(vec![1]), ..TlsFacts::default() };
        let names: Vec<_> =
            offered(Some(&facts), &Offer::default()).into_iter().map(Mechanism::name).collect();
        assert_eq!(
            names,
            ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "PLAIN", "LOGIN"]
        );
    }

    #[test]
    fn plus_need_not_be_listed_to_be_taken() {
        let facts = TlsFacts { exporter: Some(vec![1]), ..TlsFacts::default() };
        let quiet = Offer { plus: false, ..Offer::default() };
        assert_eq!(offered(Some(&facts), &quiet).first(), Some(&Mechanism::ScramSha256));
        assert_eq!(taken(Some(&facts), &quiet).first(), Some(&Mechanism::ScramSha256Plus));
    }

    #[test]
    fn every_name_is_read_back() {
        for m in Mechanism::ALL {
            assert_eq!(Mechanism::parse(&m.name().to_lowercase()), Some(m));
        }
        assert_eq!(Mechanism::parse("CRAM-MD5"), None);
    }
}
