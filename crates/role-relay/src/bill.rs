//! What a customer owes for a month: one line per currency it was offered, to choose from.
//!
//! What it is: pure. What it is not: an account; nobody is charged here.

use serde::Serialize;
use stdx::Now;

use crate::customers::{Customer, Price};

/// A month, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Month {
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
}

impl Month {
    /// Reads `2026-11`.
    pub fn parse(text: &str) -> Result<Month, String> {
        let read = text.split_once('-').and_then(|(y, m)| Some((y.parse().ok()?, m.parse().ok()?)));
        match read {
            Some((year, month)) if (2000..3000).contains(&year) && (1..=12).contains(&month) => {
                Ok(Month { year, month })
            }
            _ => Err(format!("\"{text}\" is no month: write it as \"2026-11\".")),
        }
    }
    pub fn of(now: Now) -> Month {
        let civil = now.civil();
        Month { year: civil.year.max(1970) as u64, month: u64::from(civil.month) }
    }
    fn next(self) -> Month {
        if self.month == 12 {
            Month { year: self.year + 1, month: 1 }
        } else {
            Month { month: self.month + 1, ..self }
        }
    }
    /// Its hours since 1970.
    pub fn hours(self) -> std::ops::Range<u64> {
        self.days() * 24..self.next().days() * 24
    }
    /// Days from 1970 to its first.
    fn days(self) -> u64 {
        let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
        let lengths = [31, 28 + u64::from(leap(self.year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let years: u64 = (1970..self.year).map(|y| 365 + u64::from(leap(y))).sum();
        years + lengths.iter().take(self.month as usize - 1).sum::<u64>()
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// One customer's bill for one month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bill {
    pub customer: String,
    pub month: String,
    pub messages: u64,
    pub recipients: u64,
    /// The same sum in each currency: one of them is to be paid.
    pub lines: Vec<String>,
}

/// `None`: the customer was none in that month, or pays nothing.
pub fn bill(customer: &Customer, month: Month, (messages, recipients): (u64, u64)) -> Option<Bill> {
    let hours = month.hours();
    let begun = customer.since / 3_600_000 < hours.end;
    let ended = customer.ended.is_some_and(|at| at / 3_600_000 < hours.start);
    if !begun || ended || customer.prices.is_empty() {
        return None;
    }
    let lines = customer.prices.iter().map(Price::to_string).collect();
    Some(Bill { customer: customer.name.clone(), month: month.to_string(), messages, recipients, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_paid_in_one_of_its_currencies_from_sign_up_to_the_end() {
        let price = |t: &str| Price::parse(t).expect("a price");
        let at = |m: &str| Month::parse(m).expect("a month").hours().start * 3_600_000 + 1000;
        let mut acme = Customer {
            name: "acme".into(),
            prices: vec![price("30.00 USD"), price("36.00 CAD"), price("165.00 ZMW")],
            since: at("2026-11") + 9 * 86_400_000,
            ..Customer::default()
        };
        let month = |m: &str| Month::parse(m).expect("a month");
        assert_eq!(bill(&acme, month("2026-10"), (0, 0)), None);
        let november = bill(&acme, month("2026-11"), (7, 9)).expect("a bill");
        assert_eq!(november.lines, ["30.00 USD", "36.00 CAD", "165.00 ZMW"]);
        assert_eq!((november.messages, november.recipients, november.month.as_str()), (7, 9, "2026-11"));
        acme.ended = Some(at("2026-12"));
        assert!(bill(&acme, month("2026-12"), (0, 0)).is_some());
        assert_eq!(bill(&acme, month("2027-01"), (0, 0)), None);
        assert_eq!(month("2026-02").hours().count(), 28 * 24);
        assert!(Month::parse("2026-13").is_err() && Month::parse("november").is_err());
    }
}
