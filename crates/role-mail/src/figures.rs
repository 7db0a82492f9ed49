//! What this host shows to Prometheus: sessions, the queue, the ways out. Names and help stand in
//! [`watch::metrics`].

use drive::Meter;
use watch::metrics::{self, Page};

use crate::Site;
use crate::arrival::Front;

/// Entries of the queue that are looked through for the oldest.
const WAITING_MAX: usize = 2000;

pub async fn print(site: &Site) -> String {
    let mut page = Page::default();
    sessions(site, &mut page);
    queue(site, &mut page).await;
    routes(site, &mut page);
    page.print()
}

fn sessions(site: &Site, page: &mut Page) {
    for front in [Front::Smtp, Front::Submission, Front::Imap, Front::Pop3, Front::Sieve, Front::Http] {
        let meter = site.meter(front);
        let labels = [("front", front.name())];
        let mut put = |name, counter| page.put(name, &labels, Meter::get(counter) as f64);
        put("postroad_sessions_total", &meter.sessions);
        put("postroad_sessions_open", &meter.open);
        put("postroad_received_bytes_total", &meter.bytes_in);
        put("postroad_sent_bytes_total", &meter.bytes_out);
        put("postroad_session_panics_total", &meter.panics);
        put("postroad_tls_failures_total", &meter.tls_failures);
    }
}

async fn queue(site: &Site, page: &mut Page) {
    let now = site.now();
    let found = site
        .store()
        .read(|conn| {
            let first = spool::SpoolId(i64::MIN);
            Ok((spool::counts(conn)?, spool::list(conn, first, None, WAITING_MAX)?))
        })
        .await;
    // A store that does not answer is another probe's finding; what is known is shown.
    let Ok((counts, oldest_first)) = found else { return };
    for (state, n) in [("sending", counts.sending), ("later", counts.later), ("held", counts.held)] {
        page.put(metrics::QUEUE, &[("state", state)], n as f64);
    }
    let waits = oldest_first.iter().find(|l| l.entry.rcpts.iter().any(|r| !r.is_held()));
    page.put(metrics::QUEUE_AGE, &[], waits.map_or(0.0, |l| now.since(l.entry.at).as_secs() as f64));
}

fn routes(site: &Site, page: &mut Page) {
    for row in route::show::rows(&site.outbound().routes(), None, site.now()) {
        let open = match row.state.as_str() {
            "open" => 1.0,
            "blocked" => 0.0,
            _ => 0.5,
        };
        page.put(metrics::ROUTE, &[("egress", &row.egress), ("group", &row.group)], open);
    }
}
