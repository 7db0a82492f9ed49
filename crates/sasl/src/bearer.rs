//! OAUTHBEARER (RFC 7628) and XOAUTH2: reading what the client sends. Whether a token is good
//! is asked, not known here.

use stdx::Secret;

use crate::scram::unescape_name;

/// A token and the user it is shown for, if the client named one.
pub struct Bearer {
    pub user: Option<String>,
    pub token: Secret<String>,
}

/// RFC 7628 §3.1: a GS2 header, then `key=value` pairs, each ended by 0x01, and one 0x01 more.
pub fn read_oauthbearer(message: &[u8]) -> Option<Bearer> {
    let text = std::str::from_utf8(message).ok()?;
    let (header, pairs) = text.split_once('\u{1}')?;
    // RFC 7628 §3: channel binding is not used here; `y` and `n` both mean none.
    let rest = header.strip_prefix("n,").or_else(|| header.strip_prefix("y,"))?;
    let authzid = rest.strip_suffix(',')?;
    let user = match authzid {
        "" => None,
        name => Some(unescape_name(name.strip_prefix("a=")?)?),
    };
    Some(Bearer { user, token: read_auth(pairs)? })
}

/// Google's XOAUTH2: `user=` and `auth=` pairs, each ended by 0x01, and one 0x01 more.
pub fn read_xoauth2(message: &[u8]) -> Option<Bearer> {
    let text = std::str::from_utf8(message).ok()?;
    let user = text.split('\u{1}').find_map(|p| p.strip_prefix("user=")).filter(|u| !u.is_empty())?;
    Some(Bearer { user: Some(user.to_owned()), token: read_auth(text)? })
}

fn read_auth(pairs: &str) -> Option<Secret<String>> {
    if !pairs.ends_with("\u{1}\u{1}") {
        return None;
    }
    let auth = pairs.split('\u{1}').find_map(|p| p.strip_prefix("auth="))?;
    let (scheme, token) = auth.split_once(' ')?;
    let token = token.trim();
    // RFC 6750 §2.1: the characters a bearer token may have.
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    let good = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.bytes().all(ok);
    good.then(|| Secret::new(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7628_section_4_1_is_read() {
        let b = read_oauthbearer(
            b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01",
        )
        .expect("valid");
        assert_eq!(b.user.as_deref(), Some("user@example.com"));
        assert_eq!(b.token.reveal(), "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
    }

    #[test]
    fn xoauth2_is_read_and_broken_forms_are_not() {
        let b = read_xoauth2(b"user=bob@x.example\x01auth=Bearer ya29.x\x01\x01").expect("valid");
        assert_eq!((b.user.as_deref(), b.token.reveal().as_str()), (Some("bob@x.example"), "ya29.x"));
        for bad in [
            &b"user=bob\x01auth=Basic x\x01\x01"[..],
            b"auth=Bearer x\x01\x01",
            b"user=b\x01auth=Bearer x",
            b"user=b\x01auth=Bearer x y\x01\x01",
            b"\xff",
        ] {
            assert!(read_xoauth2(bad).is_none(), "{bad:?}");
            assert!(read_oauthbearer(bad).is_none(), "{bad:?}");
        }
    }
}
