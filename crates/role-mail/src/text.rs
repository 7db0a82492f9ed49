//! The text of a message while it comes in.
//!
//! What it is: a short text stands in memory. Of a long one only the header does; its body goes to
//! the store as it comes, with room left above it for the header as it will be, and is hashed on
//! the way for those who verify or sign it. So a message of 50 MiB takes no more memory than one of
//! 300 KiB. What it is not: the store's draft of it (that is made by [`Text::seal`]).
//! Begin with [`Text::push`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mailauth::bodies::{Hashes, Hashing};
use message::Head;
use sha2::{Digest, Sha256};
use store::{Sealed, Store, StoreError};

/// Octets of texts that all sessions together may hold in memory.
const TEXTS_MAX: u64 = 256 << 20;
/// A text longer than this goes to the disk as it comes, once its header is whole.
const HELD_MAX: usize = 256 << 10;
/// Room for the fields we put on top, beside the header as it came. More is copied.
const TRACE_ROOM: u64 = 16 << 10;
/// A long text is read back in pieces of this size.
const PIECE: usize = 256 << 10;

/// Counts the octets of texts in memory. Cheap to clone.
#[derive(Clone, Default)]
pub struct Texts(Arc<AtomicU64>);

/// Octets counted; given back when dropped.
#[derive(Default)]
pub struct Share {
    texts: Texts,
    octets: u64,
}

impl Share {
    /// None of a count yet.
    pub fn none(texts: &Texts) -> Share {
        Share { texts: texts.clone(), octets: 0 }
    }
    /// Counts `octets` instead of what was; false if that is too much.
    pub fn set(&mut self, octets: usize) -> bool {
        let octets = octets as u64;
        let before = if octets >= self.octets {
            self.texts.0.fetch_add(octets - self.octets, Ordering::Relaxed)
        } else {
            self.texts.0.fetch_sub(self.octets - octets, Ordering::Relaxed)
        };
        let all = (before + octets).saturating_sub(self.octets);
        let fits = octets <= self.octets || all <= TEXTS_MAX;
        self.octets = octets;
        fits
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.texts.0.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

/// What will be asked of the body once it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Whether the signatures it came with hold.
    Verify,
    /// A signature of our own.
    Sign,
}

/// Why a text is not taken any further.
#[derive(Debug)]
pub enum Refused {
    /// All sessions together hold too much.
    TooMuch,
    Store(StoreError),
}

/// The text of one message.
pub struct Text {
    /// The whole text, or (once the body is in the store) its header with the empty line.
    held: Vec<u8>,
    /// Of a long text.
    body: Option<Box<Body>>,
    purpose: Purpose,
    len: u64,
    hash: Sha256,
    /// Whether the header is whole is looked at again at this length.
    next_look: usize,
    share: Share,
}

enum Body {
    Coming(Option<store::Draft>, Hashing),
    Whole(Option<store::Draft>, Hashes),
    /// A first copy is sealed: the `n`th of the commit's bodies, with the body from this octet.
    Sealed {
        n: usize,
        from: u64,
        hashes: Hashes,
    },
}

impl Text {
    pub fn new(texts: &Texts, purpose: Purpose) -> Text {
        Text {
            held: Vec::new(),
            body: None,
            purpose,
            len: 0,
            hash: Sha256::new(),
            next_look: HELD_MAX,
            share: Share::none(texts),
        }
    }

    /// Takes the next piece.
    pub async fn push(&mut self, store: &Store, piece: Vec<u8>) -> Result<(), Refused> {
        self.len += piece.len() as u64;
        self.hash.update(&piece);
        if let Some(Body::Coming(Some(draft), hashing)) = self.body.as_deref_mut() {
            hashing.push(&piece);
            return draft.write(&piece).await.map_err(Refused::Store);
        }
        if !self.share.set(self.held.len() + piece.len()) {
            return Err(Refused::TooMuch);
        }
        if self.held.is_empty() {
            self.held = piece;
        } else {
            self.held.extend_from_slice(&piece);
        }
        if self.held.len() > self.next_look {
            self.next_look = self.held.len() * 2;
            self.stream(store).await?;
        }
        Ok(())
    }

    /// Sends the body on to the store, if the header is whole.
    async fn stream(&mut self, store: &Store) -> Result<(), Refused> {
        let head = Head::parse(&self.held);
        if !head.is_closed() {
            return Ok(());
        }
        let body = self.held.split_off(head.body_start());
        let mut hashing = match self.purpose {
            Purpose::Verify => Hashing::wanted(&self.held),
            Purpose::Sign => Hashing::ours(),
        };
        hashing.push(&body);
        let mut draft = store.draft_behind(self.held.len() as u64 + TRACE_ROOM);
        draft.write(&body).await.map_err(Refused::Store)?;
        drop(body);
        self.held.shrink_to_fit();
        self.share.set(self.held.len());
        self.body = Some(Box::new(Body::Coming(Some(draft), hashing)));
        Ok(())
    }

    /// No more will come.
    pub fn end(&mut self) {
        let ended = match self.body.take().map(|b| *b) {
            Some(Body::Coming(draft, hashing)) => Some(Body::Whole(draft, hashing.finish())),
            other => other,
        };
        self.body = ended.map(Box::new);
    }

    /// Octets as they came.
    pub fn len(&self) -> u64 {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The header; what follows it here is the body or nothing.
    pub fn header(&self) -> &[u8] {
        &self.held
    }
    /// The whole text, if it stands in memory.
    pub fn whole(&self) -> Option<&[u8]> {
        self.body.is_none().then_some(&self.held[..])
    }
    /// SHA-256 of the text as it came.
    pub fn digest(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
    /// The hashes of a body that is not in memory.
    pub fn hashes(&self) -> Option<&Hashes> {
        match self.body.as_deref()? {
            Body::Whole(_, hashes) | Body::Sealed { hashes, .. } => Some(hashes),
            Body::Coming(..) => None,
        }
    }
    /// Puts another header in the place of the one that came.
    pub fn change_header(&mut self, change: impl FnOnce(&[u8]) -> Vec<u8>) {
        let start = Head::parse(&self.held).body_start();
        let mut held = change(&self.held);
        held.extend_from_slice(&self.held[start..]);
        self.held = held;
    }

    /// Adds a copy under this header (with its empty line) to the commit's bodies. Returns its place
    /// among them, and its size.
    pub async fn seal(
        &mut self,
        store: &Store,
        mut header: Vec<u8>,
        bodies: &mut Vec<Sealed>,
    ) -> Result<(usize, u64), StoreError> {
        let sealed = match self.body.as_deref_mut() {
            None => {
                let body = &self.held[Head::parse(&self.held).body_start()..];
                let mut draft = store.draft();
                if header.len() + body.len() <= HELD_MAX {
                    header.extend_from_slice(body);
                    draft.write_whole(header).await?;
                } else {
                    draft.write(&header).await?;
                    draft.write(body).await?;
                }
                draft.seal().await?
            }
            Some(Body::Sealed { n, from, .. }) => {
                let first = bodies.get(*n).ok_or(StoreError::Closed)?;
                copy(store, header, (first, *from)).await?
            }
            Some(Body::Whole(draft, hashes)) => {
                let (draft, hashes) = (draft.take(), std::mem::take(hashes));
                let from = header.len() as u64;
                let sealed = draft.ok_or(StoreError::Closed)?.seal_under(header).await?;
                self.body = Some(Box::new(Body::Sealed { n: bodies.len(), from, hashes }));
                sealed
            }
            Some(Body::Coming(..)) => return Err(StoreError::Closed),
        };
        let size = sealed.len();
        bodies.push(sealed);
        Ok((bodies.len() - 1, size))
    }

    /// The whole text as it stands in a copy that was sealed before, below its header's first
    /// `skip` octets: read back into memory, and counted there.
    pub async fn read_back(
        &self,
        bodies: &[Sealed],
        share: &mut Share,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(Body::Sealed { n, from, .. }) = self.body.as_deref() else {
            return Ok(self.whole().map(<[u8]>::to_vec));
        };
        let first = bodies.get(*n).ok_or(StoreError::Closed)?;
        let len = self.held.len() + (first.len() - from) as usize;
        if !share.set(len) {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(&self.held);
        let mut at = *from;
        while at < first.len() {
            let piece = first.read_at(at, PIECE).await?;
            at += piece.len() as u64;
            out.extend_from_slice(&piece);
        }
        Ok(Some(out))
    }
}

/// A further copy of a long text, under another header.
async fn copy(store: &Store, header: Vec<u8>, (first, from): (&Sealed, u64)) -> Result<Sealed, StoreError> {
    let mut draft = store.draft();
    draft.write(&header).await?;
    let mut at = from;
    while at < first.len() {
        let piece: Bytes = first.read_at(at, PIECE).await?;
        at += piece.len() as u64;
        draft.write(&piece).await?;
    }
    draft.seal().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        Store::in_memory(store::Settings::default(), &[]).expect("a store")
    }

    async fn take(store: &Store, texts: &Texts, whole: &[u8], piece: usize) -> Text {
        let mut text = Text::new(texts, Purpose::Sign);
        for piece in whole.chunks(piece) {
            text.push(store, piece.to_vec()).await.expect("is taken");
        }
        text.end();
        text
    }

    async fn read(sealed: &Sealed) -> Vec<u8> {
        sealed.read_at(0, sealed.len() as usize).await.expect("reads").to_vec()
    }

    #[tokio::test]
    async fn a_long_text_takes_little_memory_and_every_copy_is_right() {
        let (store, texts) = (store(), Texts::default());
        let header = b"From: a@x.example\r\nSubject: long\r\n\r\n".to_vec();
        for len in [0usize, 100, 300_000, 5_000_000] {
            let body: Vec<u8> = (0..len).map(|n| (n / 7) as u8).collect();
            let whole = [&header[..], &body[..]].concat();
            let mut text = take(&store, &texts, &whole, 70_000).await;
            assert_eq!(text.len(), whole.len() as u64);
            assert_eq!(text.digest(), <[u8; 32]>::from(Sha256::digest(&whole)));
            let held = texts.0.load(Ordering::Relaxed);
            assert!(held <= (HELD_MAX + 70_000) as u64, "{held} octets in memory for {len}");
            assert_eq!(text.whole().is_none(), len >= 300_000);
            let mut bodies = Vec::new();
            for top in ["Received: one\r\n", "X: two\r\n"] {
                let new = [top.as_bytes(), &header[..]].concat();
                let (n, size) = text.seal(&store, new.clone(), &mut bodies).await.expect("seals");
                assert_eq!(read(&bodies[n]).await, [&new[..], &body[..]].concat());
                assert_eq!(size, (new.len() + body.len()) as u64);
            }
            let mut share = Share::none(&texts);
            let back = text.read_back(&bodies, &mut share).await.expect("reads");
            assert_eq!(back.as_deref(), Some(&whole[..]));
        }
        assert_eq!(texts.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_header_without_end_is_held_and_counted() {
        let (store, texts) = (store(), Texts::default());
        let whole = b"X: y\r\n".repeat(200_000);
        let text = take(&store, &texts, &whole, 10_000).await;
        assert_eq!(text.whole(), Some(&whole[..]));
        assert_eq!(texts.0.load(Ordering::Relaxed), whole.len() as u64);
    }

    #[test]
    fn all_texts_together_are_bounded() {
        let texts = Texts::default();
        let (mut one, mut two) = (Share::none(&texts), Share::none(&texts));
        assert!(one.set(200 << 20));
        assert!(!two.set(100 << 20));
        drop(one);
        assert!(two.set(101 << 20));
    }
}
