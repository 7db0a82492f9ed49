//! Every limit of a server session in one place, beside the reason for its size.

use stdx::Span;

/// What to do with a text that holds a CR or LF outside of CR LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNewlines {
    /// Read to the true end and refuse with 550 5.6.11.
    Refuse,
    /// Refuse LF alone: other hosts may see an end of data where we see text, and a second message
    /// behind it (SMTP smuggling). Keep CR alone: real programs let it slip in, no host is known to
    /// end a line at it, and what we send on has it mended.
    RefuseLf,
    /// Keep the bytes. They still never end the text.
    Keep,
}

/// Limits of one server session.
#[derive(Clone, Debug)]
pub struct Limits {
    /// RFC 5321 §4.5.3.1.4 says 512; parameters of extensions add to it (DSN alone 600).
    pub command_octets: usize,
    /// RFC 4954 §4.1: 12,288 octets for one line of an authentication exchange.
    pub auth_octets: usize,
    /// RFC 5321 §4.5.3.1.6 says 1,000; real mail goes far beyond, endless lines do harm elsewhere.
    pub text_line_octets: u64,
    /// Octets of one message.
    pub message_octets: u64,
    /// Octets of a refused text read beyond the limit before the connection is cut.
    pub discard_octets: u64,
    /// RFC 5321 §4.5.3.1.8: at least 100.
    pub recipients: usize,
    /// Messages on one connection; 421 follows.
    pub messages: u32,
    /// Commands that were wrong; 421 follows.
    pub errors: u32,
    /// Commands that move no mail (NOOP, RSET, VRFY, EHLO…) since the last message.
    pub idle_commands: u32,
    /// Recipients refused on one connection: more is a guesser of names.
    pub refused_recipients: u32,
    pub auth_failures: u32,
    /// Text is handed on in pieces of about this size.
    pub chunk_octets: usize,
    /// How long to wait before greeting; a peer that talks in that time is no mail server.
    pub greet_pause: Span,
    /// RFC 5321 §4.5.3.2.7: at least five minutes between commands. Only a whole command counts.
    pub command_wait: Span,
    /// Between two blocks of a text.
    pub text_wait: Span,
    /// A whole text may take `text_grace` and one second more per `text_rate` octets received.
    pub text_grace: Span,
    pub text_rate: u64,
    pub handshake_wait: Span,
    pub bare_newlines: BareNewlines,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            command_octets: 4096,
            auth_octets: 12_288,
            text_line_octets: 1 << 20,
            message_octets: 50 << 20,
            discard_octets: 100 << 20,
            recipients: 1000,
            messages: 1000,
            errors: 20,
            idle_commands: 100,
            refused_recipients: 100,
            auth_failures: 5,
            chunk_octets: 64 << 10,
            greet_pause: Span::ZERO,
            command_wait: Span::mins(5),
            text_wait: Span::mins(3),
            text_grace: Span::mins(5),
            text_rate: 512,
            handshake_wait: Span::secs(30),
            bare_newlines: BareNewlines::RefuseLf,
        }
    }
}
