//! RCPT.

use words::{Recipient, Reply};

use super::{Answer, Open, Question, Server, verdict};
use crate::command::RcptTo;

pub(super) fn check(server: &mut Server, given: RcptTo) {
    let max = server.limits().recipients;
    let Some(mail) = &server.mail else {
        return server.wrong(Reply::new(503, (5, 5, 1), "Say MAIL first"));
    };
    if mail.chunked.is_some() {
        return server.wrong(Reply::new(503, (5, 5, 1), "The text has begun"));
    }
    if given.extended && server.named == Some(false) {
        return server.wrong(Reply::new(555, (5, 5, 4), "Parameters need EHLO"));
    }
    // RFC 6531 §3.4.
    if given.beyond_ascii && !mail.envelope.smtputf8 {
        return server.wrong(Reply::new(553, (5, 6, 7), "The address is not ASCII; give SMTPUTF8 with MAIL"));
    }
    // RFC 5321 §4.5.3.1.10: 452 for one recipient too many; those before stay.
    if mail.envelope.recipients.len() >= max {
        return server.say(Reply::new(452, (4, 5, 3), format!("No more than {max} recipients at a time")));
    }
    let recipient = given.recipient;
    server.ask(Open::Rcpt(Box::new(recipient.clone())), Question::Rcpt(recipient));
}

pub(super) fn proceed(server: &mut Server, recipient: Recipient, answer: Answer) {
    match verdict(answer) {
        Ok(reply) => {
            if let Some(mail) = &mut server.mail {
                mail.envelope.recipients.push(recipient);
            }
            server.say(reply.unwrap_or_else(|| Reply::new(250, (2, 1, 5), "Recipient taken")));
        }
        Err(reply) => {
            server.tally.refused += 1;
            if reply.is_permanent() && server.tally.refused > server.limits().refused_recipients {
                return server.say(Reply::new(421, (4, 7, 0), "Too many recipients that do not exist"));
            }
            server.say(reply);
        }
    }
}
