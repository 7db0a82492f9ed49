//! Three months that a demo's status site can look back on.
//!
//! Nothing is painted: a clock that is moved by hand lets the site's own judgement see tries of
//! three vantage points, so that incidents, minutes and bars come from the same rows as later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use link::{Fact, Look};
use role_status::Board;
use role_status::act::Fields;
use role_status::board::Settings;
use role_status::setup::{Machine, usual_parts};
use stdx::{Now, Span};
use store::{Store, StoreError};
use world::{Clock, Later, World};

/// Days of the past.
const DAYS: u64 = 92;
/// Who speaks for the demo's provider.
pub const AUTHOR: &str = "Dana";

struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now(&self) -> Now {
        Now(self.0.load(Ordering::Relaxed))
    }
    fn sleep_until(&self, _: Now) -> Later<'_, ()> {
        Box::pin(std::future::pending())
    }
}

pub fn machines() -> Vec<Machine> {
    let machine = |code: &str, country: &str, place: &str, role: &str, word: &str, component: &str| Machine {
        code: code.into(),
        country: country.into(),
        place: place.into(),
        role: role.into(),
        word: word.into(),
        component: component.into(),
    };
    vec![
        machine("MX1", "nl", "Amsterdam, Netherlands", "Mail server", "", "receiving"),
        machine("RL1", "gb", "London, United Kingdom", "Relay server", "INTERNAL", ""),
        machine("NS2", "us", "New York, United States", "Name server", "", "dns"),
        machine("MX2", "zm", "Lusaka, Zambia", "Mail server to come", "PROVISIONING", ""),
    ]
}

/// Lives through the past in the rows of `store`, if they hold none yet.
pub async fn live(world: &World, store: &Store, settings: Settings) -> Result<(), StoreError> {
    let lived: i64 = store
        .read(|conn| {
            Ok(conn.query_row(
                "SELECT (SELECT count(*) FROM post) + (SELECT count(*) FROM day)",
                [],
                |r| r.get(0),
            )?)
        })
        .await?;
    if lived > 0 {
        return Ok(());
    }
    let today = world.now();
    let clock = Arc::new(HandClock(AtomicU64::new((today - Span::days(DAYS)).ms())));
    let world = World { clock: clock.clone(), ..world.clone() };
    let settings = Settings { folder: None, outgoing: None, rows_only: true, ..settings };
    let board = Board::open(world, store.clone(), settings).await?;
    board.set_parts(usual_parts()).await?;
    let past = Past { board, clock, today };
    past.see(DAYS * 1440 - 1, &[]).await?;
    past.early().await?;
    past.middle().await?;
    past.late().await
}

struct Past {
    board: Board,
    clock: Arc<HandClock>,
    today: Now,
}

impl Past {
    /// Moves to so many minutes before now; never backwards.
    fn ago(&self, minutes: u64) -> Now {
        let at = self.today - Span::mins(minutes);
        self.clock.0.fetch_max(at.ms(), Ordering::Relaxed);
        at
    }

    /// Three points look three times at everything; what is in `bad` looks so to the points named.
    async fn see(&self, minutes_ago: u64, bad: &[(&str, Look, &str, &str)]) -> Result<(), StoreError> {
        let now = self.ago(minutes_ago);
        let mut facts = Vec::new();
        for part in usual_parts() {
            for (point, region) in [("m1", "Europe"), ("m2", "North America"), ("m3", "Southern Africa")] {
                let seen = bad.iter().find(|(id, _, points, _)| *id == part.id && points.contains(point));
                for before in [20, 0] {
                    facts.push(Fact::Probe {
                        at: (now - Span::secs(before)).ms(),
                        probe: format!("loop.{}", part.id),
                        component: part.id.clone(),
                        point: point.into(),
                        region: region.into(),
                        look: seen.map_or(Look::Good, |s| s.1),
                        ms: 640,
                        says: seen.map_or(String::new(), |s| s.3.to_owned()),
                    });
                }
            }
        }
        self.board.tick_with(facts).await
    }

    /// An outage from `from` minutes ago, so many minutes long, and what the desk says meanwhile:
    /// `(minutes after the start, stage, text)`.
    async fn outage(
        &self,
        from: u64,
        minutes: u64,
        bad: &[(&str, Look, &str, &str)],
        said: &[(u64, &str, &str)],
    ) -> Result<(), StoreError> {
        self.see(from + 6, &[]).await?;
        let mut words = said.iter();
        let mut next = words.next();
        // Nothing changes between two looks: only those that can change something are taken.
        let spoken: Vec<u64> = said.iter().map(|w| w.0).collect();
        for minute in
            (0..minutes).filter(|m| matches!(*m, 0..=2 | 11) || m + 1 == minutes || spoken.contains(m))
        {
            self.see(from - minute, bad).await?;
            while let Some((_, stage, text)) = next.filter(|(at, _, _)| *at <= minute) {
                self.word(stage, text).await?;
                next = words.next();
            }
        }
        for minute in [0, 1, 3, 6] {
            self.see(from - minutes - minute, &[]).await?;
        }
        for (_, stage, text) in next.into_iter().chain(words) {
            self.word(stage, text).await?;
        }
        Ok(())
    }

    async fn word(&self, stage: &str, text: &str) -> Result<(), StoreError> {
        let served = self.board.files().now();
        let Some(newest) = served.snapshot.incidents.iter().map(|i| i.id).max() else { return Ok(()) };
        self.act("word", &[("incident", &newest.to_string()), ("stage", stage), ("text", text)])
            .await
            .map(drop)
    }

    async fn act(&self, what: &str, fields: &[(&str, &str)]) -> Result<String, StoreError> {
        let fields: Fields = fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.board.act(what, &fields, AUTHOR.into()).await
    }

    async fn post(
        &self,
        minutes_ago: u64,
        title: &str,
        text: &str,
        labels: (&str, &str),
    ) -> Result<(), StoreError> {
        self.ago(minutes_ago);
        let fields = [("title", title), ("text", text), ("categories", labels.0), ("tags", labels.1)];
        self.act("post", &fields).await.map(drop)
    }

    async fn note(&self, title: &str, text: &str, tags: &str) -> Result<(), StoreError> {
        self.act(
            "post",
            &[("title", title), ("text", text), ("tags", tags), ("categories", "Explained"), ("note", "1")],
        )
        .await
        .map(drop)
    }

    async fn early(&self) -> Result<(), StoreError> {
        const DAY: u64 = 1440;
        self.ago(90 * DAY);
        self.note("What \"try again later\" means", GREYLIST, "error messages, greylisting").await?;
        self.note("What a block of one of our addresses means", BLOCK, "error messages, microsoft, spam")
            .await?;
        self.post(
            86 * DAY,
            "MX1: The new mail server is in service",
            "All mailboxes of the first group are on MX1. You need not change anything.",
            ("MX1", "migration, mail server"),
        )
        .await?;
        for (days, what) in [(84, "Second group"), (80, "Third group"), (77, "Final")] {
            self.ago(days * DAY);
            let title = format!("MX1: Migration update — {what}");
            let text = "Copied while the old server went on, compared message by message, then switched. Mail that arrived meanwhile is there.";
            self.act(
                "post",
                &[
                    ("title", &title),
                    ("text", text),
                    ("categories", "MX1"),
                    ("tags", "migration"),
                    ("series", "Migration update"),
                ],
            )
            .await?;
        }
        let down = [("webmail", Look::Failed, "m1 m2 m3", "HTTP 500")];
        let said = [
            (
                11,
                "identified",
                "The web server answers with an error after this morning's update. We are taking the update back.",
            ),
            (31, "monitoring", "The former version runs again; we are watching."),
        ];
        self.outage(71 * DAY + 437, 39, &down, &said).await?;
        self.ago(70 * DAY);
        self.word("postmortem", "**What happened.** An update of the web server was tried on a copy, but not with the setting this host has. It answered 500 to every page for 39 minutes. Mail was not touched.\n\n**What we change.** The trial now uses this host's own settings, and the update waits for a log-in that works.").await?;
        self.see(70 * DAY - 20, &[]).await
    }

    async fn middle(&self) -> Result<(), StoreError> {
        const DAY: u64 = 1440;
        self.ago(55 * DAY);
        let from = (self.today - Span::mins(52 * DAY)).iso();
        let to = (self.today - Span::mins(52 * DAY - 180)).iso();
        self.act("plan", &[
            ("title", "MX1: More memory"), ("from", &from[..16]), ("to", &to[..16]), ("affected", "receiving,reading"), ("not_affected", "webmail"),
            ("text", "The machine is switched off for a quarter of an hour within this time. Mail for you waits at its senders and comes afterwards."),
        ]).await?;
        self.see(53 * DAY, &[]).await?;
        self.see(52 * DAY - 5, &[]).await?;
        let away = [
            ("receiving", Look::Failed, "m1 m2 m3", "connection refused"),
            ("reading", Look::Failed, "m1 m2 m3", "connection refused"),
        ];
        for minute in [21, 22, 26, 30, 33] {
            self.see(52 * DAY - minute, &away).await?;
        }
        self.see(52 * DAY - 36, &[]).await?;
        self.see(52 * DAY - 40, &[]).await?;
        self.act(
            "done",
            &[("maintenance", "1"), ("text", "The memory is in, everything runs; it took 14 minutes.")],
        )
        .await?;
        self.see(52 * DAY - 44, &[]).await?;
        let blocked = [(
            "to.microsoft-consumer",
            Look::Slow,
            "m1 m2 m3",
            "our first address is refused (S3150); mail goes by the second",
        )];
        let said = [
            (
                19,
                "identified",
                "Outlook and Hotmail refuse one of our addresses. Since then mail to them leaves by another one and arrives; some of it is minutes late.",
            ),
            (
                118,
                "monitoring",
                "Microsoft says the block is lifted. We let a part of the mail go the old way and look.",
            ),
        ];
        self.outage(43 * DAY + 200, 164, &blocked, &said).await?;
        self.post(42 * DAY, "Mail to Outlook and Hotmail addresses: what happened", "One client's password had been stolen, and 38 messages of spam left in his name before his account was stopped. That was enough for a block.\n\nNobody had to send anything again: what was refused on the first way went out by the second within the same minute.", ("All servers", "microsoft, spam, email delivery")).await?;
        self.post(33 * DAY, "All servers: New certificates", "The certificates of all servers are new. Programs that ask you to trust them by hand are set up with another name than `mx.demo.example`: write to us and we help.", ("All servers", "tls certificate, configuration")).await
    }

    async fn late(&self) -> Result<(), StoreError> {
        const DAY: u64 = 1440;
        self.see(13 * DAY, &[]).await?;
        let slow = [("sending", Look::Slow, "m1 m2 m3", "212 messages wait, the oldest for 1,420 s")];
        let said = [(
            24,
            "identified",
            "A newsletter of 40,000 recipients came in at once. It goes on more slowly, in a queue of its own; everybody else's mail leaves at once again.",
        )];
        self.outage(12 * DAY + 311, 43, &slow, &said).await?;
        self.post(9 * DAY, "Calendar of planned work", "Subscribe to [our calendar](/maintenance.ics) once, and planned work appears in yours by itself, in your own time zone.", ("All servers", "configuration")).await?;
        self.ago(4 * DAY);
        let begin = Now((self.today + Span::days(3)).ms() / 86_400_000 * 86_400_000) + Span::hours(16);
        let (from, to) = (begin.iso(), (begin + Span::hours(4)).iso());
        self.act("plan", &[
            ("title", "MX1: Work on the data centre's network"), ("from", &from[..16]), ("to", &to[..16]),
            ("affected", "receiving,reading,webmail"), ("not_affected", "to.google,to.microsoft-consumer"),
            ("text", "The data centre replaces a switch. We expect two breaks of up to ten minutes. No mail is lost: what cannot be delivered waits at its sender and is tried again."),
        ]).await?;
        let regional = [("reading", Look::Failed, "m3", "timed out")];
        self.outage(30 * 60, 14, &regional, &[]).await?;
        self.see(20, &[]).await
    }
}

const GREYLIST: &str = "Some servers refuse mail from a sender they do not know yet, and take it when it comes again a few minutes later. Robots that send spam seldom come again. You may see this in a delay notice:\n\n    450 4.2.0 <you@example.org>: Recipient address rejected: Greylisted, try again later\n\nYou need do nothing: we try again by ourselves, and know the next time that this server wants it so.";

const BLOCK: &str = "A message may come back to you with words like these:\n\n    550 5.7.1 Unfortunately, messages from [192.0.2.36] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150).\n    550 5.7.606 Access denied, banned sending IP\n\nIt means that the other provider does not want mail from one of our addresses just now, mostly because of somebody else's spam. We then send by another address, in the same minute; you see such a message only if no way was left.";
