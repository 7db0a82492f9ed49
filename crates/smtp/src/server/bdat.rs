//! BDAT (RFC 3030), and texts that are read on only to be refused.

use words::Reply;

use super::{Answer, Open, Phase, Question, Server, data, verdict};
use crate::text::{Bare, Newlines, Unstuff};

/// A chunk under way.
pub(super) struct Chunk {
    pub(super) left: u64,
    last: bool,
    /// Say this once the chunk is read; keep nothing.
    pub(super) refusal: Option<Reply>,
    /// A text by DATA that is read to its end only to be refused.
    pub(super) unstuff: Option<Unstuff>,
}

impl Chunk {
    pub(super) fn rest_of_text(refusal: Reply) -> Chunk {
        Chunk { left: u64::MAX, last: true, refusal: Some(refusal), unstuff: None }
    }
}

pub(super) fn check(server: &mut Server, size: u64, last: bool) {
    let max = server.limits().message_octets.saturating_add(server.limits().discard_octets);
    let mut chunk = Chunk { left: size, last, refusal: None, unstuff: None };
    // RFC 3030 §4.2: whatever the reply, the octets follow at once and must be read.
    match may(server, size) {
        Err(reply) if size > max => {
            server.say(reply);
            server.hang_up();
        }
        Err(reply) => {
            chunk.refusal = Some(reply);
            server.phase = Phase::Chunk(chunk);
        }
        Ok(false) => {
            server.ask(Open::ChunkStart(chunk), Question::Data);
        }
        Ok(true) => server.phase = Phase::Chunk(chunk),
    }
}

/// Whether the chunk may come; `true` if it is not the first.
fn may(server: &mut Server, size: u64) -> Result<bool, Reply> {
    let max = server.limits().message_octets;
    let Some(mail) = &mut server.mail else {
        return Err(Reply::new(503, (5, 5, 1), "Say MAIL and RCPT first"));
    };
    if mail.envelope.recipients.is_empty() {
        return Err(Reply::new(554, (5, 5, 1), "There is no recipient to take it to"));
    }
    if mail.octets.saturating_add(size) > max {
        return Err(Reply::new(552, (5, 3, 4), format!("The message is larger than {max} octets")));
    }
    let begun = mail.chunked.is_some();
    mail.chunked.get_or_insert_with(Newlines::default);
    Ok(begun)
}

pub(super) fn proceed(server: &mut Server, mut chunk: Chunk, answer: Answer) {
    let now = server.now;
    match verdict(answer) {
        Err(reply) => {
            server.mail = None;
            chunk.refusal = Some(reply);
        }
        Ok(_) => {
            if let Some(mail) = &mut server.mail {
                mail.started = now;
            }
        }
    }
    server.phase = Phase::Chunk(chunk);
}

/// Takes octets of a chunk; says how many were used.
pub(super) fn text(server: &mut Server, bytes: &[u8]) -> usize {
    server.since = server.now;
    let Phase::Chunk(chunk) = &mut server.phase else { return 0 };
    if chunk.unstuff.is_some() {
        return rest_of_text(server, bytes);
    }
    let take = usize::try_from(chunk.left).unwrap_or(usize::MAX).min(bytes.len());
    chunk.left -= take as u64;
    let (left, last, refused) = (chunk.left, chunk.last, chunk.refusal.is_some());
    if let Some(mail) = &mut server.mail {
        mail.octets += take as u64;
        if !refused {
            mail.body.extend_from_slice(&bytes[..take]);
            if let Some(newlines) = &mut mail.chunked {
                newlines.feed(&bytes[..take]);
            }
        }
    }
    if left == 0 {
        whole(server, last);
    } else if !refused && server.mail.as_ref().is_some_and(|m| m.body.len() >= server.set.limits.chunk_octets)
    {
        data::hand_on(server);
    }
    take
}

fn whole(server: &mut Server, last: bool) {
    let Phase::Chunk(chunk) = std::mem::replace(&mut server.phase, Phase::Commands) else { return };
    let Some(mail) = &server.mail else {
        return server
            .wrong(chunk.refusal.unwrap_or_else(|| Reply::new(503, (5, 5, 1), "No transaction is open")));
    };
    let bare = mail.chunked.as_ref().map_or(Bare::default(), |n| n.bare(last));
    let refusal = chunk.refusal.or_else(|| data::fault(&server.set.limits, mail.octets, bare, 0));
    let octets = mail.octets;
    match refusal {
        // RFC 3030 §2: after a failed chunk the transaction is of no use.
        Some(reply) => data::finish(server, Some(reply)),
        None if last => data::finish(server, None),
        None => server.say(Reply::new(250, (2, 0, 0), format!("{octets} octets so far"))),
    }
}

/// Reads a refused text to its end, keeping nothing.
fn rest_of_text(server: &mut Server, bytes: &[u8]) -> usize {
    let Phase::Chunk(chunk) = &mut server.phase else { return 0 };
    let Some(unstuff) = &mut chunk.unstuff else { return 0 };
    let fed = unstuff.feed(bytes, &mut Vec::new());
    if let Some(mail) = &mut server.mail {
        mail.octets += fed.used as u64;
        let max = server.set.limits.message_octets.saturating_add(server.set.limits.discard_octets);
        if mail.octets > max && !fed.ended {
            server.say(Reply::new(552, (5, 3, 4), "The message is far too large"));
            server.hang_up();
            return fed.used;
        }
    }
    if fed.ended
        && let Phase::Chunk(chunk) = std::mem::replace(&mut server.phase, Phase::Commands)
    {
        server.mail = None;
        server.say(chunk.refusal.unwrap_or_else(|| Reply::new(451, (4, 3, 0), "It could not be kept")));
    }
    fed.used
}
