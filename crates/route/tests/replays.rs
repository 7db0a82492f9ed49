//! The told incidents as simulations of the judge alone: virtual hours in milliseconds.
//! Each remote is a function of (egress, destination, count, time).

mod city;
use city::{City, Reply, at, mins};
use route::{Dmarc, Egress, News, Spf, WarmUp};
use stdx::{Now, Span};

const BAN: &str = "5.7.606 Access denied, banned sending IP [127.1.0.36]. To request removal from this list please visit https://sender.office.com/ (AS16012609)";

fn three() -> Vec<Egress> {
    vec![
        Egress::address("A", [127, 1, 0, 36].into(), "a.example"),
        Egress::address("B", [127, 1, 0, 23].into(), "b.example"),
        Egress::address("C", [127, 1, 0, 20].into(), "c.example"),
    ]
}

/// R01: 21 domains refuse A for two hours, 10 accept, 9 flip, 20 are elsewhere.
#[test]
fn r01_a_group_moves_before_any_client_sees_a_bounce_and_comes_back_in_steps() {
    for seed in 1..=40 {
        r01(seed);
    }
}

fn r01(seed: u64) {
    let mut egresses = three();
    egresses.truncate(2);
    let mut city = City::new(seed, egresses);
    let blocked_until = at(120);
    city.remote(move |egress, domain, now, dice| {
        let kind: u32 = domain[1..domain.find('.').unwrap_or(1)].parse().unwrap_or(99);
        if egress != "A" || now >= blocked_until || domain.starts_with('o') {
            return Reply::Ok;
        }
        let flip = stdx::Dice::new((u64::from(kind) << 32) + now.0 / 300_000).chance(0.5);
        let _ = dice;
        match kind {
            0..21 => Reply::no(550, BAN),
            21..31 => Reply::Ok,
            _ if flip => Reply::no(550, BAN),
            _ => Reply::Ok,
        }
    });
    let name = |n: u64| if n < 40 { format!("m{n}.example") } else { format!("o{}.example", n - 40) };
    for n in 0..40u64 {
        city.host(&name(n), &format!("m{n}-example.mail.protection.outlook.com"));
    }
    for n in 40..60u64 {
        city.host(&name(n), &format!("mx.o{}.example", n - 40));
    }
    for _ in 0..60 {
        let n = city.dice.below(60);
        let when = Now(at(0).0 + city.dice.below(1000));
        city.mail(&name(n), when);
    }
    for i in 0..140u64 {
        let n = city.dice.below(60);
        city.mail(&name(n), Now(at(0).0 + i * 51_000));
    }
    // Afterwards traffic goes on, so that the way back can be seen.
    for i in 0..700u64 {
        let n = city.dice.below(60);
        city.mail(&name(n), Now(blocked_until.0 + i * 10_000));
    }
    city.run(at(120 + 117));
    assert_eq!(city.bounced(), 0, "seed {seed}");
    assert_eq!(city.delivered(), 900, "seed {seed}");
    let move_at = city.event_at("route.group_blocked").expect("the group moves");
    let before: Vec<_> = city.tries.iter().filter(|t| t.egress == "A" && !t.ok && t.at <= move_at).collect();
    assert!(before.len() <= 10, "seed {seed}: {} rejections before the move", before.len());
    let ordinary = city.tries.iter().filter(|t| t.domain.starts_with('o') && t.egress != "A").count();
    assert_eq!(ordinary, 0, "seed {seed}: ordinary domains moved");
    let probes = city.tries.iter().filter(|t| {
        t.egress == "A" && t.domain.starts_with('m') && t.at > move_at + Span::secs(5) && t.at < blocked_until
    });
    let probes = probes.count() as u64;
    assert!(probes <= 1 + 120 / 15 + 3, "seed {seed}: {probes} connections from A while blocked");
    let swings = city.count("route.returning");
    assert!(swings <= 1 + 4, "seed {seed}: {swings} returns in two hours");
    let late = city.late_max();
    assert!(late <= Span::secs(60), "seed {seed}: a first message was {late} late");
    let window =
        |from: Now| city.tries.iter().filter(move |t| t.domain.starts_with('m') && t.ok && t.at >= from);
    let back = window(blocked_until + Span::mins(31));
    let (a, all) = back.fold((0u32, 0u32), |(a, all), t| (a + u32::from(t.egress == "A"), all + 1));
    assert!(f64::from(a) >= 0.95 * f64::from(all), "seed {seed}: {a} of {all} back on A");
    is_undone_by_a_pin_to_b(&city);
}

/// Who does not want the group back pins it to the egress that carried it meanwhile.
fn is_undone_by_a_pin_to_b(city: &City) {
    for kind in ["route.returning", "route.step_up", "route.returned"] {
        let orders: Vec<_> = city.undo(kind).into_iter().collect();
        assert!(
            matches!(orders[..], [order] if order.starts_with("postroad route pin group:") && order.ends_with(" B")),
            "{kind}: {orders:?}"
        );
    }
}

/// R02: two lists at one company are two groups.
#[test]
fn r02_the_two_families_have_two_states() {
    let mut egresses = three();
    egresses.truncate(2);
    let mut city = City::new(2, egresses);
    city.remote(|egress, domain, now, _| match (egress, domain.starts_with('b')) {
        ("A", true) if now < at(90) => Reply::no(550, BAN),
        ("A", false) => Reply::no(550, "5.7.1 Unfortunately, messages from [127.1.0.36] weren't sent. Please contact your provider since part of their network is on our block list (S3150)."),
        _ => Reply::Ok,
    });
    for n in 0..30 {
        city.host(&format!("b{n}.example"), &format!("b{n}-example.mail.protection.outlook.com"));
        city.host(&format!("c{n}.example"), &format!("c{n}-example.olc.protection.outlook.com"));
    }
    for i in 0..150u64 {
        let n = city.dice.below(20);
        city.mail(&format!("b{n}.example"), Now(at(0).0 + i * 60_000));
        city.mail(&format!("c{n}.example"), Now(at(0).0 + i * 60_000 + 500));
    }
    city.mail("b29.example", at(60));
    city.run(at(150));
    assert_eq!((city.bounced(), city.delivered()), (0, 301));
    let first: Vec<_> = city.tries.iter().filter(|t| t.domain == "b29.example").collect();
    assert_eq!((first.len(), first[0].egress.as_str(), first[0].ok), (1, "B", true));
    let last = |p: char| city.tries.iter().rev().find(|t| t.domain.starts_with(p)).map(|t| t.egress.clone());
    assert_eq!((last('b').as_deref(), last('c').as_deref()), (Some("A"), Some("B")));
}

/// R02: a sender whose mail would fail DMARC from B is held, with one alert, and not sent to fail.
#[test]
fn r02_mail_that_would_fail_its_policy_is_held_with_one_alert() {
    let mut egresses = three();
    egresses.truncate(2);
    let mut city = City::new(3, egresses);
    city.remote(|egress, _, _, _| if egress == "A" { Reply::no(550, BAN) } else { Reply::Ok });
    for n in 0..3 {
        city.host(&format!("b{n}.example"), &format!("b{n}-example.mail.protection.outlook.com"));
        city.mail(&format!("b{n}.example"), at(0));
    }
    for i in 0..5 {
        city.strict_mail("b0.example", Now(at(5).0 + i * 1000), Dmarc::Reject, &[Spf::Pass, Spf::Fail]);
    }
    city.run(at(60));
    assert!(city.tries.iter().all(|t| !(t.strict && t.egress == "B")));
    assert_eq!(city.bounced(), 0);
    assert_eq!(city.alerts.len(), 1, "{:?}", city.alerts);
    assert!(city.alerts[0].contains("lacks 127.1.0.23"), "{:?}", city.alerts);
}

/// R03: every egress is refused for six hours.
#[test]
fn r03_when_all_are_blocked_mail_is_held_then_ends_with_one_dsn() {
    let mut city = City::new(4, three());
    city.remote(|_, _, _, _| Reply::no(550, BAN));
    r03_load(&mut city);
    city.run(at(6 * 60));
    assert_eq!((city.delivered(), city.bounced()), (0, 40));
    for m in &city.ended {
        let kept = m.1.since(m.0);
        assert!(kept >= Span::hours(4) && kept <= Span::mins(4 * 60 + 5), "kept {kept}");
    }
    assert_eq!(city.alerts.len(), 1, "{:?}", city.alerts);
    assert!(city.alert_at.expect("one") <= at(2), "{:?}", city.alert_at);
    for (key, times) in city.tries_by_message() {
        for (i, t) in times.iter().enumerate() {
            let within = times[i..].iter().filter(|u| u.since(*t) < Span::hours(1)).count();
            assert!(within <= 2, "{key:?}: {within} tries in an hour");
        }
    }
}

#[test]
fn r03_when_one_opens_before_the_end_everything_is_delivered() {
    let mut city = City::new(5, three());
    city.remote(
        |egress, _, now, _| if egress == "B" && now >= at(230) { Reply::Ok } else { Reply::no(550, BAN) },
    );
    r03_load(&mut city);
    city.run(at(6 * 60));
    assert_eq!((city.delivered(), city.bounced()), (40, 0));
}

fn r03_load(city: &mut City) {
    for n in 0..8 {
        city.host(&format!("b{n}.example"), &format!("b{n}-example.mail.protection.outlook.com"));
    }
    for i in 0..40u64 {
        city.mail(&format!("b{}.example", i % 8), Now(at(0).0 + i * 500));
    }
}

/// F7: a list that died lists the world, and those who obey it refuse every egress until they notice.
/// Once the monitor knows the list for what it is, mail is kept for a day, not for four hours.
#[test]
fn mail_waits_for_those_who_obey_a_list_that_lists_the_world() {
    let list = "world.fantasy.example";
    for (word, noticed, ends) in [
        (Some(News::World), 20, (40, 0)),
        (Some(News::Clean), 20, (40, 0)),
        (Some(News::World), 30, (0, 40)),
        (Some(News::Unusable), 20, (0, 40)),
        (Some(News::Listed), 20, (0, 40)),
        (None, 20, (0, 40)),
    ] {
        let mut city = City::new(5, three());
        city.remote(move |_, _, now, _| match now < at(noticed * 60) {
            true => Reply::no(554, &format!("5.7.1 blocked using {list}")),
            false => Reply::Ok,
        });
        r03_load(&mut city);
        for round in 1..noticed * 6 {
            for egress in ["A", "B", "C"] {
                word.into_iter().for_each(|word| city.news(at(round * 10), list, egress, word));
            }
        }
        city.run(at(40 * 60));
        assert_eq!((city.delivered(), city.bounced()), ends, "{word:?}, noticed after {noticed} h");
        let mut kept = city.ended.iter().map(|(from, to)| to.since(*from));
        let least = if word == Some(News::World) { 24 * 60 } else { 4 * 60 };
        assert!(kept.all(|kept| kept >= mins(least) && kept <= mins(least + 5)), "{word:?}");
    }
}

/// R04: a listing moves only those who obey the list, and they come back when it clears.
#[test]
fn r04_a_listing_moves_only_hosts_that_cite_it() {
    let mut egresses = three();
    egresses.truncate(2);
    let mut city = City::new(6, egresses);
    city.zones = vec!["truncate.fantasy.example".to_owned()];
    let clear = at(26 * 60);
    city.remote(move |egress, domain, now, _| {
        let n: u32 = domain[1..domain.find('.').unwrap_or(1)].parse().unwrap_or(99);
        if egress == "A" && n < 15 && now >= at(60) && now < clear {
            return Reply::no(550, "rejected because 127.1.0.36 is in a black list at truncate.fantasy.example http://www.fantasy.example/truncate/ [127.1.0.36]");
        }
        Reply::Ok
    });
    for n in 0..60 {
        city.host(&format!("d{n}.example"), &format!("mx.d{n}.example"));
    }
    for i in 0..(28 * 60u64) {
        let n = city.dice.below(60);
        city.mail(&format!("d{n}.example"), Now(at(0).0 + i * 60_000));
    }
    city.news(at(68), "truncate.fantasy.example", "A", News::Listed);
    city.news(clear + Span::mins(5), "truncate.fantasy.example", "A", News::Clean);
    city.run(at(28 * 60 + 30));
    assert_eq!((city.bounced(), city.delivered()), (0, 28 * 60));
    for n in 0..60u32 {
        let domain = format!("d{n}.example");
        let tries: Vec<_> = city.tries.iter().filter(|t| t.domain == domain).collect();
        let refused = tries.iter().filter(|t| !t.ok).count();
        assert!(refused <= 1, "{domain}: {refused} rejections");
        if n >= 15 {
            assert!(tries.iter().all(|t| t.egress == "A"), "{domain} moved");
        }
        let after: Vec<_> = tries.iter().filter(|t| t.at > clear + Span::mins(10)).collect();
        assert!(after.iter().all(|t| t.egress == "A"), "{domain} not back");
    }
    let cleared = city.undo("route.list_cleared");
    let pinned =
        |order: &str| order.starts_with("postroad route pin host:mx.d") && order.ends_with(".example B");
    assert!(cleared.len() == 1 && cleared.iter().all(|o| o.split("; ").all(pinned)), "{cleared:?}");
}

/// R04: hosts that cited the list before are spared once three others cite it again.
#[test]
fn r04_hosts_known_to_obey_a_list_are_moved_ahead_of_time() {
    let mut egresses = three();
    egresses.truncate(2);
    let mut city = City::new(7, egresses);
    let listed = |now: Now| (now >= at(10) && now < at(20)) || now >= at(600);
    city.remote(move |egress, _, now, _| match listed(now) && egress == "A" {
        true => Reply::no(554, "5.7.1 blocked using bl.unwatched.example"),
        false => Reply::Ok,
    });
    for n in 0..10 {
        city.host(&format!("d{n}.example"), &format!("mx.d{n}.example"));
        city.mail(&format!("d{n}.example"), at(12));
        city.mail(&format!("d{n}.example"), at(500 + n));
        city.mail(&format!("d{n}.example"), at(600 + n));
    }
    city.run(at(700));
    assert_eq!((city.bounced(), city.delivered()), (0, 30));
    let second = city.tries.iter().filter(|t| !t.ok && t.at >= at(600)).count();
    assert_eq!(second, 3, "only three hosts cost a second rejection");
}

/// R39: a new egress stays under what a provider takes from new addresses.
#[test]
fn r39_a_new_egress_warms_up_without_a_refusal() {
    let mut egresses = three();
    egresses.truncate(2);
    egresses[0].warm_up = Some(WarmUp::new(at(0)));
    let mut city = City::new(8, egresses);
    let mut counts = std::collections::BTreeMap::<u64, u32>::new();
    city.remote(move |egress, _, now, _| {
        if egress != "A" {
            return Reply::Ok;
        }
        let day = now.since(at(0)).0 / Span::days(1).0;
        let n = counts.entry(day).or_default();
        *n += 1;
        if *n > 50 << day.min(20) { Reply::no(550, BAN) } else { Reply::Ok }
    });
    for n in 0..20 {
        city.host(&format!("b{n}.example"), &format!("b{n}-example.mail.protection.outlook.com"));
    }
    for i in 0..(12 * 24 * 60 / 2u64) {
        let n = city.dice.below(20);
        city.mail(&format!("b{n}.example"), Now(at(0).0 + i * 120_000));
    }
    city.run(at(13 * 24 * 60));
    assert_eq!((city.bounced(), city.delivered()), (0, 12 * 24 * 30));
    assert!(city.tries.iter().all(|t| t.ok), "no try was refused");
    let day = |d: u64| city.tries.iter().filter(move |t| t.at.since(at(0)).0 / Span::days(1).0 == d);
    assert!(day(0).filter(|t| t.egress == "A").count() <= 50);
    assert!(day(10).all(|t| t.egress == "A"), "full share after ten days");
}

/// R49: a third-party relay that switches us off, then wants verified sender domains.
#[test]
fn r49_a_relay_leaves_the_pool_and_unverified_senders_are_remembered() {
    let a = Egress::address("A", [127, 1, 0, 36].into(), "a.example");
    let mut c = Egress::relay("C", "smtp.relay.example", 587);
    c.forwards = false;
    let mut city = City::new(9, vec![c, a]);
    city.senders = (0..10).map(|n| format!("s{n}.example")).collect();
    city.remote_with_sender(|egress, sender, now| {
        if egress != "C" {
            return Reply::Ok;
        }
        if now < at(30) {
            return Reply::auth(535, "5.7.8 authentication failed: account suspended");
        }
        let n: u32 = sender[1..2].parse().unwrap_or(9);
        if n < 4 {
            Reply::no(550, &format!("From header sender domain not verified ({})", sender.to_uppercase()))
        } else {
            Reply::Ok
        }
    });
    for n in 0..10 {
        city.host(&format!("d{n}.example"), &format!("mx.d{n}.example"));
    }
    for i in 0..240u64 {
        city.mail(&format!("d{}.example", i % 10), Now(at(0).0 + i * 30_000));
    }
    city.run(at(180));
    assert_eq!((city.bounced(), city.delivered()), (0, 240));
    let auth = city.tries.iter().filter(|t| t.egress == "C" && !t.ok && t.at < at(30)).count();
    assert!(auth <= 6, "{auth} log-in refusals in half an hour");
    for n in 0..4 {
        let sender = format!("s{n}.example");
        let refused = city
            .tries
            .iter()
            .filter(|t| t.sender == sender && t.egress == "C" && !t.ok && t.at >= at(30))
            .count();
        assert!(refused <= 1, "{sender}: {refused}");
    }
    assert!(city.tries.iter().any(|t| t.egress == "C" && t.ok));
    let _ = mins(1);
}

/// A throttle is answered by patience: no other egress, no bounce, even on a 5xx.
#[test]
fn a_throttle_slows_down_and_stays() {
    let mut city = City::new(10, three());
    let mut minute = (0u64, 0u32);
    city.remote(move |_, _, now, _| {
        let m = now.0 / 60_000;
        minute = if minute.0 == m { (m, minute.1 + 1) } else { (m, 1) };
        if minute.1 > 10 {
            Reply::no(550, "5.7.1 Too many messages per hour, rate limit exceeded")
        } else {
            Reply::Ok
        }
    });
    city.host("d.example", "mx.d.example");
    for i in 0..120u64 {
        city.mail("d.example", Now(at(0).0 + i * 1000));
    }
    city.run(at(600));
    assert_eq!((city.bounced(), city.delivered()), (0, 120));
    assert!(city.tries.iter().all(|t| t.egress == "A"));
}

/// Greylisting: the same address comes back, whatever else is open.
#[test]
fn greylisted_mail_comes_back_from_the_same_address() {
    let mut city = City::new(11, three());
    let mut seen = std::collections::BTreeMap::<String, Now>::new();
    city.remote(move |egress, _, now, _| {
        let first = *seen.entry(egress.to_owned()).or_insert(now);
        if now.since(first) < Span::mins(5) {
            Reply::no(450, "4.2.0 Greylisted, come back in 300 seconds")
        } else {
            Reply::Ok
        }
    });
    city.host("d.example", "mx.d.example");
    city.mail("d.example", at(0));
    city.run(at(60));
    assert_eq!(city.delivered(), 1);
    assert!(city.tries.iter().all(|t| t.egress == "A") && city.tries.len() == 2, "{:?}", city.tries.len());
}

/// What was learned survives a restart.
#[test]
fn a_restart_forgets_nothing() {
    let mut city = City::new(12, three());
    city.remote(|egress, _, _, _| if egress == "A" { Reply::no(550, BAN) } else { Reply::Ok });
    for n in 0..6 {
        city.host(&format!("b{n}.example"), &format!("b{n}-example.mail.protection.outlook.com"));
        city.mail(&format!("b{n}.example"), at(0));
    }
    city.run(at(5));
    let rows: Vec<(String, String)> =
        city.state.take_changes().into_iter().filter_map(|(k, v)| v.map(|v| (k, v))).collect();
    let (state, lost) = route::State::restore(rows);
    assert!(lost.is_empty());
    let show = route::show::rows(&state, None, at(5));
    assert!(
        show.iter().any(|r| r.group == "microsoft-365" && r.egress == "A" && r.state == "blocked"),
        "{show:?}"
    );
    city.state = state;
    city.mail("b9.example", at(6));
    city.host("b9.example", "b9-example.mail.protection.outlook.com");
    city.run(at(8));
    assert_eq!(city.tries.last().map(|t| t.egress.as_str()), Some("B"));
}
