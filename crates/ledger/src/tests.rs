use stdx::Span;
use store::{Settings, Store};
use words::{Reason, Reasons};

use super::*;

fn a(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

fn store() -> Store {
    Store::in_memory(Settings::default(), &[SCHEMA]).expect("opens")
}

async fn enter(store: &Store, facts: Vec<Fact>) {
    store
        .commit(vec![], move |b| facts.iter().try_for_each(|f| note(b, f).map(|_| ())))
        .await
        .expect("commits");
}

fn kinds(facts: &[Fact]) -> Vec<&str> {
    facts.iter().map(|f| &*f.kind).collect()
}

#[tokio::test]
async fn a_fact_reads_back_as_it_was_entered() {
    let store = store();
    let why = Reasons::one(Reason::new("accept.grey", "seen for the first time").with("seen", 1));
    let fact = Fact::new("smtp.rcpt", Now(1000))
        .session(SessionId(1))
        .message(MessageId(u64::MAX))
        .attempt(AttemptId(3))
        .header("<x@y.example>")
        .about(&a("Anna@example.org"))
        .about(&a("anna@example.org"))
        .with("reply", "451 4.7.1 later")
        .with("bytes", 1200)
        .because(&why);
    enter(&store, vec![fact.clone()]).await;
    let found = store.read_now(|c| walk(c, MessageId(u64::MAX))).expect("reads");
    assert_eq!(found, vec![Fact { id: Some(FactId(1)), ..fact }]);
    assert_eq!(found[0].about, ["anna@example.org"]);
    assert_eq!(found[0].reasons(), ["seen for the first time [accept.grey; seen=1]"]);
    assert_eq!(found[0].text("reply"), "451 4.7.1 later");
    let line = found[0].to_string();
    assert!(line.contains("smtp.rcpt s=1 m=") && line.contains("bytes=1200"), "{line}");
}

#[tokio::test]
async fn a_walk_holds_the_message_and_its_sessions_but_no_other_message() {
    let store = store();
    let (s, m) = (SessionId(7), MessageId(70));
    enter(
        &store,
        vec![
            Fact::new("smtp.opened", Now(1)).session(s),
            Fact::new("smtp.accepted", Now(2)).session(s).message(m),
            Fact::new("smtp.accepted", Now(3)).session(s).message(MessageId(71)),
            Fact::new("route.attempt", Now(4)).message(m).attempt(AttemptId(1)),
            Fact::new("smtp.opened", Now(5)).session(SessionId(8)),
        ],
    )
    .await;
    let found = store.read_now(|c| walk(c, m)).expect("reads");
    assert_eq!(kinds(&found), ["smtp.opened", "smtp.accepted", "route.attempt"]);
    assert_eq!(store.read_now(|c| of_session(c, s, 10)).expect("reads").len(), 3);
    assert_eq!(store.read_now(|c| of_attempt(c, AttemptId(1), 10)).expect("reads").len(), 1);
}

#[tokio::test]
async fn questions_reach_over_all_chapters_and_give_the_newest() {
    let store = store();
    let facts = (0..3 * CHAPTER as u64)
        .map(|n| {
            let fact = Fact::new("k", Now(n)).message(MessageId(n)).header(&format!("<{}@h>", n % 1000));
            if n % 1000 == 5 { fact.about(&a("anna@example.org")) } else { fact }
        })
        .collect();
    enter(&store, facts).await;
    // Chapters are read whole until they have their keys; the answers are the same.
    for full in [0, 3] {
        let pages = "SELECT count(*) FROM fact_page_unlogged";
        let there = store.read_now(|c| Ok(c.query_row(pages, [], |r| r.get::<_, i64>(0))?)).expect("reads");
        assert_eq!(there, full * keys::PAGES);
        let anna = store.read_now(|c| about(c, &a("ANNA@example.org"), 100)).expect("reads");
        let times: Vec<u64> = anna.iter().map(|f| f.at.0).collect();
        assert_eq!(times, (0..=12).map(|n| n * 1000 + 5).collect::<Vec<_>>());
        let last = store.read_now(|c| about(c, &a("anna@example.org"), 2)).expect("reads");
        assert_eq!(last.iter().map(|f| f.at.0).collect::<Vec<_>>(), [11_005, 12_005]);
        for header in ["<7@h>", "7@h", " <7@h> "] {
            assert_eq!(store.read_now(|c| by_header(c, header, 100)).expect("reads").len(), 13, "{header}");
        }
        tend(&store).await.expect("makes keys");
    }
    let next = store.read_now(|c| since(c, FactId(12_280), 100)).expect("reads");
    assert_eq!((next.len(), store.read_now(newest)), (8, Ok(FactId(12_288))));
}

#[tokio::test]
async fn a_fact_is_found_before_and_after_its_chapter_has_keys() {
    let store = store();
    let anna = a("anna@example.org");
    let joanna = a("joanna@example.org");
    let fact = |n: u64| {
        let who = if n.is_multiple_of(2) { &anna } else { &joanna };
        let fact = Fact::new("k", Now(n)).session(SessionId(n)).message(MessageId(n / 2));
        fact.attempt(AttemptId(n)).header(&format!("<{n}@h>")).about(who)
    };
    let (edge, end) = (CHAPTER as u64, 2 * CHAPTER as u64 + 9);
    for (from, to) in [(1, edge - 1), (edge - 1, edge), (edge, edge + 1), (edge + 1, end)] {
        enter(&store, (from..to).map(fact).collect()).await;
        for _ in ["read whole", "by keys"] {
            let n = to - 1;
            for back in [0, 1, 60, 4000, 4096].into_iter().filter(|back| *back < n) {
                let m = n - back;
                let times = |facts: Vec<Fact>| facts.iter().map(|f| f.at.0).collect::<Vec<_>>();
                let read = |key: Key<'_>| times(store.read_now(|c| under(c, &key, 10)).expect("reads"));
                assert_eq!(read(Key::Session(SessionId(m))), [m]);
                assert_eq!(read(Key::Attempt(AttemptId(m))), [m]);
                assert_eq!(read(Key::Header(&format!("{m}@h"))), [m]);
            }
            let newest = store.read_now(|c| about(c, &anna, 3)).expect("reads");
            let want: Vec<u64> = (1..to).filter(|m| m % 2 == 0).rev().take(3).collect();
            assert!(newest.iter().rev().map(|f| f.at.0).eq(want), "joanna's facts are not anna's");
            tend(&store).await.expect("makes keys");
        }
    }
    assert_eq!(store.read_now(|c| of_message(c, MessageId(127), 10)).expect("reads").len(), 2);
    assert_eq!(store.read_now(|c| of_message(c, MessageId(127), 1)).expect("reads")[0].at, Now(255));
}

#[tokio::test]
async fn rows_and_age_are_bounded_in_small_steps() {
    let store = store();
    // Ids begin at 1: the last block is full.
    let n = 4 * CHAPTER as u64 - 1;
    enter(&store, (0..n).map(|n| Fact::new("k", Now::from_secs(n)).message(MessageId(n))).collect()).await;
    tend(&store).await.expect("makes keys");
    let run = |limits: Limits, now: Now| {
        let store = store.clone();
        async move {
            for _ in 0..1000 {
                let done = store.commit(vec![], move |b| purge(b, &limits, now, 500)).await.expect("purges");
                assert!(done.rows <= 500);
                if !done.more {
                    break;
                }
            }
            let count = |c: &Connection| {
                let q = "SELECT (SELECT count(*) FROM fact), (SELECT count(*) FROM fact_page_unlogged)";
                Ok(c.query_row(q, [], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?)))?)
            };
            store.read_now(count).expect("reads")
        }
    };
    let limits = Limits { rows: 6000, age: Span::days(1000), counter_age: Span::days(1) };
    let (facts, pages) = run(limits, Now::from_secs(n)).await;
    assert!((6000..6000 + CHAPTER).contains(&facts), "{facts}");
    assert_eq!(pages, facts / CHAPTER * keys::PAGES, "keys go with their facts");
    let limits = Limits { rows: 1_000_000, age: Span::secs(100), counter_age: Span::days(1) };
    let (facts, pages) = run(limits, Now::from_secs(n + 10_000)).await;
    assert!(facts <= CHAPTER, "the newest chapter stays: {facts}");
    assert_eq!(pages, facts / CHAPTER * keys::PAGES);
    tend(&store).await.expect("has nothing to do");
    let left = store.read_now(|c| walk(c, MessageId(n - 1))).expect("reads");
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn counters_add_up_by_the_hour_and_end() {
    let store = store();
    let h = |n: u64| Now::from_secs(n * 3600);
    store
        .commit(vec![], move |b| {
            count(b, "tls.ok", h(1), 2)?;
            count(b, "tls.ok", Now(h(1).0 + 5), 3)?;
            count(b, "tls.ok", h(2), 10)?;
            count(b, "tls.bad", h(2), 1)
        })
        .await
        .expect("commits");
    assert_eq!(store.read_now(|c| counted(c, "tls.ok", h(1), h(2))), Ok(5));
    assert_eq!(
        store.read_now(|c| counters(c, "tls.", h(0), h(9))),
        Ok(vec![("tls.bad".to_owned(), 1), ("tls.ok".to_owned(), 15)])
    );
    let limits = Limits { counter_age: Span::hours(1), ..Limits::default() };
    store.commit(vec![], move |b| purge(b, &limits, h(3), 100)).await.expect("purges");
    assert_eq!(store.read_now(|c| counted(c, "tls.ok", h(0), h(9))), Ok(10));
}

#[tokio::test]
async fn a_detail_without_end_is_cut() {
    let store = store();
    let mut fact = Fact::new("k", Now(1)).message(MessageId(1)).with("reply", "é".repeat(100_000));
    for n in 0..1000 {
        fact = fact.about(&a(&format!("u{n}@example.org"))).with(&format!("n{n}"), "x".repeat(200));
    }
    enter(&store, vec![fact]).await;
    let found = store.read_now(|c| walk(c, MessageId(1))).expect("reads");
    assert_eq!(found[0].about.len(), 100);
    assert!(found[0].detail_text().len() <= 16 << 10 && found[0].detail.contains_key("left_out"));
}
