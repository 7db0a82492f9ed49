//! Values by name, taken from a [`Record`] under a [`Filter`].
//!
//! Begin with [`MEASURES`], which is also the page in the documentation, and [`take`].

mod complaints;
mod decisions;
mod look;
mod mail;

use stdx::Span;

use crate::record::Record;
use crate::scene::{Filter, Scene};
use look::Look;

/// A measured value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Count(u64),
    Span(Span),
    Share(f64),
    Text(String),
    /// There was nothing to measure.
    Nothing,
}

/// Every measure and what it is.
pub const MEASURES: &[(&str, &str)] = &[
    ("accepted", "recipients of messages that our host took (250 after the final dot)"),
    ("refused", "legitimate messages that our host refused with 5xx"),
    ("unaccepted", "messages that our host did not take in all their tries"),
    ("delivered", "accepted recipients whose copy a peer took; with `egress`, through that one"),
    ("doubled", "copies beyond the first of the same recipient"),
    ("lost", "accepted recipients without a copy, a final notice, or a place in the queue"),
    ("queued", "recipients that are still in the queue at the end"),
    ("dsns", "notices of failure to our senders"),
    ("delay_notices", "notices of delay to our senders"),
    ("dsns_per_message_max", "most notices of failure about one message"),
    ("dsn_after_min", "shortest time from acceptance to the notice of failure"),
    ("dsn_after_max", "longest time from acceptance to the notice of failure"),
    ("delay_notice_after_max", "longest time from acceptance to the notice of delay"),
    ("dsn_replies_min", "through how many egresses replies are quoted in a notice of failure, at least"),
    ("delay_max", "longest time from acceptance to the peer's 250"),
    ("delay_median", "median of that time"),
    ("delay_p99", "99 % of that time lie below"),
    ("rejections", "refusals (4xx, 5xx) that peers spoke"),
    ("rejections_before_move", "refusals before the group was moved away (all, if it never was)"),
    ("rejections_per_domain_max", "most refusals spoken about one recipient domain to one egress"),
    ("connections", "connections that peers were offered"),
    ("connections_max", "most connections within `per` (15 min)"),
    ("share", "share of deliveries that left through `egress`"),
    ("moved", "deliveries through another egress than the first"),
    ("moves", "times a group was moved away"),
    ("swings_per_hour", "most changes of a group between away and back within an hour"),
    ("returned_after", "time until a group is back in full"),
    ("alerts", "alerts to the operator; with `text`, those that say it"),
    ("alert_after", "time from the first refusal to the first alert"),
    ("facts", "facts in the ledger whose kind begins with `kind` and that hold `text`"),
    ("first_fact", "time until the first such fact"),
    ("last_fact", "time until the last such fact"),
    ("audit_lines", "automatic decisions in the ledger"),
    ("audit_incomplete", "automatic decisions that do not say what, why, or how to undo them"),
    ("attempts_per_hour_max", "most tries of one message through one egress within an hour"),
    ("complaints", "reports of complaints that our host took"),
    ("complaints_tied", "such reports that stand in the ledger under the account that sent the message"),
    (
        "complainers_shown",
        "recipients of reported messages who are named in what our host says about complaints",
    ),
    ("bill", "what stands on the relay's bill for a customer (`from`), its sums separated by ` / `"),
    ("billed", "recipients that are on the relay's bills"),
    ("answers", "orders whose answer holds `text`"),
    ("operator_actions", "orders that the operator gave"),
    ("restarts", "times our host was killed"),
    ("dns_queries", "questions to block lists; with `zone`, to that one"),
    ("dns_queries_max", "most questions about one name to one list within `per` (5 min)"),
    ("state", "what `route show` says at the end: open, blocked, returning 25 %, throttled"),
    ("routes_wrong", "lanes whose state contradicts their last three outcomes"),
    ("memory_max", "most memory of our host's process in MiB (on real sockets)"),
    ("tasks_leaked", "tasks at the end beyond those before the first message (in virtual time)"),
];

/// Takes one measure.
pub fn take(scene: &Scene, record: &Record, measure: &str, filter: &Filter) -> Value {
    let look = Look::new(scene, record, filter);
    let count = |n: usize| Value::Count(n as u64);
    match measure {
        "accepted" => count(look.accepted().count()),
        "refused" => count(mail::refused(&look)),
        "unaccepted" => count(look.handed().filter(|(h, _)| h.accepted.is_none()).count()),
        "delivered" => count(mail::delivered(&look)),
        "doubled" => count(mail::doubled(&look)),
        "lost" => count(mail::lost(&look)),
        "queued" => count(record.queued.iter().filter(|r| look.to_fits(r, None)).count()),
        "dsns" => count(look.failures().count()),
        "delay_notices" => count(look.delays().count()),
        "dsns_per_message_max" => count(mail::dsns_per_message(&look)),
        "dsn_after_min" => {
            mail::noticed_after(&look, true).first().map_or(Value::Nothing, |s| Value::Span(*s))
        }
        "dsn_after_max" => {
            mail::noticed_after(&look, true).last().map_or(Value::Nothing, |s| Value::Span(*s))
        }
        "delay_notice_after_max" => {
            mail::noticed_after(&look, false).last().map_or(Value::Nothing, |s| Value::Span(*s))
        }
        "dsn_replies_min" => mail::replies_quoted(&look).map_or(Value::Nothing, count),
        "delay_max" => mail::delay(&look, 100),
        "delay_median" => mail::delay(&look, 50),
        "delay_p99" => mail::delay(&look, 99),
        "rejections" => count(look.refusals().count()),
        "rejections_before_move" => count(mail::before_move(&look)),
        "rejections_per_domain_max" => count(mail::per_domain(&look)),
        "connections" => count(look.contacts().count()),
        "connections_max" => count(look::densest(look.contacts().map(|c| c.at), look.per(Span::mins(15)))),
        "share" => mail::share(&look),
        "moved" => count(mail::moved(&look)),
        "complaints" => count(complaints::taken(&look).count()),
        "complaints_tied" => count(complaints::tied(&look)),
        "complainers_shown" => count(complaints::shown(&look)),
        "bill" => complaints::bill(&look),
        "billed" => Value::Count(complaints::bills(&look).map(|b| b.recipients).sum()),
        "answers" => count(answers(&look)),
        "operator_actions" => count(record.answers.iter().filter(|(n, _)| !scene.orders[*n].looks).count()),
        "restarts" => Value::Count(record.kills),
        "memory_max" => record.memory_max.map_or(Value::Nothing, |b| Value::Count(b >> 20)),
        "tasks_leaked" => record.tasks.map_or(Value::Nothing, |(a, b)| count(b.saturating_sub(a))),
        other => decisions::take(&look, other),
    }
}

fn answers(look: &Look<'_>) -> usize {
    let holds = |(_, a): &&(usize, String)| look.filter.text.as_ref().is_none_or(|t| a.contains(t.as_str()));
    look.record.answers.iter().filter(holds).count()
}
