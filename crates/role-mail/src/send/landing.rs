//! An outcome comes back: what it teaches, and what each recipient does next.

use ledger::Fact;
use route::{Alert, Event, Next, Outcome, Refusal, Stage};
use smtp::client::{self, Fate, Unfit};
use spool::{Last, Tried};
use stdx::{Now, Span};
use words::{AttemptId, Enhanced, Reasons, Reply};

use super::flight::{Flight, How, Phase, Told as Word, status_of};
use super::job::{Landed, Told};
use super::yard::{Trip, Yard};
use crate::Site;

/// One alert is raised again after so long.
const ALERT_EVERY: Span = Span::hours(24);

/// One recipient's outcome.
enum Said {
    Taken {
        reply: Reply,
        dsn: bool,
    },
    Refused {
        stage: Stage,
        reply: Reply,
    },
    Unfit(Enhanced, String),
    NoAnswer(String),
    /// A policy forbids it for now.
    Barred(&'static str, String),
    NotTried,
}

impl Yard {
    pub(super) fn landed(&mut self, landed: Landed) {
        let Some(trip) = self.trips.remove(&landed.job.attempt) else { return };
        let (id, now) = (landed.job.entry, self.site.now());
        let all = said(&landed);
        let mut lessons: Vec<(String, Next, Reasons)> = Vec::new();
        for (at, (slot, said)) in landed.job.slots.iter().zip(&all).enumerate() {
            let key = key(said);
            let known = lessons.iter().position(|(k, _, _)| *k == key);
            let index = known.unwrap_or_else(|| {
                let (next, reasons) = self.teach(&trip, &landed, said, at == 0, now);
                lessons.push((key, next, reasons));
                lessons.len() - 1
            });
            let next = lessons[index].1;
            self.follow(id, *slot, (said, next), (&trip, &landed), now);
        }
        if let Some(flight) = self.flights.get_mut(&id) {
            for (key, next, reasons) in &lessons {
                let slots =
                    landed.job.slots.iter().zip(&all).filter(|(_, s)| self::key(s) == *key).map(|(n, _)| *n);
                let fact = fact(flight, slots, (*next, now), (&trip, &landed), reasons);
                flight.facts.push(fact.with("said", key.clone()));
            }
        }
        self.go(id);
        self.close_if_resting(id);
        self.unpark(&trip.group);
    }

    /// Asks the judge what an outcome means.
    fn teach(&mut self, trip: &Trip, landed: &Landed, said: &Said, first: bool, now: Now) -> (Next, Reasons) {
        let Some(egress) = self.egresses.get(trip.egress) else {
            return (
                Next::Again,
                words::Reason::new("egress.gone", "the egress is no longer in the settings").into(),
            );
        };
        let text;
        let told = match said {
            Said::Taken { .. } => route::Told::Taken,
            Said::Unfit(..) => route::Told::NotTried,
            Said::NotTried | Said::Barred(..) => route::Told::NotTried,
            Said::NoAnswer(why) => route::Told::NoAnswer { why },
            Said::Refused { stage, reply } => {
                text = reply.to_string();
                let provider = route::group::provider_of(&trip.group).map(|p| p.id);
                let refusal = Refusal {
                    stage: *stage,
                    code: reply.code,
                    enhanced: reply.enhanced,
                    text: &reply.text(),
                    provider,
                    mx_host: landed.host.as_deref(),
                };
                let reading = route::classify(&refusal);
                route::Told::Refused { stage: *stage, reading, permanent: reply.is_permanent(), reply: &text }
            }
        };
        let sender = self
            .flights
            .get(&landed.job.entry)
            .and_then(|f| f.entry.sender.as_ref())
            .map(|s| s.domain().clone());
        let outcome = Outcome {
            egress,
            group: &trip.group,
            host: landed.host.as_deref(),
            domain: &trip.domain,
            sender_domain: sender.as_ref(),
            purpose: trip.purpose,
            told,
            zones: &self.settings.list_zones,
        };
        let site = self.site.clone();
        let mut routes = site.outbound().routes();
        let lesson = if first {
            route::learn(&mut routes, &outcome, &self.judging, now)
        } else {
            route::learn_also(&mut routes, &outcome, &self.judging, now)
        };
        drop(routes);
        audit(&self.site, &lesson.events, Some(landed.job.attempt));
        match said {
            // The egress has nothing to learn from it; the reason is the policy's.
            Said::Barred(rule, why) => (lesson.next.decision, words::Reason::new(rule, why.clone()).into()),
            _ => (lesson.next.decision, lesson.next.reasons),
        }
    }

    /// What one recipient does next.
    fn follow(
        &mut self,
        id: spool::SpoolId,
        slot: usize,
        (said, next): (&Said, Next),
        (trip, landed): (&Trip, &Landed),
        now: Now,
    ) {
        let name = self.egresses.get(trip.egress).map_or(String::new(), |e| e.name.clone());
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let words = match said {
            Said::Refused { reply, .. } | Said::Taken { reply, .. } => reply.to_string(),
            Said::NoAnswer(why) => why.clone(),
            Said::Unfit(_, why) | Said::Barred(_, why) => why.clone(),
            Said::NotTried => String::new(),
        };
        let rcpt = &mut flight.slots[slot].rcpt;
        if !words.is_empty() {
            rcpt.last =
                Some(Last { at: now, egress: name.clone(), host: landed.host.clone(), reply: words.clone() });
        }
        match (next, said) {
            (_, Said::Unfit(status, why)) => self.fail(id, slot, *status, why.clone()),
            (_, Said::Barred(..)) => {
                self.places.forget(&trip.domain);
                self.later(id, slot, None, None, now);
            }
            (Next::Done, Said::Taken { reply, dsn }) => {
                flight.slots[slot].phase = Phase::Ended;
                let rcpt = flight.slots[slot].rcpt.clone();
                if rcpt.notify.is_some_and(|n| n.success) {
                    let status = status_of(reply, false);
                    let status = Enhanced(2, status.1, status.2);
                    let (how, host) = (How::Delivered { onward: *dsn }, landed.host.clone());
                    flight.told.push(Word {
                        rcpt,
                        how,
                        status,
                        says: String::new(),
                        host,
                        reply: Some(words),
                    });
                }
            }
            (Next::OtherEgress, _) => {
                rcpt.tried.retain(|t| t.egress != name);
                rcpt.tried.push(Tried { egress: name, at: now, reply: words });
                rcpt.first_blocked.get_or_insert(now);
                rcpt.stick = None;
                flight.slots[slot].phase = Phase::Idle;
            }
            (Next::Later { at, stick }, _) => {
                rcpt.stick = stick.then_some(name);
                if matches!(said, Said::NoAnswer(_)) {
                    self.places.forget(&trip.domain);
                }
                self.later(id, slot, at, None, now);
            }
            (Next::Bounce, Said::Refused { reply, .. }) => {
                let status = status_of(reply, true);
                let says = message::dsn::plain_words(status).to_owned();
                self.fail(id, slot, status, says);
            }
            _ => flight.rest_until(slot, now + Span::secs(5)),
        }
    }
}

fn stage(stage: client::Stage) -> Stage {
    match stage {
        client::Stage::Greeting => Stage::Greeting,
        client::Stage::Ehlo => Stage::Helo,
        client::Stage::StartTls => Stage::StartTls,
        client::Stage::Auth => Stage::Auth,
        client::Stage::Mail => Stage::Mail,
        client::Stage::Rcpt => Stage::Rcpt,
        client::Stage::Data => Stage::Data,
        client::Stage::Dot => Stage::EndOfData,
    }
}

/// One outcome for each recipient of the job.
fn said(landed: &Landed) -> Vec<Said> {
    let each = |f: &dyn Fn() -> Said| landed.job.slots.iter().map(|_| f()).collect();
    match &landed.told {
        Told::Fates(fates) => fates.iter().map(of_fate).collect(),
        Told::Refused { stage: at, reply } => {
            each(&|| Said::Refused { stage: stage(*at), reply: reply.clone() })
        }
        Told::NoAnswer(why) => each(&|| Said::NoAnswer(why.clone())),
        // RFC 8689 §4.2.1: what no server may carry comes back.
        Told::Barred(barred) if barred.permanent => {
            each(&|| Said::Unfit(Enhanced(5, 7, 30), barred.says.clone()))
        }
        Told::Barred(barred) => each(&|| Said::Barred(barred.rule, barred.says.clone())),
        Told::NotTried => each(&|| Said::NotTried),
    }
}

fn of_fate(fate: &Fate) -> Said {
    match fate {
        Fate::Accepted { reply, dsn } => Said::Taken { reply: reply.clone(), dsn: *dsn },
        Fate::Refused { stage: at, reply } => Said::Refused { stage: stage(*at), reply: reply.clone() },
        Fate::Broken { stage, why } => {
            Said::NoAnswer(format!("the conversation broke off at {stage:?}: {why:?}"))
        }
        Fate::Unfit(Unfit::Utf8) => Said::Unfit(
            Enhanced(5, 6, 7),
            "That server does not take addresses with international characters.".into(),
        ),
        Fate::Unfit(Unfit::TooLarge { max }) => {
            let says = format!("That server takes messages of at most {}.", stdx::Bytes(*max));
            Said::Unfit(Enhanced(5, 3, 4), says)
        }
        Fate::Unfit(Unfit::RequireTls) => Said::Unfit(
            Enhanced(5, 7, 30),
            "The message demands a secure way, which that server does not offer.".into(),
        ),
        Fate::Unfit(Unfit::Binary) => {
            Said::Unfit(Enhanced(5, 6, 3), "That server does not take binary messages.".into())
        }
    }
}

/// What makes two outcomes the same.
fn key(said: &Said) -> String {
    match said {
        Said::Taken { reply, .. } => reply.to_string(),
        Said::Refused { reply, .. } => reply.to_string(),
        Said::Unfit(_, why) | Said::NoAnswer(why) | Said::Barred(_, why) => why.clone(),
        Said::NotTried => "not tried".to_owned(),
    }
}

fn fact(
    flight: &Flight,
    slots: impl Iterator<Item = usize>,
    (next, now): (Next, Now),
    (trip, landed): (&Trip, &Landed),
    why: &Reasons,
) -> Fact {
    let kind = match next {
        Next::Done => "send.delivered",
        Next::OtherEgress => "send.refused",
        Next::Bounce => "send.bounced",
        Next::Later { .. } | Next::Again => "send.deferred",
    };
    let mut fact = Fact::new(kind, now).message(flight.entry.message).attempt(landed.job.attempt);
    for slot in slots {
        fact = fact.about(&flight.slots[slot].rcpt.address);
    }
    let host = landed.host.clone().unwrap_or_default();
    fact = fact
        .with("group", trip.group.clone())
        .with("egress", trip.name.clone())
        .with("host", host)
        .with("purpose", format!("{:?}", trip.purpose));
    if let Some(tls) = &landed.tls {
        fact = fact.with("tls", tls.clone());
    }
    if let Some(policy) = &landed.policy {
        fact = fact.with("policy", policy.clone());
    }
    fact = fact.because(&trip.reasons);
    if next == Next::Done { fact } else { fact.because(why) }
}

/// A recipient's failure, for the walk.
pub(super) fn note_failure(
    flight: &mut Flight,
    slot: usize,
    (says, status, reply): (&str, Enhanced, Option<&str>),
    now: Now,
) {
    let kind =
        if says.starts_with("It could not be handed over within") { "send.expired" } else { "send.failed" };
    let fact = Fact::new(kind, now).message(flight.entry.message).about(&flight.slots[slot].rcpt.address);
    let mut fact = fact.with("says", says.to_owned()).with("status", status.to_string());
    if let Some(reply) = reply.filter(|r| !r.trim().is_empty()) {
        fact = fact.with("reply", reply.to_owned());
    }
    flight.facts.push(fact);
}

/// Automatic decisions: one audit line each.
pub(crate) fn audit(site: &Site, events: &[Event], attempt: Option<AttemptId>) {
    for event in events {
        tracing::info!(event = event.kind.name(), until = ?event.until, undo = %event.undo, "{}", event.says);
        let mut fact = Fact::new(event.kind.name(), site.now()).with("says", event.says.clone());
        if let Some(attempt) = attempt {
            fact = fact.attempt(attempt);
        }
        let until = event.until.map_or_else(|| "until something else is learned".to_owned(), |at| at.iso());
        fact = fact.with("until", until);
        site.aside(fact.with("evidence", event.evidence.clone()).with("undo", event.undo.clone()));
    }
}

/// Tells the operator, once a day for the same thing.
pub(crate) fn alert(site: &Site, alert: &Alert) {
    let now = site.now();
    if site.outbound().routes().alert_due(&alert.key, ALERT_EVERY, now) {
        tracing::error!(alert = %alert.key, "{}", alert.says);
        site.aside(
            Fact::new("route.alert", now).with("key", alert.key.clone()).with("says", alert.says.clone()),
        );
    }
}
