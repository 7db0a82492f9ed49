//! What one run is measured by.

use serde_json::{Value, json};
use stdx::{Now, Span};

use super::traffic::Mail;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Score {
    pub bounced_legitimate: u64,
    pub burnt: u64,
    pub operator_actions: u64,
    pub delivered: u64,
    /// Recipients that do not exist, told so.
    pub bounced_rightly: u64,
    /// Seconds from acceptance to the remote's 250.
    delays: Vec<u32>,
}

impl Score {
    pub fn deliver(&mut self, mail: &Mail, now: Now) {
        self.delivered += 1;
        self.delays.push((now.since(mail.at).0 / 1000).min(u64::from(u32::MAX)) as u32);
    }
    pub fn bounce(&mut self, mail: &Mail) {
        match mail.valid {
            true => self.bounced_legitimate += 1,
            false => self.bounced_rightly += 1,
        }
    }
    /// Call before [`Score::delay`].
    pub fn close(&mut self) {
        self.delays.sort_unstable();
    }
    pub fn delay(&self, share: f64) -> Span {
        let at = ((self.delays.len() as f64 * share) as usize).min(self.delays.len().saturating_sub(1));
        Span::secs(u64::from(self.delays.get(at).copied().unwrap_or(0)))
    }
    pub fn json(&self) -> Value {
        json!({
            "bounced_legitimate": self.bounced_legitimate,
            "delay_median_s": self.delay(0.5).0 / 1000,
            "delay_p99_s": self.delay(0.99).0 / 1000,
            "burnt": self.burnt,
            "operator_actions": self.operator_actions,
        })
    }
}
