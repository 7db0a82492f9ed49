use stdx::{Bytes, Now, Secret};
use store::{Batch, Settings, Store, StoreError};

use super::*;

pub(crate) fn a(text: &str) -> Address {
    Address::parse(text).expect("an address")
}
fn d(text: &str) -> words::Domain {
    words::Domain::new(text).expect("a domain")
}

async fn store() -> Store {
    Store::in_memory(Settings::default(), &[SCHEMA]).expect("opens")
}

async fn write<T: Send + 'static>(
    store: &Store,
    f: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    store.commit(vec![], f).await
}

fn resolved(store: &Store, text: &str) -> Resolved {
    let address = a(text);
    store.read_now(|c| resolve(c, &address)).expect("reads")
}

/// example.org with anna (1) and bob (2), example.net another name of it.
async fn town() -> (Store, AccountId, AccountId) {
    let store = store().await;
    let (anna, bob) = write(&store, |b| {
        add_domain(b, &d("example.org"), Now(1))?;
        alias_domain(b, &d("example.net"), &d("example.org"), Now(1))?;
        let quota = Some(Bytes::mib(50));
        let anna =
            add_account(b, &NewAccount { address: &a("anna@example.org"), name: "Anna", quota }, Now(2))?;
        let bob =
            add_account(b, &NewAccount { address: &a("Bob@example.org"), name: "Bob", quota: None }, Now(2))?;
        add_address(b, anna, &a("anna.berg@example.org"))?;
        Ok((anna, bob))
    })
    .await
    .expect("commits");
    (store, anna, bob)
}

fn boxes(ids: &[AccountId]) -> Resolved {
    Resolved::Local(ids.iter().map(|id| Target::Mailbox(*id)).collect())
}

#[tokio::test]
async fn addresses_lead_to_their_accounts_under_every_name_of_the_domain() {
    let (store, anna, bob) = town().await;
    for (text, want) in [
        ("anna@example.org", boxes(&[anna])),
        ("ANNA@EXAMPLE.ORG", boxes(&[anna])),
        ("anna.berg@example.org", boxes(&[anna])),
        ("anna@example.net", boxes(&[anna])),
        ("bob+news@example.net", boxes(&[bob])),
        ("nobody@example.org", Resolved::NoSuchUser),
        ("+x@example.org", Resolved::NoSuchUser),
        ("anna@elsewhere.example", Resolved::NotOurs),
    ] {
        assert_eq!(resolved(&store, text), want, "{text}");
    }
}

#[tokio::test]
async fn aliases_lead_to_many_and_loops_end() {
    let (store, anna, bob) = town().await;
    write(&store, |b| {
        for (from, to) in [
            ("all@example.org", "anna@example.org"),
            ("all@example.org", "bob@example.net"),
            ("all@example.org", "far@elsewhere.example"),
            ("all@example.org", "ghost@example.org"),
            ("round@example.org", "trip@example.org"),
            ("trip@example.org", "round@example.org"),
            ("deep@example.org", "all@example.org"),
            // Forwards and keeps a copy.
            ("bob@example.org", "bob@example.org"),
            ("bob@example.org", "bob@home.example"),
        ] {
            add_alias(b, &a(from), &a(to))?;
        }
        Ok(())
    })
    .await
    .expect("commits");
    let everyone = Resolved::Local(vec![
        Target::Mailbox(anna),
        Target::Mailbox(bob),
        Target::Forward(a("bob@home.example")),
        Target::Forward(a("far@elsewhere.example")),
    ]);
    assert_eq!(resolved(&store, "all@example.org"), everyone);
    assert_eq!(resolved(&store, "deep+x@example.net"), everyone);
    assert_eq!(resolved(&store, "round@example.org"), Resolved::NoSuchUser);
    assert_eq!(
        resolved(&store, "bob@example.org"),
        Resolved::Local(vec![Target::Mailbox(bob), Target::Forward(a("bob@home.example"))])
    );
    write(&store, |b| remove_alias(b, &a("bob@example.org"), None)).await.expect("commits");
    assert_eq!(resolved(&store, "bob@example.org"), boxes(&[bob]));
}

#[tokio::test]
async fn a_catch_all_takes_only_what_nobody_else_does() {
    let (store, anna, bob) = town().await;
    write(&store, |b| set_catch_all(b, &d("example.org"), Some(&a("bob@example.org")))).await.expect("ok");
    assert_eq!(resolved(&store, "whoever@example.net"), boxes(&[bob]));
    assert_eq!(resolved(&store, "anna@example.org"), boxes(&[anna]));
    write(&store, |b| set_catch_all(b, &d("example.org"), Some(&a("gone@example.org")))).await.expect("ok");
    assert_eq!(resolved(&store, "whoever@example.net"), Resolved::NoSuchUser);
}

#[tokio::test]
async fn a_domain_can_keep_its_plus_signs() {
    let (store, ..) = town().await;
    write(&store, |b| set_plus(b, &d("example.org"), false)).await.expect("ok");
    assert_eq!(resolved(&store, "anna+x@example.org"), Resolved::NoSuchUser);
    assert_eq!(resolved(&store, "anna+x@example.net"), Resolved::NoSuchUser);
}

#[tokio::test]
async fn a_closed_account_takes_no_mail_and_a_locked_one_does() {
    let (store, anna, bob) = town().await;
    write(&store, move |b| {
        set_state(b, anna, State::Closed)?;
        set_state(b, bob, State::Locked)
    })
    .await
    .expect("ok");
    assert_eq!(resolved(&store, "anna@example.org"), Resolved::NoSuchUser);
    assert_eq!(resolved(&store, "bob@example.org"), boxes(&[bob]));
}

#[tokio::test]
async fn a_login_is_any_own_address() {
    let (store, anna, _) = town().await;
    for (login, want) in [
        ("anna@example.org", Some(anna)),
        (" Anna@Example.org", Some(anna)),
        ("anna.berg@example.org", Some(anna)),
        ("anna@example.net", Some(anna)),
        ("anna", None),
        ("anna+x@example.org", None),
        ("a@elsewhere.example", None),
    ] {
        let found = store.read_now(|c| account_by_login(c, login)).expect("reads").map(|x| x.id);
        assert_eq!(found, want, "{login}");
    }
}

#[tokio::test]
async fn an_account_sends_as_itself_and_as_what_it_was_given() {
    let (store, anna, bob) = town().await;
    write(&store, move |b| {
        add_alias(b, &a("sales@example.org"), &a("anna@example.org"))?;
        add_alias(b, &a("both@example.org"), &a("anna@example.org"))?;
        add_alias(b, &a("both@example.org"), &a("bob@example.org"))?;
        allow_send_as(b, bob, "*@partner.example")?;
        allow_send_as(b, bob, "both@example.org")
    })
    .await
    .expect("ok");
    for (id, text, want) in [
        (anna, "anna@example.org", true),
        (anna, "anna+tag@example.net", true),
        (anna, "anna.berg@example.org", true),
        (anna, "bob@example.org", false),
        (anna, "sales@example.org", true),
        (bob, "sales@example.org", false),
        (anna, "both@example.org", false),
        (bob, "both@example.org", true),
        (bob, "x@partner.example", true),
        (anna, "x@partner.example", false),
        (anna, "ceo@elsewhere.example", false),
    ] {
        assert_eq!(store.read_now(|c| may_send_as(c, id, &a(text))), Ok(want), "{id:?} {text}");
    }
    write(&store, move |b| forbid_send_as(b, bob, "*@partner.example")).await.expect("ok");
    assert_eq!(store.read_now(|c| may_send_as(c, bob, &a("x@partner.example"))), Ok(false));
    assert_eq!(store.read_now(|c| send_as_of(c, bob)), Ok(vec!["both@example.org".to_owned()]));
}

#[tokio::test]
async fn a_new_password_replaces_the_old_one_and_leaves_the_programs_theirs() {
    let (store, anna, _) = town().await;
    let app = write(&store, move |b| {
        let old: Vec<_> =
            ["$argon2id$old", "SCRAM-SHA-256$old"].map(|h| Secret::new(h.to_owned())).into_iter().collect();
        set_password(b, anna, &old, Now(5))?;
        let hash = Secret::new("$argon2id$phone".to_owned());
        let scopes = Scopes::parse("imap,submission")?;
        let new = NewCredential { kind: Kind::App, label: "phone", hash: &hash, scopes, ends: Some(Now(99)) };
        let app = add_credential(b, anna, &new, Now(6))?;
        set_password(b, anna, &[Secret::new("$argon2id$new".to_owned())], Now(7))?;
        Ok(app)
    })
    .await
    .expect("ok");
    let all = store.read_now(|c| credentials_of(c, anna)).expect("reads");
    let seen: Vec<_> = all.iter().map(|c| (c.hash.reveal().as_str(), c.scopes, c.ends)).collect();
    let phone = Scopes::NONE.with(Scope::Imap).with(Scope::Submission);
    assert_eq!(seen, [("$argon2id$phone", phone, Some(Now(99))), ("$argon2id$new", Scopes::ALL, None)]);
    assert!(!phone.opens(Scope::Pop3) && phone.to_string() == "imap submission");
    assert!(all[0].use_is_news(Now(10)));
    write(&store, move |b| used(b, app, Now(10))).await.expect("ok");
    let all = store.read_now(|c| credentials_of(c, anna)).expect("reads");
    assert!(!all[0].use_is_news(Now(11)) && all[0].use_is_news(Now(10 + 3_600_000)));
    write(&store, move |b| remove_credential(b, anna, app)).await.expect("ok");
    assert_eq!(store.read_now(|c| credentials_of(c, anna)).expect("reads").len(), 1);
}

#[tokio::test]
async fn refusals_say_what_to_do_and_change_nothing() {
    let (store, anna, bob) = town().await;
    let before = store.read_now(version).expect("reads");
    let check = |want: &'static str, got: Result<(), StoreError>| match got {
        Err(StoreError::Rule(says)) => assert!(says.contains(want), "{says}"),
        other => panic!("{want}: {other:?}"),
    };
    check("already here", write(&store, |b| add_domain(b, &d("example.org"), Now(9))).await);
    check(
        "another name",
        write(&store, |b| alias_domain(b, &d("x.example"), &d("example.net"), Now(9))).await,
    );
    check("domain add", write(&store, move |b| add_address(b, anna, &a("a@nowhere.example"))).await);
    check("belongs", write(&store, move |b| add_address(b, bob, &a("anna@example.org"))).await);
    check("add the address there", write(&store, move |b| add_address(b, bob, &a("x@example.net"))).await);
    check("remove or move", write(&store, |b| remove_domain(b, &d("example.org"))).await);
    check("no account", write(&store, |b| remove_account(b, AccountId(77))).await);
    assert_eq!(store.read_now(version), Ok(before));
}

#[tokio::test]
async fn an_account_number_is_not_used_again() {
    let (store, _, bob) = town().await;
    let next = write(&store, move |b| {
        remove_account(b, bob)?;
        add_account(b, &NewAccount { address: &a("bob@example.org"), name: "New Bob", quota: None }, Now(3))
    })
    .await
    .expect("ok");
    assert!(next > bob);
    let list = store.read_now(|c| accounts(c, AccountId(0), 10)).expect("reads");
    assert_eq!(list.iter().map(|x| x.name.as_str()).collect::<Vec<_>>(), ["Anna", "New Bob"]);
    assert_eq!(store.read_now(|c| addresses_of(c, next)), Ok(vec![a("bob@example.org")]));
}

#[tokio::test]
async fn keys_and_knobs_are_kept() {
    let (store, ..) = town().await;
    let key = |selector: &str, state| DkimKey {
        selector: selector.to_owned(),
        algorithm: Algorithm::Ed25519Sha256,
        private: Secret::new("pem".to_owned()),
        state,
        created: Now(4),
    };
    let (one, two) = (key("s1", KeyState::Waiting), key("s2", KeyState::Signing));
    write(&store, move |b| {
        add_dkim_key(b, &d("example.org"), &one)?;
        add_dkim_key(b, &d("example.org"), &two)?;
        set_dkim_state(b, &d("example.org"), "s1", KeyState::Signing)?;
        remove_dkim_key(b, &d("example.org"), "s2")?;
        set_knob(b, "smtp.greeting", Some("hello"))?;
        set_knob(b, "smtp.other", Some("x"))?;
        set_knob(b, "smtp.other", None)
    })
    .await
    .expect("ok");
    let keys = store.read_now(|c| dkim_keys(c, &d("example.org"))).expect("reads");
    assert_eq!((keys.len(), keys[0].state, keys[0].private.reveal().as_str()), (1, KeyState::Signing, "pem"));
    assert_eq!(store.read_now(|c| knob(c, "smtp.greeting")), Ok(Some("hello".to_owned())));
    assert_eq!(
        store.read_now(|c| knobs(c, "smtp.")),
        Ok(vec![("smtp.greeting".to_owned(), "hello".to_owned())])
    );
}
