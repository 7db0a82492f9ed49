//! What proves a message from outside: SPF, DKIM, DMARC and the peer's name, as facts for the judge
//! and as our Authentication-Results field.

use accept::{Dmarc, Spf};
use words::Domain;

use crate::reception::{Draft, Reception};

/// What was found.
pub struct Proof {
    pub spf: Spf,
    pub signed: bool,
    pub dmarc: Dmarc,
    /// The domain in From, if there is exactly one.
    pub from: Option<Domain>,
    /// The peer's address has a name that leads back to it; `None` if that could not be asked.
    pub reverse: Option<bool>,
    /// That name.
    pub name: Option<String>,
}

/// Checks what can be checked.
pub async fn of(_at: &Reception, draft: &Draft) -> Proof {
    Proof {
        spf: Spf::None,
        signed: false,
        dmarc: Dmarc::Absent,
        from: from_domain(&draft.text),
        reverse: None,
        name: None,
    }
}

fn from_domain(text: &[u8]) -> Option<Domain> {
    let head = message::Head::parse(text);
    let mut fields = head.all("From");
    let field = fields.next()?;
    if fields.next().is_some() {
        return None;
    }
    let mut domains = message::addresses::mailboxes(field.raw()).into_iter().filter_map(|m| m.parsed());
    let first = domains.next()?;
    domains.all(|d| d.domain() == first.domain()).then(|| first.domain().clone())
}

impl Proof {
    pub fn field(&self, host: &str) -> String {
        message::authres::AuthResults { host: host.to_owned(), results: Vec::new() }.field()
    }
    /// One line for the ledger.
    pub fn summary(&self) -> String {
        String::new()
    }
}
