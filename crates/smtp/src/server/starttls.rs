//! STARTTLS (RFC 3207).

use stdx::machine::{Action, TlsFacts};
use words::Reply;

use super::{Open, Phase, Question, Server};

pub(super) fn check(server: &mut Server) {
    if server.tls.is_some() {
        return server.wrong(Reply::new(503, (5, 5, 1), "TLS stands already"));
    }
    if !server.set.starttls {
        return server.wrong(Reply::new(502, (5, 5, 1), "STARTTLS is not offered here"));
    }
    server.say(Reply::new(220, (2, 0, 0), "Begin TLS"));
    server.out.push_back(Action::StartTls);
    // RFC 3207 §4.2, §6: nothing said in the clear counts afterwards, and nothing that an eavesdropper
    // put behind the command may be read as if it had come under TLS.
    server.input = Vec::new();
    server.mail = None;
    server.named = None;
    server.phase = Phase::Handshake;
}

pub(super) fn proceed(server: &mut Server, facts: TlsFacts) {
    server.input = Vec::new();
    server.phase = Phase::Commands;
    server.since = server.now;
    server.ask(Open::Tls, Question::Tls(facts));
}
