use stdx::Now;
use store::{Settings, Store, StoreError};
use words::{AccountId, Address, Body, Envelope, MessageId, Notify, Recipient, Ret, SessionId};

use crate::*;

fn address(text: &str) -> Address {
    Address::parse(text).expect("valid")
}

fn new(body: store::BodyId, rcpts: &[&str]) -> New {
    New {
        message: MessageId(77),
        session: Some(SessionId(5)),
        body,
        size: 6,
        header: Some("<x@y.example>".into()),
        envelope: Envelope {
            sender: Some(address("s@here.example")),
            recipients: rcpts.iter().map(|r| Recipient::new(address(r))).collect(),
            ..Envelope::default()
        },
        origin: Origin::Submitted(AccountId(3)),
        at: Now(1000),
    }
}

fn store() -> Store {
    Store::in_memory(Settings::default(), &[SCHEMA]).expect("opens")
}

async fn put(store: &Store, feed: &Feed, rcpts: &[&str]) -> SpoolId {
    let mut draft = store.draft();
    draft.write(b"hello\n").await.expect("writes");
    let sealed = draft.seal().await.expect("seals");
    let (feed, rcpts): (Feed, Vec<String>) = (feed.clone(), rcpts.iter().map(|r| (*r).to_owned()).collect());
    store
        .commit(vec![sealed], move |batch| {
            let body = batch.body(0);
            add(batch, &feed, &new(body, &rcpts.iter().map(String::as_str).collect::<Vec<_>>()))
        })
        .await
        .expect("commits")
}

async fn claimed(store: &Store, feed: &Feed, now: u64) -> Vec<Entry> {
    let feed = feed.clone();
    store.commit(vec![], move |b| claim(b, &feed, Now(now), 100)).await.expect("claims")
}

#[test]
fn an_entry_reads_as_it_was_written() {
    let mut entry = Entry::of(&new(store::BodyId(4), &["a@b.example", "\"x y\"@c.example"]), SpoolId(9));
    entry.options = Options {
        body: Body::BinaryMime,
        smtputf8: true,
        requiretls: true,
        tls_waived: true,
        ret: Some(Ret::Headers),
        envid: Some("q=1".into()),
    };
    entry.rcpts[0].notify = Some(Notify { success: true, delay: true, ..Notify::default() });
    entry.rcpts[0].tried.push(Tried { egress: "A".into(), at: Now(3), reply: "550 no".into() });
    entry.rcpts[1].state = State::Held("by hand".into());
    entry.rcpts[1].last =
        Some(Last { at: Now(8), egress: "B".into(), host: None, reply: "450 later".into() });
    (entry.rcpts[1].stick, entry.rcpts[1].first_blocked, entry.rcpts[1].told_late) =
        (Some("A".into()), Some(Now(2)), true);
    for origin in [
        Origin::Submitted(AccountId(-3)),
        Origin::Forwarded { of: address("f@g.example") },
        Origin::Relayed,
        Origin::Notice,
    ] {
        entry.origin = origin;
        let columns = entry::Columns { id: 9, message: 77, body: 4, at: 1000 };
        assert_eq!(Entry::read(&columns, &entry.write().expect("writes")).expect("reads"), entry);
    }
}

#[tokio::test]
async fn a_fresh_entry_is_fed_once_and_ends_with_its_body() {
    let (store, feed) = (store(), Feed::new(1));
    put(&store, &feed, &["a@b.example"]).await;
    let entry = feed.take(10).pop().expect("fed");
    assert!(claimed(&store, &feed, u64::MAX >> 2).await.is_empty(), "leased entries are not claimed");
    let body = entry.body;
    store.commit(vec![], move |b| finish(b, &entry)).await.expect("ends");
    assert_eq!(store.read(counts).await.expect("counts"), Counts::default());
    assert!(store.body(body).await.is_err(), "the body is released");
}

#[tokio::test]
async fn a_restart_makes_leased_entries_due_again() {
    let (store, feed) = (store(), Feed::new(1));
    put(&store, &feed, &["a@b.example"]).await;
    let again = Feed::new(99);
    let run = again.clone();
    assert_eq!(store.commit(vec![], move |b| recover(b, &run, Now(5000))).await.expect("recovers"), 1);
    assert!(claimed(&store, &again, 4999).await.is_empty());
    assert_eq!(claimed(&store, &again, 5000).await.len(), 1);
    let own = again.clone();
    assert_eq!(store.commit(vec![], move |b| recover(b, &own, Now(6000))).await.expect("recovers"), 0);
}

#[tokio::test]
async fn what_is_put_back_is_due_when_its_first_recipient_is() {
    let (store, feed) = (store(), Feed::new(1));
    put(&store, &feed, &["a@b.example", "c@d.example"]).await;
    let mut entry = feed.take(1).pop().expect("fed");
    (entry.rcpts[0].state, entry.rcpts[0].due) = (State::Later, Now(9000));
    (entry.rcpts[1].state, entry.rcpts[1].due) = (State::Later, Now(8000));
    store.commit(vec![], move |b| put_back(b, &entry)).await.expect("puts back");
    assert_eq!(store.read(next_due).await.expect("reads"), Some(Now(8000)));
    let back = claimed(&store, &feed, 8000).await.pop().expect("due");
    assert_eq!(back.rcpts[0].due, Now(9000));
}

#[tokio::test]
async fn orders_reach_an_entry_whose_try_is_under_way() {
    let (store, feed) = (store(), Feed::new(1));
    let id = put(&store, &feed, &["a@b.example"]).await;
    let entry = feed.take(1).pop().expect("fed");
    assert!(!store.commit(vec![], move |b| hold(b, id, "look first")).await.expect("orders"));
    let order = store.commit(vec![], move |b| put_back(b, &entry)).await.expect("puts back");
    assert_eq!(order, Some(Order::Hold("look first".into())));
    assert_eq!(store.read(counts).await.expect("counts").held, 1);
    assert!(claimed(&store, &feed, 1 << 50).await.is_empty(), "held mail is never due");
    assert_eq!(store.commit(vec![], move |b| release(b, id, Now(7))).await.expect("releases"), 1);
    let entry = claimed(&store, &feed, 7).await.pop().expect("released mail is due");
    assert_eq!(store.commit(vec![], move |b| drop_all(b, id)).await.expect("orders"), None);
    let order = store.commit(vec![], move |b| put_back(b, &entry)).await.expect("puts back");
    assert_eq!(order, Some(Order::Drop));
    assert_eq!(store.read(counts).await.expect("counts"), Counts::default());
    let gone = store.commit(vec![], move |b| hold(b, id, "x")).await;
    assert!(matches!(gone, Err(StoreError::Rule(_))));
}

#[tokio::test]
async fn the_queue_is_listed_and_searched() {
    let (store, feed) = (store(), Feed::new(1));
    let first = put(&store, &feed, &["a@b.example"]).await;
    put(&store, &feed, &["Other@else.example"]).await;
    let all = store.read(|c| list(c, SpoolId(0), None, 10)).await.expect("lists");
    assert_eq!((all.len(), all[0].sending, &all[0].entry.rcpts[0].state), (2, true, &State::Sending));
    assert_eq!(store.read(move |c| list(c, first, None, 10)).await.expect("lists").len(), 1);
    assert_eq!(store.read(|c| list(c, SpoolId(0), Some("ELSE"), 10)).await.expect("lists").len(), 1);
    assert_eq!(store.read(|c| show(c, MessageId(77))).await.expect("shows").len(), 2);
}

#[tokio::test]
async fn a_full_feed_falls_back_to_the_index() {
    let (store, feed) = (store(), Feed::new(1));
    for _ in 0..FEED_MAX {
        feed.push(Entry::of(&new(store::BodyId(1), &["a@b.example"]), SpoolId(1)));
    }
    put(&store, &feed, &["a@b.example"]).await;
    assert_eq!(claimed(&store, &feed, 1000).await.len(), 1);
}

#[tokio::test]
async fn what_routes_learned_is_kept() {
    let store = store();
    let rows = vec![("g/x".to_owned(), Some("1".to_owned())), ("g/y".to_owned(), Some("2".to_owned()))];
    store.commit(vec![], move |b| save_routes(b, &rows)).await.expect("saves");
    let rows = vec![("g/x".to_owned(), None), ("g/y".to_owned(), Some("3".to_owned()))];
    store.commit(vec![], move |b| save_routes(b, &rows)).await.expect("saves");
    assert_eq!(store.read(routes).await.expect("reads"), vec![("g/y".to_owned(), "3".to_owned())]);
}

#[tokio::test]
async fn what_was_accepted_is_there_after_opening_again() {
    let dir = std::env::temp_dir().join(format!("spool-test-{}", std::process::id()));
    let open = || Store::open(&dir, Settings::default(), &[SCHEMA]).expect("opens");
    let (store, feed) = (open(), Feed::new(1));
    put(&store, &feed, &["a@b.example"]).await;
    drop(store);
    let (store, again) = (open(), Feed::new(5));
    let run = again.clone();
    store.commit(vec![], move |b| recover(b, &run, Now(5000))).await.expect("recovers");
    assert_eq!(claimed(&store, &again, 5000).await.len(), 1);
    drop(store);
    std::fs::remove_dir_all(&dir).expect("is removed");
}

#[tokio::test]
async fn a_power_cut_keeps_what_was_accepted() {
    let (store, feed) = (store(), Feed::new(1));
    put(&store, &feed, &["a@b.example"]).await;
    let store = store.power_cut().expect("opens again");
    assert_eq!(store.read(counts).await.expect("counts").entries, 1);
}
