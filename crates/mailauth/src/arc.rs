//! ARC (RFC 8617): what did those who handed the message on see? Verifying only; we do not seal.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use message::{Field, Head};
use stdx::Now;
use world::dns::Dns;

use crate::bodies::Hashes;
use crate::canon::{Canon, header_field};
use crate::dkim::{DkimResult, Signature, fetch_key, key_fits, without_signature};
use crate::tags::Tags;

/// RFC 8617 §4.2.1: instances of one chain.
const INSTANCES_MAX: usize = 50;
/// Fields looked at; a chain of 50 has 150.
const FIELDS_MAX: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArcResult {
    None,
    Pass,
    Fail,
}

impl fmt::Display for ArcResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ArcResult::None => "none",
            ArcResult::Pass => "pass",
            ArcResult::Fail => "fail",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arc {
    pub result: ArcResult,
    pub reason: String,
    /// Who sealed, first to last; only of a chain that passes.
    pub sealers: Vec<String>,
    /// The newest set's ARC-Authentication-Results, without its `i=`: what the last sealer saw.
    pub seen: Option<String>,
    /// RFC 8617 §5.2 step 5: the oldest instance whose message signature still holds; 0 if all do.
    pub oldest_pass: usize,
}

impl Arc {
    fn fail(reason: impl Into<String>) -> Arc {
        Arc {
            result: ArcResult::Fail,
            reason: reason.into(),
            sealers: Vec::new(),
            seen: None,
            oldest_pass: 0,
        }
    }
}

/// The three fields of one instance.
struct Set<'a> {
    results: Field<'a>,
    message: (Field<'a>, Tags),
    seal: (Field<'a>, Tags),
}

/// Verifies the chain of a whole message.
pub async fn verify(dns: &dyn Dns, data: &[u8], now: Now) -> Arc {
    verify_hashed(dns, data, &Hashes::of(data), now).await
}

/// Verifies the chain of a message of which the header and the hashes of the body are there.
pub async fn verify_hashed(dns: &dyn Dns, header: &[u8], hashes: &Hashes, now: Now) -> Arc {
    let head = Head::parse(header);
    let sets = match collect(&head) {
        Ok(sets) if sets.is_empty() => {
            let reason = "the message carries no ARC chain".into();
            return Arc { result: ArcResult::None, reason, sealers: Vec::new(), seen: None, oldest_pass: 0 };
        }
        Ok(sets) => sets,
        Err(why) => return Arc::fail(why),
    };
    match check(dns, hashes, &head, &sets, now).await {
        Ok(arc) => arc,
        Err(why) => Arc::fail(why),
    }
}

/// RFC 8617 §5.2 steps 1 to 3: whole sets, in order, each said to be good by the next.
fn collect<'a>(head: &Head<'a>) -> Result<Vec<Set<'a>>, String> {
    type Slot<'a> = (Option<Field<'a>>, Option<(Field<'a>, Tags)>, Option<(Field<'a>, Tags)>);
    let mut slots: Vec<Slot<'a>> = Vec::new();
    let mut fields = 0;
    for field in head.fields() {
        let which = ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"]
            .iter()
            .position(|n| field.is(n));
        let Some(which) = which else { continue };
        fields += 1;
        if fields > FIELDS_MAX {
            return Err("too many ARC fields".into());
        }
        let text = String::from_utf8_lossy(field.raw()).into_owned();
        let (instance, tags) = if which == 0 {
            let (first, _) = text.split_once(';').unwrap_or((&text, ""));
            let tags = Tags::parse(first).map_err(|_| "an ARC-Authentication-Results without an instance")?;
            (tags.get("i").and_then(instance), Tags::default())
        } else {
            let tags =
                Tags::parse(&text).map_err(|why| format!("an ARC field that cannot be read: {why}"))?;
            (tags.get("i").and_then(instance), tags)
        };
        let index = instance.ok_or("an ARC field without a valid instance")?;
        if slots.len() < index {
            slots.resize_with(index, Slot::default);
        }
        let slot = &mut slots[index - 1];
        let twice = match which {
            0 => slot.0.replace(field).is_some(),
            1 => slot.1.replace((field, tags)).is_some(),
            _ => slot.2.replace((field, tags)).is_some(),
        };
        if twice {
            return Err(format!("instance {index} has a field twice"));
        }
    }
    let mut sets = Vec::new();
    for (i, slot) in slots.into_iter().enumerate() {
        let (Some(results), Some(message), Some(seal)) = slot else {
            return Err(format!("instance {} is not whole", i + 1));
        };
        let wanted = if i == 0 { "none" } else { "pass" };
        if !seal.1.get("cv").is_some_and(|cv| cv.eq_ignore_ascii_case(wanted)) {
            return Err(format!("instance {} does not say cv={wanted}", i + 1));
        }
        sets.push(Set { results, message, seal });
    }
    Ok(sets)
}

fn instance(text: &str) -> Option<usize> {
    let clean = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| clean && (1..=INSTANCES_MAX).contains(n))
}

async fn check(
    dns: &dyn Dns,
    hashes: &Hashes,
    head: &Head<'_>,
    sets: &[Set<'_>],
    now: Now,
) -> Result<Arc, String> {
    let last = sets.len();
    // Step 4: the newest message signature must hold; step 5: older ones tell how far back.
    message_signature(dns, hashes, head, &sets[last - 1], now)
        .await
        .map_err(|why| format!("the message signature of instance {last}: {why}"))?;
    let mut oldest_pass = 0;
    for i in (0..last - 1).rev() {
        if message_signature(dns, hashes, head, &sets[i], now).await.is_err() {
            oldest_pass = i + 2;
            break;
        }
    }
    // Step 6: every seal.
    let mut sealers = Vec::new();
    for i in 0..last {
        let domain =
            seal(dns, &sets[..=i]).await.map_err(|why| format!("the seal of instance {}: {why}", i + 1))?;
        sealers.push(domain);
    }
    let seen = String::from_utf8_lossy(&sets[last - 1].results.unfolded()).into_owned();
    let seen = seen.split_once(';').map(|(_, rest)| rest.trim().to_owned());
    let reason = format!("sealed by {}", sealers.join(", "));
    Ok(Arc { result: ArcResult::Pass, reason, sealers, seen, oldest_pass })
}

/// RFC 8617 §4.1.2.
async fn message_signature(
    dns: &dyn Dns,
    hashes: &Hashes,
    head: &Head<'_>,
    set: &Set<'_>,
    now: Now,
) -> Result<(), String> {
    let (field, tags) = &set.message;
    let signature = Signature::parse(tags, "relaxed/relaxed").map_err(|(_, why)| why)?;
    if signature.fields.iter().any(|f| f == "arc-seal") {
        return Err("it signs a seal".into());
    }
    if signature.expires.is_some_and(|x| x < now.secs()) {
        return Err("it has expired".into());
    }
    let (hash, _) = hashes
        .get(signature.body_canon, signature.limit)
        .ok_or("the signatures want the body in too many different forms")?;
    if signature.body_hash != hash {
        return Err("the body was changed".into());
    }
    let key = fetch_key(dns, &signature.domain, &signature.selector).await.map_err(|(_, why)| why)?;
    key_fits(&key, signature.algorithm).map_err(|(_, why)| why)?;
    if key.verifies(&signature.signed_text(head, field), &signature.b) {
        Ok(())
    } else {
        Err("the signed fields were changed".into())
    }
}

/// RFC 8617 §5.1.1: a seal signs every set up to its own, each as results, signature, seal.
async fn seal(dns: &dyn Dns, sets: &[Set<'_>]) -> Result<String, String> {
    let Some(own) = sets.last() else { return Err("there is none".into()) };
    let tags = &own.seal.1;
    if tags.get("h").is_some() || tags.get("bh").is_some() {
        return Err("it has a tag that seals may not have".into());
    }
    let (algorithm, domain, selector) = Signature::signer(tags).map_err(|(_, why)| why)?;
    if tags.get("t").is_some_and(|t| t.parse::<u64>().is_err()) {
        return Err("tag t is no number".into());
    }
    let b = tags.dense("b").and_then(|b| STANDARD.decode(b).ok()).ok_or("tag b is not base64")?;
    let mut text = Vec::new();
    for (i, set) in sets.iter().enumerate() {
        header_field(Canon::Relaxed, set.results.bytes(), &mut text);
        text.extend_from_slice(b"\r\n");
        header_field(Canon::Relaxed, set.message.0.bytes(), &mut text);
        text.extend_from_slice(b"\r\n");
        if i + 1 == sets.len() {
            header_field(Canon::Relaxed, &without_signature(set.seal.0.bytes()), &mut text);
        } else {
            header_field(Canon::Relaxed, set.seal.0.bytes(), &mut text);
            text.extend_from_slice(b"\r\n");
        }
    }
    let key = fetch_key(dns, &domain, &selector).await.map_err(|(result, why)| match result {
        DkimResult::TempError => format!("{why} (try later)"),
        _ => why,
    })?;
    key_fits(&key, algorithm).map_err(|(_, why)| why)?;
    if key.verifies(&text, &b) { Ok(domain.to_string()) } else { Err("the chain was changed".into()) }
}
