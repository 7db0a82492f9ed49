//! FETCH, a page at a time.

use ::imap::ask::{Answer, FetchAsk, Needs, Page, Row, Texts};
use bytes::{Buf as _, Bytes};
use mailbox::thread::{self, Says};
use mailbox::{Flags, Hub, Row as Kept, digest};
use message::Summary;
use message::summary::Keys;
use store::{Body, BodyId, Store, StoreError};

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

/// RFC 8474 §5.2: messages of one thread name the same first message, by the hash of its identifier.
pub(super) fn thread_id(root: Option<u64>, body: BodyId) -> String {
    match root {
        Some(root) => format!("T{root:016x}"),
        None => format!("T{}", body.0),
    }
}

/// The threads of messages whose summaries are given; those that are gone have none.
pub(super) async fn threads(
    (store, hub): (&Store, &Hub),
    messages: impl Iterator<Item = (BodyId, Option<&Keys>)>,
) -> Result<Vec<Option<u64>>, StoreError> {
    let says = messages.map(|(body, keys)| (body, keys.map(Says::of).unwrap_or_default()));
    thread::roots(store, hub, &says.collect::<Vec<_>>()).await
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

    async fn roots(
        &self,
        picked: &[Kept],
        summaries: &[Option<Bytes>],
    ) -> Result<Vec<Option<u64>>, ::imap::Refusal> {
        let keys: Vec<Option<Keys>> =
            summaries.iter().map(|s| Some(Summary::from_bytes(s.as_ref()?)?.keys)).collect();
        let messages = picked.iter().map(|r| r.body).zip(keys.iter().map(Option::as_ref));
        threads((self.store(), self.hub()), messages).await.map_err(translate::refusal)
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
        let roots = match ask.needs.has(Needs::THREAD_ID) {
            true => self.roots(picked, &summaries).await?,
            false => Vec::new(),
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
            if ask.needs.has(Needs::THREAD_ID) && summary.is_some() {
                texts.thread_id = Some(thread_id(roots.get(n).copied().flatten(), kept.body));
            }
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
    fn a_thread_without_an_identifier_is_named_by_its_message() {
        assert_eq!(thread_id(None, BodyId(7)), "T7");
        assert_eq!(thread_id(Some(7), BodyId(9)), "T0000000000000007");
    }
}
