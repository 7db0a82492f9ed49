//! Orders about TLS with other hosts: the day's report (RFC 8460).

use mailauth::tlsrpt::Report;
use role_mail::Site;
use role_mail::send::{reports, tally};
use serde_json::Value;
use stdx::Now;

use super::{Answer, Reply, says, table};

/// The counts of a day as a report, for people and in the standard's shape.
pub(super) async fn report(site: &Site, day: Option<&str>, domain: Option<&str>) -> Answer {
    role_mail::housekeeping::once(site, false).await.map_err(says)?;
    let day = match day {
        Some(text) => day_of(text, site.now()).ok_or_else(|| {
            format!(
                "\"{text}\" is no day of the last {} that this host keeps; write it as 2026-11-22.",
                tally::DAYS
            )
        })?,
        None => tally::day(site.now()),
    };
    let domain = domain.map(super::domain).transpose()?.map(|d| d.to_string());
    let report = reports::of_day(site, day, domain.as_deref()).map_err(says)?;
    let json: Value =
        serde_json::from_str(&report.to_json()).map_err(|e| format!("The report cannot be made: {e}."))?;
    Ok(Reply::new(text(&report), json))
}

/// The day that is written so, going back from today.
fn day_of(text: &str, now: Now) -> Option<u64> {
    let today = tally::day(now);
    (today.saturating_sub(tally::DAYS)..=today)
        .find(|day| Now::from_secs(day * 86_400).iso().starts_with(&format!("{text}T")))
}

fn text(report: &Report) -> String {
    let day = report.from.iso();
    let day = day.split('T').next().unwrap_or("");
    if report.policies.is_empty() {
        return format!("No session with another mail host on {day} (UTC).\n");
    }
    let mut rows = vec![["domain", "policy", "good", "failed", "what failed"].map(str::to_owned).to_vec()];
    for p in &report.policies {
        let failed: u64 = p.failures.iter().map(|f| f.sessions).sum();
        let what = p.failures.iter().map(|f| {
            let at = f.mx.as_ref().map(|mx| format!(" at {mx}")).unwrap_or_default();
            format!("{} {}{at}", f.sessions, f.failure.as_str())
        });
        let domain = if p.domain.is_empty() { "(others)".to_owned() } else { p.domain.clone() };
        let what = what.collect::<Vec<_>>().join(", ");
        rows.push(vec![
            domain,
            p.kind.as_str().to_owned(),
            p.successes.to_string(),
            failed.to_string(),
            what,
        ]);
    }
    format!("TLS with other mail hosts on {day} (UTC)\n\n{}", table(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailauth::tlsrpt::{Failure, PolicyKind};
    use role_mail::send::tally::Seen;
    use words::Domain;

    #[tokio::test(start_paused = true)]
    async fn a_days_sessions_are_a_report_of_the_standards_shape() {
        let city = sim::City::new(1);
        let store =
            store::Store::in_memory(store::Settings::default(), &role_mail::schemas()).expect("a store");
        let site = Site::new(city.world(&[]), store, role_mail::Settings::new("mx.demo.example"));
        let domain = Domain::new("far.example").expect("a domain");
        for failure in [None, None, Some(Failure::CertificateExpired)] {
            let (policy, mx, source) = (PolicyKind::Sts, "mx.far.example", "192.0.2.1".to_owned());
            let seen = Seen { domain: &domain, policy, failure, mx, source };
            site.outbound().tallies().add(seen, site.now());
        }
        let reply = report(&site, None, None).await.expect("a report");
        assert!(reply.text.contains("1 certificate-expired at mx.far.example"), "{}", reply.text);
        let p = &reply.json["policies"][0];
        assert_eq!(
            (&p["policy"]["policy-type"], &p["policy"]["policy-domain"]),
            (&"sts".into(), &"far.example".into())
        );
        assert_eq!(p["summary"]["total-successful-session-count"], 2);
        assert_eq!(p["failure-details"][0]["result-type"], "certificate-expired");
        assert_eq!(reply.json["date-range"]["start-datetime"], "2026-11-22T00:00:00Z");
        let same = report(&site, Some("2026-11-22"), Some("FAR.example")).await.expect("a report");
        assert_eq!(same, reply);
        assert!(
            report(&site, Some("2026-11-21"), None).await.expect("a report").text.starts_with("No session")
        );
        assert!(report(&site, Some("yesterday"), None).await.is_err_and(|why| why.contains("2026-11-22")));
    }
}
