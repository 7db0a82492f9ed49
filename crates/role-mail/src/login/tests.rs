use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use directory::NewAccount;
use sasl::client::Client;
use sasl::{Exchange, Mechanism, Step};
use store::Store;
use words::{Domain, SessionId};
use world::{Clock, Connection, Dns, DnsError, Later, Listener, Net, World};

use super::*;
use crate::Settings;
use crate::arrival::Front;

/// A world in which nobody can be reached and waiting moves the clock.
struct Island(AtomicU64, Mutex<stdx::Dice>);

impl Clock for Island {
    fn now(&self) -> Now {
        Now(self.0.load(Ordering::Relaxed))
    }
    fn sleep_until(&self, until: Now) -> Later<'_, ()> {
        self.0.fetch_max(until.0, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}
impl Random for Island {
    fn fill(&self, bytes: &mut [u8]) {
        let mut dice = self.1.lock().expect("not poisoned");
        bytes.iter_mut().for_each(|b| *b = dice.next_u64() as u8);
    }
}
impl Net for Island {
    fn dial(&self, _: Option<IpAddr>, _: SocketAddr) -> Later<'_, std::io::Result<Connection>> {
        Box::pin(std::future::ready(Err(std::io::ErrorKind::HostUnreachable.into())))
    }
    fn listen(&self, _: SocketAddr) -> Later<'_, std::io::Result<Arc<dyn Listener>>> {
        Box::pin(std::future::ready(Err(std::io::ErrorKind::AddrNotAvailable.into())))
    }
}
macro_rules! no_dns {
    ($($name:ident: $kind:ty),*) => {
        impl Dns for Island {
            $(fn $name<'a>(&'a self, _: &'a str) -> Later<'a, world::dns::Found<$kind>> {
                Box::pin(std::future::ready(Err(DnsError::NoName)))
            })*
            fn ptr(&self, _: IpAddr) -> Later<'_, world::dns::Found<String>> {
                Box::pin(std::future::ready(Err(DnsError::NoName)))
            }
        }
    };
}
no_dns!(mx: world::Mx, ip: IpAddr, ipv4: std::net::Ipv4Addr, ipv6: std::net::Ipv6Addr, txt: String,
    tlsa: world::Tlsa, ns: String, cname: String, caa: String, soa_serial: u32);

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

/// A host with bob, whose password "secret" is stored as `hash` (all our own forms if empty).
async fn host(hash: &str, tolerance: crate::Tolerance) -> (Site, AccountId) {
    let island = Arc::new(Island(AtomicU64::new(1_800_000_000_000), Mutex::new(stdx::Dice::new(1))));
    let world = World { net: island.clone(), dns: island.clone(), clock: island.clone(), random: island };
    let store =
        Store::in_memory(store::Settings::default(), &[directory::SCHEMA, ledger::SCHEMA]).expect("opens");
    let trusted_networks = vec![(IpAddr::from([10, 0, 0, 0]), 8)];
    let site =
        Site::new(world, store, Settings { tolerance, trusted_networks, ..Settings::new("mx.example") });
    let stored = match hash {
        "" => hashes(site.world().random.as_ref(), &Secret::new("secret".into())),
        hash => vec![Secret::new(hash.to_owned())],
    };
    let id = site.store().commit(vec![], move |b| {
        directory::add_domain(b, &Domain::new("x.example").expect("a domain"), Now(1))?;
        let new = NewAccount { address: &address("bob@x.example"), name: "Bob", quota: None };
        let id = directory::add_account(b, &new, Now(1))?;
        directory::set_password(b, id, &stored, Now(1))?;
        Ok(id)
    });
    let id = id.await.expect("stored");
    (site, id)
}

fn login_from(site: &Site, ip: [u8; 4], scope: Scope) -> Login {
    let at = |ip: [u8; 4], port| SocketAddr::from((ip, port));
    let arrival = Arrival {
        id: SessionId(5),
        front: Front::Imap,
        peer: at(ip, 40_000),
        local: at([127, 0, 0, 1], 993),
        implicit_tls: true,
        tls_offered: true,
        at: site.now(),
    };
    Login::new(site.clone(), &arrival, scope)
}

fn login(site: &Site) -> Login {
    login_from(site, [192, 0, 2, 7], Scope::Imap)
}

async fn try_plain(login: &mut Login, user: &str, password: &str) -> Result<(), Failure> {
    let question = Question::password(user.to_owned(), Secret::new(password.to_owned()), "PLAIN");
    match login.answer(question).await {
        Answer::Granted => Ok(()),
        Answer::Refused(why) => Err(why),
        Answer::Keys { .. } => panic!("keys nobody asked for"),
    }
}

async fn try_scram(login: &mut Login, user: &str, password: &str) -> Result<(), Failure> {
    let m = Mechanism::ScramSha256;
    let mut client = Client::new(m, user, Secret::new(password.to_owned()), [4; 18], None);
    let initial = client.initial();
    let (mut exchange, mut step) = Exchange::begin(m, initial.as_deref().map(str::as_bytes), None, false);
    loop {
        step = match step {
            Step::Challenge(c) => exchange.line(client.challenge(&c).expect("readable").as_bytes()),
            Step::Ask(question) => exchange.answered(login.answer(question).await),
            Step::Done => return Ok(()),
            Step::Failed(why) => return Err(why),
        };
    }
}

fn facts(site: &Site) -> Vec<Fact> {
    site.store().read_now(|c| ledger::of_session(c, SessionId(5), 1000)).expect("reads")
}

fn last_cause(site: &Site) -> String {
    facts(site).last().expect("a fact").text("cause").to_owned()
}

#[tokio::test]
async fn the_right_password_opens_and_is_recorded() {
    let (site, bob) = host("", crate::Tolerance::default()).await;
    let mut one = login(&site);
    let sni = Some("mail27.x.example".to_owned());
    one.tls_started(&TlsFacts { version: "TLSv1.3".into(), sni, ..TlsFacts::default() });
    one.client("Thunderbird 128");
    assert_eq!(try_plain(&mut one, "bob@X.example", "secret").await, Ok(()));
    let granted = one.granted().expect("granted");
    assert_eq!((granted.account, granted.login.as_str()), (bob, "bob@x.example"));
    let fact = facts(&site).pop().expect("a fact");
    assert_eq!(fact.kind, "login.ok");
    for (name, want) in
        [("tls", "TLSv1.3"), ("name", "mail27.x.example"), ("client", "Thunderbird 128"), ("via", "PLAIN")]
    {
        assert_eq!(fact.text(name), want);
    }
    assert_eq!(fact.detail["port"], 993);
    assert_eq!(try_plain(&mut login(&site), "bob@x.example", "Secret").await, Err(Failure::Wrong));
    assert_eq!(last_cause(&site), "wrong_password");
    assert_eq!(try_plain(&mut login(&site), "eve@x.example", "secret").await, Err(Failure::Wrong));
    assert_eq!(last_cause(&site), "no_such_user");
}

#[tokio::test]
async fn scram_opens_for_the_right_password_and_tells_nobody_who_exists() {
    let (site, _) = host("", crate::Tolerance::default()).await;
    assert!(login(&site).offer().scram);
    assert_eq!(try_scram(&mut login(&site), "bob@x.example", "secret").await, Ok(()));
    assert_eq!(try_scram(&mut login(&site), "bob@x.example", "wrong").await, Err(Failure::Wrong));
    assert_eq!(try_scram(&mut login(&site), "eve@x.example", "secret").await, Err(Failure::Wrong));
    let ask = |n: &str| Question::Keys { user: n.to_owned(), hash: sasl::Hash::Sha256 };
    let mut shown = Vec::new();
    for user in ["eve@x.example", "eve@x.example", "bob@x.example"] {
        let Answer::Keys { keys, .. } = login(&site).answer(ask(user)).await else { panic!("no keys") };
        shown.push((keys[0].salt.clone(), keys[0].iterations));
    }
    assert_eq!(shown[0], shown[1]);
    assert_eq!((shown[0].0.len(), shown[0].1), (shown[2].0.len(), shown[2].1));
}

#[tokio::test]
async fn an_old_hash_is_replaced_at_the_first_log_in() {
    let (site, bob) = host("{SHA512-CRYPT}$6$U7rEOJ9uZkt.dg7E$NP7Nw/wZ6ev0t7Ljsktd8dc84DPrHbxaUlz6AaZlb/tOOjYsjrqPSpJRUJHdsplcgVAyRbwgi79vQlqs.ANiC1", crate::Tolerance::default()).await;
    assert!(!login(&site).offer().scram);
    assert_eq!(try_scram(&mut login(&site), "bob@x.example", "secret").await, Err(Failure::Wrong));
    assert_eq!(try_plain(&mut login(&site), "bob@x.example", "secret").await, Ok(()));
    let stored = || site.store().read_now(|c| directory::credentials_of(c, bob)).expect("reads");
    for _ in 0..500 {
        if stored().len() == 3 {
            break;
        }
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(|| std::thread::sleep(std::time::Duration::from_millis(2)))
            .await
            .expect("runs");
    }
    assert!(stored()[0].hash.reveal().starts_with("{ARGON2ID}"));
    assert_eq!(try_plain(&mut login(&site), "bob@x.example", "secret").await, Ok(()));
    assert_eq!(try_scram(&mut login(&site), "bob@x.example", "secret").await, Ok(()));
    let about = site.store().read_now(|c| ledger::about(c, &address("bob@x.example"), 100)).expect("reads");
    assert!(about.iter().any(|f| f.kind == "login.rehashed" && f.text("from") == "SHA512-CRYPT"));
}

#[tokio::test]
async fn odd_spellings_pass_only_where_they_are_tolerated_and_are_explained_to_the_owner() {
    let strict = host("", crate::Tolerance::default()).await.0;
    let tolerance = crate::Tolerance {
        login_without_domain: true,
        login_in_capitals: true,
        plain_on_trusted_network: true,
        tls_on_any_port: true,
    };
    let lenient = host("", tolerance).await.0;
    for (user, cause) in [("bob", "no_domain"), ("BOB@X.EXAMPLE", "capitals")] {
        assert_eq!(try_plain(&mut login(&strict), user, "wrong").await, Err(Failure::Wrong));
        let Err(Failure::NotAllowed(says)) = try_plain(&mut login(&strict), user, "secret").await else {
            panic!("{user} was let in")
        };
        assert!(says.ends_with("bob@x.example"), "{says}");
        assert_eq!(last_cause(&strict), cause);
        assert_eq!(try_plain(&mut login(&lenient), user, "secret").await, Ok(()));
        assert_eq!(facts(&lenient).pop().expect("a fact").text("odd"), cause);
        assert_eq!(try_scram(&mut login(&lenient), user, "secret").await, Ok(()));
    }
    assert!(!login_from(&strict, [10, 1, 1, 1], Scope::Imap).offer().without_tls);
    assert!(login_from(&lenient, [10, 1, 1, 1], Scope::Imap).offer().without_tls);
    assert!(!login(&lenient).offer().without_tls);
}

#[tokio::test]
async fn app_passwords_open_what_they_are_for() {
    let (site, bob) = host("", crate::Tolerance::default()).await;
    let scopes = Scopes::NONE.with(Scope::Imap);
    let (_, app) = add_app_password(&site, bob, "phone", scopes, None).await.expect("made");
    let app = app.reveal().clone();
    assert_eq!(try_plain(&mut login(&site), "bob@x.example", &app).await, Ok(()));
    assert_eq!(try_scram(&mut login(&site), "bob@x.example", &app).await, Ok(()));
    assert_eq!(try_scram(&mut login(&site), "bob@x.example", "secret").await, Ok(()));
    let mut pop = login_from(&site, [192, 0, 2, 7], Scope::Pop3);
    let Err(Failure::NotAllowed(says)) = try_plain(&mut pop, "bob@x.example", &app).await else {
        panic!("let in")
    };
    assert_eq!(says, "the password \"phone\" opens imap only, not pop3");
    set_password(&site, bob, Secret::new("changed".into())).await.expect("set");
    assert_eq!(try_plain(&mut login(&site), "bob@x.example", "secret").await, Err(Failure::Wrong));
    assert_eq!(try_scram(&mut login(&site), "bob@x.example", "changed").await, Ok(()));
    assert_eq!(try_scram(&mut login(&site), "bob@x.example", &app).await, Ok(()));
}

#[tokio::test]
async fn guessers_are_held_off_and_the_owner_is_not() {
    let (site, _) = host("", crate::Tolerance::default()).await;
    let before = site.now();
    for n in 0..12 {
        let answer = try_plain(&mut login(&site), "bob@x.example", &format!("guess {n}")).await;
        assert_eq!(answer, Err(Failure::Wrong));
    }
    assert!(site.now().since(before).as_secs() > 30, "guessing was not slowed");
    assert_eq!(try_plain(&mut login(&site), "bob@x.example", "secret").await, Err(Failure::HeldOff));
    assert_eq!(try_scram(&mut login(&site), "bob@x.example", "secret").await, Err(Failure::HeldOff));
    let mut elsewhere = login_from(&site, [198, 51, 100, 1], Scope::Imap);
    assert_eq!(try_plain(&mut elsewhere, "bob@x.example", "secret").await, Ok(()));
    let held = facts(&site).iter().filter(|f| f.text("cause") == "held_off").count();
    assert_eq!(held, 1);
}

#[tokio::test]
async fn locked_accounts_and_strangers_names_stay_shut() {
    let (site, bob) = host("", crate::Tolerance::default()).await;
    let plain = |acting_as: &str| Question::Password {
        user: "bob@x.example".into(),
        acting_as: Some(acting_as.to_owned()),
        password: Secret::new("secret".into()),
        via: "PLAIN",
    };
    assert!(matches!(login(&site).answer(plain("bob@x.example")).await, Answer::Granted));
    let other = login(&site).answer(plain("eve@x.example")).await;
    assert!(matches!(other, Answer::Refused(Failure::NotAllowed(_))));
    let lock = site.store().commit(vec![], move |b| directory::set_state(b, bob, State::Locked));
    lock.await.expect("locked");
    let answer = try_plain(&mut login(&site), "bob@x.example", "secret").await;
    assert!(matches!(answer, Err(Failure::NotAllowed(_))) && last_cause(&site) == "locked");
    let open = Question::Unencrypted { user: Some("bob@x.example".into()), via: "POP3 USER" };
    assert!(matches!(login(&site).answer(open).await, Answer::Refused(Failure::TooWeak)));
    assert_eq!(last_cause(&site), "no_tls");
}

/// Fifty log-ins a second must not cost fifty hashes a second.
#[tokio::test]
async fn repeated_log_ins_are_cheap() {
    let (site, _) = host("", crate::Tolerance::default()).await;
    assert_eq!(try_plain(&mut login(&site), "bob@x.example", "secret").await, Ok(()));
    let started = std::time::Instant::now();
    for _ in 0..500 {
        assert_eq!(try_plain(&mut login(&site), "bob@x.example", "secret").await, Ok(()));
    }
    let each = started.elapsed() / 500;
    println!("{each:?} for each repeated log-in, its fact included");
    assert!(each < std::time::Duration::from_millis(5), "{each:?}");
}
