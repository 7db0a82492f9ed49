//! Messages for browsers and phones: Web Push, sealed for the reader (RFC 8291) and signed by us
//! (RFC 8292); and the signature of our own web-hooks. Nothing is sent here: these make an
//! [`Ask`] that [`crate::fetch()`] carries.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use ring::{hkdf, hmac};
use stdx::{Now, Span};

use crate::{Ask, Url};

/// RFC 8030 §7.2: a push service need not take more than 4096 bytes; this much text fits.
pub const TEXT_BYTES_MAX: usize = 3993;
/// RFC 8188 §2: the record size we announce; there is one record.
const RECORD_BYTES: u32 = 4096;
/// RFC 8292 §2: a token may be good for a day at most.
const TOKEN_FOR: Span = Span::hours(12);

/// A reader's subscription, as the browser's `PushSubscription` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub endpoint: Url,
    /// `p256dh`: the reader's public key, 65 bytes.
    pub key: Vec<u8>,
    /// `auth`: 16 bytes.
    pub auth: Vec<u8>,
}

impl Subscription {
    /// `endpoint p256dh auth`, the last two in base64url.
    pub fn parse(text: &str) -> Result<Subscription, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [endpoint, key, auth] = words[..] else {
            return Err("a push subscription is its endpoint, p256dh and auth, with spaces between".into());
        };
        let decode = |text: &str| B64.decode(text.trim_end_matches('=')).map_err(|e| format!("{text}: {e}"));
        let (endpoint, key, auth) = (Url::parse(endpoint)?, decode(key)?, decode(auth)?);
        if key.len() != 65 || auth.len() != 16 {
            return Err("p256dh must be 65 bytes and auth 16".into());
        }
        Ok(Subscription { endpoint, key, auth })
    }
}

/// Our own key towards push services.
pub struct Vapid {
    pair: EcdsaKeyPair,
    /// `mailto:` or `https:` of whoever runs this.
    contact: String,
}

impl Vapid {
    /// A new key as PKCS#8, to be kept secret.
    pub fn generate() -> Option<Vec<u8>> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        made.ok().map(|der| der.as_ref().to_vec())
    }
    pub fn new(pkcs8: &[u8], contact: &str) -> Option<Vapid> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new()).ok()?;
        Some(Vapid { pair, contact: contact.to_owned() })
    }
    /// What a page gives to `pushManager.subscribe` as `applicationServerKey`.
    pub fn public(&self) -> String {
        B64.encode(self.pair.public_key().as_ref())
    }

    // RFC 8292 §2: a JWT for the push service's origin, signed with ES256.
    fn token(&self, endpoint: &Url, now: Now) -> Option<String> {
        let claims = format!(
            "{{\"aud\":\"{}\",\"exp\":{},\"sub\":\"{}\"}}",
            endpoint.origin(),
            (now + TOKEN_FOR).secs(),
            self.contact.replace(['"', '\\'], "")
        );
        let said = format!("{}.{}", B64.encode("{\"typ\":\"JWT\",\"alg\":\"ES256\"}"), B64.encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), said.as_bytes()).ok()?;
        Some(format!("{said}.{}", B64.encode(signature.as_ref())))
    }
}

/// The question that puts `text` before the reader; `None` if the subscription's key is none or
/// the text is too long.
pub fn ask(to: &Subscription, vapid: &Vapid, text: &[u8], now: Now) -> Option<Ask> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let token = vapid.token(&to.endpoint, now)?;
    let ask = Ask::post(to.endpoint.clone(), "application/octet-stream", seal(to, text)?)
        .header("Content-Encoding", "aes128gcm")
        .header("TTL", "86400")
        .header("Urgency", "high")
        .header("Authorization", &format!("vapid t={token}, k={}", vapid.public()));
    Some(ask)
}

fn seal(to: &Subscription, text: &[u8]) -> Option<Vec<u8>> {
    let random = SystemRandom::new();
    let mut salt = [0; 16];
    random.fill(&mut salt).ok()?;
    let ours = EphemeralPrivateKey::generate(&ECDH_P256, &random).ok()?;
    let public = ours.compute_public_key().ok()?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, &to.key);
    agreement::agree_ephemeral(ours, &theirs, |secret| sealed(to, secret, public.as_ref(), &salt, text))
        .ok()
        .flatten()
}

struct Len(usize);
impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    let made = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    made.expand(&[info], Len(N)).ok()?.fill(&mut out).ok()?;
    Some(out)
}

// RFC 8291 §3.4 and RFC 8188 §2.2: two steps of HKDF, then one record of AES-128-GCM behind a
// header of salt, record size and our public key.
fn sealed(to: &Subscription, secret: &[u8], ours: &[u8], salt: &[u8; 16], text: &[u8]) -> Option<Vec<u8>> {
    let info = [b"WebPush: info\0", &to.key[..], ours].concat();
    let key: [u8; 32] = derive(&to.auth, secret, &info)?;
    let content: [u8; 16] = derive(salt, &key, b"Content-Encoding: aes128gcm\0")?;
    let nonce: [u8; 12] = derive(salt, &key, b"Content-Encoding: nonce\0")?;
    // RFC 8188 §2: 2 marks the last record.
    let mut record = [text, &[2]].concat();
    let cipher = LessSafeKey::new(UnboundKey::new(&aead::AES_128_GCM, &content).ok()?);
    cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record).ok()?;
    let mut out = salt.to_vec();
    out.extend_from_slice(&RECORD_BYTES.to_be_bytes());
    out.push(u8::try_from(ours.len()).ok()?);
    out.extend_from_slice(ours);
    out.extend_from_slice(&record);
    Some(out)
}

/// The value of `X-Postroad-Signature` on our web-hooks: the time and an HMAC-SHA-256 over the
/// time, a full stop and the body, so that an old message cannot be played again.
pub fn hook_signature(secret: &str, body: &[u8], now: Now) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut said = format!("{}.", now.secs()).into_bytes();
    said.extend_from_slice(body);
    let tag = hmac::sign(&key, &said);
    let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("t={},v1={hex}", now.secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey as Verifier};

    fn decode(text: &str) -> Vec<u8> {
        B64.decode(text).expect("base64url")
    }

    // RFC 8291 appendix A.
    #[test]
    fn the_example_of_the_standard_comes_out() {
        let to = Subscription {
            endpoint: Url::parse("https://push.example.net/push/x").expect("a URL"),
            key: decode(
                "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            ),
            auth: decode("BTBZMqHH6r4Tts7J_aSIgg"),
        };
        let ours =
            decode("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8");
        let salt: [u8; 16] = decode("DGv6ra1nlYgDCS1FRnbzlw").try_into().expect("16 bytes");
        let secret = decode("kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs");
        let body = sealed(&to, &secret, &ours, &salt, b"When I grow up, I want to be a watermelon");
        let want = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        assert_eq!(body.map(|b| B64.encode(b)).as_deref(), Some(want));
    }

    #[test]
    fn a_reader_can_open_what_was_sealed_and_check_who_sent_it() {
        let random = SystemRandom::new();
        let theirs = EphemeralPrivateKey::generate(&ECDH_P256, &random).expect("a key");
        let key = theirs.compute_public_key().expect("a key").as_ref().to_vec();
        let auth = vec![7; 16];
        let endpoint = Url::parse("https://push.example:444/abc").expect("a URL");
        let to = Subscription { endpoint, key: key.clone(), auth: auth.clone() };
        let vapid = Vapid::new(&Vapid::generate().expect("a key"), "mailto:op@example.org").expect("a key");
        let asked = ask(&to, &vapid, b"mail does not flow", Now::from_secs(1_000_000)).expect("sealed");

        let (salt, ours, record) = (&asked.body[..16], &asked.body[21..86], &asked.body[86..]);
        let opened =
            agreement::agree_ephemeral(theirs, &UnparsedPublicKey::new(&ECDH_P256, ours), |secret| {
                let info = [b"WebPush: info\0", &key[..], ours].concat();
                let ikm: [u8; 32] = derive(&auth, secret, &info).expect("derived");
                let content: [u8; 16] =
                    derive(salt, &ikm, b"Content-Encoding: aes128gcm\0").expect("derived");
                let nonce: [u8; 12] = derive(salt, &ikm, b"Content-Encoding: nonce\0").expect("derived");
                let cipher = LessSafeKey::new(UnboundKey::new(&aead::AES_128_GCM, &content).expect("a key"));
                let mut record = record.to_vec();
                let nonce = Nonce::assume_unique_for_key(nonce);
                cipher.open_in_place(nonce, Aad::empty(), &mut record).expect("it opens").to_vec()
            });
        assert_eq!(opened.expect("agreed"), b"mail does not flow\x02");

        let (_, value) = asked.headers.iter().find(|(n, _)| n == "Authorization").expect("signed");
        let (token, public) =
            value.strip_prefix("vapid t=").and_then(|v| v.split_once(", k=")).expect("RFC 8292");
        let (said, signature) = token.rsplit_once('.').expect("a JWT");
        Verifier::new(&ECDSA_P256_SHA256_FIXED, decode(public))
            .verify(said.as_bytes(), &decode(signature))
            .expect("the signature fits");
        let claims = String::from_utf8(decode(said.split_once('.').expect("a JWT").1)).expect("text");
        assert_eq!(
            claims,
            "{\"aud\":\"https://push.example:444\",\"exp\":1043200,\"sub\":\"mailto:op@example.org\"}"
        );
        assert!(ask(&to, &vapid, &[0; TEXT_BYTES_MAX + 1], Now(0)).is_none());
    }

    #[test]
    fn a_hooks_signature_covers_time_and_body() {
        let at = Now::from_secs(5);
        let one = hook_signature("s", b"{}", at);
        assert!(one.starts_with("t=5,v1=") && one.len() == 7 + 64, "{one}");
        assert_ne!(one, hook_signature("s", b"{ }", at));
        assert_ne!(one[7..], hook_signature("s", b"{}", Now::from_secs(6))[7..]);
    }

    #[test]
    fn a_subscription_is_read_or_refused() {
        let key = B64.encode([4; 65]);
        assert!(Subscription::parse(&format!("https://p.example/x {key} {}", B64.encode([1; 16]))).is_ok());
        for bad in ["", "https://p.example/x a b", "x y z"] {
            assert!(Subscription::parse(bad).is_err(), "{bad}");
        }
    }
}
