//! What SMTP says about a message beside its content.

use crate::Address;

/// RFC 6152, RFC 3030: how the body is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Body {
    #[default]
    SevenBit,
    EightBitMime,
    BinaryMime,
}

/// RFC 3461 §4.3: what a failure DSN is to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    Full,
    Headers,
}

/// RFC 3461 §4.1: when to tell the sender. `None` in [`Recipient::notify`] means not said:
/// failure, and delay if we choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Notify {
    pub never: bool,
    pub success: bool,
    pub failure: bool,
    pub delay: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub address: Address,
    pub notify: Option<Notify>,
    /// RFC 3461 §4.2, decoded: `rfc822;bob@example.org`.
    pub orcpt: Option<String>,
}

impl Recipient {
    pub fn new(address: Address) -> Recipient {
        Recipient { address, notify: None, orcpt: None }
    }
}

/// The reverse path, the recipients, and the parameters that travel with them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Envelope {
    /// `None` is the null reverse path `<>` of a DSN.
    pub sender: Option<Address>,
    pub recipients: Vec<Recipient>,
    pub body: Body,
    /// RFC 1870 declared size, octets.
    pub size: Option<u64>,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 8689.
    pub requiretls: bool,
    /// RFC 8689 §3: the header says `TLS-Required: No`.
    pub tls_waived: bool,
    pub ret: Option<Ret>,
    /// RFC 3461 §4.4, decoded.
    pub envid: Option<String>,
}
