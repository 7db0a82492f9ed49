//! Owners' scripts at delivery, and ManageSieve, in virtual time and memory.

mod house;

use std::sync::Arc;

use house::{House, address, house};
use role_mail::tag::Whose;
use role_mail::{Arrival, Front, complaints};
use stdx::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use words::{AccountId, MessageId};

const ANN: AccountId = AccountId(1);
const TEXT: &str = "From: Eve <eve@out.example>\r\nTo: ann@home.example\r\nMessage-ID: <1@out.example>\r\nSubject: hello\r\n\r\nHi.";

async fn script(house: &House, text: &'static str) {
    let put = house.site.store().commit(Vec::new(), move |b| {
        directory::put_script(b, ANN, "main", text, stdx::Now(1))?.expect("fits");
        directory::set_active_script(b, ANN, Some("main"))
    });
    put.await.expect("kept").expect("active");
}

async fn receive(house: &House) {
    let reply = house.call("198.51.100.7").await.send("eve@out.example", &["ann@home.example"], TEXT).await;
    assert!(reply.starts_with("250"), "{reply}");
}

fn spooled(house: &House) -> Vec<spool::Entry> {
    let list = house.site.store().read_now(|c| spool::list(c, spool::SpoolId(0), None, 100)).expect("reads");
    list.into_iter().map(|l| l.entry).collect()
}

async fn text_of(house: &House, entry: &spool::Entry) -> String {
    let body = house.site.store().body(entry.body).await.expect("a body");
    String::from_utf8(body.all().await.expect("bytes").to_vec()).expect("text")
}

/// The mark by which a complaint about it is read.
async fn mark_of(house: &House, entry: &spool::Entry) -> Option<(Whose, MessageId)> {
    let tags = complaints::tags(&house.site).await.expect("a key");
    tags.find(text_of(house, entry).await.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn a_script_sorts_flags_and_edits_what_arrives() {
    let house = house().await;
    script(
        &house,
        "require [\"fileinto\", \"mailbox\", \"imap4flags\", \"editheader\"];
         if header :contains \"subject\" \"hello\" {
           addheader \"X-Sorted\" \"yes\";
           fileinto :create :flags [\"\\\\Seen\", \"friend\"] \"People/Eve\";
         }",
    )
    .await;
    receive(&house).await;
    assert!(house.texts(1, "INBOX").await.is_empty());
    let texts = house.texts(1, "People/Eve").await;
    assert!(texts[0].starts_with("X-Sorted: yes\r\nReturn-Path: <eve@out.example>\r\n"), "{}", texts[0]);
    let seen = house.site.store().read_now(|c| {
        let folder = mailbox::folder::find(c, ANN, "People/Eve")?.expect("made");
        mailbox::folder::status(c, &folder)
    });
    assert_eq!(seen.expect("reads").unseen, 0);
    let about =
        house.site.store().read_now(|c| ledger::about(c, &address("ann@home.example"), 9)).expect("facts");
    let fact = about.iter().find(|f| f.kind == "sieve.filed").expect("recorded");
    assert_eq!(fact.text("actions"), "fileinto People/Eve");
}

#[tokio::test(start_paused = true)]
async fn redirects_and_notices_go_out_once_per_sender() {
    let house = house().await;
    script(
        &house,
        "require [\"vacation\", \"copy\"]; redirect :copy \"pal@else.example\"; vacation :days 7 \"Back on Monday.\";",
    )
    .await;
    receive(&house).await;
    let first = spooled(&house);
    assert_eq!(first.len(), 2, "{first:#?}");
    let to: Vec<String> = first.iter().map(|e| e.rcpts[0].address.to_string()).collect();
    assert_eq!(to, ["pal@else.example", "eve@out.example"]);
    assert_eq!(first[0].sender, Some(address("eve@out.example")));
    assert_eq!(first[1].sender, None);
    assert!(text_of(&house, &first[0]).await.starts_with("Delivered-To: ann@home.example\r\n"));
    // A complaint finds the message that was redirected; one about the notice, its account.
    let id = first[0].message;
    assert_eq!(mark_of(&house, &first[0]).await, Some((Whose::Message, id)));
    assert_eq!(mark_of(&house, &first[1]).await, Some((Whose::Account(AccountId(1)), id)));
    let notice = text_of(&house, &first[1]).await;
    assert!(
        notice.contains("Auto-Submitted: auto-replied") && notice.ends_with("Back on Monday.\r\n"),
        "{notice}"
    );
    assert_eq!(house.texts(1, "INBOX").await.len(), 1);
    let other = TEXT.replace("<1@", "<2@");
    house.call("198.51.100.7").await.send("eve@out.example", &["ann@home.example"], &other).await;
    let notices = spooled(&house).iter().filter(|e| e.sender.is_none()).count();
    assert_eq!(notices, 1, "one notice in seven days");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_tells_the_sender_in_the_owners_words() {
    let house = house().await;
    script(&house, "require \"reject\"; reject \"Please ring me instead.\";").await;
    receive(&house).await;
    assert!(house.texts(1, "INBOX").await.is_empty());
    let spool = spooled(&house);
    assert_eq!((spool.len(), &spool[0].sender), (1, &None));
    let text = text_of(&house, &spool[0]).await;
    assert!(text.contains("Please ring me instead.") && text.contains("5.7.1"), "{text}");
    assert_eq!(mark_of(&house, &spool[0]).await, Some((Whose::Message, spool[0].message)));
}

#[tokio::test(start_paused = true)]
async fn a_script_that_fails_loses_nothing() {
    let house = house().await;
    script(&house, "require [\"include\", \"reject\"]; include \"gone\"; discard;").await;
    receive(&house).await;
    assert_eq!(house.texts(1, "INBOX").await.len(), 1);
    let about =
        house.site.store().read_now(|c| ledger::about(c, &address("ann@home.example"), 9)).expect("facts");
    let fact = about.iter().find(|f| f.kind == "sieve.failed").expect("recorded");
    assert!(fact.text("trouble").contains("there is no script \"gone\""), "{}", fact.text("trouble"));
}

#[tokio::test(start_paused = true)]
async fn scripts_are_managed_over_the_wire() {
    let house = house().await;
    let hashes = role_mail::login::hashes(house.site.world().random.as_ref(), &Secret::new("secret".into()));
    let now = house.site.now();
    house
        .site
        .store()
        .commit(Vec::new(), move |b| directory::set_password(b, ANN, &hashes, now))
        .await
        .expect("set");
    let (mut ours, theirs) = tokio::io::duplex(1 << 16);
    let (peer, local) = ("203.0.113.9:4000".parse().expect("ok"), "192.0.2.25:4190".parse().expect("ok"));
    let arrival = Arrival {
        id: house.site.session_id(),
        front: Front::Sieve,
        peer,
        local,
        implicit_tls: false,
        tls_offered: false,
        at: now,
    };
    let wires = drive::Wires {
        clock: house.site.world().clock.clone(),
        tls: drive::Tls::None,
        stop: drive::never_stop(),
        farewell: Front::Sieve.farewell(),
        meter: Arc::default(),
        limits: drive::Limits::default(),
    };
    let connection = world::Connection { stream: Box::new(theirs), local, peer };
    tokio::spawn(role_mail::managesieve::serve(house.site.clone(), arrival, connection, wires));
    let plain = sasl::encode(b"\0ann@home.example\0secret");
    let talk = format!(
        "AUTHENTICATE \"PLAIN\" \"{plain}\"\r\nPUTSCRIPT \"new\" \"keep\"\r\nPUTSCRIPT \"new\" {{5+}}\r\nkeep;\r\n\
         SETACTIVE \"new\"\r\nLISTSCRIPTS\r\nDELETESCRIPT \"new\"\r\nLOGOUT\r\n"
    );
    ours.write_all(talk.as_bytes()).await.expect("written");
    let mut all = String::new();
    ours.read_to_string(&mut all).await.expect("read to the end");
    let lines: Vec<&str> = all.lines().skip_while(|l| !l.starts_with("OK")).collect();
    assert_eq!(lines[1], "OK \"Logged in.\"", "{all}");
    assert!(lines[2].starts_with("NO \"line 1, column 5"), "{all}");
    assert_eq!(
        &lines[3..7],
        ["OK \"Done.\"", "OK \"Done.\"", "\"new\" ACTIVE", "OK \"That is all.\""],
        "{all}"
    );
    assert!(lines[7].starts_with("NO (ACTIVE)") && lines[8] == "OK \"Goodbye.\"", "{all}");
}
