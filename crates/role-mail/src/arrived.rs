//! Notices that a message arrived, for senders who asked for them (RFC 3461 NOTIFY=SUCCESS).

use message::dsn::{Action, Fate, Notice, Original};
use store::{Sealed, StoreError};
use words::{Address, Enhanced, MessageId};

use crate::reception::{Draft, Way};
use crate::tag::Whose;
use crate::{Site, complaints};

/// Octets of the original's header that go back, at most.
const HEADER_OCTETS_MAX: usize = 64 << 10;

/// A notice to be kept in the same commit as the message it is about.
pub struct Arrived {
    pub id: MessageId,
    pub to: Address,
    pub size: u64,
}

/// The notice for those recipients whose mailbox takes the message now.
// RFC 3461 §5.2.3: "delivered" at final delivery; never for a null sender.
pub async fn notice(site: &Site, draft: &Draft) -> Result<Option<(Sealed, Arrived)>, StoreError> {
    let Some(to) = draft.envelope.sender.clone() else { return Ok(None) };
    let here = |way: &Way| match way {
        Way::Here(targets) => targets.iter().any(|t| matches!(t, directory::Target::Mailbox(_))),
        Way::Outside => false,
    };
    let arrived: Vec<Fate> = draft
        .envelope
        .recipients
        .iter()
        .zip(&draft.ways)
        .filter(|(recipient, way)| recipient.notify.is_some_and(|n| n.success) && here(way))
        .map(|(recipient, _)| Fate {
            recipient: recipient.address.clone(),
            orcpt: recipient.orcpt.clone(),
            action: Action::Delivered,
            status: Enhanced(2, 1, 5),
            remote: None,
            reply: None,
            says: "The message lies in the mailbox.".to_owned(),
            last_attempt: None,
            until: None,
        })
        .collect();
    if arrived.is_empty() {
        return Ok(None);
    }
    let (id, host) = (site.message_id(), site.settings().host_name.clone());
    let head = message::Head::parse(draft.text.header()).body_start().min(HEADER_OCTETS_MAX);
    let notice = Notice {
        from: format!("postmaster@{host}"),
        message_id: format!("{id}.notice@{host}"),
        host,
        to: to.clone(),
        at: site.now(),
        about: Some(draft.id),
        envid: draft.envelope.envid.clone(),
        arrived: Some(site.now()),
        fates: arrived,
        original: Original::Header(draft.text.header()[..head].to_vec()),
    };
    let mut sealed = site.store().draft();
    sealed.write(&complaints::tagged(site, Whose::Message, id, &notice.build()).await?).await?;
    let sealed = sealed.seal().await?;
    let size = sealed.len();
    Ok(Some((sealed, Arrived { id, to, size })))
}
