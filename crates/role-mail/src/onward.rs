//! Entries of the spool, made from accepted mail.

use stdx::Now;
use store::{Batch, BodyId, StoreError};
use words::{AccountId, Address, Envelope, MessageId, SessionId};

#[derive(Clone, Debug)]
pub enum Origin {
    Submitted(AccountId),
    Forwarded { of: Address },
    Relayed,
}

pub struct New {
    pub message: MessageId,
    pub session: Option<SessionId>,
    pub body: BodyId,
    pub size: u64,
    pub header: Option<String>,
    pub envelope: Envelope,
    pub origin: Origin,
    pub at: Now,
}

pub fn add(_batch: &mut Batch<'_>, new: &New) -> Result<(), StoreError> {
    let _ = (&new.message, &new.session, new.body, new.size, &new.header, &new.envelope, &new.origin, new.at);
    Err(StoreError::rule("mail to other hosts cannot be taken yet"))
}
