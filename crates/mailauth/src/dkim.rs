//! DKIM (RFC 6376, RFC 8301, RFC 8463): whose signature does the message carry?
//!
//! What it is: [`verify`] for a whole message, [`Verification`] for one that comes in pieces,
//! [`Signer`] for our own mail.
//! What it is not: a judge. A failed signature is no reason to refuse (RFC 6376 §6.3).

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use message::{Field, Head};
use stdx::Now;
use words::Domain;
use world::dns::{Dns, DnsError};

use crate::bodies::{Hashes, Hashing};
use crate::canon::{Canon, header_field};
use crate::keys::{Algorithm, KeyError, Published, RSA_BITS_MIN, SigningKey};
use crate::tags::{Tags, is_blank};

/// Signatures looked at; further ones are not.
pub const SIGNATURES_MAX: usize = 10;
/// Fields a signature may name.
const FIELDS_MAX: usize = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DkimResult {
    Pass,
    /// The message was changed, or the signature is forged.
    Fail,
    /// Valid, but by means that prove nothing (sha1, a short key).
    Policy,
    /// Cannot be understood, or has expired.
    Neutral,
    TempError,
    PermError,
}

impl fmt::Display for DkimResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DkimResult::Pass => "pass",
            DkimResult::Fail => "fail",
            DkimResult::Policy => "policy",
            DkimResult::Neutral => "neutral",
            DkimResult::TempError => "temperror",
            DkimResult::PermError => "permerror",
        })
    }
}

/// The outcome for one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dkim {
    pub result: DkimResult,
    /// Tag d; empty if it could not be read.
    pub domain: String,
    pub selector: String,
    pub algorithm: String,
    /// RFC 6008: the beginning of the signature, to tell several apart.
    pub mark: String,
    pub reason: String,
    /// The domain says it is testing (RFC 6376 §3.6.1 flag y).
    pub testing: bool,
    /// Only the beginning of the body is signed (tag l): text may have been added.
    pub partial: bool,
}

/// A signature's tags, checked (RFC 6376 §3.5). Also serves ARC.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub algorithm: Algorithm,
    pub b: Vec<u8>,
    pub body_hash: Vec<u8>,
    pub head_canon: Canon,
    pub body_canon: Canon,
    pub domain: Domain,
    pub selector: String,
    pub fields: Vec<String>,
    pub identity_domain: Option<String>,
    pub limit: Option<u64>,
    pub expires: Option<u64>,
    pub mark: String,
}

/// Why a signature does not count.
pub(crate) type Refused = (DkimResult, String);

fn neutral(why: impl Into<String>) -> Refused {
    (DkimResult::Neutral, why.into())
}

impl Signature {
    /// Reads the tags that DKIM-Signature and ARC-Message-Signature share; `canon` is what no tag c
    /// means.
    pub fn parse(tags: &Tags, canon: &str) -> Result<Signature, Refused> {
        let bytes = |name: &str| -> Result<Vec<u8>, Refused> {
            let text = tags.dense(name).ok_or_else(|| neutral(format!("tag {name} is missing")))?;
            STANDARD.decode(&text).map_err(|_| neutral(format!("tag {name} is not base64")))
        };
        let (algorithm, domain, selector) = Signature::signer(tags)?;
        let (head_canon, body_canon) = canons(tags.get("c").unwrap_or(canon))?;
        let names = tags.get("h").ok_or_else(|| neutral("tag h is missing"))?.split(':');
        let names = names.map(|f| f.trim_matches(is_blank).to_ascii_lowercase());
        let fields: Vec<String> = names.filter(|f| !f.is_empty()).take(FIELDS_MAX + 1).collect();
        if fields.len() > FIELDS_MAX {
            return Err(neutral("tag h names too many fields"));
        }
        let number = |name: &str| -> Result<Option<u64>, Refused> {
            tags.get(name)
                .map(|v| v.parse().map_err(|_| neutral(format!("tag {name} is no number"))))
                .transpose()
        };
        let (signed_at, expires) = (number("t")?, number("x")?);
        if expires.zip(signed_at).is_some_and(|(x, t)| x < t) {
            return Err(neutral("it expires before it was made"));
        }
        if let Some(methods) = tags.get("q")
            && !methods.split(':').any(|m| m.trim_matches(is_blank) == "dns/txt")
        {
            return Err(neutral("its key is to be fetched in a way we do not know"));
        }
        let mark = tags.dense("b").unwrap_or_default().chars().take(8).collect();
        Ok(Signature {
            algorithm,
            b: bytes("b")?,
            body_hash: bytes("bh")?,
            head_canon,
            body_canon,
            domain,
            selector,
            fields,
            identity_domain: None,
            limit: number("l")?,
            expires,
            mark,
        })
    }

    /// Algorithm, domain and selector; also what ARC-Seal has.
    pub fn signer(tags: &Tags) -> Result<(Algorithm, Domain, String), Refused> {
        let algorithm = match tags.get("a") {
            Some("rsa-sha256") => Algorithm::Rsa,
            Some("ed25519-sha256") => Algorithm::Ed25519,
            // RFC 8301 §3.1.
            Some("rsa-sha1") => return Err((DkimResult::Policy, "sha1 proves nothing any more".into())),
            Some(other) => return Err(neutral(format!("algorithm \"{other}\" is not known"))),
            None => return Err(neutral("tag a is missing")),
        };
        let domain = tags.get("d").ok_or_else(|| neutral("tag d is missing"))?;
        let domain = Domain::new(domain).map_err(|e| neutral(format!("tag d: {e}")))?;
        let selector = tags.get("s").ok_or_else(|| neutral("tag s is missing"))?;
        let selector = Domain::new(selector).map_err(|e| neutral(format!("tag s: {e}")))?;
        Ok((algorithm, domain, selector.as_str().to_owned()))
    }

    /// RFC 6376 §3.7: the signed fields, then the signature's own field without its signature.
    pub fn signed_text(&self, head: &Head<'_>, own: &Field<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let others = head.fields().filter(|f| f.span != own.span);
        put_fields(self.head_canon, others, &self.fields, &mut out);
        header_field(self.head_canon, &without_signature(own.bytes()), &mut out);
        out
    }
}

/// RFC 6376 §5.4.2: of several fields of one name the lowest is signed first.
pub(crate) fn put_fields<'a, S: AsRef<str>>(
    canon: Canon,
    fields: impl Iterator<Item = Field<'a>>,
    names: &[S],
    out: &mut Vec<u8>,
) {
    let mut found: BTreeMap<&[u8], Vec<Field<'a>>> = BTreeMap::new();
    for name in names {
        found.insert(name.as_ref().as_bytes(), Vec::new());
    }
    for field in fields {
        if let Some(list) = found.get_mut(&field.name().to_ascii_lowercase()[..]) {
            list.push(field);
        }
    }
    for name in names {
        if let Some(field) = found.get_mut(name.as_ref().as_bytes()).and_then(Vec::pop) {
            header_field(canon, field.bytes(), out);
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn canons(text: &str) -> Result<(Canon, Canon), Refused> {
    let one = |t: &str| match t {
        "simple" => Ok(Canon::Simple),
        "relaxed" => Ok(Canon::Relaxed),
        _ => Err(neutral(format!("canonical form \"{text}\" is not known"))),
    };
    let (head, body) = text.split_once('/').unwrap_or((text, "simple"));
    Ok((one(head)?, one(body)?))
}

/// RFC 6376 §3.5: the field with the value of its tag b taken out, all else untouched, without
/// its last line ending.
pub(crate) fn without_signature(field: &[u8]) -> Vec<u8> {
    let field = field.strip_suffix(b"\n").map_or(field, |f| f.strip_suffix(b"\r").unwrap_or(f));
    let mut out = Vec::with_capacity(field.len());
    let colon = field.iter().position(|b| *b == b':').map_or(field.len(), |n| n + 1);
    out.extend_from_slice(&field[..colon]);
    for (i, tag) in field[colon..].split(|b| *b == b';').enumerate() {
        if i > 0 {
            out.push(b';');
        }
        let equals = tag.iter().position(|b| *b == b'=');
        match equals.filter(|n| tag[..*n].trim_ascii() == b"b") {
            Some(n) => out.extend_from_slice(&tag[..=n]),
            None => out.extend_from_slice(tag),
        }
    }
    out
}

/// The key at `<selector>._domainkey.<domain>`.
pub(crate) async fn fetch_key(dns: &dyn Dns, domain: &Domain, selector: &str) -> Result<Published, Refused> {
    let name = format!("{selector}._domainkey.{domain}");
    let records = match dns.txt(&name).await {
        Ok(answer) => answer.records,
        Err(DnsError::NoName | DnsError::NoData) => Vec::new(),
        Err(DnsError::Failed(why)) => {
            return Err((DkimResult::TempError, format!("no answer about the key {name}: {why}")));
        }
    };
    let mut problem = format!("there is no key at {name}");
    for text in records.iter().take(SIGNATURES_MAX) {
        match Published::parse(text) {
            Ok(key) => return Ok(key),
            Err(why) => problem = format!("the key at {name} is of no use: {why}"),
        }
    }
    Err((DkimResult::PermError, problem))
}

/// RFC 8301 §3.2 and the key's kind.
pub(crate) fn key_fits(key: &Published, algorithm: Algorithm) -> Result<(), Refused> {
    if key.algorithm != algorithm {
        return Err((DkimResult::PermError, "the key is of another kind than the signature".into()));
    }
    if key.algorithm == Algorithm::Rsa && key.bits < RSA_BITS_MIN {
        return Err((DkimResult::Policy, format!("a key of {} bits proves nothing", key.bits)));
    }
    Ok(())
}

/// Verifies a whole message.
pub async fn verify(dns: &dyn Dns, data: &[u8], now: Now) -> Vec<Dkim> {
    verify_hashed(dns, data, &Hashes::of(data), now).await
}

/// Verifies a message of which the header and the hashes of the body are there.
pub async fn verify_hashed(dns: &dyn Dns, header: &[u8], hashes: &Hashes, now: Now) -> Vec<Dkim> {
    let head = Head::parse(header);
    let mut out = Vec::new();
    for field in head.all("DKIM-Signature").take(SIGNATURES_MAX) {
        let text = String::from_utf8_lossy(field.raw()).into_owned();
        let (tags, parsed) = match Tags::parse(&text) {
            Ok(tags) => {
                let parsed = parse_dkim(&tags);
                (tags, parsed)
            }
            Err(why) => (Tags::default(), Err(neutral(why))),
        };
        let text = |name: &str| tags.get(name).unwrap_or("").to_owned();
        let mut dkim = Dkim {
            result: DkimResult::Neutral,
            domain: text("d").to_ascii_lowercase(),
            selector: text("s"),
            algorithm: text("a"),
            mark: String::new(),
            reason: String::new(),
            testing: false,
            partial: false,
        };
        let checked = match parsed {
            Ok(signature) => {
                dkim.domain = signature.domain.to_string();
                dkim.mark.clone_from(&signature.mark);
                dkim.partial = signature.limit.is_some();
                check(dns, &head, &field, (&signature, hashes), now).await
            }
            Err(refused) => Err(refused),
        };
        (dkim.result, dkim.reason) = match checked {
            Ok(key) => {
                dkim.testing = key.testing;
                (DkimResult::Pass, format!("signed by {} ({} bits)", dkim.domain, key.bits))
            }
            Err(refused) => refused,
        };
        out.push(dkim);
    }
    out
}

fn parse_dkim(tags: &Tags) -> Result<Signature, Refused> {
    if tags.get("v") != Some("1") {
        return Err(neutral("its version is not 1"));
    }
    let mut signature = Signature::parse(tags, "simple/simple")?;
    // RFC 6376 §5.4: From must be signed.
    if !signature.fields.iter().any(|f| f == "from") {
        return Err((DkimResult::PermError, "the From field is not signed".into()));
    }
    // RFC 6376 §3.5: i is within d.
    if let Some(identity) = tags.get("i") {
        let domain = identity.rsplit_once('@').map_or("", |(_, d)| d);
        let domain = Domain::new(domain).map_err(|e| neutral(format!("tag i: {e}")))?;
        if !domain.is_under(signature.domain.as_str()) {
            return Err((DkimResult::PermError, "tag i names another domain than tag d".into()));
        }
        signature.identity_domain = Some(domain.to_string());
    }
    Ok(signature)
}

async fn check(
    dns: &dyn Dns,
    head: &Head<'_>,
    field: &Field<'_>,
    (signature, hashes): (&Signature, &Hashes),
    now: Now,
) -> Result<Published, Refused> {
    if signature.expires.is_some_and(|x| x < now.secs()) {
        return Err(neutral("it has expired"));
    }
    let Some((body_hash, full)) = hashes.get(signature.body_canon, signature.limit) else {
        return Err(neutral("the signatures want the body in too many different forms"));
    };
    if signature.limit.is_some() && !full {
        return Err((DkimResult::Fail, "the body is shorter than what was signed".into()));
    }
    if signature.body_hash != body_hash {
        return Err((DkimResult::Fail, "the body was changed after it was signed".into()));
    }
    let key = fetch_key(dns, &signature.domain, &signature.selector).await?;
    key_fits(&key, signature.algorithm)?;
    if key.strict && signature.identity_domain.as_deref().is_some_and(|d| d != signature.domain.as_str()) {
        return Err((DkimResult::PermError, "the key is not for subdomains".into()));
    }
    if !key.verifies(&signature.signed_text(head, field), &signature.b) {
        return Err((DkimResult::Fail, "the signed fields were changed, or the signature is forged".into()));
    }
    Ok(key)
}

/// Fields we sign if they are there (RFC 6376 §5.4.1), and sign once more than they are there, so
/// that none can be added, where `true`.
const SIGNED: [(&str, bool); 23] = [
    ("from", true),
    ("to", true),
    ("cc", false),
    ("subject", true),
    ("date", true),
    ("message-id", true),
    ("reply-to", false),
    ("sender", false),
    ("in-reply-to", false),
    ("references", false),
    ("mime-version", false),
    ("content-type", false),
    ("content-transfer-encoding", false),
    ("content-language", false),
    ("content-disposition", false),
    ("list-id", false),
    ("list-post", false),
    ("list-unsubscribe", false),
    ("list-unsubscribe-post", false),
    ("auto-submitted", false),
    ("resent-from", false),
    ("resent-to", false),
    ("resent-date", false),
];

/// A domain's key and where its public half stands.
pub struct Signer {
    pub domain: Domain,
    pub selector: String,
    pub key: SigningKey,
}

impl Signer {
    /// Signs a header and a body's hash (of [`Hashing::ours`]). The result is a whole field, to be put
    /// above the header it signs.
    pub fn sign(&self, header: &[u8], body_hash: [u8; 32], now: Now) -> Result<String, KeyError> {
        let head = Head::parse(header);
        let mut names: Vec<&str> = Vec::new();
        for (name, oversign) in SIGNED {
            let times = head.count(name) + usize::from(oversign);
            names.extend(std::iter::repeat_n(name, times.min(FIELDS_MAX / SIGNED.len())));
        }
        let mut field = format!(
            "DKIM-Signature: v=1; a={}; c=relaxed/relaxed;\r\n\td={}; s={}; t={};\r\n\th=",
            self.key.algorithm().name(),
            self.domain,
            self.selector,
            now.secs(),
        );
        let mut column = 3;
        for (i, name) in names.iter().enumerate() {
            let sep = if i == 0 { "" } else { ":" };
            if column + name.len() > 72 {
                field.push_str(sep);
                field.push_str("\r\n\t");
                column = 1;
            } else {
                field.push_str(sep);
            }
            field.push_str(name);
            column += name.len() + 1;
        }
        field.push_str(&format!(";\r\n\tbh={};\r\n\tb=", STANDARD.encode(body_hash)));
        let mut text = Vec::new();
        put_fields(Canon::Relaxed, head.fields(), &names, &mut text);
        header_field(Canon::Relaxed, field.as_bytes(), &mut text);
        let b = STANDARD.encode(self.key.sign(&text)?);
        for (i, piece) in b.as_bytes().chunks(70).enumerate() {
            if i > 0 {
                field.push_str("\r\n\t ");
            }
            field.push_str(&String::from_utf8_lossy(piece));
        }
        field.push_str("\r\n");
        Ok(field)
    }
}

/// Signs a whole message with every key; the fields come one after the other.
pub fn sign_message(signers: &[Signer], data: &[u8], now: Now) -> Result<String, KeyError> {
    let body = Head::parse(data).body_start();
    let mut hashing = Hashing::ours();
    hashing.push(&data[body..]);
    sign_hashed(signers, &data[..body], hashing.finish().relaxed().unwrap_or_default(), now)
}

/// Signs a message of which the header and the body's hash (of [`Hashing::ours`]) are there.
pub fn sign_hashed(
    signers: &[Signer],
    header: &[u8],
    body_hash: [u8; 32],
    now: Now,
) -> Result<String, KeyError> {
    signers.iter().map(|s| s.sign(header, body_hash, now)).collect()
}

#[cfg(test)]
#[path = "dkim_tests.rs"]
mod tests;
