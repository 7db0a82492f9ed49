//! What the server machine asks, and the answers it takes.

use stdx::machine::TlsFacts;
use words::{Envelope, MessageId, Recipient, Reply};

/// A question to the desk. At most one is open; the order is that of the wire.
pub enum Question {
    /// The connection stands (`tls` on an implicit-TLS port). `Yes` greets; a refusing reply is said
    /// and the connection closed.
    Opened { tls: Option<TlsFacts> },
    /// TLS stands after STARTTLS; everything said before is forgotten. `Yes`.
    Tls(TlsFacts),
    /// EHLO or HELO; any transaction is over. `Yes`, or a refusing reply.
    Name { name: String, esmtp: bool },
    /// A step of a log-in; `role_mail::login` answers it with `Sasl`.
    Sasl(sasl::Question),
    /// MAIL, the envelope without recipients. `Yes` or a reply.
    Mail(Envelope),
    /// RCPT. `Yes` or a reply; a refused recipient is not part of the transaction.
    Rcpt(Recipient),
    /// The text is about to come, for the recipients answered yes. `Yes`, or a refusing reply, which
    /// ends the transaction.
    Data,
    /// A piece of the text, dots taken off. `Yes`, or a refusing reply, which is said at the end of
    /// the text; no further pieces and no commit come then.
    Body(Vec<u8>),
    /// The last piece; the text is whole. `Saved` once it is durable, or a refusing reply.
    Commit(Vec<u8>),
    /// The transaction is over without a commit. `Yes`.
    Reset,
    /// A further command came after the 250 for this message: the client knows that we have it.
    /// `Yes`.
    Confirmed(MessageId),
}

/// What the desk answers.
pub enum Answer {
    /// Go on, with the machine's own words.
    Yes,
    /// Say this; its class decides. 421 ends the session.
    Reply(Reply),
    Sasl(sasl::Answer),
    /// The message is durable.
    Saved(MessageId),
}
