//! Search in texts: exact, from an index, also for a message that arrived a moment ago.
//!
//! What it is: per account some immutable chunks ([`chunk`]) that know the words of all messages
//! up to a mark in each folder. A search looks a needle's words up in the chunks, looks into the
//! few messages where the words alone do not decide, and reads the messages above the mark
//! themselves. So the answer is always that of reading everything: IMAP's substring search.
//! What it is not: part of a delivery. Chunks are made in the background ([`tend`]) when a
//! mailbox has collected messages and is quiet, or was searched.
//!
//! Begin with [`find`].

pub mod chunk;
mod gathered;
mod index;
pub mod words;

pub use index::{Wants, forget, tend};

use store::{BodyId, Store, StoreError};

use crate::{Hub, UidSet, View};
use chunk::{FIELDS, Field};
use words::{Needle, fold};

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum In {
    From,
    To,
    Cc,
    Bcc,
    Subject,
    /// A header field by its name.
    Header(String),
    Body,
    /// Header and body.
    Text,
}

impl In {
    fn fields(&self) -> &'static [Field] {
        match self {
            In::From => &[Field::From],
            In::To => &[Field::To],
            In::Cc | In::Bcc => &[Field::Cc],
            In::Subject => &[Field::Subject],
            In::Header(name) => match Field::of(name) {
                Field::From => &[Field::From],
                Field::To => &[Field::To],
                Field::Cc => &[Field::Cc],
                Field::Subject => &[Field::Subject],
                Field::Header | Field::Body => &[Field::Header],
            },
            In::Body => &[Field::Body],
            In::Text => &FIELDS,
        }
    }
    /// Whether a hit in [`In::fields`] is a hit.
    fn is_exact(&self) -> bool {
        !matches!(self, In::Cc | In::Bcc | In::Header(_))
    }
}

impl Field {
    /// The field of the index that a header field's content goes to.
    pub fn of(name: &str) -> Field {
        for (field, names) in [
            (Field::From, &["from"][..]),
            (Field::To, &["to"]),
            (Field::Cc, &["cc", "bcc"]),
            (Field::Subject, &["subject"]),
        ] {
            if names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
                return field;
            }
        }
        Field::Header
    }
}

/// The texts of one message, decoded.
pub struct Texts {
    head: Vec<(String, String)>,
    body: String,
}

impl Texts {
    pub fn of(message: &[u8]) -> Texts {
        let structure = message::Structure::of(message);
        let body = message::text::for_search(message, &structure, BODY_BYTES_MAX);
        let head = message::Head::parse(message);
        let fields = head.fields().map(|f| {
            let name = String::from_utf8_lossy(f.name()).to_lowercase();
            let text = with_addresses(&name, f.text());
            (name, text)
        });
        Texts { head: fields.collect(), body }
    }
    /// Adds everything to a chunk; the message has been begun.
    fn index(&self, builder: &mut chunk::Builder) {
        for (name, value) in &self.head {
            builder.text(Field::Header, name);
            builder.text(Field::of(name), value);
        }
        builder.text(Field::Body, &self.body);
    }
    /// Whether the needle is there.
    pub fn holds(&self, place: &In, needle: &Needle) -> bool {
        let named = |wanted: &str| {
            self.head
                .iter()
                .any(|(name, value)| name.eq_ignore_ascii_case(wanted) && needle.is_in(&fold(value)))
        };
        match place {
            In::From => named("from"),
            In::To => named("to"),
            In::Cc => named("cc"),
            In::Bcc => named("bcc"),
            In::Subject => named("subject"),
            In::Header(name) => named(name),
            In::Body => needle.is_in(&fold(&self.body)),
            In::Text => {
                needle.is_in(&fold(&self.body))
                    || self.head.iter().any(|(n, v)| needle.is_in(&fold(&format!("{n}: {v}"))))
            }
        }
    }
}

/// RFC 9051 §6.4.4: FROM, TO, CC and BCC look into the envelope's addresses. Where a field spells
/// one with comments or spaces inside, the plain spelling is added.
fn with_addresses(name: &str, mut text: String) -> String {
    let odd = text.contains('(') || text.contains(" @") || text.contains("@ ");
    if odd && matches!(name, "from" | "to" | "cc" | "bcc") {
        for mailbox in message::addresses::mailboxes(text.as_bytes()) {
            if !text.contains(&mailbox.address) {
                text.push(' ');
                text.push_str(&mailbox.address);
            }
        }
    }
    text
}

/// Text of one message that is searched; what is behind it is not found.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Messages looked at before others get their turn.
const TURN: usize = 16;

/// The UIDs among `within` whose text holds `needle`, rising. RFC 9051 §6.4.4: without regard to
/// case, anywhere in the text.
pub async fn find(
    store: &Store,
    hub: &Hub,
    view: &View,
    (place, needle): (&In, &str),
    within: &UidSet,
) -> Result<Vec<u32>, StoreError> {
    let needle = Needle::new(needle);
    if needle.text.is_empty() && !matches!(place, In::Header(_)) {
        return Ok(view.within(within).map(|r| r.uid).collect());
    }
    let index = index::load(store, hub, view.account).await?;
    let mark = index.mark(view.folder);
    let (mut sure, mut maybe) = (Vec::new(), Vec::new());
    for chunk in &index.chunks {
        let hit = chunk.find(place.fields(), &needle).await?;
        if needle.exact && place.is_exact() { &mut sure } else { &mut maybe }.extend(hit.bodies);
        maybe.extend(hit.doubtful);
    }
    sure.sort_unstable();
    maybe.sort_unstable();
    let (mut found, mut look) = (Vec::new(), Vec::new());
    let mut unread = 0;
    for row in view.within(within) {
        if sure.binary_search(&row.body.0).is_ok() {
            found.push(row.uid);
        } else if needle.pieces.is_empty() || maybe.binary_search(&row.body.0).is_ok() {
            look.push((row.uid, row.body));
        } else if row.uid > mark && !index.has(row.body.0) {
            unread += 1;
            look.push((row.uid, row.body));
        }
    }
    hub.wants().searched(view.account, unread);
    for turn in look.chunks(TURN) {
        for &(uid, body) in turn {
            if holds(store, body, place, &needle).await? {
                found.push(uid);
            }
        }
        tokio::task::yield_now().await;
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads one message. One that was expunged meanwhile or is damaged holds nothing.
async fn holds(store: &Store, body: BodyId, place: &In, needle: &Needle) -> Result<bool, StoreError> {
    match read(store, body).await? {
        Some(bytes) => Ok(Texts::of(&bytes).holds(place, needle)),
        None => Ok(false),
    }
}

/// A body's bytes, or nothing if it is gone or damaged.
async fn read(store: &Store, body: BodyId) -> Result<Option<bytes::Bytes>, StoreError> {
    let bytes = match store.body(body).await {
        Ok(body) => body.all().await,
        Err(e) => Err(e),
    };
    match bytes {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::Missing(_) | StoreError::Damaged(..)) => Ok(None),
        Err(e) => Err(e),
    }
}
