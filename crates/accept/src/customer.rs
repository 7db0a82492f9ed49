//! May a customer of the relay send this, now?

use words::{Reason, Reply, Verdict};

use crate::{Pass, no, yes};

/// What a customer may send; `None`: no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    pub hour_max: Option<u64>,
    pub day_max: Option<u64>,
}

/// What is known when a customer says MAIL or RCPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use<'a> {
    pub customer: &'a str,
    pub quota: Quota,
    /// Why the operator has stopped it, if he has.
    pub stopped: Option<&'a str>,
    /// Recipients of this hour and this day, with those of the message under way.
    pub hour: u64,
    pub day: u64,
}

/// A stop and a full quota are answered 450: the customer's own queue keeps the mail, nothing is lost.
pub fn judge_customer(facts: &Use<'_>) -> Verdict<Pass> {
    let about = |rule, says: String| Reason::new(rule, says).with("customer", facts.customer);
    if let Some(why) = facts.stopped {
        let says = format!("Sending for {} is stopped: {why}", facts.customer);
        return no(Reply::new(450, (4, 7, 1), says), about("customer.stopped", format!("stopped: {why}")));
    }
    for (used, most, of) in
        [(facts.hour, facts.quota.hour_max, "hour"), (facts.day, facts.quota.day_max, "day")]
    {
        if let Some(most) = most.filter(|most| used > *most) {
            let says = format!("The {most} recipients of this {of} are used up; more next {of}");
            return no(
                Reply::new(450, (4, 7, 1), says),
                about("customer.quota", format!("{used} recipients of {most} in this {of}")),
            );
        }
    }
    yes(about("customer.welcome", "within its quota".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_comes_first_and_quotas_hold_to_the_last_recipient() {
        let quota = Quota { hour_max: Some(10), day_max: Some(50) };
        let open = Use { customer: "acme", quota, stopped: None, hour: 10, day: 50 };
        for (facts, want) in [
            (open, "customer.welcome"),
            (Use { hour: 11, ..open }, "customer.quota"),
            (Use { day: 51, ..open }, "customer.quota"),
            (Use { stopped: Some("unpaid"), hour: 11, ..open }, "customer.stopped"),
            (Use { quota: Quota::default(), hour: 9_999_999, ..open }, "customer.welcome"),
        ] {
            assert_eq!(judge_customer(&facts).reasons.first().rule, want, "{facts:?}");
        }
    }
}
