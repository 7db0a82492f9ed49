//! FETCH, a page at a time.

use ::imap::ask::{Answer, FetchAsk, Needs, Page, Row, Texts};
use bytes::{Buf as _, Bytes};
use mailbox::{Flags, Row as Kept, digest};
use message::Summary;
use store::{Body, BodyId};

use super::{Desk, Said, sections, translate};

/// Rows of one page without texts, and with.
const PLAIN_ROWS: usize = 5000;
const TEXT_ROWS: usize = 1000;
/// Octets of contents after which a page ends.
const PAGE_BYTES: usize = 1 << 20;

/// What a summary is needed for.
const FROM_SUMMARY: Needs =
    Needs::ENVELOPE.with(Needs::BODY).with(Needs::BODY_STRUCTURE).with(Needs::THREAD_ID);

fn row(kept: &Kept) -> Row {
    Row {
        uid: kept.uid,
        flags: translate::their_flags(kept.flags),
        modseq: kept.modseq,
        size: u64::from(kept.size),
        date: translate::date(kept.internal, kept.zone),
        texts: None,
    }
}

/// RFC 8474 §5.1: the same for all copies.
pub(super) fn email_id(body: BodyId) -> String {
    format!("E{}", body.0)
}

/// RFC 8474 §5.2: messages of one thread name the same first message. The number is that
/// message's identifier, hashed, so it never changes.
pub(super) fn thread_id(summary: &Summary, body: BodyId) -> String {
    match summary.keys.references.first().or(summary.keys.message_id.as_ref()) {
        Some(root) => format!("T{:016x}", fnv(root.as_bytes())),
        None => format!("T{}", body.0),
    }
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

impl Desk {
    pub(super) async fn fetch(&mut self, ask: FetchAsk) -> Said {
        let view = self.view().await?;
        let texts = ask.needs != Needs::default() && !only_columns(ask.needs);
        let most = if texts { TEXT_ROWS } else { PLAIN_ROWS };
        let mut picked: Vec<Kept> = Vec::new();
        let mut more = false;
        'ranges: for &(a, b) in ask.uids.ranges() {
            if b <= ask.after {
                continue;
            }
            for kept in view.from(a.max(ask.after.saturating_add(1))) {
                if kept.uid > b {
                    break;
                }
                if ask.changed_since.is_some_and(|since| kept.modseq <= since) {
                    continue;
                }
                if picked.len() == most {
                    more = true;
                    break 'ranges;
                }
                picked.push(*kept);
            }
        }
        drop(view);
        let used = picked.iter().fold(0, |all, r| all | r.flags.0);
        let keywords = self.open()?.keywords_for(Flags(used))?;
        let mut page = Page { rows: Vec::with_capacity(picked.len()), more, keywords: Some(keywords) };
        if texts {
            self.texts(&ask, &picked, &mut page).await?;
        } else {
            page.rows.extend(picked.iter().map(row));
        }
        Ok(Answer::Page(page))
    }

    /// Fills a page with rows that have texts; ends it early when it holds enough.
    async fn texts(
        &mut self,
        ask: &FetchAsk,
        picked: &[Kept],
        page: &mut Page,
    ) -> Result<(), ::imap::Refusal> {
        let structured = ask.needs.has(Needs::SECTIONS) && sections::need_structure(&ask.sections);
        let summarised = ask.needs.has(FROM_SUMMARY) || structured;
        // Contents fill a page long before its rows do.
        let reads = ask.needs.has(Needs::SECTIONS.with(Needs::PREVIEW));
        let most = if reads { TEXT_ROWS / 4 } else { TEXT_ROWS };
        page.more |= picked.len() > most;
        let picked = &picked[..picked.len().min(most)];
        let mut summaries = match summarised {
            true => {
                let bodies: Vec<BodyId> = picked.iter().map(|r| r.body).collect();
                digest::summaries(self.store(), self.hub(), &bodies).await.map_err(translate::refusal)?
            }
            false => vec![None; picked.len()],
        };
        let bodies = match reads {
            true => {
                let ids: Vec<BodyId> = picked.iter().map(|r| r.body).collect();
                self.store().bodies(&ids).map_err(translate::refusal)?
            }
            false => Vec::new(),
        };
        let mut bytes = 0;
        for (n, kept) in picked.iter().enumerate() {
            if bytes >= PAGE_BYTES {
                page.more = true;
                return Ok(());
            }
            let summary = summaries.get_mut(n).and_then(Option::take);
            let mut texts = Box::<Texts>::default();
            let told = match reads {
                false => Ok(columns(&mut texts, ask.needs, kept, summary)),
                true => {
                    let body = bodies.get(n).and_then(Option::as_ref);
                    contents(&mut texts, ask, (kept, body), summary).await
                }
            };
            match told {
                Ok(true) => {
                    bytes += sections::weight(&texts.parts);
                    page.rows.push(Row { texts: Some(texts), ..row(kept) });
                }
                // Expunged meanwhile by another session, and its text is gone.
                Ok(false) => {}
                // A damaged message ends the command, but those before it are told first.
                Err(refusal) if page.rows.is_empty() => return Err(refusal),
                Err(_) => {
                    page.more = true;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// What a row says from its summary and its columns; false if the summary is gone. This is the hot
/// path of ENVELOPE and BODYSTRUCTURE: what is wanted last takes the summary itself.
fn columns(texts: &mut Texts, needs: Needs, kept: &Kept, summary: Option<Bytes>) -> bool {
    if needs.has(Needs::EMAIL_ID) {
        texts.email_id = email_id(kept.body);
    }
    if needs.has(Needs::SAVE_DATE) {
        texts.save_date = Some(translate::date(i64::from(kept.saved), 0));
    }
    if !needs.has(FROM_SUMMARY) {
        return true;
    }
    let Some(packed) = summary else { return false };
    if needs.has(Needs::THREAD_ID) {
        texts.thread_id = Summary::from_bytes(&packed).map(|s| thread_id(&s, kept.body));
    }
    if needs.has(Needs::BODY) {
        texts.body = part(packed.clone(), Summary::packed_body);
    }
    match (needs.has(Needs::ENVELOPE), needs.has(Needs::BODY_STRUCTURE)) {
        (true, true) => {
            texts.envelope = part(packed.clone(), Summary::packed_envelope);
            texts.body_structure = part(packed, Summary::packed_bodystructure);
        }
        (true, false) => texts.envelope = part(packed, Summary::packed_envelope),
        (false, true) => texts.body_structure = part(packed, Summary::packed_bodystructure),
        (false, false) => {}
    }
    true
}

/// One part of a packed summary, without another count of who holds it.
fn part(mut packed: Bytes, of: fn(&[u8]) -> Option<&[u8]>) -> Bytes {
    let Some(found) = of(&packed) else { return Bytes::new() };
    let (start, len) = (found.as_ptr() as usize - packed.as_ptr() as usize, found.len());
    packed.advance(start);
    packed.truncate(len);
    packed
}

/// The same with contents of the message itself; false if it is gone.
async fn contents(
    texts: &mut Texts,
    ask: &FetchAsk,
    (kept, body): (&Kept, Option<&Body>),
    summary: Option<Bytes>,
) -> Result<bool, ::imap::Refusal> {
    let needs = ask.needs;
    if !columns(texts, needs, kept, summary.clone()) {
        return Ok(false);
    }
    let Some(body) = body else { return Ok(false) };
    let reader = sections::Reader { body, summary: &summary };
    if needs.has(Needs::PREVIEW) && !needs.has(Needs::PREVIEW_LAZY) {
        texts.preview = reader.preview().await?;
    }
    if needs.has(Needs::SECTIONS) {
        match reader.parts(&ask.sections).await? {
            Some(parts) => texts.parts = parts,
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Whether the columns every row has are all that is wanted.
fn only_columns(needs: Needs) -> bool {
    needs.0 & !Needs::DATE.with(Needs::SIZE).0 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_named_by_its_first_message() {
        let of = |text: &str| thread_id(&Summary::of(text.as_bytes()), BodyId(7));
        let root = of("Message-ID: <a@x>\r\n\r\n");
        assert_eq!(of("Message-ID: <b@x>\r\nReferences: <a@x>\r\n\r\n"), root);
        assert_eq!(of("Message-ID: <c@x>\r\nReferences: <a@x> <b@x>\r\n\r\n"), root);
        assert_eq!(of("Subject: none\r\n\r\n"), "T7");
    }
}
