//! The sender rewriting scheme: mail that we forward leaves with an envelope sender of ours, so that
//! SPF holds at the next host, and a bounce to it finds its way back to who wrote.
//!
//! What it is: writing and reading such addresses (SRS0 for the first forwarder, SRS1 for a further
//! one), keyed and with an end. What it is not: a decision about who forwards. Begin with
//! [`rewritten`] and [`original`].
//!
//! `SRS0=mark=day=domain=local@ours` names the writer; `SRS1=mark=first=rest@ours` names the first
//! forwarder, whose own `SRS0` address stands in the rest and is not checked by us, only by him.

use spool::{Entry, Origin};
use stdx::{Now, Span};
use store::rusqlite::Connection;
use store::{Batch, StoreError};
use words::{Address, Domain, Envelope};

use crate::Site;

/// A bounce comes back within this, or not at all: longer than any host tries.
const HOLDS: Span = Span::days(21);
/// Days are told modulo this: two letters of 32.
const DAYS: u64 = 1024;
/// Letters of the mark: 50 bits.
const MARK: usize = 10;
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The directory's knob that holds the key.
const KNOB: &str = "srs.secret";

/// What mail of the spool leaves with: forwarded mail of others as ours, everything else as it is.
pub fn on_the_wire(site: &Site, entry: &Entry, mut envelope: Envelope) -> Envelope {
    let (Origin::Forwarded { of }, Some(sender)) = (&entry.origin, &envelope.sender) else { return envelope };
    let ours =
        site.store().glance(|conn| Ok(directory::resolve(conn, sender)? != directory::Resolved::NotOurs));
    if ours.unwrap_or(false) {
        return envelope;
    }
    // A key that was made a moment ago may not be seen at a glance.
    let known = match site.store().glance(key) {
        Ok(Some(key)) => Ok(Some(key)),
        _ => site.store().read_now(key),
    };
    if let Ok(Some(key)) = known {
        let fresh = rewritten(&key, sender, of.domain(), entry.at);
        envelope.sender = Some(fresh.unwrap_or_else(|| of.clone()));
    }
    envelope
}

/// The key, if there is one yet.
pub fn key(conn: &Connection) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(directory::knob(conn, KNOB)?.and_then(|text| sasl::decode(text.as_bytes())))
}

/// Makes the key the first time.
pub fn ensure_key(batch: &mut Batch<'_>, fresh: &[u8]) -> Result<(), StoreError> {
    if directory::knob(batch.sql(), KNOB)?.is_none() {
        directory::set_knob(batch, KNOB, Some(&sasl::encode(fresh)))?;
    }
    Ok(())
}

fn mark(key: &[u8], parts: &[&str]) -> String {
    // Local parts are compared without case on the way back: some hosts change it.
    let parts: Vec<String> = parts.iter().map(|p| p.to_ascii_lowercase()).collect();
    let parts: Vec<&[u8]> = parts.iter().map(|p| p.as_bytes()).collect();
    let bytes = sasl::mark(key, &parts);
    bytes.iter().take(MARK).map(|b| char::from(LETTERS[usize::from(b & 31)])).collect()
}

fn day_letters(now: Now) -> String {
    let day = (now.secs() / 86_400) % DAYS;
    [day / 32, day % 32].iter().map(|n| char::from(LETTERS[*n as usize])).collect()
}

fn age(letters: &str, now: Now) -> Option<Span> {
    let mut day = 0;
    for c in letters.bytes() {
        let at = LETTERS.iter().position(|l| *l == c.to_ascii_lowercase())?;
        day = day * 32 + at as u64;
    }
    let today = (now.secs() / 86_400) % DAYS;
    (letters.len() == 2).then(|| Span::days((today + DAYS - day) % DAYS))
}

fn tail<'a>(local: &'a str, tag: &str) -> Option<&'a str> {
    let head = local.get(..tag.len())?;
    let after = local.get(tag.len()..)?;
    (head.eq_ignore_ascii_case(tag)).then(|| after.strip_prefix(['=', '+', '-']))?
}

/// Whether a local part claims to be one of these.
pub fn looks_like(local: &str) -> bool {
    tail(local, "SRS0").is_some() || tail(local, "SRS1").is_some()
}

/// The sender that forwarded mail leaves with. `None`: no such address can be written (it would be
/// too long); the forwarding address itself may stand in for it.
pub fn rewritten(key: &[u8], sender: &Address, ours: &Domain, now: Now) -> Option<Address> {
    let local = sender.local();
    let domain = sender.domain().to_string();
    let fresh = if let Some(rest) = tail(local, "SRS0") {
        // His mark and day stay with him: only he can read them.
        let rest = format!("={rest}");
        format!("SRS1={}={domain}={rest}", mark(key, &["1", &domain, &rest]))
    } else if let Some((_, first, rest)) = tail(local, "SRS1").and_then(apart) {
        format!("SRS1={}={first}={rest}", mark(key, &["1", first, rest]))
    } else {
        let day = day_letters(now);
        format!("SRS0={}={day}={domain}={local}", mark(key, &["0", &day, &domain, local]))
    };
    Address::parse(&format!("{fresh}@{ours}")).ok()
}

/// `mark=first=rest`, where the rest begins with the first forwarder's own separator.
fn apart(text: &str) -> Option<(&str, &str, &str)> {
    let (mark, after) = text.split_once('=')?;
    let (first, rest) = after.split_once('=')?;
    Some((mark, first, rest))
}

/// Who a bounce to such a local part is for; `None` if the mark is not ours or the time is over.
pub fn original(key: &[u8], local: &str, now: Now) -> Option<Address> {
    if let Some(rest) = tail(local, "SRS0") {
        let (given, after) = rest.split_once('=')?;
        let (day, after) = after.split_once('=')?;
        let (domain, name) = after.split_once('=')?;
        let right = mark(key, &["0", day, domain, name]);
        let good = sasl::same(right.as_bytes(), given.to_ascii_lowercase().as_bytes());
        return (good && age(day, now)? <= HOLDS)
            .then(|| Address::parse(&format!("{name}@{domain}")).ok())?;
    }
    let (given, first, rest) = apart(tail(local, "SRS1")?)?;
    let right = mark(key, &["1", first, rest]);
    let good = sasl::same(right.as_bytes(), given.to_ascii_lowercase().as_bytes());
    good.then(|| Address::parse(&format!("SRS0{rest}@{first}")).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"a key of thirty-two octets or so";
    const T: Now = Now::from_secs(1_795_305_600);

    fn address(text: &str) -> Address {
        Address::parse(text).expect("an address")
    }
    fn ours() -> Domain {
        Domain::new("ours.example").expect("a domain")
    }

    #[test]
    fn a_bounce_finds_its_way_back_for_three_weeks() {
        let eve = address("eve+list=x@far.example");
        let sent = rewritten(KEY, &eve, &ours(), T).expect("fits");
        assert!(sent.to_string().starts_with("SRS0=") && sent.domain() == &ours(), "{sent}");
        assert_eq!(original(KEY, sent.local(), T), Some(eve.clone()));
        assert_eq!(original(KEY, &sent.local().to_lowercase(), T + Span::days(21)), Some(eve));
        assert_eq!(original(KEY, sent.local(), T + Span::days(22)), None, "its time is over");
        assert_eq!(original(b"another key", sent.local(), T), None);
    }

    #[test]
    fn nobody_else_can_write_one() {
        let sent = rewritten(KEY, &address("eve@far.example"), &ours(), T).expect("fits");
        for (from, to) in [("far.example", "bank.example"), ("eve", "ceo")] {
            let forged = sent.local().replace(from, to);
            assert_eq!(original(KEY, &forged, T), None, "{forged}");
        }
        for text in [
            "SRS0",
            "SRS0=",
            "SRS0=a=b",
            "SRS0=a=bb=c",
            "SRS1=x=y=z",
            "SRS0=aaaaaaaaaa=aa=d.example=x",
            "bob",
        ] {
            assert_eq!(original(KEY, text, T), None, "{text}");
        }
        assert!(looks_like("srs0=x") && looks_like("SRS1+x") && !looks_like("srs0") && !looks_like("bob"));
    }

    #[test]
    fn a_second_forwarder_leads_back_to_the_first() {
        let first = Domain::new("first.example").expect("a domain");
        let by_first = rewritten(b"his key", &address("eve@far.example"), &first, T).expect("fits");
        let by_us = rewritten(KEY, &by_first, &ours(), T).expect("fits");
        assert!(by_us.local().starts_with("SRS1="), "{by_us}");
        assert_eq!(original(KEY, by_us.local(), T), Some(by_first.clone()));
        // A third one keeps the first, so that addresses do not grow with each hop.
        let third = Domain::new("third.example").expect("a domain");
        let by_third = rewritten(b"third key", &by_us, &third, T).expect("fits");
        assert_eq!(original(b"third key", by_third.local(), T), Some(by_first.clone()));
        assert_eq!(original(b"his key", by_first.local(), T), Some(address("eve@far.example")));
    }
}
