//! What must hold of the judge whatever the destinations say, with replies, times and orders drawn
//! by proptest.

use proptest::prelude::*;
use route::{
    Class, Egress, Facts, Next, Outcome, Pin, PinScope, Purpose, Reading, Sender, Settings, Stage, State,
    Told, Tried, WarmUp, Way,
};
use stdx::{Now, Span};
use words::Domain;

const T0: Now = Now(1_700_000_000_000);

fn egresses() -> Vec<Egress> {
    ["A", "B", "C"]
        .iter()
        .enumerate()
        .map(|(n, name)| Egress::address(name, [127, 1, 0, n as u8 + 1].into(), "mail.example"))
        .collect()
}

fn domain(n: u8) -> Domain {
    Domain::new(&format!("d{n}.example")).expect("valid")
}

fn hosts(group: u8) -> Vec<String> {
    vec![format!("mx.g{group}-hoster.example")]
}

fn group(n: u8) -> String {
    format!("g{n}-hoster.example")
}

const BLOCKED: Reading =
    Reading { class: Class::IpReputation, sub: "provider", confidence: 0.9, rule: "test" };
const UNKNOWN: Reading = Reading { class: Class::Recipient, sub: "unknown", confidence: 0.9, rule: "test" };
const THROTTLED: Reading = Reading { class: Class::Rate, sub: "generic", confidence: 0.9, rule: "test" };
const GREY: Reading = Reading { class: Class::Greylist, sub: "greylist", confidence: 0.9, rule: "test" };

/// One thing that happens: to which group and domain, on which egress, how it ends, how much later.
#[derive(Clone, Debug)]
struct Happening {
    group: u8,
    domain: u8,
    egress: usize,
    how: u8,
    later_s: u64,
}

fn happening() -> impl Strategy<Value = Happening> {
    (0..4u8, 0..6u8, 0..3usize, 0..6u8, 0..1200u64)
        .prop_map(|(group, domain, egress, how, later_s)| Happening { group, domain, egress, how, later_s })
}

fn told(how: u8) -> Told<'static> {
    let no = |reading, permanent, reply| Told::Refused { stage: Stage::Rcpt, reading, permanent, reply };
    match how {
        0 => Told::Taken,
        1 => no(BLOCKED, true, "550 5.7.1 blocked"),
        2 => no(UNKNOWN, true, "550 5.1.1 unknown"),
        3 => no(THROTTLED, false, "421 slow down"),
        4 => no(GREY, false, "451 greylisted for 5 minutes"),
        _ => Told::NoAnswer { why: "timed out" },
    }
}

fn facts<'a>(
    egresses: &'a [Egress],
    names: (&'a str, &'a [String], &'a Domain),
    sender: &'a Sender<'a>,
    tried: &'a [Tried],
    now: Now,
) -> Facts<'a> {
    Facts {
        egresses,
        group: names.0,
        hosts: names.1,
        domain: names.2,
        sender,
        tried,
        accepted_at: now,
        first_blocked: tried.first().map(|t| t.at),
        stick: None,
        may_probe: true,
        draw: 7,
    }
}

/// Lets everything happen; the state and the time after it.
fn live(happenings: &[Happening], settings: &Settings) -> (State, Now) {
    let (egresses, mut state, mut now) = (egresses(), State::new(), T0);
    let sender = Sender::default();
    for h in happenings {
        now += Span::secs(h.later_s);
        let (name, hosts, domain) = (group(h.group), hosts(h.group), domain(h.domain));
        let ticked = route::tick(&mut state, &name, settings, now);
        let facts = facts(&egresses, (&name, &hosts, &domain), &sender, &[], now);
        route::start(&mut state, &facts, h.egress, Purpose::Probe, settings, now);
        let outcome = Outcome {
            egress: &egresses[h.egress],
            group: &name,
            host: hosts.first().map(String::as_str),
            domain: &domain,
            sender_domain: None,
            purpose: Purpose::Probe,
            told: told(h.how),
            zones: &[],
        };
        let lesson = route::learn(&mut state, &outcome, settings, now);
        for event in ticked.iter().chain(&lesson.events) {
            // Each automatic decision says what, because of what, and how to undo it.
            assert!(!event.says.is_empty() && !event.undo.is_empty(), "{event:?}");
            assert!(!event.evidence.is_empty() && event.evidence.iter().all(|e| !e.is_empty()), "{event:?}");
        }
    }
    (state, now)
}

fn restored(state: &mut State) -> State {
    let rows = state.take_changes().into_iter().filter_map(|(k, v)| Some((k, v?)));
    let (again, lost) = State::restore(rows);
    assert!(lost.is_empty(), "{lost:?}");
    again
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// A message that is refused everywhere has been offered to every egress before it ends.
    #[test]
    fn there_is_no_bounce_while_an_eligible_egress_is_untried(past in prop::collection::vec(happening(), 0..40)) {
        let settings = Settings::default();
        let (mut state, mut now) = live(&past, &settings);
        let egresses = egresses();
        let (name, hosts, domain, sender) = (group(0), hosts(0), domain(0), Sender::default());
        let mut tried: Vec<Tried> = Vec::new();
        let mut first_blocked = None;
        let accepted = now;
        for _ in 0..2000 {
            route::tick(&mut state, &name, &settings, now);
            let mut facts = facts(&egresses, (&name, &hosts, &domain), &sender, &tried, now);
            (facts.first_blocked, facts.accepted_at) = (first_blocked, accepted);
            match route::plan(&facts, &state, &settings, now).decision {
                Way::Send { egress, purpose } => {
                    route::start(&mut state, &facts, egress, purpose, &settings, now);
                    let out = &egresses[egress];
                    let outcome = Outcome { egress: out, group: &name, host: None, domain: &domain, sender_domain: None, purpose, told: told(1), zones: &[] };
                    let lesson = route::learn(&mut state, &outcome, &settings, now);
                    prop_assert_eq!(lesson.next.decision, Next::OtherEgress);
                    tried.retain(|t| t.egress != out.name);
                    tried.push(Tried { egress: out.name.clone(), at: now });
                    first_blocked.get_or_insert(now);
                }
                Way::Wait { until, slot } => now = if slot { now + Span::secs(5) } else { until.max(now + Span::secs(1)) },
                Way::Hold { until, .. } => {
                    prop_assert!(until > now);
                    first_blocked.get_or_insert(now);
                    now = until;
                }
                Way::GiveUp { .. } => {
                    prop_assert_eq!(tried.len(), 3, "given up after {:?}", tried);
                    prop_assert!(now.since(first_blocked.unwrap_or(now)) >= settings.hold);
                    return Ok(());
                }
            }
        }
        prop_assert!(false, "it never ended");
    }

    /// What may not carry a message is not chosen for it, whatever was learned.
    #[test]
    fn an_ineligible_egress_is_never_planned(past in prop::collection::vec(happening(), 0..40), forward: bool) {
        let settings = Settings::default();
        let (state, now) = live(&past, &settings);
        let mut egresses = egresses();
        egresses[0].verified = Some(std::collections::BTreeSet::from([domain(9)]));
        egresses[1].forwards = false;
        let from = domain(8);
        let sender = Sender { domain: Some(&from), forward, dkim_aligned: true, ..Sender::default() };
        for g in 0..4 {
            let (name, hosts, domain) = (group(g), hosts(g), domain(g));
            let facts = facts(&egresses, (&name, &hosts, &domain), &sender, &[], now);
            if let Way::Send { egress, .. } = route::plan(&facts, &state, &settings, now).decision {
                prop_assert_ne!(egress, 0, "not a verified sender domain there");
                prop_assert!(egress != 1 || !forward, "no forwards there");
            }
        }
    }

    /// What one group says decides nothing for another.
    #[test]
    fn one_groups_refusals_never_move_another(past in prop::collection::vec(happening(), 0..60)) {
        let settings = Settings::default();
        let past: Vec<Happening> = past.into_iter().map(|h| Happening { group: h.group % 3, ..h }).collect();
        let (state, now) = live(&past, &settings);
        let egresses = egresses();
        let (name, hosts, domain, sender) = (group(3), hosts(3), domain(0), Sender::default());
        let facts = facts(&egresses, (&name, &hosts, &domain), &sender, &[], now);
        let verdict = route::plan(&facts, &state, &settings, now);
        prop_assert_eq!(verdict.decision, Way::Send { egress: 0, purpose: Purpose::Usual });
    }

    /// A recipient that does not exist says nothing about an egress.
    #[test]
    fn refused_recipients_never_move_a_group(count in 1..60u8) {
        let settings = Settings::default();
        let past: Vec<Happening> = (0..count).map(|n| Happening { group: 0, domain: n % 6, egress: 0, how: 2, later_s: 3 }).collect();
        let (state, now) = live(&past, &settings);
        let egresses = egresses();
        let (name, hosts, domain, sender) = (group(0), hosts(0), domain(0), Sender::default());
        let facts = facts(&egresses, (&name, &hosts, &domain), &sender, &[], now);
        prop_assert_eq!(route::plan(&facts, &state, &settings, now).decision, Way::Send { egress: 0, purpose: Purpose::Usual });
    }

    /// Rows that are stored and read again decide as before.
    #[test]
    fn the_state_survives_a_restart(past in prop::collection::vec(happening(), 0..60)) {
        let settings = Settings::default();
        let (mut state, now) = live(&past, &settings);
        let again = restored(&mut state);
        let egresses = egresses();
        let sender = Sender::default();
        for (g, d) in (0..4).flat_map(|g| (0..6).map(move |d| (g, d))) {
            let (name, hosts, domain) = (group(g), hosts(g), domain(d));
            // Throttles pass by themselves and proofs of sessions are not kept: a blocked way is.
            let facts = facts(&egresses, (&name, &hosts, &domain), &sender, &[], now);
            let blocked = |s: &State| {
                let rows = route::show::rows(s, Some(&name), now);
                rows.into_iter().map(|r| (r.egress, r.state, r.refused_domains)).filter(|r| r.1 != "open" && r.1 != "throttled").collect::<Vec<_>>()
            };
            prop_assert_eq!(blocked(&state), blocked(&again));
            let gave_up = |s: &State| {
                matches!(route::plan(&facts, s, &settings, now).decision, Way::GiveUp { .. })
            };
            prop_assert_eq!(gave_up(&state), gave_up(&again));
        }
    }

    /// Destinations that change their mind at every turn swing the group at most twice an hour.
    #[test]
    fn flipping_destinations_do_not_swing_the_group(draws in prop::collection::vec(any::<bool>(), 720)) {
        let settings = Settings::default();
        let (egresses, mut state, sender) = (egresses(), State::new(), Sender::default());
        let (name, hosts) = (group(0), hosts(0));
        let mut swings = Vec::new();
        // Six domains, a message every half minute for six hours; each draw is one domain's mood.
        for (n, refuses) in draws.iter().enumerate() {
            let now = T0 + Span::secs(30 * n as u64);
            let domain = domain((n % 6) as u8);
            swings.extend(route::tick(&mut state, &name, &settings, now).into_iter().map(|e| (now, e.kind.name())));
            let facts = facts(&egresses, (&name, &hosts, &domain), &sender, &[], now);
            let Way::Send { egress, purpose } = route::plan(&facts, &state, &settings, now).decision else { continue };
            route::start(&mut state, &facts, egress, purpose, &settings, now);
            let how = u8::from(egress == 0 && *refuses);
            let outcome = Outcome { egress: &egresses[egress], group: &name, host: None, domain: &domain, sender_domain: None, purpose, told: told(how), zones: &[] };
            let lesson = route::learn(&mut state, &outcome, &settings, now);
            swings.extend(lesson.events.iter().map(|e| (now, e.kind.name())));
        }
        let moves: Vec<Now> = swings.iter().filter(|(_, k)| *k == "route.group_blocked").map(|(at, _)| *at).collect();
        for from in &moves {
            let within = moves.iter().filter(|at| **at >= *from && at.since(*from) < Span::hours(1)).count();
            prop_assert!(within <= 2, "{} moves in an hour", within);
        }
    }

    /// A pin holds as long as it says, and not longer.
    #[test]
    fn pins_are_respected_and_expire(past in prop::collection::vec(happening(), 0..40), minutes in 1..600u64) {
        let settings = Settings::default();
        let (mut state, now) = live(&past, &settings);
        let egresses = egresses();
        let (name, hosts, domain, sender) = (group(0), hosts(0), domain(0), Sender::default());
        let facts = facts(&egresses, (&name, &hosts, &domain), &sender, &[], now);
        let before = route::plan(&facts, &state, &settings, now + Span::mins(minutes)).decision;
        let until = (now + Span::mins(minutes)).0;
        state.pin(Pin { scope: PinScope::Group(name.clone()), egress: "C".into(), until: Some(until), by: "op".into(), note: String::new() });
        let pinned = Way::Send { egress: 2, purpose: Purpose::Pinned };
        prop_assert_eq!(&route::plan(&facts, &state, &settings, now).decision, &pinned);
        let again = restored(&mut state);
        prop_assert_eq!(again.pins().len(), 1);
        prop_assert_eq!(route::plan(&facts, &state, &settings, Now(until)).decision, before);
    }

    /// A new address never carries more than its day's allowance.
    #[test]
    fn a_warm_up_allowance_is_never_overrun(count in 1..200u32) {
        let settings = Settings { slots_first: 1000, slots_max: 1000, ..Settings::default() };
        let mut egresses = egresses();
        egresses.truncate(2);
        egresses[0].warm_up = Some(WarmUp::new(T0));
        let (mut state, sender) = (State::new(), Sender::default());
        let (name, hosts) = (group(0), hosts(0));
        let mut used = 0;
        for n in 0..count {
            let (domain, now) = (domain((n % 6) as u8), T0 + Span::secs(u64::from(n)));
            let facts = facts(&egresses, (&name, &hosts, &domain), &sender, &[], now);
            let Way::Send { egress, purpose } = route::plan(&facts, &state, &settings, now).decision else { continue };
            used += u32::from(egress == 0);
            route::start(&mut state, &facts, egress, purpose, &settings, now);
            let outcome = Outcome { egress: &egresses[egress], group: &name, host: None, domain: &domain, sender_domain: None, purpose, told: Told::Taken, zones: &[] };
            route::learn(&mut state, &outcome, &settings, now);
        }
        prop_assert!(used <= route::egress::FIRST_DAY, "{} on the first day", used);
    }
}

/// Planning stays cheap with ten thousand known groups; the bound is loose for debug builds and busy
/// machines (`cargo run -p route --release --example bench` has the figure).
#[test]
fn planning_does_not_grow_with_the_number_of_groups() {
    let settings = Settings::default();
    let (egresses, mut state, sender) = (egresses(), State::new(), Sender::default());
    let names: Vec<(String, Vec<String>, Domain)> = (0..10_000u32)
        .map(|n| {
            let domain = Domain::new(&format!("x{n}.example")).expect("valid");
            (format!("x{n}.example"), vec![format!("mx.x{n}.example")], domain)
        })
        .collect();
    for (name, hosts, domain) in &names {
        let facts = facts(&egresses, (name, hosts, domain), &sender, &[], T0);
        route::start(&mut state, &facts, 0, Purpose::Usual, &settings, T0);
        let outcome = Outcome {
            egress: &egresses[0],
            group: name,
            host: None,
            domain,
            sender_domain: None,
            purpose: Purpose::Usual,
            told: told(1),
            zones: &[],
        };
        route::learn(&mut state, &outcome, &settings, T0);
    }
    assert_eq!(state.groups(), 10_000);
    let began = std::time::Instant::now();
    for (name, hosts, domain) in &names {
        let facts = facts(&egresses, (name, hosts, domain), &sender, &[], T0 + Span::mins(1));
        assert!(matches!(
            route::plan(&facts, &state, &settings, T0 + Span::mins(1)).decision,
            Way::Send { egress: 1, .. }
        ));
    }
    let each = began.elapsed().as_micros() / names.len() as u128;
    assert!(each < 500, "{each} µs for one recipient");
}
