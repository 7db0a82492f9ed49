//! Who is told, when, and not twice: one alert per cause, reminders with back-off, escalation.

use stdx::{Now, Span};
use words::{Reason, Verdict};

/// An alert that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// `disk.store`, `group.microsoft-365`: the same cause is the same alert.
    pub cause: String,
    pub began: Now,
    /// When someone was last told, and how often.
    pub told: Option<Now>,
    pub times: u32,
    pub acknowledged: Option<Now>,
    pub ended: Option<Now>,
    /// Contacts told so far: 1 is the first only.
    pub level: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// First reminder; each further one waits twice as long, up to `remind_max`.
    pub remind: Span,
    pub remind_max: Span,
    /// Without acknowledgement the second contact is told.
    pub escalate: Span,
    /// Without acknowledgement a public notice with the known facts is made.
    pub public: Span,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule {
            remind: Span::mins(15),
            remind_max: Span::hours(4),
            escalate: Span::mins(15),
            public: Span::mins(30),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    Nothing,
    /// Contacts up to this level.
    Contacts(u32),
    /// Also say it in public.
    Public,
    /// It is over.
    Over,
}

/// Judges one alert. `silent` is set in a silence window that covers its cause.
pub fn judge(alert: &Alert, rule: &Rule, silent: bool, now: Now) -> Verdict<Tell> {
    let open_for = now.since(alert.began);
    if let Some(ended) = alert.ended {
        let decision =
            if alert.told.is_some_and(|t| t < ended) && alert.times > 0 { Tell::Over } else { Tell::Nothing };
        return Verdict::new(decision, Reason::new("alert.over", "its cause has gone").with("ended", ended));
    }
    if silent {
        return Verdict::new(Tell::Nothing, Reason::new("alert.silent", "a silence window covers it"));
    }
    if alert.told.is_none() {
        return Verdict::new(
            Tell::Contacts(1),
            Reason::new("alert.first", "it is new").with("cause", &alert.cause),
        );
    }
    if let Some(at) = alert.acknowledged {
        return Verdict::new(
            Tell::Nothing,
            Reason::new("alert.acknowledged", "someone has it in hand").with("since", at),
        );
    }
    if open_for >= rule.public && alert.level < 3 {
        return Verdict::new(
            Tell::Public,
            Reason::new("alert.public", format!("nobody has answered for {}", rule.public)),
        );
    }
    if open_for >= rule.escalate && alert.level < 2 {
        return Verdict::new(
            Tell::Contacts(2),
            Reason::new("alert.escalate", format!("nobody has answered for {}", rule.escalate)),
        );
    }
    let wait = rule
        .remind
        .as_ms()
        .saturating_mul(1 << alert.times.saturating_sub(1).min(20))
        .min(rule.remind_max.as_ms());
    if alert.told.is_some_and(|t| now.since(t) >= Span(wait)) {
        let level = alert.level.clamp(1, 2);
        return Verdict::new(
            Tell::Contacts(level),
            Reason::new("alert.remind", format!("{} since the last word", Span(wait))),
        );
    }
    Verdict::new(Tell::Nothing, Reason::new("alert.told", "told, and not yet time for a reminder"))
}

/// Silence of the primary after which the monitor speaks by itself.
pub const DEAD_MAN: Span = Span::mins(3);

/// Judges the primary's heartbeat.
pub fn heartbeat(last: Option<Now>, began: Now, now: Now) -> Verdict<bool> {
    let since = last.unwrap_or(began);
    let silent = now.since(since);
    let dead = silent >= DEAD_MAN;
    let says = if dead { "the mail host has said nothing for three minutes" } else { "the mail host speaks" };
    Verdict::new(dead, Reason::new("heartbeat", says).with("last", since).with("silent_s", silent.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert() -> Alert {
        Alert {
            cause: "disk".into(),
            began: Now::from_secs(0),
            told: None,
            times: 0,
            acknowledged: None,
            ended: None,
            level: 0,
        }
    }

    fn at(alert: &Alert, mins: u64) -> Tell {
        judge(alert, &Rule::default(), false, Now::from_secs(mins * 60)).decision
    }

    #[test]
    fn it_is_told_once_then_escalated_then_public() {
        let mut a = alert();
        assert_eq!(at(&a, 0), Tell::Contacts(1));
        a = Alert { told: Some(Now::from_secs(0)), times: 1, level: 1, ..a };
        assert_eq!(at(&a, 14), Tell::Nothing);
        assert_eq!(at(&a, 15), Tell::Contacts(2));
        a = Alert { told: Some(Now::from_secs(900)), times: 2, level: 2, ..a };
        assert_eq!(at(&a, 30), Tell::Public);
        a = Alert { told: Some(Now::from_secs(1800)), times: 3, level: 3, ..a };
        assert_eq!((at(&a, 60), at(&a, 90)), (Tell::Nothing, Tell::Contacts(2)));
    }

    #[test]
    fn acknowledged_or_silenced_it_is_quiet_and_its_end_is_told() {
        let a = Alert {
            told: Some(Now::from_secs(0)),
            times: 1,
            level: 1,
            acknowledged: Some(Now::from_secs(60)),
            ..alert()
        };
        assert_eq!(at(&a, 600), Tell::Nothing);
        assert_eq!(judge(&alert(), &Rule::default(), true, Now::from_secs(1)).decision, Tell::Nothing);
        let over = Alert { ended: Some(Now::from_secs(120)), ..a };
        assert_eq!(at(&over, 3), Tell::Over);
        assert_eq!(at(&Alert { ended: Some(Now::from_secs(5)), ..alert() }, 3), Tell::Nothing);
    }

    #[test]
    fn three_silent_minutes_are_death() {
        assert!(!heartbeat(Some(Now::from_secs(100)), Now(0), Now::from_secs(279)).decision);
        assert!(heartbeat(Some(Now::from_secs(100)), Now(0), Now::from_secs(280)).decision);
        assert!(heartbeat(None, Now::from_secs(0), Now::from_secs(200)).decision);
    }
}
