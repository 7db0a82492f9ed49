//! Records: what a segment is made of. Each says itself what it is, so that an index can be
//! made again from the segments alone.
//!
//! | at | octets | what |
//! |---|---|---|
//! | 0 | 4 | magic `PRd1` |
//! | 4 | 1 | kind |
//! | 5 | 3 | zero |
//! | 8 | 8 | length of the payload |
//! | 16 | 8 | body id, commit number, or segment number |
//! | 24 | 8 | ms since 1970 |
//! | 32 | 4 | CRC-32 of the payload |
//! | 36 | 4 | CRC-32 of octets 0 to 35 |
//!
//! All numbers are little-endian. The payload follows; the next record follows that.

use stdx::Now;

/// Octets before the payload.
pub(crate) const HEAD: usize = 40;
const MAGIC: &[u8; 4] = b"PRd1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// First in a segment: which one it is, and where the one before it ends.
    Segment = 1,
    /// A body as it came.
    Body = 2,
    /// One group of batches: which bodies it brought, and the rows it changed.
    Commit = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) len: u64,
    pub(crate) id: u64,
    pub(crate) time: Now,
    pub(crate) crc: u32,
}

impl Head {
    pub(crate) fn new(kind: Kind, id: u64, time: Now, payload: &[u8]) -> Head {
        Head { kind, len: payload.len() as u64, id, time, crc: crc32fast::hash(payload) }
    }
    pub(crate) fn encode(&self) -> [u8; HEAD] {
        let mut out = [0; HEAD];
        out[..4].copy_from_slice(MAGIC);
        out[4] = self.kind as u8;
        out[8..16].copy_from_slice(&self.len.to_le_bytes());
        out[16..24].copy_from_slice(&self.id.to_le_bytes());
        out[24..32].copy_from_slice(&self.time.0.to_le_bytes());
        out[32..36].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32fast::hash(&out[..36]);
        out[36..].copy_from_slice(&crc.to_le_bytes());
        out
    }
    /// Reads a head; `None` if these bytes are none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Head> {
        let bytes: &[u8; HEAD] = bytes.first_chunk()?;
        if &bytes[..4] != MAGIC || crc32fast::hash(&bytes[..36]) != u32_at(bytes, 36) {
            return None;
        }
        let kind = match bytes[4] {
            1 => Kind::Segment,
            2 => Kind::Body,
            3 => Kind::Commit,
            _ => return None,
        };
        Some(Head {
            kind,
            len: u64_at(bytes, 8),
            id: u64_at(bytes, 16),
            time: Now(u64_at(bytes, 24)),
            crc: u32_at(bytes, 32),
        })
    }
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The next place at or after `from` where a head stands.
pub(crate) fn find_head(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while at + HEAD <= bytes.len() {
        if bytes[at] == MAGIC[0] && Head::decode(&bytes[at..]).is_some() {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Numbers of one to ten octets, seven bits each, least first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Takes bytes off the front; `None` means that the record is not as it was written.
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..70).step_by(7) {
            let b = self.byte()?;
            n |= u64::from(b & 0x7F).checked_shl(shift)?;
            if b & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.number()? as usize;
        self.fixed(len)
    }
    pub(crate) fn fixed(&mut self, len: usize) -> Option<&'a [u8]> {
        let out = self.0.get(..len)?;
        self.0 = &self.0[len..];
        Some(out)
    }
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_as_it_was_written_and_any_flipped_bit_shows() {
        let head = Head::new(Kind::Body, 77, Now(5), b"hello");
        let bytes = head.encode();
        assert_eq!(Head::decode(&bytes), Some(head));
        for bit in 0..HEAD * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn numbers_read_as_they_were_written() {
        let mut out = Vec::new();
        let all = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        for n in all {
            put_number(&mut out, n);
        }
        let mut take = Take(&out);
        for n in all {
            assert_eq!(take.number(), Some(n));
        }
        assert_eq!(take.number(), None);
    }

    #[test]
    fn a_head_is_found_behind_rubbish() {
        let mut bytes = b"PRd1 rubbish PRd1".to_vec();
        let at = bytes.len();
        bytes.extend_from_slice(&Head::new(Kind::Commit, 1, Now(1), b"").encode());
        assert_eq!(find_head(&bytes, 0), Some(at));
        assert_eq!(find_head(&bytes, at + 1), None);
    }
}
