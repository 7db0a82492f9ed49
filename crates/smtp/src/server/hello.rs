//! EHLO and HELO.

use words::Reply;

use super::{Answer, Open, Question, Server, odds, verdict};

// RFC 5321 §4.1.4: EHLO in mid-session ends the transaction as RSET does.
pub(super) fn check(server: &mut Server, name: String, esmtp: bool) {
    server.mail = None;
    if !odds::may_idle(server) {
        return;
    }
    server.ask(Open::Name { esmtp }, Question::Name { name, esmtp });
}

pub(super) fn proceed(server: &mut Server, esmtp: bool, answer: Answer) {
    match verdict(answer) {
        Err(reply) => server.wrong(reply),
        Ok(_) => {
            server.named = Some(esmtp);
            let reply = if esmtp { offer(server) } else { Reply::plain(250, server.set.host.to_string()) };
            server.say(reply);
        }
    }
}

fn offer(server: &Server) -> Reply {
    let limits = server.limits();
    let mut lines = vec![
        server.set.host.to_string(),
        "PIPELINING".to_owned(),
        format!("SIZE {}", limits.message_octets),
        "8BITMIME".to_owned(),
        "ENHANCEDSTATUSCODES".to_owned(),
        "CHUNKING".to_owned(),
        "SMTPUTF8".to_owned(),
        "DSN".to_owned(),
        // RFC 9422 §3.
        format!("LIMITS RCPTMAX={} MAILMAX={}", limits.recipients, limits.messages),
    ];
    if server.set.starttls && server.tls.is_none() {
        lines.push("STARTTLS".to_owned());
    }
    let names: Vec<_> = server.mechanisms().into_iter().map(sasl::Mechanism::name).collect();
    if !names.is_empty() {
        lines.push(format!("AUTH {}", names.join(" ")));
    }
    // RFC 8689 §4.1: only where TLS already stands.
    if server.tls.is_some() {
        lines.push("REQUIRETLS".to_owned());
    }
    Reply { code: 250, enhanced: None, lines }
}
