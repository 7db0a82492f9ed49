//! A body to read.

use std::sync::Arc;

use bytes::Bytes;

use crate::segment::Bodies;
use crate::{BodyId, StoreError};

/// A stored body, readable for as long as this value lives.
#[derive(Clone)]
pub struct Body {
    pub(crate) id: BodyId,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Body {
    pub fn id(&self) -> BodyId {
        self.id
    }
    pub fn len(&self) -> u64 {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Up to `len` bytes from `offset`; fewer only at the end of the body.
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        let offset = offset.min(self.len);
        let len = (len as u64).min(self.len - offset) as usize;
        self.bodies
            .read(self.start + offset, len)
            .map(Bytes::from)
            .map_err(|e| StoreError::Damaged(self.id, e.to_string()))
    }
    /// The whole body.
    pub async fn all(&self) -> Result<Bytes, StoreError> {
        self.read_at(0, self.len as usize).await
    }
}
