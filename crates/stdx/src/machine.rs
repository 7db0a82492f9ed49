//! The shape of every protocol machine: bytes, answers and the time go in, actions come out.
//!
//! A machine has no socket, clock or file. One loop (the `drive` crate) serves them all:
//! it takes actions with [`Machine::next`] until there are none, then waits for whichever
//! comes first of bytes from the peer, the answer to the one question that is open, a notice
//! from outside the session, and the deadline.

use crate::{Now, Secret, Span};

/// What a machine wants done. Actions are carried out strictly in order.
pub enum Action<Ask> {
    /// Write these bytes to the peer. The loop may join several before it flushes; it flushes
    /// before it waits.
    Send(Vec<u8>),
    /// A question that only policy or a keeper can answer. At most one is open at a time: until
    /// [`Machine::answered`] is called, [`Machine::next`] may return nothing but `Send`, and
    /// the loop reads no further bytes (that is the back-pressure).
    Ask(Ask),
    /// Flush, then start TLS (server side or client side as the loop was told), dropping bytes
    /// that came before the handshake; then call [`Machine::tls_started`].
    StartTls,
    /// Flush, then begin raw DEFLATE in both directions (RFC 4978).
    StartDeflate,
    /// Flush, then close.
    Close,
}

/// What is known of a TLS session once it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3`.
    pub version: String,
    /// `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The server name the client asked for, lower case.
    pub sni: Option<String>,
    /// RFC 9266 exporter value (`tls-exporter`), for SCRAM-*-PLUS.
    pub exporter: Option<Vec<u8>>,
    /// SHA-256 of the server certificate (`tls-server-end-point`, RFC 5929 §4).
    pub endpoint: Option<Vec<u8>>,
    /// Subject names of a verified client certificate.
    pub client_names: Vec<String>,
    /// Client side only: the server's certificate chain was verified against the name wanted.
    pub verified: bool,
    /// Client side only: the certificates the server showed, its own first, as DER.
    pub chain: Vec<Vec<u8>>,
}

/// A protocol machine. See the module text for the order of calls.
pub trait Machine {
    /// Questions it asks.
    type Ask;
    /// Answers it takes.
    type Answer;
    /// Things told to it from outside its own conversation (for IMAP: "the mailbox changed").
    type Notice;

    /// The connection stands; a server greets, a client waits.
    fn opened(&mut self, now: Now);
    /// Bytes came from the peer, cut anywhere. The machine keeps what it cannot use yet, within
    /// its limits.
    fn received(&mut self, now: Now, bytes: &[u8]);
    /// The open question's answer.
    fn answered(&mut self, now: Now, answer: Self::Answer);
    /// TLS stands (after `StartTls`, or at once on an implicit-TLS port before `opened`).
    fn tls_started(&mut self, now: Now, facts: TlsFacts);
    /// A notice from outside.
    fn notified(&mut self, now: Now, notice: Self::Notice);
    /// The deadline has passed.
    fn timed_out(&mut self, now: Now);
    /// The peer closed its side or the connection broke. No more bytes will come.
    fn closed(&mut self, now: Now);
    /// The server wants to stop: finish what is promised, then say goodbye (421, BYE) and close.
    fn shutdown(&mut self, now: Now);
    /// The next thing to do, or nothing for now.
    fn next(&mut self) -> Option<Action<Self::Ask>>;
    /// When [`Machine::timed_out`] is to be called if nothing else happens before.
    fn deadline(&self) -> Option<Now>;
}

/// What a machine that collects its answers in `out` does next: what is written goes first, whole;
/// then what was to follow it. From `full` octets on, `out` waits for nothing.
pub fn ready<Ask>(out: &mut Vec<u8>, then: &mut Option<Action<Ask>>, full: usize) -> Option<Action<Ask>> {
    if out.len() >= full || then.is_some() { written(out).or_else(|| then.take()) } else { None }
}

/// What is written, if anything is.
pub fn written<Ask>(out: &mut Vec<u8>) -> Option<Action<Ask>> {
    (!out.is_empty()).then(|| Action::Send(std::mem::take(out)))
}

/// Answers a server's password question: kept here so that every engine shares the type.
#[derive(Clone)]
pub struct Plain {
    pub user: String,
    pub password: Secret<String>,
}

/// A deadline helper for machines: "this long after the last progress".
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    since: Now,
    limit: Span,
}

impl Idle {
    pub const fn new(since: Now, limit: Span) -> Idle {
        Idle { since, limit }
    }
    pub fn touch(&mut self, now: Now) {
        self.since = now;
    }
    pub fn set(&mut self, now: Now, limit: Span) {
        *self = Idle { since: now, limit };
    }
    pub fn at(&self) -> Now {
        self.since + self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_goes_before_what_follows_it() {
        let (mut out, mut then) = (b"+OK\r\n".to_vec(), Some(Action::Ask(7)));
        assert!(matches!(ready(&mut out, &mut then, 100), Some(Action::Send(sent)) if sent == b"+OK\r\n"));
        assert!(matches!(ready(&mut out, &mut then, 100), Some(Action::Ask(7))));
        assert!(ready(&mut out, &mut then, 100).is_none() && written::<i32>(&mut out).is_none());
        out = vec![b'x'; 99];
        assert!(ready(&mut out, &mut then, 100).is_none(), "more may be joined to it");
        out.push(b'x');
        assert!(matches!(ready(&mut out, &mut then, 100), Some(Action::Send(sent)) if sent.len() == 100));
    }
}
