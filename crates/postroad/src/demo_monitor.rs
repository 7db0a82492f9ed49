//! The monitor that `up` brings up beside the mail host: the same as anywhere, looking at this farm
//! and telling the farm's own status site.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use role_mail::Site;
use role_monitor::usual::{self, MailHost};
use role_monitor::wire::Login;
use role_monitor::{Monitor, Settings};
use role_status::Board;
use sim::Zones;
use stdx::{Secret, Span};
use web::Url;

use crate::report;
use crate::up::{Account, DOMAIN, EGRESS, HOST, Ports};
use crate::watch_post::WatchPost;

const NAME: &str = "monitor.demo.example";
/// The status site's name among those who listen.
const BOARD: &str = "status";
/// Facts are carried over this often.
const EVERY: Span = Span::secs(5);

pub struct Around<'a> {
    pub data: &'a Path,
    pub site: &'a Site,
    pub ports: &'a Ports,
    pub accounts: &'a [Account],
    pub zones: &'a Zones,
}

fn described(around: &Around<'_>) -> MailHost {
    let p = |offset| around.ports.at(offset);
    let account = |n: usize| {
        let a = around.accounts.get(n)?;
        let login = Login { user: a.address.clone(), password: Secret::new(a.password.clone()) };
        Some((a.address.clone(), login))
    };
    let helo = ["a.mx.demo.example", "b.mx.demo.example"];
    MailHost {
        name: HOST.into(),
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ports: usual::Ports {
            smtp: p(Ports::SMTP),
            submission: p(Ports::SUBMISSION),
            submissions: p(Ports::SUBMISSIONS),
            imap: p(Ports::IMAP),
            imaps: p(Ports::IMAPS),
            pop3: p(Ports::POP3),
            pop3s: p(Ports::POP3S),
            sieve: p(Ports::SIEVE),
            https: 0,
        },
        domains: vec![DOMAIN.into()],
        egresses: EGRESS.iter().zip(helo).map(|(ip, name)| (IpAddr::V4(*ip), name.to_owned())).collect(),
        account: account(0),
        second: account(1),
        from: format!("probe@{NAME}"),
        junk: vec!["Junk".into()],
        ..MailHost::default()
    }
}

pub async fn begin(around: &Around<'_>) -> Result<WatchPost, String> {
    // Our own mail from outside must pass for what it is.
    around.zones.txt(NAME, "v=spf1 ip4:127.0.0.0/8 -all");
    around.zones.ip(NAME, IpAddr::V4(Ipv4Addr::LOCALHOST));
    let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), around.ports.at(Ports::MONITOR));
    let listener = around
        .site
        .world()
        .net
        .listen(at)
        .await
        .map_err(|e| format!("The monitor cannot listen on {at}: {e}. Choose another --port-base."))?;
    let settings = Settings {
        region: "this machine".into(),
        targets: usual::targets(&described(around)),
        listeners: vec![BOARD.into()],
        expected: vec![HOST.into()],
        name: NAME.into(),
        url: Url::parse(&format!("http://{at}/")).ok(),
        ..Settings::new("demo")
    };
    let world = (around.site.world().clone(), around.site.roots().clone());
    WatchPost::begin(around.data, world, NAME, settings, vec![(listener, None)]).await
}

/// Carries facts from the mail host to the monitor and from the monitor to the status site, as
/// parcels would between machines.
pub async fn tell(monitor: Monitor, site: Site, board: Board, data: PathBuf) {
    let areas = report::areas(&data, None);
    loop {
        monitor.hear(HOST, &report::facts(&site, &areas).await);
        let facts = monitor.take_facts(BOARD);
        if let Err(e) = board.tell(facts).await {
            tracing::warn!("the status site did not take the monitor's facts: {e}");
        }
        let next = site.now() + EVERY;
        site.world().clock.sleep_until(next).await;
    }
}
