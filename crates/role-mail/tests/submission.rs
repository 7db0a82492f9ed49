//! Mail from our own users: log-in, names, completed headers, signatures.

mod house;

use directory::{Algorithm, DkimKey, KeyState};
use house::{House, Wire, address, house};
use mailauth::dkim::{self, DkimResult};
use mailauth::keys::{self, SigningKey};
use role_mail::Front;
use stdx::Secret;
use words::{AccountId, Domain};

async fn ann() -> (House, Wire) {
    let house = house().await;
    role_mail::login::set_password(&house.site, AccountId(1), Secret::new("secret".into()))
        .await
        .expect("set");
    let mut wire = house.connect("203.0.113.5", Front::Submission).await;
    assert!(wire.say("EHLO laptop\r\n").await.contains("AUTH "));
    // ann@home.example, secret
    let reply = wire.say("AUTH PLAIN AGFubkBob21lLmV4YW1wbGUAc2VjcmV0\r\n").await;
    assert!(reply.starts_with("235"), "{reply}");
    (house, wire)
}

const TEXT: &str =
    "From: Ann <ann@home.example>\r\nTo: bob@home.example\r\nBcc: secret@x.example\r\nSubject: x\r\n\r\nHi.";

// RFC 6409 §8.
#[tokio::test(start_paused = true)]
async fn a_submission_is_completed_and_its_bcc_goes() {
    let (house, mut wire) = ann().await;
    let reply = wire.send("ann@home.example", &["bob@home.example"], TEXT).await;
    assert!(reply.starts_with("250 2.0.0 m="), "{reply}");
    let text = house.texts(2, "INBOX").await.pop().expect("a message");
    assert!(
        text.contains("\r\nDate: ") && text.contains("\r\nMessage-ID: <") && text.contains("@mx.example>"),
        "{text}"
    );
    assert!(!text.contains("Bcc") && text.contains("ESMTPA"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn nobody_writes_in_another_name() {
    let (_house, mut wire) = ann().await;
    let reply = wire.say("MAIL FROM:<bob@home.example>\r\n").await;
    assert!(reply.starts_with("553 5.7.1"), "{reply}");
    let forged = TEXT.replace("ann@", "bob@");
    let reply = wire.send("ann@home.example", &["bob@home.example"], &forged).await;
    assert!(reply.starts_with("550 5.7.1") && reply.contains("bob@home.example"), "{reply}");
    let reply = wire.send("ann@home.example", &["bob@home.example"], "Subject: no author\r\n\r\nx").await;
    assert!(reply.starts_with("550 5.6.0"), "{reply}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_away_is_refused_a_moment_later() {
    let (house, mut wire) = ann().await;
    let change = async |give: bool| {
        let change = move |batch: &mut store::Batch<'_>| match give {
            true => directory::allow_send_as(batch, AccountId(1), "news@home.example"),
            false => directory::forbid_send_as(batch, AccountId(1), "news@home.example"),
        };
        house.site.store().commit(Vec::new(), change).await.expect("changes");
        let clock = house.site.world().clock.clone();
        clock.sleep_until(house.site.now() + stdx::Span::secs(2)).await;
    };
    let news = TEXT.replace("ann@", "news@");
    assert!(wire.say("MAIL FROM:<news@home.example>\r\n").await.starts_with("553 5.7.1"));
    change(true).await;
    let reply = wire.send("news@home.example", &["bob@home.example"], &news).await;
    assert!(reply.starts_with("250"), "{reply}");
    change(false).await;
    let reply = wire.say("MAIL FROM:<news@home.example>\r\n").await;
    assert!(reply.starts_with("553 5.7.1"), "{reply}");
    let reply = wire.send("ann@home.example", &["bob@home.example"], &news).await;
    assert!(reply.starts_with("550 5.7.1") && reply.contains("news@home.example"), "{reply}");
}

/// Gives home.example a key that signs.
async fn with_key(house: &House) {
    let home = Domain::new("home.example").expect("valid");
    let random = house.site.world().random.clone();
    let pem = SigningKey::generate(keys::Algorithm::Ed25519, &*random).expect("a key");
    let record = SigningKey::from_pem(pem.reveal()).expect("a key").record();
    house.city.zones.txt("one._domainkey.home.example", &record);
    let now = house.site.now();
    let made = house.site.store().commit(Vec::new(), move |batch| {
        let (algorithm, state) = (Algorithm::Ed25519Sha256, KeyState::Signing);
        let key = DkimKey { selector: "one".into(), algorithm, private: pem, state, created: now };
        directory::add_dkim_key(batch, &home, &key)
    });
    made.await.expect("a key in the directory");
}

// RFC 8689 §3
#[tokio::test(start_paused = true)]
async fn a_writer_may_waive_tls_for_one_message() {
    let (house, mut wire) = ann().await;
    let waiving = TEXT.replacen("Subject:", "TLS-Required: No\r\nSubject:", 1);
    for text in [waiving.as_str(), TEXT] {
        let reply = wire.send("ann@home.example", &["x@far.example"], text).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    let listed = house.site.store().read_now(|conn| spool::list(conn, spool::SpoolId(0), None, 9));
    let waived: Vec<bool> = listed.expect("a list").iter().map(|l| l.entry.options.tls_waived).collect();
    assert_eq!(waived, [true, false]);
}

#[tokio::test(start_paused = true)]
async fn mail_for_elsewhere_is_signed_and_lies_in_the_spool() {
    let (house, mut wire) = ann().await;
    with_key(&house).await;
    let now = house.site.now();
    let to = ["x@far.example", "bob@home.example"];
    let reply = wire.send("ann@home.example", &to, TEXT).await;
    assert!(reply.starts_with("250"), "{reply}");
    let listed =
        house.site.store().read_now(|conn| spool::list(conn, spool::SpoolId(0), None, 9)).expect("a list");
    let [one] = &listed[..] else { panic!("{} entries", listed.len()) };
    assert_eq!(one.entry.origin, spool::Origin::Submitted(AccountId(1)));
    assert_eq!(
        one.entry.rcpts.iter().map(|r| r.address.clone()).collect::<Vec<_>>(),
        [address("x@far.example")]
    );
    let body = house.site.store().body(one.entry.body).await.expect("a body").all().await.expect("bytes");
    let found = dkim::verify(&*house.site.world().dns, &body, now).await;
    assert_eq!(found.iter().map(|d| d.result).collect::<Vec<_>>(), [DkimResult::Pass], "{found:?}");
    assert_eq!(house.texts(2, "INBOX").await.len(), 1);
}

// RFC 6376 §3.4: the body's hash is taken while it comes, also of what is nowhere in memory.
#[tokio::test(start_paused = true)]
async fn a_long_text_goes_by_the_disk_and_is_signed_proven_and_kept_whole() {
    let (house, mut wire) = ann().await;
    with_key(&house).await;
    let body: String =
        (0..20_000).map(|n| format!("Line {n} of a long  letter,\twhich goes on.\r\n")).collect();
    let body = body.trim_end();
    let text = format!("{}\r\n{body}", TEXT.replace("Hi.", "Hello."));
    assert!(text.len() > 600_000);
    let to = ["x@far.example", "bob@home.example"];
    let reply = wire.send("ann@home.example", &to, &text).await;
    assert!(reply.starts_with("250"), "{reply}");
    let kept = house.texts(2, "INBOX").await.pop().expect("a message");
    assert!(
        kept.trim_end().ends_with(&format!("\r\n\r\nHello.\r\n{body}")) && !kept.contains("Bcc:"),
        "{}",
        &kept[..600]
    );
    let listed =
        house.site.store().read_now(|conn| spool::list(conn, spool::SpoolId(0), None, 9)).expect("a list");
    let [one] = &listed[..] else { panic!("{} entries", listed.len()) };
    let sent = house.site.store().body(one.entry.body).await.expect("a body").all().await.expect("bytes");
    let found = dkim::verify(&*house.site.world().dns, &sent, house.site.now()).await;
    assert_eq!(found.iter().map(|d| d.result).collect::<Vec<_>>(), [DkimResult::Pass], "{found:?}");
    // What we sent comes back from outside: its signature holds, though its body is on the disk only.
    let mut wire = house.connect("198.51.100.7", Front::Smtp).await;
    wire.say("EHLO far.example\r\n").await;
    let sent = String::from_utf8(sent.to_vec()).expect("text");
    let reply = wire.send("x@far.example", &["bob@home.example"], &sent).await;
    assert!(reply.starts_with("250"), "{reply}");
    let texts = [house.texts(2, "INBOX").await, house.texts(2, "Junk").await].concat();
    let back = texts.iter().find(|t| t.contains("Authentication-Results:")).expect("it came back");
    assert!(back.contains("dkim=pass") && back.trim_end().ends_with(body), "{}", &back[..900]);
}
