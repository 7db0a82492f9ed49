//! Contents of messages: the pieces that FETCH BODY[…] and BINARY[…] name.

use std::ops::Range;

use ::imap::Refusal;
use ::imap::ask::{Answer, Part};
use ::imap::command::{Section, SectionKind};
use bytes::Bytes;
use message::mime::{Ask, Structure};
use message::transfer::{self, Encoding};
use message::{Head, Summary};
use store::{Body, BodyId, StoreError};

use super::{Desk, Said, translate};

/// Contents up to this length come with the page; longer ones are asked for in pieces.
const NOW_MAX: u64 = 128 << 10;
/// A header longer than this is cut.
const HEAD_MAX: usize = 4 << 20;

/// Whether any of these needs to know where parts stand.
pub(super) fn need_structure(sections: &[Section]) -> bool {
    sections.iter().any(|s| !is_whole(s))
}

fn is_whole(section: &Section) -> bool {
    section.part.is_empty() && matches!(section.kind, SectionKind::All | SectionKind::Binary)
}

/// How much memory the contents in a page take.
pub(super) fn weight(parts: &[Part]) -> usize {
    parts.iter().map(|p| if let Part::Now(bytes) = p { bytes.len() } else { 0 }).sum()
}

/// Reads one message's contents.
pub(super) struct Reader<'d> {
    pub body: &'d Body,
    pub summary: &'d Option<Bytes>,
}

impl Reader<'_> {
    pub async fn preview(&self) -> Result<Option<String>, Refusal> {
        let all = self.body.all().await.map_err(translate::refusal)?;
        Ok(Some(message::text::preview(&all, &Structure::of(&all))))
    }

    /// One part per section; nothing if the message is gone.
    pub async fn parts(&self, sections: &[Section]) -> Result<Option<Vec<Part>>, Refusal> {
        let structure = match need_structure(sections) {
            true => match self.summary.as_ref().and_then(|s| Summary::from_bytes(s)) {
                Some(summary) => Some(summary.structure),
                None => return Ok(None),
            },
            false => None,
        };
        let mut parts = Vec::with_capacity(sections.len());
        for section in sections {
            parts.push(part(self.body, structure.as_ref(), section).await.map_err(translate::refusal)?);
        }
        Ok(Some(parts))
    }
}

async fn part(body: &Body, structure: Option<&Structure>, section: &Section) -> Result<Part, StoreError> {
    let Some(structure) = structure.filter(|_| !is_whole(section)) else {
        return plain(body, 0..body.len() as usize, section).await;
    };
    let ask = match section.kind {
        SectionKind::All | SectionKind::Binary | SectionKind::BinarySize => Ask::Body,
        SectionKind::Header | SectionKind::Fields { .. } => Ask::Header,
        SectionKind::Text => Ask::Text,
        SectionKind::Mime => Ask::Mime,
    };
    let Some(range) = structure.section(&section.part, ask) else { return Ok(Part::Nil) };
    match &section.kind {
        SectionKind::Fields { names, not } => {
            let head = read(body, range.start..range.end.min(range.start + HEAD_MAX)).await?;
            Ok(Part::Now(cut(Head::parse(&head).pick(names, *not), section)))
        }
        SectionKind::Binary | SectionKind::BinarySize => {
            let encoding =
                structure.find(&section.part).and_then(|at| structure.part(at)).map(|p| p.encoding);
            binary(body, range, section, encoding.unwrap_or_default()).await
        }
        _ => plain(body, range, section).await,
    }
}

async fn read(body: &Body, range: Range<usize>) -> Result<Bytes, StoreError> {
    body.read_at(range.start as u64, range.len()).await
}

/// Octets as they are stored.
async fn plain(body: &Body, range: Range<usize>, section: &Section) -> Result<Part, StoreError> {
    let (from, len) = section.cut(range.len() as u64);
    let offset = range.start as u64 + from;
    if len > NOW_MAX {
        return Ok(Part::Later { body: body.id().0, offset, len });
    }
    Ok(Part::Now(body.read_at(offset, len as usize).await?))
}

/// RFC 3516: octets with their transfer encoding undone.
async fn binary(
    body: &Body,
    range: Range<usize>,
    section: &Section,
    encoding: Encoding,
) -> Result<Part, StoreError> {
    let wants_size = section.kind == SectionKind::BinarySize;
    match encoding {
        Encoding::Unknown => Ok(Part::UnknownCte),
        Encoding::Identity if wants_size => Ok(Part::Size(range.len() as u64)),
        Encoding::Identity => plain(body, range, section).await,
        _ => {
            let content = transfer::decode(encoding, &read(body, range).await?);
            Ok(if wants_size { Part::Size(content.len() as u64) } else { Part::Now(cut(content, section)) })
        }
    }
}

fn cut(content: Vec<u8>, section: &Section) -> Bytes {
    let (from, len) = section.cut(content.len() as u64);
    Bytes::from(content).slice(from as usize..(from + len) as usize)
}

impl Desk {
    pub(super) async fn body(&mut self, body: i64, offset: u64, len: usize) -> Said {
        self.open()?;
        let body = self.store().body(BodyId(body)).await.map_err(translate::refusal)?;
        let bytes = body.read_at(offset, len).await.map_err(translate::refusal)?;
        Ok(Answer::Bytes(bytes))
    }
}
