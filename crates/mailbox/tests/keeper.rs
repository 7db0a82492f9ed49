//! The keeper against a model, and its promises one by one, on a store in memory.

use std::collections::BTreeMap;

use mailbox::append::Quota;
use mailbox::folder::{self, Status};
use mailbox::hub::News;
use mailbox::text::{self, In};
use mailbox::{
    Flags, Folder, How, Hub, Mark, New, Pen, Row, UidSet, View, What, append, change, copy, deliver, expunge,
    mark, move_to,
};
use stdx::{Dice, Now};
use store::{BodyId, Settings, Store, StoreError};
use words::AccountId;

const ANN: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);
const NOW: Now = Now::from_secs(1_800_000_000);

struct Lab {
    store: Store,
    hub: Hub,
}

impl Lab {
    fn new() -> Lab {
        let store = Store::in_memory(Settings::default(), &[mailbox::SCHEMA]).expect("opens");
        Lab { store, hub: Hub::default() }
    }
    fn pen(&self) -> Pen {
        Pen { hub: self.hub.clone(), session: 7, now: NOW, quota: Quota::default() }
    }
    async fn folder(&self, account: AccountId, name: &str) -> Folder {
        let name = name.to_owned();
        let make = move |b: &mut store::Batch<'_>| {
            folder::ensure(b, account, NOW)?;
            match folder::find(b.sql(), account, &name)? {
                Some(found) => Ok(found),
                None => folder::create(b, account, &name, "", NOW),
            }
        };
        self.store.commit(vec![], make).await.expect("makes a folder")
    }
    async fn put(&self, folder: &Folder, text: &str) -> (u32, BodyId) {
        let mut draft = self.store.draft();
        draft.write(text.as_bytes()).await.expect("writes");
        let sealed = draft.seal().await.expect("seals");
        let (pen, folder, size) = (self.pen(), folder.clone(), text.len() as u64);
        self.store
            .commit(vec![sealed], move |b| {
                let body = b.body(0);
                Ok((append(b, &pen, &folder, &[New::arriving(body, size, NOW)])?.first, body))
            })
            .await
            .expect("appends")
    }
    async fn mark(&self, folder: &Folder, uids: UidSet, how: How, flags: Flags) -> change::Marked {
        let (pen, folder) = (self.pen(), folder.clone());
        let what = Mark { how, flags, keywords: vec![], unchanged_since: None, allowed: Mark::ALL };
        self.store.commit(vec![], move |b| mark(b, &pen, &folder, &uids, &what)).await.expect("marks")
    }
    async fn view(&self, folder: &Folder) -> View {
        (*self.hub.view(&self.store, folder, NOW).await.expect("a view")).clone()
    }
    /// The view as the store alone tells it.
    async fn cold(&self, folder: &Folder) -> View {
        (*Hub::default().view(&self.store, folder, NOW).await.expect("a view")).clone()
    }
    async fn status(&self, folder: &Folder) -> Status {
        let folder = folder.clone();
        self.store.read(move |c| folder::status(c, &folder)).await.expect("a status")
    }
}

fn uids(view: &View) -> Vec<u32> {
    view.rows().iter().map(|r| r.uid).collect()
}

#[tokio::test]
async fn a_delivery_makes_the_first_folders_and_one_row() {
    let lab = Lab::new();
    let mut draft = lab.store.draft();
    draft.write(b"Subject: x\r\n\r\nhello\r\n").await.expect("writes");
    let sealed = draft.seal().await.expect("seals");
    let pen = lab.pen();
    let (a, b) = lab
        .store
        .commit(vec![sealed], move |batch| {
            let item = New::arriving(batch.body(0), 21, NOW);
            Ok((deliver(batch, &pen, ANN, None, &item)?, deliver(batch, &pen, BOB, Some("no such"), &item)?))
        })
        .await
        .expect("delivers");
    assert_eq!((a.first, a.last, b.first), (1, 1, 1));
    assert_ne!(a.uidvalidity, b.uidvalidity);
    let names = lab.store.read(|c| folder::list(c, ANN)).await.expect("lists");
    assert_eq!(names.len(), folder::FIRST_FOLDERS.len());
    let inbox = lab.folder(ANN, "inbox").await;
    let status = lab.status(&inbox).await;
    assert_eq!((status.present, status.unseen, status.bytes, status.uidnext), (1, 1, 21, 2));
}

#[tokio::test]
async fn a_shared_body_goes_with_its_last_row() {
    let lab = Lab::new();
    let (inbox, trash) = (lab.folder(ANN, "INBOX").await, lab.folder(ANN, "Trash").await);
    let (uid, body) = lab.put(&inbox, "a body").await;
    let (pen, from, to) = (lab.pen(), inbox.clone(), trash.clone());
    lab.store.commit(vec![], move |b| copy(b, &pen, &from, &to, &UidSet::of([uid]))).await.expect("copies");
    for (folder, left) in [(inbox, true), (trash, false)] {
        lab.mark(&folder, UidSet::all(), How::Add, Flags::DELETED).await;
        let (pen, of) = (lab.pen(), folder.clone());
        let gone = lab.store.commit(vec![], move |b| expunge(b, &pen, &of, None)).await.expect("expunges");
        assert_eq!(gone.ranges(), [(1, 1)]);
        let refs: i64 = lab
            .store
            .read(move |c| {
                Ok(c.query_row("SELECT coalesce(max(refs), 0) FROM body WHERE id = ?1", [body], |r| {
                    r.get(0)
                })?)
            })
            .await
            .expect("reads");
        assert_eq!(refs, i64::from(left));
    }
}

#[tokio::test]
async fn uidvalidity_is_never_used_again() {
    let lab = Lab::new();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let folder = lab.folder(ANN, "Work/Old").await;
        assert!(!seen.contains(&folder.uidvalidity));
        seen.push(folder.uidvalidity);
        let pen = lab.pen();
        lab.store.commit(vec![], move |b| folder::delete(b, &pen, &folder)).await.expect("deletes");
    }
}

#[tokio::test]
async fn a_full_mailbox_refuses_and_keeps_nothing() {
    let lab = Lab::new();
    let inbox = lab.folder(ANN, "INBOX").await;
    lab.put(&inbox, "0123456789").await;
    let mut draft = lab.store.draft();
    draft.write(b"0123456789").await.expect("writes");
    let sealed = draft.seal().await.expect("seals");
    let pen = Pen { quota: Quota { bytes: Some(15), messages: None }, ..lab.pen() };
    let of = inbox.clone();
    let refused = lab
        .store
        .commit(vec![sealed], move |b| append(b, &pen, &of, &[New::arriving(b.body(0), 10, NOW)]))
        .await;
    assert!(matches!(refused, Err(StoreError::Rule(why)) if why.starts_with("[OVERQUOTA]")));
    assert_eq!(lab.status(&inbox).await.present, 1);
}

// RFC 7162 §3.1.3: what changed after UNCHANGEDSINCE is left alone and named.
#[tokio::test]
async fn a_conditional_store_leaves_newer_messages_alone() {
    let lab = Lab::new();
    let inbox = lab.folder(ANN, "INBOX").await;
    for _ in 0..3 {
        lab.put(&inbox, "x").await;
    }
    let since = lab.status(&inbox).await.modseq;
    lab.mark(&inbox, UidSet::of([2]), How::Add, Flags::SEEN).await;
    let (pen, of) = (lab.pen(), inbox.clone());
    let what = Mark {
        how: How::Add,
        flags: Flags::FLAGGED,
        keywords: vec!["$Work".into(), "$work".into()],
        unchanged_since: Some(since),
        allowed: Mark::ALL,
    };
    let done =
        lab.store.commit(vec![], move |b| mark(b, &pen, &of, &UidSet::all(), &what)).await.expect("marks");
    assert_eq!(done.refused.ranges(), [(2, 2)]);
    assert_eq!(done.rows.iter().map(|r| r.uid).collect::<Vec<_>>(), [1, 3]);
    let view = lab.view(&inbox).await;
    let flags: Vec<Flags> = view.rows().iter().map(|r| r.flags.system()).collect();
    assert_eq!(flags, [Flags::FLAGGED, Flags::SEEN, Flags::FLAGGED]);
    assert_eq!(view.rows()[0].flags.keywords().count_ones(), 1);
    assert_eq!(view, lab.cold(&inbox).await);
}

#[tokio::test]
async fn renaming_takes_the_inferiors_along_and_the_inbox_leaves_itself() {
    let lab = Lab::new();
    lab.folder(ANN, "a/b").await;
    lab.folder(ANN, "a/b/c").await;
    let inbox = lab.folder(ANN, "INBOX").await;
    lab.put(&inbox, "x").await;
    let pen = lab.pen();
    lab.store
        .commit(vec![], move |b| {
            folder::rename(b, &pen, ANN, "a/b", "z")?;
            folder::rename(b, &pen, ANN, "InBox", "old mail")?;
            assert!(folder::rename(b, &pen, ANN, "z", "z/y").is_err());
            assert!(folder::rename(b, &pen, ANN, "z", "Trash").is_err());
            Ok(())
        })
        .await
        .expect("renames");
    let names: Vec<String> =
        lab.store.read(|c| folder::list(c, ANN)).await.expect("lists").into_iter().map(|f| f.name).collect();
    assert!(names.contains(&"z".into()) && names.contains(&"z/c".into()) && !names.contains(&"a/b".into()));
    assert_eq!(lab.status(&inbox).await.present, 0);
    let old = lab.folder(ANN, "old mail").await;
    assert_eq!(lab.status(&old).await.present, 1);
}

#[tokio::test]
async fn a_follower_hears_everything_or_that_it_is_behind() {
    let lab = Lab::new();
    let inbox = lab.folder(ANN, "INBOX").await;
    let (mut feed, first) = lab.hub.follow(&lab.store, &inbox, NOW).await.expect("follows");
    assert!(first.is_empty() && !feed.ready());
    lab.put(&inbox, "x").await;
    feed.changed().await;
    let News::Deltas(deltas) = feed.hear() else { panic!("behind") };
    assert!(
        matches!(&deltas[..], [d] if matches!(&d.what, What::Added(rows) if rows[0].uid == 1) && d.by == 7)
    );
    for _ in 0..mailbox::hub::RING_MAX + 1 {
        lab.put(&inbox, "x").await;
    }
    assert!(feed.ready());
    assert!(matches!(feed.hear(), News::Behind));
    let view = lab.view(&inbox).await;
    assert_eq!(view.len(), mailbox::hub::RING_MAX + 2);
    feed.caught_up(view.modseq);
    assert!(!feed.ready());
}

#[tokio::test]
async fn texts_that_do_not_fit_in_memory_are_summarised_all_the_same() {
    let lab = Lab::new();
    let inbox = lab.folder(ANN, "INBOX").await;
    let mut bodies = Vec::new();
    for n in 0..30 {
        let text = format!("Subject: no {n}\r\n\r\n{}\r\n", "x".repeat(200 << 10));
        let (_, body) = lab.put(&inbox, &text).await;
        lab.hub.digests().offer(body, text.into());
        bodies.push(body);
    }
    mailbox::digest::tend(&lab.store, &lab.hub).await.expect("tends");
    lab.hub.digests().shrink();
    let kept = lab
        .store
        .read_now(|c| Ok(c.query_row("SELECT count(*) FROM mb_summary", [], |r| r.get::<_, i64>(0))?));
    assert_eq!(
        kept.expect("reads"),
        30,
        "{} MiB wait at most with their text",
        mailbox::digest::QUEUE_BYTES_MAX >> 20
    );
}

#[tokio::test]
async fn idle_folders_leave_the_memory() {
    let lab = Lab::new();
    let inbox = lab.folder(ANN, "INBOX").await;
    lab.put(&inbox, "x").await;
    assert_eq!(lab.view(&inbox).await.len(), 1);
    assert_eq!(lab.hub.weight().0, 1);
    lab.hub.sweep(NOW + mailbox::hub::VIEW_IDLE);
    assert_eq!(lab.hub.weight(), (0, 0));
    assert_eq!(lab.view(&inbox).await.len(), 1);
}

/// The plain truth a random run is compared with.
#[derive(Default)]
struct Model {
    folders: BTreeMap<&'static str, BTreeMap<u32, (BodyId, Flags)>>,
    next: BTreeMap<&'static str, u32>,
    gone: BTreeMap<&'static str, Vec<u32>>,
}

impl Model {
    fn add(&mut self, name: &'static str, body: BodyId, flags: Flags) {
        let next = self.next.entry(name).or_insert(1);
        self.folders.entry(name).or_default().insert(*next, (body, flags));
        *next += 1;
    }
    fn rows(&self, name: &str) -> Vec<(u32, BodyId, Flags)> {
        self.folders.get(name).into_iter().flatten().map(|(u, (b, f))| (*u, *b, *f)).collect()
    }
    fn take(&mut self, name: &'static str, uid: u32) -> Option<(BodyId, Flags)> {
        let row = self.folders.get_mut(name)?.remove(&uid)?;
        self.gone.entry(name).or_default().push(uid);
        Some(row)
    }
}

const NAMES: [&str; 3] = ["INBOX", "Trash", "Work"];

fn some(dice: &mut Dice, most: u64) -> UidSet {
    let n = dice.below(6) + 1;
    UidSet::of((0..n).map(|_| dice.below(most + 2) as u32 + 1))
}

async fn step(lab: &Lab, model: &mut Model, dice: &mut Dice) {
    let name = NAMES[dice.below(3) as usize];
    let other = NAMES[dice.below(3) as usize];
    let folder = lab.folder(ANN, name).await;
    let to = lab.folder(ANN, other).await;
    let set = some(dice, u64::from(model.next.get(name).copied().unwrap_or(1)));
    let pen = lab.pen();
    match dice.below(10) {
        0..=3 => {
            let (_, body) = lab.put(&folder, "text").await;
            model.add(name, body, Flags::NONE);
        }
        4..=5 => {
            let flags = Flags(dice.below(32));
            let how = [How::Add, How::Remove, How::Replace][dice.below(3) as usize];
            lab.mark(&folder, set.clone(), how, flags).await;
            for (uid, (_, had)) in model.folders.entry(name).or_default() {
                if set.contains(*uid) {
                    *had = match how {
                        How::Add => had.with(flags),
                        How::Remove => had.without(flags),
                        How::Replace => flags,
                    };
                }
            }
        }
        6 => {
            let rows = model.rows(name);
            let uids = set.clone();
            lab.store.commit(vec![], move |b| copy(b, &pen, &folder, &to, &uids)).await.expect("copies");
            for (_, body, flags) in rows.into_iter().filter(|r| set.contains(r.0)) {
                model.add(other, body, flags);
            }
        }
        7 if name != other => {
            let rows = model.rows(name);
            let uids = set.clone();
            lab.store.commit(vec![], move |b| move_to(b, &pen, &folder, &to, &uids)).await.expect("moves");
            for (uid, body, flags) in rows.into_iter().filter(|r| set.contains(r.0)) {
                model.take(name, uid);
                model.add(other, body, flags);
            }
        }
        _ => {
            let all = dice.below(2) == 0;
            let uids = set.clone();
            let only = move |b: &mut store::Batch<'_>| expunge(b, &pen, &folder, (!all).then_some(&uids));
            lab.store.commit(vec![], only).await.expect("expunges");
            for (uid, _, flags) in model.rows(name) {
                if flags.has(Flags::DELETED) && (all || set.contains(uid)) {
                    model.take(name, uid);
                }
            }
        }
    }
}

async fn compare(lab: &Lab, model: &Model, followed: &mut [(Folder, mailbox::hub::Feed, View)]) {
    for (folder, feed, view) in followed {
        let name = folder.name.as_str();
        let want = model.rows(name);
        let got = |v: &View| v.rows().iter().map(|r: &Row| (r.uid, r.body, r.flags)).collect::<Vec<_>>();
        let live = lab.view(folder).await;
        assert_eq!(got(&live), want);
        assert_eq!(live, lab.cold(folder).await);
        match feed.hear() {
            News::Deltas(deltas) => deltas.iter().for_each(|d| view.apply(d)),
            News::Behind => panic!("behind after a few steps"),
        }
        assert_eq!(*view, live);
        let status = lab.status(folder).await;
        let count = |f: Flags, is: bool| want.iter().filter(|r| r.2.has(f) == is).count() as u64;
        assert_eq!(
            (status.present, status.unseen, status.deleted),
            (want.len() as u64, count(Flags::SEEN, false), count(Flags::DELETED, true))
        );
        let id = folder.id;
        let gone =
            lab.store.read(move |c| change::gone_since(c, id, 0)).await.expect("reads").expect("all known");
        let mut lost = model.gone.get(name).cloned().unwrap_or_default();
        lost.sort_unstable();
        assert_eq!(gone.iter().collect::<Vec<_>>(), lost);
    }
}

#[tokio::test]
async fn random_changes_agree_with_the_model() {
    for seed in 0..6 {
        let lab = Lab::new();
        let mut model = Model::default();
        let mut dice = Dice::new(seed);
        let mut followed = Vec::new();
        for name in NAMES {
            let folder = lab.folder(ANN, name).await;
            let (feed, view) = lab.hub.follow(&lab.store, &folder, NOW).await.expect("follows");
            followed.push((folder, feed, (*view).clone()));
        }
        for _ in 0..60 {
            for _ in 0..4 {
                step(&lab, &mut model, &mut dice).await;
            }
            compare(&lab, &model, &mut followed).await;
        }
    }
}

fn letter(dice: &mut Dice) -> String {
    const WORDS: [&str; 12] = [
        "zanzibar", "Bar", "embargo", "Grüße", "x", "re-use", "42", "foo_bar", "ende", "größer", "a1b2",
        "naïve",
    ];
    let mut pick = |n: u64| (0..n).map(|_| WORDS[dice.below(12) as usize]).collect::<Vec<_>>().join(" ");
    let (from, subject, text) = (pick(1), pick(2), pick(6));
    let long = if subject.contains("42") { "q".repeat(100) } else { String::new() };
    format!("From: {from}@example.org\r\nSubject: {subject}\r\nX-Odd: {from}!\r\n\r\n{text} {long}\r\n")
}

async fn check_searches(lab: &Lab, folder: &Folder, texts: &BTreeMap<BodyId, String>) {
    let view = lab.view(folder).await;
    let within = UidSet::of(view.rows().iter().map(|r| r.uid).filter(|u| u % 7 != 0));
    for needle in
        ["bar", "zanz", "o bar", "GRÜ", "reu", "re-u", "foo_", "qqq", "nothing", "", "!", "42 ", "ï"]
    {
        for place in [In::Text, In::Body, In::From, In::Subject, In::Header("x-odd".into()), In::To] {
            let found =
                text::find(&lab.store, &lab.hub, &view, (&place, needle), &within).await.expect("searches");
            let wanted = text::words::Needle::new(needle);
            let holds = |r: &Row| {
                (needle.is_empty() && !matches!(place, In::Header(_)))
                    || text::Texts::of(texts[&r.body].as_bytes()).holds(&place, &wanted)
            };
            let truth: Vec<u32> = view.within(&within).filter(|r| holds(r)).map(|r| r.uid).collect();
            assert_eq!(found, truth, "{needle:?} in {place:?} of {}", folder.name);
        }
    }
}

#[tokio::test]
async fn a_search_finds_what_reading_everything_finds() {
    let lab = Lab::new();
    let mut dice = Dice::new(11);
    let (inbox, work) = (lab.folder(ANN, "INBOX").await, lab.folder(ANN, "Work").await);
    let mut texts = BTreeMap::new();
    for round in 0..10 {
        for _ in 0..40 {
            let letter = letter(&mut dice);
            let (_, body) = lab.put(&inbox, &letter).await;
            texts.insert(body, letter);
        }
        check_searches(&lab, &inbox, &texts).await;
        // Twice: the second call finds the mailbox quiet.
        for _ in 0..2 {
            text::tend(&lab.store, &lab.hub).await.expect("tends");
        }
        let (pen, from, to) = (lab.pen(), inbox.clone(), work.clone());
        let set = UidSet::of_ranges([(round * 40 + 1, round * 40 + 5)]);
        lab.store
            .commit(vec![], move |b| {
                copy(b, &pen, &from, &to, &set)?;
                change::purge(b, &pen, &from, &set)
            })
            .await
            .expect("moves");
        check_searches(&lab, &inbox, &texts).await;
        check_searches(&lab, &work, &texts).await;
    }
    let levels: i64 = lab
        .store
        .read(|c| Ok(c.query_row("SELECT max(level) FROM mb_chunk", [], |r| r.get(0))?))
        .await
        .expect("reads");
    assert_eq!(levels, 1, "eight chunks were joined");
    assert_eq!(uids(&lab.view(&work).await).len(), 50);
}
