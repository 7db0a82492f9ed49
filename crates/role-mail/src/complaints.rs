//! Complaints of other providers' people about our mail, tied to the account that sent it.
//!
//! What it is: the reader of feedback reports (RFC 5965) and of the older JMRP form, at the
//! address the operator has named to the feedback loops; and the reader of SNDS. What it is not:
//! the guard; three complaints in an hour become a fact for it. Who complained is nowhere kept:
//! neither the ledger nor the account ever sees a recipient's address. Begin with [`take`].

use drive::Stop;
use ledger::Fact;
use message::mime::Structure;
use message::{Head, arf};
use route::Alert;
use stdx::{Now, Span};
use store::StoreError;
use words::{AccountId, Address, MessageId};

use crate::reception::Draft;
use crate::send::landing;
use crate::send::outbound::egresses;
use crate::tag::{Tags, Whose};
use crate::{Settings, Site};

/// So many within [`WITHIN`] raise the account's state.
pub const RAISE: usize = 3;
pub const WITHIN: Span = Span::hours(1);
/// The knob under which a raised account stands: `complaints/17`, with the time.
pub const KNOB: &str = "complaints/";
const KEY: &str = "tag_key";
/// Octets of a report that are read.
const REPORT_MAX: usize = 256 << 10;
/// SNDS is read so often.
const SNDS_EVERY: Span = Span::mins(30);
const SNDS_FIRST: Span = Span::mins(1);

/// The key of the marks; made the first time, and kept.
pub async fn tags(site: &Site) -> Result<Tags, StoreError> {
    if let Some(tags) = site.outbound().tags().get() {
        return Ok(tags.clone());
    }
    let mut fresh = [0; 32];
    site.world().random.fill(&mut fresh);
    let text = sasl::encode(&fresh);
    let kept = site
        .store()
        .commit(Vec::new(), move |batch| match directory::knob(batch.sql(), KEY)? {
            Some(text) => Ok(text),
            None => {
                directory::set_knob(batch, KEY, Some(&text))?;
                Ok(text)
            }
        })
        .await?;
    let key = sasl::decode(kept.as_bytes()).and_then(|k| <[u8; 32]>::try_from(k).ok());
    let key =
        key.ok_or_else(|| StoreError::Broken("the key of the marks on outgoing mail does not read".into()))?;
    Ok(site.outbound().tags().get_or_init(|| Tags::new(key)).clone())
}

/// A text of our own making that leaves, with the mark on top.
pub async fn tagged(
    site: &Site,
    whose: Whose,
    message: MessageId,
    text: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let mut out = tags(site).await?.field(whose, message).into_bytes();
    out.extend_from_slice(text);
    Ok(out)
}

/// The text of a message to the feedback address, as far as it is read.
pub fn addressed(settings: &Settings, draft: &Draft) -> Option<Vec<u8>> {
    let feedback = settings.feedback.as_ref()?;
    let ours = draft.envelope.recipients.iter().any(|r| r.address.key() == feedback.key());
    let text = ours.then(|| draft.text.whole().unwrap_or_else(|| draft.text.header()))?;
    Some(text[..text.len().min(REPORT_MAX)].to_vec())
}

/// One complaint, without a word on who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// `abuse`, `fraud`, `virus`, `jmrp` …
    pub feedback: String,
    /// The provider: the domain that wrote the report.
    pub from: String,
    pub tagged: Option<(Whose, MessageId)>,
    /// The Message-ID of what is complained about.
    pub header: Option<String>,
    pub incidents: u32,
}

/// Reads a report; `None` for other mail, and for reports that are no complaints.
pub fn read(text: &[u8], tags: &Tags) -> Option<Complaint> {
    let structure = Structure::of(text);
    let head = Head::parse(text);
    let from = head.get("From").and_then(|f| message::addresses::mailboxes(f.raw()).into_iter().next());
    let from = from.and_then(|m| m.parsed()).map_or(String::new(), |a| a.domain().to_string());
    let decoded = || {
        let parts = structure.parts().iter().filter(|p| p.body.len() < REPORT_MAX);
        parts.map(|p| message::transfer::decode(p.encoding, &text[p.body.clone()]))
    };
    let tagged = tags.find(text).or_else(|| decoded().find_map(|part| tags.find(&part)));
    match arf::read(text, &structure) {
        // RFC 5965 §7.3, RFC 6591: these say no bad thing about a sender.
        Some(report) if ["not-spam", "auth-failure", "dkim"].contains(&report.feedback.as_str()) => None,
        Some(report) => Some(Complaint {
            feedback: report.feedback,
            from,
            tagged,
            header: report.message_id,
            incidents: report.incidents.clamp(1, 1000),
        }),
        None => {
            let jmrp = text.windows(23).any(|w| w.eq_ignore_ascii_case(b"X-HmXmrOriginalRecipien"));
            let subject = head.text("Subject").unwrap_or_default().to_ascii_lowercase();
            (jmrp || subject.starts_with("complaint about message")).then_some(Complaint {
                feedback: "jmrp".to_owned(),
                from,
                tagged,
                header: None,
                incidents: 1,
            })
        }
    }
}

/// Takes a report in: the account is found, the complaint counted, its state raised if need be.
pub async fn take(site: &Site, text: &[u8]) {
    if let Err(why) = taken(site, text).await {
        tracing::error!(%why, "a complaint could not be entered; its report lies in the mailbox");
    }
}

async fn taken(site: &Site, text: &[u8]) -> Result<(), StoreError> {
    let Some(complaint) = read(text, &tags(site).await?) else { return Ok(()) };
    let now = site.now();
    let account = whose(site, &complaint)?;
    let mut fact = Fact::new("complaint", now)
        .with("feedback", complaint.feedback.clone())
        .with("provider", complaint.from.clone())
        .with("incidents", complaint.incidents);
    if let Some((_, message)) = complaint.tagged {
        fact = fact.message(message);
    }
    let Some((id, login)) = account else {
        tracing::warn!(provider = %complaint.from, "a complaint belongs to no account of ours");
        return note(site, fact.with("account", "unknown"), None).await;
    };
    let before = site.store().glance(|conn| ledger::about(conn, &login, 200))?;
    let lately = |f: &&Fact| f.kind == "complaint" && now.since(f.at) < WITHIN;
    let count: u32 = before.iter().filter(lately).map(incidents).sum::<u32>() + complaint.incidents;
    fact = fact.with("account", login.to_string()).about(&login);
    let raise = count >= RAISE as u32;
    note(site, fact, raise.then_some((id, login.clone(), count))).await?;
    if raise {
        let says = format!(
            "{login} had {count} complaints within {WITHIN}: see `postroad why {login}`, and have its owner change the password or stop the mailing"
        );
        landing::alert(site, &Alert { key: format!("complaints:{}", id.0), says });
    }
    Ok(())
}

fn incidents(fact: &Fact) -> u32 {
    fact.detail.get("incidents").and_then(|n| n.as_u64()).unwrap_or(1) as u32
}

async fn note(site: &Site, fact: Fact, raise: Option<(AccountId, Address, u32)>) -> Result<(), StoreError> {
    let now = site.now();
    let done = site.store().commit(Vec::new(), move |batch| {
        ledger::note(batch, &fact)?;
        if let Some((id, login, count)) = &raise {
            directory::set_knob(batch, &format!("{KNOB}{}", id.0), Some(&now.0.to_string()))?;
            let raised = Fact::new("account.complaints", now).about(login).with("account", login.to_string());
            ledger::note(batch, &raised.with("count", *count))?;
        }
        Ok(())
    });
    done.await
}

/// By our mark; where a provider has cut that out, by the Message-ID.
fn whose(site: &Site, complaint: &Complaint) -> Result<Option<(AccountId, Address)>, StoreError> {
    site.store().glance(|conn| {
        let known = |id: AccountId| -> Result<Option<(AccountId, Address)>, StoreError> {
            let account = directory::account(conn, id)?;
            Ok(account.and_then(|a| Some((id, Address::parse(&a.login.to_string()).ok()?))))
        };
        if let Some((Whose::Account(id), _)) = complaint.tagged {
            return known(id);
        }
        let Some(header) = &complaint.header else { return Ok(None) };
        let facts = ledger::by_header(conn, header, 20)?;
        let login =
            facts.iter().find(|f| f.kind == "submission.accepted").map(|f| f.text("login").to_owned());
        let Some(login) = login.and_then(|l| Address::parse(&l).ok()) else { return Ok(None) };
        match directory::resolve(conn, &login)? {
            directory::Resolved::Local(targets) => match targets.first() {
                Some(directory::Target::Mailbox(id)) => known(*id),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    })
}

/// When an account's state was raised last.
pub fn raised(site: &Site, account: AccountId) -> Option<Now> {
    let knob = site.store().glance(|conn| directory::knob(conn, &format!("{KNOB}{}", account.0)));
    knob.ok().flatten()?.parse().ok().map(Now)
}

/// Takes a table of SNDS; says how many lines were read and what changed.
pub fn take_snds(site: &Site, text: &str) -> (usize, Vec<String>) {
    let (lines, odd) = route::snds::read(text);
    if odd > 0 {
        tracing::warn!(lines = odd, "lines of the SNDS table are none");
    }
    let ours = egresses(&site.settings());
    let events = route::snds::learn_snds(&mut site.outbound().routes(), &lines, &ours, site.now());
    landing::audit(site, &events, None);
    for event in &events {
        landing::alert(site, &Alert { key: format!("snds:{}", event.says), says: event.says.clone() });
    }
    (lines.len(), events.into_iter().map(|e| e.says).collect())
}

/// Reads SNDS twice an hour, if there is a URL, until the server stops.
pub async fn read_snds(site: Site, stop: Stop) {
    let clock = site.world().clock.clone();
    let mut wait = SNDS_FIRST;
    while drive::until_stop(&stop, clock.sleep_until(site.now() + wait)).await.is_some() {
        wait = SNDS_EVERY;
        let Some(url) = site.settings().snds_url.clone() else { continue };
        let Ok(url) = web::Url::parse(url.reveal()) else {
            tracing::warn!("what stands in snds_url_file is no URL");
            continue;
        };
        match web::fetch(site.world(), site.roots(), &web::Ask::get(url)).await {
            Ok(got) if got.is_success() => drop(take_snds(&site, &got.text())),
            Ok(got) => tracing::warn!(status = got.status, "SNDS does not hand out its table"),
            Err(why) => tracing::warn!(%why, "SNDS cannot be read"),
        }
    }
}
