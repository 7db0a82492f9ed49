//! DATA, the text and its end.

use words::Reply;

use super::{Answer, Open, Phase, Question, Server, verdict};
use crate::limits::{BareNewlines, Limits};
use crate::text::{Bare, Unstuff};

pub(super) fn check(server: &mut Server) {
    let Some(mail) = &mut server.mail else {
        return server.wrong(Reply::new(503, (5, 5, 1), "Say MAIL and RCPT first"));
    };
    // RFC 3030 §2: DATA may not follow BDAT in one transaction.
    if mail.chunked.is_some() {
        return server.wrong(Reply::new(503, (5, 5, 1), "The text has begun with BDAT"));
    }
    if mail.envelope.recipients.is_empty() {
        return server.wrong(Reply::new(554, (5, 5, 1), "There is no recipient to take it to"));
    }
    server.ask(Open::Data, Question::Data);
}

pub(super) fn proceed(server: &mut Server, answer: Answer) {
    if let Err(reply) = verdict(answer) {
        server.mail = None;
        return server.say(reply);
    }
    server.say(Reply::plain(354, "Go on; end with CR LF . CR LF"));
    let now = server.now;
    if let Some(mail) = &mut server.mail {
        mail.started = now;
    }
    server.phase = Phase::Text(Unstuff::default());
}

/// Takes text; says how many octets were used.
pub(super) fn text(server: &mut Server, bytes: &[u8]) -> usize {
    server.since = server.now;
    let Phase::Text(unstuff) = &mut server.phase else { return 0 };
    let Some(mail) = &mut server.mail else { return 0 };
    if mail.body.capacity() == 0 {
        mail.body.reserve(bytes.len().max(16 << 10));
    }
    let fed = unstuff.feed(bytes, &mut mail.body);
    mail.octets += fed.used as u64;
    let bare = unstuff.bare();
    let refusal = fault(&server.set.limits, mail.octets, bare, unstuff.longest_line());
    if refusal.is_some() {
        mail.body = Vec::new();
    }
    let octets = mail.octets;
    if fed.ended {
        server.phase = Phase::Commands;
        finish(server, refusal);
    } else if octets > server.limits().message_octets.saturating_add(server.limits().discard_octets) {
        // RFC 5321 §4.2.1 wants the reply at the end; past all measure we stop reading.
        server.say(Reply::new(552, (5, 3, 4), "The message is far too large"));
        server.hang_up();
    } else if refusal.is_none() && mail_body(server) >= server.limits().chunk_octets {
        hand_on(server);
    }
    fed.used
}

fn mail_body(server: &Server) -> usize {
    server.mail.as_ref().map_or(0, |m| m.body.len())
}

/// Hands the gathered text on.
pub(super) fn hand_on(server: &mut Server) {
    let Some(mail) = &mut server.mail else { return };
    let body = std::mem::take(&mut mail.body);
    server.ask(Open::Body, Question::Body(body));
}

/// What is wrong with a text so far.
pub(super) fn fault(limits: &Limits, octets: u64, bare: Bare, line: u64) -> Option<Reply> {
    if octets > limits.message_octets {
        let max = limits.message_octets;
        return Some(Reply::new(552, (5, 3, 4), format!("The message is larger than {max} octets")));
    }
    let refused = match limits.bare_newlines {
        BareNewlines::Refuse => bare.cr || bare.lf,
        BareNewlines::RefuseLf => bare.lf,
        BareNewlines::Keep => false,
    };
    if refused {
        let text = "The text holds CR or LF alone; lines must end with CR LF";
        return Some(Reply::new(550, (5, 6, 11), text));
    }
    if line > limits.text_line_octets {
        return Some(Reply::new(550, (5, 6, 0), "A line of the text is far too long"));
    }
    None
}

/// The text is whole: commit it, or refuse it.
pub(super) fn finish(server: &mut Server, refusal: Option<Reply>) {
    let Some(mail) = &mut server.mail else { return };
    if let Some(reply) = refusal {
        server.tally.errors += 1;
        return server.drop_mail(reply);
    }
    let body = std::mem::take(&mut mail.body);
    server.ask(Open::Commit, Question::Commit(body));
}

/// A piece was taken, or the desk wants no more of it.
pub(super) fn handed_on(server: &mut Server, answer: Answer) {
    if let Err(reply) = verdict(answer) {
        let after = match &mut server.phase {
            // Read to the end first: only then a reply is awaited.
            Phase::Text(_) => Phase::Chunk(super::bdat::Chunk::rest_of_text(reply)),
            Phase::Chunk(chunk) => {
                chunk.refusal = Some(reply);
                return;
            }
            _ => return,
        };
        let before = std::mem::replace(&mut server.phase, after);
        if let (Phase::Text(unstuff), Phase::Chunk(chunk)) = (before, &mut server.phase) {
            chunk.unstuff = Some(unstuff);
        }
    }
}

/// RFC 5321 §4.2.5: 250 means that the message is ours to keep.
pub(super) fn committed(server: &mut Server, answer: Answer) {
    server.mail = None;
    match answer {
        Answer::Saved(id) => {
            server.tally.messages += 1;
            server.tally.idle = 0;
            server.unconfirmed = Some(id);
            server.heard = false;
            server.say(Reply::new(250, (2, 0, 0), format!("{} taken and on disk", id.tagged())));
        }
        other => match verdict(other) {
            Ok(reply) => server.say(reply.unwrap_or_else(|| Reply::new(250, (2, 0, 0), "Taken"))),
            Err(reply) => server.say(reply),
        },
    }
}
