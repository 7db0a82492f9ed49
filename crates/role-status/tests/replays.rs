//! The status site in virtual time: R13, R23, R24, R29, and what every page must hold.

use link::{Fact, Look};
use role_status::say::{NewIncident, NewPost, NewWindow, Word};
use role_status::setup::{Machine, Part, usual_parts};
use role_status::{Board, Settings, rows};
use statuspage::model::{ShownZone, Site};
use stdx::{Now, Span};
use store::Store;
use watch::State;
use watch::credits::{Rule, Service};
use watch::incident::Stage;

async fn board(city: &sim::City) -> Board {
    let store = Store::in_memory(store::Settings::default(), &[rows::SCHEMA]).expect("opens");
    let zones = [("Pacific", "America/Los_Angeles"), ("Central Africa", "Africa/Lusaka")];
    let site = Site {
        company: "NinerNet".into(),
        url: "http://status.example".into(),
        zones: zones.map(|(label, name)| ShownZone { label: label.into(), name: name.into() }).into(),
        ..Site::default()
    };
    let board = Board::open(city.world(&[]), store, Settings::new(site)).await.expect("opens");
    board.set_parts(usual_parts()).await.expect("set");
    board
}

fn try_of(now: Now, component: &str, point: &str, look: Look) -> Fact {
    Fact::Probe {
        at: now.ms(),
        probe: format!("probe.{component}"),
        component: component.into(),
        point: point.into(),
        region: format!("region of {point}"),
        look,
        ms: 12,
        says: if look == Look::Failed { "HTTP 500".into() } else { String::new() },
    }
}

/// Each point tries every 20 s for `span`; `look` says what it sees.
async fn watch(board: &Board, component: &str, span: Span, look: impl Fn(&str, Now) -> Look) {
    let until = board.now() + span;
    while board.now() < until {
        let now = board.now();
        let tries = ["m1", "m2", "m3"].map(|p| try_of(now, component, p, look(p, now)));
        board.tell(tries.into()).await.expect("told");
        board.tick().await.expect("ticks");
        board.world().clock.sleep_until(now + Span::secs(20)).await;
    }
}

fn state(board: &Board, id: &str) -> State {
    board.files().now().snapshot.component(id).expect("it is there").state
}

fn front(board: &Board) -> String {
    let served = board.files().now();
    String::from_utf8(served.files["index.html"].bytes.to_vec()).expect("UTF-8")
}

#[tokio::test(start_paused = true)]
async fn r23_thirty_nine_minutes_are_seen_told_and_counted() {
    let city = sim::City::new(23);
    let board = board(&city).await;
    // One point has one false alarm, an hour before.
    let alarm = board.now() + Span::mins(2);
    watch(&board, "webmail", Span::mins(10), |p, now| {
        if p == "m2" && now >= alarm && now < alarm + Span::secs(20) { Look::Failed } else { Look::Good }
    })
    .await;
    assert!(board.files().now().snapshot.incidents.is_empty(), "a false alarm is no incident");

    let down = board.now();
    let up = down + Span::mins(39);
    let mut public = None;
    while board.now() < up {
        watch(&board, "webmail", Span::secs(20), |_, _| Look::Failed).await;
        if public.is_none() && !board.files().now().snapshot.incidents.is_empty() {
            public = Some(board.now().since(down));
        }
    }
    assert!(public.expect("published") <= Span::secs(90), "public after {public:?}");
    let page = front(&board);
    assert!(page.contains("Webmail: not working") && page.contains("Affected:"), "{page}");
    watch(&board, "webmail", Span::mins(3), |_, _| Look::Good).await;
    let served = board.files().now();
    let incident = &served.snapshot.incidents[0];
    assert_eq!(incident.stage, Stage::Resolved);
    let said = incident.updates.last().expect("an update").at;
    assert!(said - up.ms() <= 100_000, "resolution told {} ms after", said - up.ms());
    let minutes = (incident.resolved.expect("over") - incident.began) as f64 / 60_000.0;
    assert!((minutes - 39.0).abs() <= 1.0, "{minutes} minutes");
    assert_eq!(served.snapshot.incidents.len(), 1);

    let due = incident.postmortem_due.expect("a post-mortem is promised");
    assert_eq!((due - said + 500) / 3_600_000, 48);
    board.world().clock.sleep_until(Now(due) + Span::mins(1)).await;
    board.tick().await.expect("ticks");
    let page = String::from_utf8(
        board.files().now().files[&format!("incidents/{}/index.html", incident.id)].bytes.to_vec(),
    )
    .expect("UTF-8");
    assert!(page.contains("class=\"late\""), "the late mark is public: {page}");
}

#[tokio::test(start_paused = true)]
async fn r13_one_region_is_degraded_not_down() {
    let city = sim::City::new(13);
    let board = board(&city).await;
    let begin = board.now();
    watch(&board, "reading", Span::mins(5), |p, now| {
        if p == "m3" && (now.since(begin).as_secs() / 20) % 2 == 0 { Look::Failed } else { Look::Good }
    })
    .await;
    assert_eq!(state(&board, "reading"), State::Degraded);
    let page = front(&board);
    assert!(page.contains("region of m3"), "the page names the region");
    assert!(!page.contains("Mail programs (IMAP/POP): not working"));
}

#[tokio::test(start_paused = true)]
async fn r35_ports_that_answer_do_not_make_mail_flow() {
    let city = sim::City::new(35);
    let board = board(&city).await;
    for _ in 0..40 {
        let now = board.now();
        let mut facts = Vec::new();
        for p in ["m1", "m2", "m3"] {
            facts.push(try_of(now, "ports", p, Look::Good));
            facts.push(try_of(now, "receiving", p, Look::Failed));
            facts.push(try_of(now, "sending", p, Look::Good));
        }
        board.tell(facts).await.expect("told");
        board.tick().await.expect("ticks");
        board.world().clock.sleep_until(now + Span::secs(15)).await;
    }
    assert_eq!(
        (state(&board, "ports"), state(&board, "receiving")),
        (State::Operational, State::MajorOutage)
    );
    let summary =
        String::from_utf8(board.files().now().files["api/v2/status.json"].bytes.to_vec()).expect("UTF-8");
    assert!(summary.contains("\"indicator\":\"critical\""), "{summary}");
    assert_eq!(board.files().now().snapshot.incidents.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_causes_are_two_incidents_and_silence_is_grey() {
    let city = sim::City::new(28);
    let board = board(&city).await;
    assert_eq!(board.files().now().snapshot.verdict(), State::NoData, "nobody has looked yet");
    for _ in 0..6 {
        let now = board.now();
        let tries = ["m1", "m2", "m3"]
            .iter()
            .flat_map(|p| [try_of(now, "sending", p, Look::Failed), try_of(now, "webmail", p, Look::Failed)]);
        board.tell(tries.collect()).await.expect("told");
        board.tick().await.expect("ticks");
        board.world().clock.sleep_until(now + Span::secs(20)).await;
    }
    assert_eq!(board.files().now().snapshot.incidents.len(), 2);
    board.world().clock.sleep_until(board.now() + Span::mins(30)).await;
    board.tick().await.expect("ticks");
    assert_eq!(state(&board, "sending"), State::NoData, "no data is grey, never green");
    assert_eq!(board.files().now().snapshot.incidents.iter().filter(|i| i.stage.is_open()).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn r24_a_window_is_pinned_in_three_zones_reminded_of_and_overruns() {
    let city = sim::City::new(24);
    let board = board(&city).await;
    board
        .subscribe(role_status::subscribe::Channel::Mail, "client@elsewhere.example", "", "")
        .await
        .expect("asked");
    let link = board.take_notices(10).await.expect("read");
    assert_eq!(link.len(), 1);
    let token = link[0]
        .text
        .split("/subscribe/yes/")
        .nth(1)
        .and_then(|t| t.split_whitespace().next())
        .expect("a link")
        .to_owned();
    board.notice_done(link[0].id, true).await.expect("done");
    assert!(board.confirm(&token).await.expect("known"));

    let from = board.now() + Span::hours(30);
    let new = |from: Now, to: Now| NewWindow {
        title: "NC036: Planned data centre maintenance".into(),
        text: "The network will be away.".into(),
        author: "Craig".into(),
        from,
        to,
        affected: vec!["receiving".into()],
        not_affected: vec!["webmail".into()],
    };
    let (id, faults) = board.plan(new(from, from + Span::hours(4))).await.expect("planned");
    assert!(faults.is_empty(), "{faults:?}");
    let (_, late) =
        board.plan(new(board.now() + Span::mins(17), board.now() + Span::mins(80))).await.expect("planned");
    assert!(late[0].contains("17 minutes"), "{late:?}");
    assert!(board.plan(new(from, from)).await.is_err());

    let page = front(&board);
    assert!(
        page.contains(
            "06:00 to 10:00 UTC · 22:00 (22 Nov) to 02:00 (23 Nov) Pacific · 08:00 to 12:00 Central Africa"
        ),
        "{page}"
    );
    assert!(page.find("aria-label=\"Maintenance\"") < page.find("aria-label=\"Services\""), "pinned above");
    let ics = String::from_utf8(board.files().now().files["maintenance.ics"].bytes.to_vec()).expect("UTF-8");
    assert!(
        ics.contains("DTSTART:20261123T060000Z")
            && ics.contains(&format!("UID:maintenance-{id}@status.example"))
    );

    let mut subjects = Vec::new();
    while board.now() < from + Span::hours(5) {
        board.tick().await.expect("ticks");
        for notice in board.take_notices(10).await.expect("read") {
            subjects.push((notice.subject.clone(), from.since(board.now()).as_secs() / 3600));
            board.notice_done(notice.id, true).await.expect("done");
        }
        board.world().clock.sleep_until(board.now() + Span::mins(5)).await;
    }
    let reminders: Vec<u64> =
        subjects.iter().filter(|(s, _)| s.starts_with("Reminder: ")).map(|(_, h)| *h).collect();
    // One day, one hour before the long one; the short one was announced inside both.
    assert_eq!(reminders, [24, 1], "{subjects:?}");
    assert!(front(&board).contains("Taking longer than planned"));
    board.done(id, "All done.".into(), "Craig".into()).await.expect("done");
    let ics = String::from_utf8(board.files().now().files["maintenance.ics"].bytes.to_vec()).expect("UTF-8");
    assert!(ics.contains("SEQUENCE:1"));
}

#[tokio::test(start_paused = true)]
async fn inside_a_window_its_own_components_are_mute_and_others_are_not() {
    let city = sim::City::new(241);
    let board = board(&city).await;
    let from = board.now() + Span::secs(1);
    let new = NewWindow {
        title: "Work".into(),
        text: String::new(),
        author: String::new(),
        from,
        to: from + Span::hours(1),
        affected: vec!["webmail".into()],
        not_affected: vec![],
    };
    board.plan(new).await.expect("planned");
    board.world().clock.sleep_until(from).await;
    watch(&board, "webmail", Span::mins(3), |_, _| Look::Failed).await;
    assert_eq!(state(&board, "webmail"), State::Maintenance);
    assert!(board.files().now().snapshot.incidents.is_empty());
    watch(&board, "sending", Span::mins(3), |_, _| Look::Failed).await;
    assert_eq!(board.files().now().snapshot.incidents.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn r29_credits_are_given_once_and_sum_to_the_cent() {
    let city = sim::City::new(29);
    let board = board(&city).await;
    let services: Vec<Service> = (0..40)
        .map(|i| Service {
            client: format!("client{i}"),
            server: if i % 4 == 0 { "NC041" } else { "NC036" }.into(),
            currency: ["USD", "CAD", "ZMW"][i % 3].into(),
            monthly: [3000, 3600, 16_500][i % 3],
        })
        .collect();
    board.set_services(services.clone()).await.expect("set");
    let id = board
        .open_incident(NewIncident {
            title: "NC036: Mail server issues".into(),
            text: "It is down.".into(),
            author: "Craig".into(),
            stage: Stage::Investigating,
            impact: "major".into(),
            affected: vec!["sending".into()],
            not_affected: vec![],
            next_update: None,
            eta: None,
        })
        .await
        .expect("opened");
    let rule = Rule::Share { server: "NC036".into(), basis_points: 2500 };
    assert!(board.credit(id, "NC036".into(), rule.clone()).await.is_err(), "not over yet");
    board.world().clock.sleep_until(board.now() + Span::hours(7)).await;
    board
        .word(Word {
            incident: id,
            text: "It works.".into(),
            author: "Craig".into(),
            stage: Some(Stage::Resolved),
            next_update: None,
            eta: None,
        })
        .await
        .expect("said");
    let first = board.credit(id, "NC036".into(), rule.clone()).await.expect("credited");
    let again = board.credit(id, "NC036".into(), rule).await.expect("credited");
    assert_eq!(first, again, "a second run changes nothing");
    assert_eq!(first.len(), 30);
    for c in &first {
        let monthly = services.iter().find(|s| s.client == c.client).expect("a client").monthly;
        assert_eq!(c.amount * 4, monthly, "exactly a quarter for {}", c.client);
    }
}

#[tokio::test(start_paused = true)]
async fn a_draft_waits_ten_minutes_and_the_first_word_takes_it_over() {
    let city = sim::City::new(5);
    let board = board(&city).await;
    let slow = |_: &str, _: Now| Look::Slow;
    watch(&board, "sending", Span::mins(8), slow).await;
    assert!(board.files().now().snapshot.incidents.is_empty(), "a draft is not public");
    watch(&board, "sending", Span::mins(4), slow).await;
    let served = board.files().now();
    assert!(served.snapshot.incidents[0].automatic);
    let id = served.snapshot.incidents[0].id;
    let word = Word {
        incident: id,
        text: "A disk is being replaced.".into(),
        author: "Craig".into(),
        stage: Some(Stage::Identified),
        next_update: Some(board.now() + Span::mins(30)),
        eta: Some(board.now() + Span::hours(1)),
    };
    board.word(word).await.expect("said");
    let page = front(&board);
    assert!(
        page.contains("A disk is being replaced.")
            && page.contains("Next update by")
            && !page.contains("Written by the monitor")
    );
}

#[tokio::test(start_paused = true)]
async fn series_are_numbered_and_paths_never_collide() {
    let city = sim::City::new(6);
    let board = board(&city).await;
    let post = |title: &str, series: Option<&str>| NewPost {
        title: title.into(),
        text: "x".into(),
        series: series.map(Into::into),
        ..NewPost::default()
    };
    for _ in 0..3 {
        board.post(post("NC036: Migration update — Plan B", Some("Migration update"))).await.expect("posted");
    }
    let a = board.post(post("Same", None)).await.expect("posted");
    let b = board.post(post("Same", None)).await.expect("posted");
    assert_ne!(a, b);
    let titles: Vec<String> = board.files().now().snapshot.posts.iter().map(|p| p.title.clone()).collect();
    assert!(titles.contains(&"NC036: Migration update 3 — Plan B".to_string()), "{titles:?}");
    assert!(board.post(post(" ", None)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_front_page_is_light() {
    let city = sim::City::new(7);
    let board = board(&city).await;
    let mut parts = usual_parts();
    parts.extend((0..6).map(|n| Part {
        id: format!("x{n}"),
        name: format!("Another part {n}"),
        about: String::new(),
        cause: "x".into(),
        decides: true,
    }));
    board.set_parts(parts).await.expect("set");
    let machines = (20..33).map(|n| Machine {
        code: format!("NC0{n}"),
        country: "nl".into(),
        place: "Amsterdam, Netherlands".into(),
        role: "Mail server".into(),
        word: String::new(),
        component: "receiving".into(),
    });
    board.set_machines(machines.collect()).await.expect("set");
    // Three months of days with trouble now and then; nobody looks at the pages meanwhile.
    let shown = (*board.settings()).clone();
    board.reload(Settings { rows_only: true, ..shown.clone() });
    for day in 0..90 {
        board.world().clock.sleep_until(board.now() + Span::hours(20)).await;
        watch(&board, "sending", Span::mins(4), |_, _| if day % 9 == 0 { Look::Failed } else { Look::Good })
            .await;
    }
    board.reload(shown);
    board.publish().await.expect("published");
    let page = front(&board);
    assert!(page.len() <= 30 * 1024, "{} bytes", page.len());
    assert!(page.matches("<script").count() == 1 && page.contains("NC032"));
}

#[tokio::test(start_paused = true)]
async fn a_week_without_the_primary_is_grey_and_everything_else_goes_on() {
    let city = sim::City::new(26);
    let board = board(&city).await;
    board
        .plan(NewWindow {
            title: "Work".into(),
            text: String::new(),
            author: String::new(),
            from: board.now() + Span::days(5),
            to: board.now() + Span::days(5) + Span::hours(1),
            affected: vec!["webmail".into()],
            not_affected: vec![],
        })
        .await
        .expect("planned");
    watch(&board, "receiving", Span::mins(5), |_, _| Look::Good).await;
    assert_eq!(state(&board, "receiving"), State::Operational);
    let week = board.now() + Span::days(7);
    while board.now() < week {
        board.world().clock.sleep_until(board.now() + Span::mins(30)).await;
        board.tick().await.expect("ticks");
    }
    assert_eq!(state(&board, "receiving"), State::NoData, "no data is grey, never green");
    let served = board.files().now();
    let bars: u64 = served
        .snapshot
        .component("receiving")
        .expect("there")
        .days
        .iter()
        .map(|d| d.seconds.get("no_data").copied().unwrap_or(0))
        .sum();
    assert!(bars >= 6 * 86_400, "{bars} s of no data are counted");
    assert!(served.snapshot.incidents.is_empty(), "silence alone accuses nobody");
    assert!(front(&board).contains("Taking longer than planned"), "windows go on by the clock");
    let path = board
        .act(
            "post",
            &vec![("title".into(), "MX1 is gone".into()), ("text".into(), "We build another.".into())],
            "Dana".into(),
        )
        .await
        .expect("posted");
    assert!(path.contains("/mx1-is-gone/") && front(&board).contains("MX1 is gone"));
}

#[tokio::test(start_paused = true)]
async fn a_post_mortem_that_is_owed_reminds_the_desk_twice() {
    use role_status::subscribe::Channel;
    let city = sim::City::new(231);
    let board = board(&city).await;
    board.enlist(Channel::Mail, "dana@elsewhere.example", "", "desk").await.expect("enlisted");
    let fields = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let open = fields(&[("title", "Down"), ("text", "x"), ("affected", "sending")]);
    board.act("incident", &open, "Dana".into()).await.expect("opened");
    let over = fields(&[("incident", "1"), ("text", "Over."), ("stage", "resolved")]);
    board.act("word", &over, "Dana".into()).await.expect("said");
    // A word without a stage is a word all the same.
    board
        .act("word", &fields(&[("incident", "1"), ("text", "And thanks.")]), "Dana".into())
        .await
        .expect("said");
    let begin = board.now();
    let mut hours = Vec::new();
    while board.now() < begin + Span::hours(50) {
        board.world().clock.sleep_until(board.now() + Span::mins(10)).await;
        board.tick().await.expect("ticks");
        for notice in board.take_notices(10).await.expect("read") {
            assert!(notice.subject.starts_with("Post-mortem owed"), "{}", notice.subject);
            hours.push(board.now().since(begin).as_secs() / 3600);
            board.notice_done(notice.id, true).await.expect("done");
        }
    }
    assert_eq!(hours, [24, 44]);
    let draft = board.postmortem_draft(1).expect("a draft");
    assert!(draft.contains("Affected: Sending mail.") && draft.contains("Dana: Over."), "{draft}");
}
