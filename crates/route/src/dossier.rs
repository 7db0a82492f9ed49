//! What a provider or list has said against one of our addresses, kept so that somebody can write
//! to them: first and last refusal, how often, word for word, and what was asked and answered.
//!
//! What it is: [`Dossier`] as a value that grows with every refusal ([`State::enter_dossier`]) and
//! with what the operator records; [`form_for`] knows where to write. What it is not: a letter
//! that sends itself; nothing here ever asks anybody for anything. Begin with [`Dossier`].

use serde::{Deserialize, Serialize};
use stdx::{Now, Span};

use crate::dnsbl;
use crate::lists;
use crate::provider;
use crate::state::{Evidence, State};

/// Dossiers kept; the one that was quiet longest goes first.
const DOSSIERS_MAX: usize = 2_000;
/// Different replies kept word for word in each.
const REPLIES_MAX: usize = 12;
/// Steps kept in each.
const STEPS_MAX: usize = 50;

/// One reply, and how often it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    pub reply: String,
    pub host: String,
    pub domain: String,
    pub first: u64,
    pub last: u64,
    pub count: u64,
}

/// What the operator did, or what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A form was filled in, a letter written: by hand, always.
    Asked,
    /// They answered.
    Answered,
    /// They refuse mail still, after their answer. Written by itself.
    StillRefused,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub at: u64,
    pub step: Step,
    pub note: String,
}

/// Everything about one egress at one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dossier {
    pub egress: String,
    pub group: String,
    pub first: u64,
    pub last: u64,
    pub count: u64,
    pub quotes: Vec<Quote>,
    pub entries: Vec<Entry>,
}

impl Dossier {
    /// `asked`, `answered`, `still refused since …`, or `open`.
    pub fn standing(&self) -> String {
        match self.entries.last() {
            None => "open: nobody was asked".to_owned(),
            Some(e) => {
                let at = Now(e.at).iso();
                match e.step {
                    Step::Asked => format!("asked {at}: {}", e.note),
                    Step::Answered => format!("answered {at}: {}", e.note),
                    Step::StillRefused => format!("still refused since {at}, although they answered"),
                }
            }
        }
    }
}

/// Where to write, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Form {
    /// Whose it is.
    pub of: String,
    pub how: String,
}

/// Forms of providers, by our names of their groups.
const FORMS: &[(&str, &str)] = &[
    (
        "microsoft-365",
        "https://sender.office.com/ (one address at a time; for 5.7.511 write to delist@messaging.microsoft.com)",
    ),
    ("microsoft-consumer", "https://olcsupport.office.com/ (join SNDS and JMRP first)"),
    (
        "google",
        "no form; Postmaster Tools, and the sender contact form at https://support.google.com/mail/contact/gmail_bulk_sender_escalation",
    ),
    ("yahoo", "https://senders.yahooinc.com/contact"),
    ("apple", "https://ipcheck.proofpoint.com/ where the reply names Proofpoint; else icloudadmin@apple.com"),
    ("proofpoint", "https://ipcheck.proofpoint.com/"),
    ("barracuda", "https://www.barracudacentral.org/rbl/removal-request"),
    ("cisco", "https://talosintelligence.com/reputation_center (a ticket for the sender's address)"),
    ("gmx-webde-ionos", "https://postmaster.gmx.net/"),
    ("tonline", "a letter to tosa@rx.t-online.de, with the address, its name and an imprint"),
    ("orange", "https://csi.cloudmark.com/reset-request/ where the reply says OFR006"),
    ("comcast", "https://spa.xfinity.com/"),
    ("charter-spectrum", "https://csi.cloudmark.com/reset-request/"),
    ("att-prodigy", "a letter to abuse_rbl@abuse-att.net"),
    ("godaddy", "https://unblock.secureserver.net/"),
    ("mailru", "https://postmaster.mail.ru/"),
];

/// Lists that cannot be asked, and are written to.
const LIST_FORMS: &[(&str, &str)] = &[
    ("cloudmark-csi", "https://csi.cloudmark.com/reset-request/"),
    ("proofpoint-pdr", "https://ipcheck.proofpoint.com/"),
    ("invaluement", "https://www.invaluement.com/removal/"),
    ("combined.mail.abusix.zone", "https://lookup.abusix.com/"),
];

/// Where to write about a refusal of this group: to each list its replies cite, else to the provider.
pub fn forms(dossier: &Dossier, zones: &[String]) -> Vec<Form> {
    let mut out: Vec<Form> = Vec::new();
    let known = dnsbl::built_in();
    for quote in &dossier.quotes {
        let Some(list) = lists::cited(&quote.reply, zones) else { continue };
        if out.iter().any(|f| f.of == list) {
            continue;
        }
        let fixed = LIST_FORMS.iter().find(|(n, _)| *n == list).map(|(_, how)| (*how).to_owned());
        let how = fixed.or_else(|| known.iter().find(|l| l.zone == list).map(|l| l.delist.clone()));
        let how = how.unwrap_or_else(|| format!("this list is not known here; look at {list}"));
        out.push(Form { of: list, how });
    }
    if let Some((id, how)) = FORMS.iter().find(|(id, _)| *id == dossier.group) {
        let name = provider::by_id(id).map_or((*id).to_owned(), |p| p.id.to_owned());
        out.push(Form { of: name, how: (*how).to_owned() });
    }
    if out.is_empty() {
        let group = &dossier.group;
        let how = format!(
            "a letter to postmaster@ the receiving domain ({group}); from an address that still gets through"
        );
        out.push(Form { of: group.clone(), how });
    }
    out
}

fn key(egress: &str, group: &str) -> String {
    format!("{egress}/{group}")
}

impl State {
    /// A refusal for the sake of an address of ours; true if it is the first that contradicts
    /// their answer.
    pub(crate) fn enter_dossier(
        &mut self,
        (egress, group): (&str, &str),
        evidence: &Evidence,
        now: Now,
    ) -> bool {
        let key = key(egress, group);
        if !self.dossiers.contains_key(&key) && self.dossiers.len() >= DOSSIERS_MAX {
            let quiet = self.dossiers.iter().min_by_key(|(_, d)| d.last).map(|(k, _)| k.clone());
            if let Some(quiet) = quiet {
                self.dossiers.remove(&quiet);
                self.dirty.insert(format!("d/{quiet}"));
            }
        }
        let dossier = self.dossiers.entry(key.clone()).or_insert_with(|| Dossier {
            egress: egress.to_owned(),
            group: group.to_owned(),
            first: now.0,
            ..Dossier::default()
        });
        dossier.last = now.0;
        dossier.count += 1;
        quote(dossier, evidence, now);
        let answered = dossier.entries.last().is_some_and(|e| e.step == Step::Answered);
        if answered {
            push(dossier, Entry { at: now.0, step: Step::StillRefused, note: evidence.reply.clone() });
        }
        self.dirty.insert(format!("d/{key}"));
        answered
    }

    /// What the operator did.
    pub fn record_step(&mut self, egress: &str, group: &str, entry: Entry) -> bool {
        let key = key(egress, group);
        let Some(dossier) = self.dossiers.get_mut(&key) else { return false };
        push(dossier, entry);
        self.dirty.insert(format!("d/{key}"));
        true
    }

    /// Dossiers of an egress, of one group if it is named; the latest first.
    pub fn dossiers(&self, egress: &str, group: Option<&str>) -> Vec<Dossier> {
        let fits = |d: &&Dossier| d.egress == egress && group.is_none_or(|g| g == d.group);
        let mut out: Vec<Dossier> = self.dossiers.values().filter(fits).cloned().collect();
        out.sort_by_key(|d| std::cmp::Reverse(d.last));
        out
    }

    /// Dossiers that wait for an answer longer than this, for a reminder.
    pub fn dossiers_unanswered(&self, after: Span, now: Now) -> Vec<Dossier> {
        let waits = |d: &&Dossier| {
            d.entries.last().is_some_and(|e| e.step == Step::Asked && now.since(Now(e.at)) >= after)
        };
        self.dossiers.values().filter(waits).cloned().collect()
    }
}

fn push(dossier: &mut Dossier, entry: Entry) {
    if dossier.entries.len() >= STEPS_MAX {
        dossier.entries.remove(0);
    }
    dossier.entries.push(entry);
}

fn quote(dossier: &mut Dossier, evidence: &Evidence, now: Now) {
    if let Some(known) = dossier.quotes.iter_mut().find(|q| q.reply == evidence.reply) {
        known.last = now.0;
        known.count += 1;
        return;
    }
    if dossier.quotes.len() >= REPLIES_MAX {
        // The first reply tells how it began; of the others the rarest goes.
        let rarest = (1..dossier.quotes.len()).min_by_key(|n| dossier.quotes[*n].count).unwrap_or(1);
        dossier.quotes.remove(rarest);
    }
    dossier.quotes.push(Quote {
        reply: evidence.reply.clone(),
        host: evidence.host.clone(),
        domain: evidence.domain.clone(),
        first: now.0,
        last: now.0,
        count: 1,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(reply: &str) -> Evidence {
        Evidence {
            at: 0,
            domain: "x.example".into(),
            host: "mx.x.example".into(),
            reply: reply.into(),
            rule: "r".into(),
        }
    }

    #[test]
    fn a_portal_that_says_not_blocked_is_contradicted_by_the_next_refusal() {
        let mut state = State::new();
        let at = |s: u64| Now::from_secs(1_000_000 + s);
        for n in 0..5 {
            state.enter_dossier(("A", "microsoft-365"), &refusal("550 5.7.606 banned"), at(n));
        }
        let entry = |s, step, note: &str| Entry { at: at(s).0, step, note: note.into() };
        assert!(state.record_step("A", "microsoft-365", entry(10, Step::Asked, "ticket 77")));
        assert!(state.record_step("A", "microsoft-365", entry(20, Step::Answered, "not currently blocked")));
        state.enter_dossier(("A", "microsoft-365"), &refusal("550 5.7.606 banned"), at(30));
        state.enter_dossier(("A", "microsoft-365"), &refusal("550 5.7.606 banned"), at(40));
        let d = state.dossiers("A", None).remove(0);
        assert_eq!((d.first, d.last, d.count), (at(0).0, at(40).0, 7));
        assert_eq!((d.quotes.len(), d.quotes[0].count), (1, 7));
        let steps: Vec<Step> = d.entries.iter().map(|e| e.step).collect();
        assert_eq!(steps, [Step::Asked, Step::Answered, Step::StillRefused]);
        assert!(d.standing().starts_with("still refused since"));
        assert!(forms(&d, &[])[0].how.contains("sender.office.com"));
        assert!(!state.record_step("B", "microsoft-365", entry(0, Step::Asked, "")));
        // It outlives a restart.
        let rows: Vec<_> = state.take_changes().into_iter().filter_map(|(k, r)| Some((k, r?))).collect();
        assert_eq!(State::restore(rows).0.dossiers("A", None), [d]);
    }

    #[test]
    fn the_form_is_that_of_the_list_the_reply_names() {
        let mut state = State::new();
        state.enter_dossier(
            ("A", "isp.example"),
            &refusal("554 blocked using zen.spamhaus.org"),
            Now::from_secs(5),
        );
        let d = state.dossiers("A", Some("isp.example")).remove(0);
        assert_eq!(
            forms(&d, &[]),
            [Form { of: "zen.spamhaus.org".into(), how: "https://check.spamhaus.org/".into() }]
        );
    }
}
