//! Windows of planned work: where they stand, who is reminded, what is mute.

use serde::{Deserialize, Serialize};
use stdx::{Now, Span};
use words::{Reason, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Scheduled,
    InProgress,
    /// The planned end has passed and nobody has said that it is done.
    Overrun,
    Completed,
}

impl Phase {
    pub const fn word(self) -> &'static str {
        match self {
            Phase::Scheduled => "Planned",
            Phase::InProgress => "Under way",
            Phase::Overrun => "Taking longer than planned",
            Phase::Completed => "Done",
        }
    }
    /// Statuspage's words.
    pub const fn key(self) -> &'static str {
        match self {
            Phase::Scheduled => "scheduled",
            Phase::InProgress => "in_progress",
            Phase::Overrun => "verifying",
            Phase::Completed => "completed",
        }
    }
}

/// A window as it was entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub announced: Now,
    pub from: Now,
    pub to: Now,
    /// When the work was said to be done.
    pub done: Option<Now>,
    /// Reminders that went out.
    pub reminded: Vec<Span>,
}

/// Reminders go to subscribers this long before the start.
pub const REMINDERS: [Span; 2] = [Span::hours(24), Span::hours(1)];
/// The operator is warned if he announces later than this before the start.
pub const NOTICE_MIN: Span = Span::hours(24);

pub fn phase(window: &Window, now: Now) -> Verdict<Phase> {
    let reason =
        |says: &str| Reason::new("maintenance.phase", says).with("from", window.from).with("to", window.to);
    match window.done {
        Some(done) if now >= done => {
            Verdict::new(Phase::Completed, reason("it was said to be done").with("done", done))
        }
        _ if now >= window.to && now >= window.from => {
            Verdict::new(Phase::Overrun, reason("the planned end has passed"))
        }
        _ if now >= window.from => Verdict::new(Phase::InProgress, reason("the window is open")),
        _ => Verdict::new(Phase::Scheduled, reason("the window has not begun")),
    }
}

/// The reminder that is due now, the later one first (one is enough if both are).
pub fn reminder(window: &Window, now: Now) -> Option<Span> {
    if window.done.is_some() || now >= window.from {
        return None;
    }
    let left = window.from.since(now);
    let due = REMINDERS.into_iter().rev().find(|r| left <= *r)?;
    let sent = window.reminded.iter().any(|r| *r <= due);
    // Announced inside the span: the announcement itself was the reminder.
    let announced_inside = window.from.since(window.announced) <= due;
    (!sent && !announced_inside).then_some(due)
}

/// What is wrong with a window as entered; words for the operator.
pub fn faults(window: &Window) -> Vec<String> {
    let mut out = Vec::new();
    if window.to <= window.from {
        out.push("it ends before it begins: are from and to the wrong way round, or on another day?".into());
    }
    let notice = window.from.since(window.announced);
    if window.from <= window.announced {
        out.push("it begins in the past".into());
    } else if notice < NOTICE_MIN {
        let mins = notice.as_secs() / 60;
        let left = if mins < 120 { format!("{mins} minutes") } else { format!("{} hours", mins / 60) };
        out.push(format!("clients get only {left} of notice; {} is the least they should have", NOTICE_MIN));
    }
    out
}

/// Alerts about these components are mute now.
pub fn mutes(window: &Window, now: Now) -> bool {
    now >= window.from && now < window.to && window.done.is_none_or(|d| now < d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        Window {
            announced: Now::from_secs(0),
            from: Now::from_secs(200_000),
            to: Now::from_secs(210_000),
            done: None,
            reminded: vec![],
        }
    }

    #[test]
    fn a_window_opens_overruns_and_closes() {
        let w = window();
        let at = |s| phase(&w, Now::from_secs(s)).decision;
        assert_eq!((at(1), at(200_000), at(210_000)), (Phase::Scheduled, Phase::InProgress, Phase::Overrun));
        let done = Window { done: Some(Now::from_secs(205_000)), ..window() };
        assert_eq!(phase(&done, Now::from_secs(206_000)).decision, Phase::Completed);
        assert!(
            mutes(&w, Now::from_secs(205_000))
                && !mutes(&w, Now::from_secs(210_000))
                && !mutes(&done, Now::from_secs(206_000))
        );
    }

    #[test]
    fn reminders_go_out_once_each() {
        let mut w = window();
        let at = |w: &Window, before: u64| reminder(w, Now::from_secs(200_000 - before));
        assert_eq!(at(&w, 90_000), None);
        assert_eq!(at(&w, 86_000), Some(Span::hours(24)));
        w.reminded.push(Span::hours(24));
        assert_eq!(at(&w, 80_000), None);
        assert_eq!(at(&w, 3600), Some(Span::hours(1)));
        w.reminded.push(Span::hours(1));
        assert_eq!(at(&w, 100), None);
    }

    #[test]
    fn seventeen_minutes_of_notice_are_pointed_out() {
        let late = Window { announced: Now::from_secs(200_000 - 17 * 60), ..window() };
        assert!(faults(&late)[0].contains("17 minutes"));
        assert!(faults(&window()).is_empty());
        assert_eq!(faults(&Window { to: Now::from_secs(1), ..window() }).len(), 1);
    }
}
