//! Messages that came as literal8: a part with NULs in it is kept in base64, since IMAP can show
//! no NUL in BODY[…] (RFC 3516 §4.4: a server may change the transfer encoding on APPEND).
//!
//! BINARY[…] gives the same octets back that were sent. Messages without NULs are not touched.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use message::mime::{Kind, Structure};
use message::transfer::Encoding;

/// Octets of content in one line of base64: 76 characters (RFC 2045 §6.8).
const LINE: usize = 57;
/// Longer messages are kept as they are.
pub(super) const LEN_MAX: u64 = 32 << 20;

/// The message with its NUL-bearing parts in base64; nothing if it can be kept as it is.
pub(super) fn storable(data: &[u8]) -> Option<Vec<u8>> {
    if !data.contains(&0) {
        return None;
    }
    let structure = Structure::of(data);
    let mut parts: Vec<_> = structure
        .parts()
        .iter()
        .filter(|p| p.kind == Kind::Leaf && p.encoding == Encoding::Identity)
        .filter(|p| data.get(p.body.clone()).is_some_and(|body| body.contains(&0)))
        .collect();
    parts.sort_by_key(|p| p.head.start);
    let (mut out, mut at) = (Vec::with_capacity(data.len() * 3 / 2), 0);
    for part in &parts {
        if part.head.start < at || part.body.start < part.head.end {
            continue;
        }
        out.extend_from_slice(&data[at..part.head.start]);
        head(&mut out, &data[part.head.clone()]);
        out.extend_from_slice(&data[part.head.end..part.body.start]);
        for line in data[part.body.clone()].chunks(LINE) {
            out.extend_from_slice(STANDARD.encode(line).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        at = part.body.end;
    }
    out.extend_from_slice(&data[at..]);
    (!parts.is_empty()).then_some(out)
}

/// The header with its transfer encoding replaced.
fn head(out: &mut Vec<u8>, head: &[u8]) {
    const FIELD: &[u8] = b"content-transfer-encoding";
    const NEW: &[u8] = b"Content-Transfer-Encoding: base64\r\n";
    let (mut dropped, mut said) = (false, false);
    for line in head.split_inclusive(|&b| b == b'\n') {
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        let empty = matches!(line, b"\r\n" | b"\n");
        if !folded {
            let name = line.split(|&b| b == b':').next().unwrap_or_default().trim_ascii();
            dropped = name.eq_ignore_ascii_case(FIELD);
        }
        if (dropped && !folded || empty) && !said {
            out.extend_from_slice(NEW);
            said = true;
        }
        if !dropped {
            out.extend_from_slice(line);
        }
    }
    if !said {
        out.extend_from_slice(NEW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_with_nuls_is_kept_in_base64_and_comes_back() {
        let data = b"Mime-Version: 1.0\r\nContent-Type: application/octet-stream\r\n\
Content-Transfer-Encoding: binary\r\nSubject: x\r\n\r\n\0a\0";
        let kept = storable(data).unwrap();
        let want = "Mime-Version: 1.0\r\nContent-Type: application/octet-stream\r\n\
Content-Transfer-Encoding: base64\r\nSubject: x\r\n\r\nAGEA\r\n";
        assert_eq!(String::from_utf8(kept).unwrap(), want);
    }

    #[test]
    fn other_parts_and_other_messages_keep_every_octet() {
        assert_eq!(storable(b"Subject: x\r\n\r\nplain"), None);
        let data = b"Mime-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\
Content-Type: a/b\r\n\r\n\0\0\r\n--b--\r\n";
        let kept = storable(data).unwrap();
        assert!(!kept.contains(&0));
        let structure = Structure::of(&kept);
        assert_eq!(structure.parts().len(), 3);
        let part = &structure.parts()[2];
        assert_eq!(message::transfer::decode(part.encoding, &kept[part.body.clone()]), b"\0\0");
        assert!(kept.windows(12).any(|w| w == b"\r\n\r\none\r\n--b"));
    }
}
