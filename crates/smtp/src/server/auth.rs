//! AUTH (RFC 4954). The mechanisms are `sasl`'s; here only their envelope.

use sasl::{Exchange, Failure, Mechanism, Step, server as exchange};
use words::Reply;

use super::{Answer, Open, Phase, Question, Server};

pub(super) fn check(server: &mut Server, name: &str, initial: Option<&str>) {
    if let Err(reply) = may(server) {
        return server.wrong(reply);
    }
    let initial = initial.map(str::as_bytes);
    let called = match &server.set.offer {
        Some(offer) => exchange::called(name, initial, server.tls.as_deref(), offer),
        None => {
            let user = Mechanism::parse(name).and_then(|m| exchange::shown_user(m, initial?));
            Err(sasl::Question::NotHere { user, via: exchange::via(name) })
        }
    };
    let (mechanism, plus) = match called {
        Ok(called) => called,
        // Nobody logs in so; asked that it is on record.
        Err(question) => return server.ask(Open::Sasl, Question::Sasl(question)),
    };
    let (exchange, step) = Exchange::begin(mechanism, initial, server.tls.as_deref(), plus);
    server.login = Some(Box::new(exchange));
    go_on(server, step);
}

fn may(server: &Server) -> Result<(), Reply> {
    if server.named != Some(true) {
        return Err(Reply::new(503, (5, 5, 1), "Say EHLO first"));
    }
    if server.authenticated || server.mail.is_some() {
        return Err(Reply::new(503, (5, 5, 1), "Not now: log in once, before MAIL"));
    }
    Ok(())
}

/// A line of the exchange.
pub(super) fn response(server: &mut Server, line: &[u8]) {
    server.phase = Phase::Commands;
    if let Some(login) = &mut server.login {
        let step = login.line(line);
        go_on(server, step);
    }
}

pub(super) fn proceed(server: &mut Server, answer: Answer) {
    let step = match (answer, &mut server.login) {
        (Answer::Sasl(answer), Some(login)) => login.answered(answer),
        (Answer::Sasl(sasl::Answer::Refused(why)), None) => Step::Failed(why),
        _ => Step::Failed(Failure::Unavailable),
    };
    go_on(server, step);
}

fn go_on(server: &mut Server, step: Step) {
    match step {
        Step::Challenge(text) => {
            server.phase = Phase::AuthLine;
            server.say(Reply::plain(334, text));
        }
        Step::Ask(question) => server.ask(Open::Sasl, Question::Sasl(question)),
        Step::Done => {
            server.login = None;
            server.authenticated = true;
            server.say(Reply::new(235, (2, 7, 0), "Logged in"));
        }
        Step::Failed(failure) => {
            server.login = None;
            failed(server, &failure);
        }
    }
}

// RFC 4954 §6: the codes of a log-in that failed.
fn failed(server: &mut Server, failure: &Failure) {
    let (code, enhanced) = match failure {
        Failure::Cancelled => (501, (5, 7, 0)),
        Failure::Malformed(_) => (501, (5, 5, 2)),
        Failure::Wrong => (535, (5, 7, 8)),
        Failure::HeldOff | Failure::Unavailable => (454, (4, 7, 0)),
        Failure::NotAllowed(_) => (535, (5, 7, 1)),
        // RFC 4954 §6, RFC 8314 §3.3.
        Failure::TooWeak => (538, (5, 7, 11)),
        Failure::NotOffered(_) => (504, (5, 5, 4)),
        Failure::NotHere => (502, (5, 5, 1)),
    };
    server.tally.auth_failures += 1;
    let too_many = server.tally.auth_failures >= server.limits().auth_failures;
    server.say(Reply::new(code, enhanced, sentence(&failure.says())));
    if too_many {
        server.say(Reply::new(421, (4, 7, 0), "Too many failed log-ins"));
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}
