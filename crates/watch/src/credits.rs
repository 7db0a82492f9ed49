//! What is owed to whom after an outage, by the provider's own rules. Amounts are in the smallest
//! unit of their currency (cents, ngwee), so that lines add up exactly.

use stdx::{Now, Span};
use words::{Reason, Verdict};

/// A client's service on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub client: String,
    /// `NC036`.
    pub server: String,
    /// `USD`, `CAD`, `ZMW`.
    pub currency: String,
    /// Per month, in the smallest unit.
    pub monthly: u64,
}

/// A rule as the provider states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// "A quarter month for all on NC036": basis points of the monthly fee, once per incident.
    Share { server: String, basis_points: u32 },
    /// Down time of the affected components over the month, each minute begun.
    ProRata { server: String },
}

/// An outage as the rows of the status site have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    pub incident: i64,
    pub server: String,
    pub from: Now,
    pub to: Now,
}

/// A line for the invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credit {
    pub incident: i64,
    pub client: String,
    pub server: String,
    pub currency: String,
    pub amount: u64,
}

/// The credits of one incident. The same facts give the same lines, so that a second run changes
/// nothing: `(incident, client, server)` is the key to store them by.
pub fn judge(services: &[Service], outages: &[Outage], rule: &Rule) -> Vec<Verdict<Credit>> {
    let mut out: Vec<Verdict<Credit>> = Vec::new();
    for outage in outages {
        for service in services.iter().filter(|s| s.server == outage.server) {
            let (amount, says) = match rule {
                Rule::Share { server, basis_points } if *server == service.server => (
                    share(service.monthly, *basis_points),
                    format!("{} % of a month for all on {server}", f64::from(*basis_points) / 100.0),
                ),
                Rule::ProRata { server } if *server == service.server => {
                    let down = outage.to.since(outage.from);
                    (pro_rata(service.monthly, down), format!("{} minutes down, pro rata", minutes(down)))
                }
                _ => continue,
            };
            let known = out.iter().any(|c| {
                c.decision.incident == outage.incident
                    && c.decision.client == service.client
                    && c.decision.server == service.server
            });
            if known || amount == 0 {
                continue;
            }
            let credit = Credit {
                incident: outage.incident,
                client: service.client.clone(),
                server: service.server.clone(),
                currency: service.currency.clone(),
                amount,
            };
            let reason = Reason::new("credit", says)
                .with("from", outage.from)
                .with("to", outage.to)
                .with("monthly", service.monthly);
            out.push(Verdict::new(credit, reason));
        }
    }
    out
}

/// Rounded half up to the smallest unit.
fn share(monthly: u64, basis_points: u32) -> u64 {
    ((u128::from(monthly) * u128::from(basis_points) + 5000) / 10_000) as u64
}

fn minutes(down: Span) -> u64 {
    down.as_ms().div_ceil(60_000)
}

/// A month of 30 days.
fn pro_rata(monthly: u64, down: Span) -> u64 {
    const MONTH_MIN: u128 = 30 * 24 * 60;
    let minutes = u128::from(minutes(down)).min(MONTH_MIN);
    ((u128::from(monthly) * minutes + MONTH_MIN / 2) / MONTH_MIN) as u64
}

/// `client,server,currency,amount,incident` with a line per currency's sum at the end.
pub fn csv(credits: &[Credit]) -> String {
    let quoted = |s: &str| {
        if s.contains([',', '"', '\n']) { format!("\"{}\"", s.replace('"', "\"\"")) } else { s.to_owned() }
    };
    let money = |n: u64| format!("{}.{:02}", n / 100, n % 100);
    let mut out = String::from("client,server,currency,amount,incident\r\n");
    let mut sums = std::collections::BTreeMap::<&str, u64>::new();
    for c in credits {
        out.push_str(&format!(
            "{},{},{},{},{}\r\n",
            quoted(&c.client),
            quoted(&c.server),
            c.currency,
            money(c.amount),
            c.incident
        ));
        *sums.entry(&c.currency).or_default() += c.amount;
    }
    for (currency, sum) in sums {
        out.push_str(&format!("total,,{currency},{},\r\n", money(sum)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(client: &str, server: &str, currency: &str, monthly: u64) -> Service {
        Service { client: client.into(), server: server.into(), currency: currency.into(), monthly }
    }

    fn outage(from_s: u64, to_s: u64) -> Outage {
        Outage { incident: 1, server: "NC036".into(), from: Now::from_secs(from_s), to: Now::from_secs(to_s) }
    }

    #[test]
    fn a_quarter_month_is_given_once_to_all_on_the_server_and_nobody_else() {
        let services = [
            service("a", "NC036", "USD", 3000),
            service("b", "NC036", "ZMW", 16_501),
            service("c", "NC041", "CAD", 3600),
        ];
        let rule = Rule::Share { server: "NC036".into(), basis_points: 2500 };
        let got = judge(&services, &[outage(0, 60), outage(100, 160)], &rule);
        let lines: Vec<(&str, u64)> =
            got.iter().map(|v| (v.decision.client.as_str(), v.decision.amount)).collect();
        assert_eq!(lines, [("a", 750), ("b", 4125)]);
        assert_eq!(
            judge(&services, &[outage(0, 60), outage(100, 160)], &rule),
            got,
            "a second run changes nothing"
        );
    }

    #[test]
    fn pro_rata_counts_minutes_begun_and_no_more_than_a_month() {
        let services = [service("a", "NC036", "USD", 43_200)];
        let rule = Rule::ProRata { server: "NC036".into() };
        assert_eq!(judge(&services, &[outage(0, 601)], &rule)[0].decision.amount, 11);
        assert_eq!(judge(&services, &[outage(0, 90 * 86_400)], &rule)[0].decision.amount, 43_200);
    }

    #[test]
    fn the_lines_sum_to_the_cent() {
        let services: Vec<Service> = (0..40)
            .map(|i| service(&format!("c{i}"), "NC036", ["USD", "CAD", "ZMW"][i % 3], 1001 + 7 * i as u64))
            .collect();
        let credits: Vec<Credit> =
            judge(&services, &[outage(0, 60)], &Rule::Share { server: "NC036".into(), basis_points: 2500 })
                .into_iter()
                .map(|v| v.decision)
                .collect();
        let text = csv(&credits);
        for currency in ["USD", "CAD", "ZMW"] {
            let sum: u64 = credits.iter().filter(|c| c.currency == currency).map(|c| c.amount).sum();
            assert!(text.contains(&format!("total,,{currency},{}.{:02},", sum / 100, sum % 100)), "{text}");
        }
    }
}
