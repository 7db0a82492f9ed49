//! A body while it arrives, and once it is whole.

use sha2::{Digest, Sha256};

use crate::StoreError;

/// A body while it arrives. Dropping it leaves nothing behind.
pub struct Draft {
    held: Vec<u8>,
    hash: Sha256,
}

/// A whole body, not yet named by any row. Dropping it leaves nothing behind.
pub struct Sealed {
    pub(crate) held: Vec<u8>,
    sha256: [u8; 32],
}

impl Draft {
    pub(crate) fn new() -> Draft {
        Draft { held: Vec::new(), hash: Sha256::new() }
    }
    /// Adds bytes; waits while the disk is behind.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        self.held.extend_from_slice(bytes);
        Ok(())
    }
    pub fn len(&self) -> u64 {
        self.held.len() as u64
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// No more bytes will come. A large body is durable after this, a small one after its commit.
    pub async fn seal(self) -> Result<Sealed, StoreError> {
        Ok(Sealed { held: self.held, sha256: self.hash.finalize().into() })
    }
}

impl Sealed {
    pub fn len(&self) -> u64 {
        self.held.len() as u64
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }
    /// The bytes, if the body is small enough to be in memory.
    pub fn small(&self) -> Option<&[u8]> {
        Some(&self.held)
    }
    /// Up to `len` bytes from `offset`, wherever they lie; fewer at the end.
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<bytes::Bytes, StoreError> {
        let start = (offset as usize).min(self.held.len());
        let end = start.saturating_add(len).min(self.held.len());
        Ok(bytes::Bytes::copy_from_slice(&self.held[start..end]))
    }
}
