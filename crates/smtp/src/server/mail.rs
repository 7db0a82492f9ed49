//! MAIL.

use words::{Body, Envelope, Reply};

use super::{Answer, Open, Question, Server, Transaction, verdict};
use crate::command::MailFrom;

pub(super) fn check(server: &mut Server, given: MailFrom) {
    if let Err(reply) = may(server, &given) {
        return server.wrong(reply);
    }
    let envelope = given.envelope;
    server.ask(Open::Mail(Box::new(envelope.clone())), Question::Mail(envelope));
}

fn may(server: &Server, given: &MailFrom) -> Result<(), Reply> {
    let esmtp = server.named.ok_or_else(|| Reply::new(503, (5, 5, 1), "Say EHLO first"))?;
    if server.mail.is_some() {
        return Err(Reply::new(503, (5, 5, 1), "A transaction is open; finish it or say RSET"));
    }
    if server.set.tls_required && server.tls.is_none() {
        // RFC 3207 §4.
        return Err(Reply::new(530, (5, 7, 0), "Say STARTTLS first"));
    }
    if server.set.auth_required && !server.authenticated {
        // RFC 4954 §6, RFC 6409 §4.3.
        return Err(Reply::new(530, (5, 7, 0), "Log in first (AUTH)"));
    }
    if given.extended && !esmtp {
        return Err(Reply::new(555, (5, 5, 4), "Parameters need EHLO"));
    }
    let limits = server.limits();
    if server.tally.messages >= limits.messages {
        return Err(Reply::new(421, (4, 5, 3), "Enough messages on one connection; open another"));
    }
    let envelope = &given.envelope;
    // RFC 1870 §6.1: refuse by the declared size.
    if envelope.size.is_some_and(|size| size > limits.message_octets) {
        let max = limits.message_octets;
        return Err(Reply::new(552, (5, 3, 4), format!("The message is larger than {max} octets")));
    }
    // RFC 3030 §3: not offered, so not to be used.
    if envelope.body == Body::BinaryMime {
        return Err(Reply::new(555, (5, 5, 4), "BINARYMIME is not offered here"));
    }
    // RFC 8689 §4.2.1: REQUIRETLS only under TLS.
    if envelope.requiretls && server.tls.is_none() {
        return Err(Reply::new(530, (5, 7, 10), "REQUIRETLS needs TLS on this connection"));
    }
    Ok(())
}

pub(super) fn proceed(server: &mut Server, envelope: Envelope, answer: Answer) {
    let reply = match verdict(answer) {
        Err(reply) => return server.say(reply),
        Ok(reply) => reply,
    };
    server.mail = Some(Box::new(Transaction {
        envelope,
        body: Vec::new(),
        octets: 0,
        started: server.now,
        chunked: None,
    }));
    server.say(reply.unwrap_or_else(|| Reply::new(250, (2, 1, 0), "Sender taken")));
}
