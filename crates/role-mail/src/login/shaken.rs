//! Log-ins that end before a log-in is said: TLS that could not be agreed on.
//!
//! What it is: reading why a handshake with a mail program failed, so that the record has the cause
//! that its owner can be told; and the words for every cause. What it is not: a judge.

use drive::Why;
use ledger::Fact;

use crate::{Arrival, Site, gate};

/// Records a session that ended in its handshake. Bounded for each address.
pub fn ended(site: &Site, arrival: &Arrival, why: &Why) {
    let Why::TlsFailed(text) = why else { return };
    let Some(cause) = cause(text) else { return };
    let (from, now) = (arrival.peer.ip(), site.now());
    let mut throttle = site.logins().throttle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !throttle.may_record(gate::network(from), now) {
        return;
    }
    let fact = Fact::new("login.failed", now)
        .session(arrival.id)
        .with("front", arrival.front.name())
        .with("port", arrival.local.port())
        .with("from", from.to_canonical().to_string())
        .with("user", "")
        .with("via", "none")
        .with("tls", "none")
        .with("cause", cause)
        .with("says", text.as_str());
    site.aside(fact);
}

/// What a failed handshake means; `None` where it says nothing about a mail program's settings.
fn cause(text: &str) -> Option<&'static str> {
    let has = |marks: &[&str]| marks.iter().any(|mark| text.contains(mark));
    // What is incompatible with TLS 1.2 and its signatures is older; clients of 2010 fail here.
    if has(&["peer is incompatible", "ProtocolVersion"]) {
        Some("tls_too_old")
    } else if has(&[
        "UnknownCA",
        "BadCertificate",
        "CertificateUnknown",
        "CertificateExpired",
        "UnsupportedCertificate",
    ]) {
        Some("certificate")
    } else if text == drive::TLS_TOO_EARLY {
        Some("tls_on_plain_port")
    } else if has(&["InvalidContentType"]) {
        Some("plain_on_tls_port")
    } else {
        None
    }
}

/// What to tell the owner of a mail program, for each cause on record.
pub fn words(cause: &str) -> &'static str {
    match cause {
        "wrong_password" => "the password is wrong",
        "no_such_user" => "there is no such user; is it the whole address?",
        "no_tls" => "TLS is off: switch on STARTTLS or SSL/TLS",
        "mechanism" => "an old way to log in (such as CRAM-MD5): choose \"normal password\" with TLS",
        "port_25" => "sends through port 25: use port 465 (SSL/TLS) or 587 (STARTTLS) and log in",
        "tls_too_old" => "speaks only TLS 1.0 or 1.1: the program or its system must be renewed",
        "certificate" => {
            "does not trust our certificate: is the server's name right, and its list of authorities new?"
        }
        "tls_on_plain_port" => "SSL/TLS on a port for STARTTLS: choose STARTTLS, or port 465, 993 or 995",
        "plain_on_tls_port" => "no TLS on a port that needs it: choose SSL/TLS",
        "no_domain" => "the user name lacks its domain: write the whole address",
        "capitals" => "the user name has capitals: write it in small letters",
        "locked" => "the account is locked",
        "scope" => "an app password that does not open this service",
        "held_off" => "too many wrong passwords from this address; it opens again by itself",
        "no_tokens" => "tokens (OAuth) are not taken here: choose \"normal password\"",
        "acting_as" => "wants to act as another user",
        "busy" | "store" => "could not be checked at that moment",
        _ => "another cause",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_handshake_is_read_for_its_cause() {
        for (text, want) in [
            ("peer is incompatible: Tls12NotOffered", Some("tls_too_old")),
            ("peer is incompatible: SignatureAlgorithmsExtensionRequired", Some("tls_too_old")),
            ("received fatal alert: UnknownCA", Some("certificate")),
            ("received corrupt message of type InvalidContentType", Some("plain_on_tls_port")),
            (drive::TLS_TOO_EARLY, Some("tls_on_plain_port")),
            ("tls handshake eof", None),
            ("the handshake took too long", None),
        ] {
            assert_eq!(cause(text), want, "{text}");
        }
    }
}
