//! `cargo run -p route --release --example bench`: planning and learning with 10,000 known groups.

use std::time::Instant;

use route::{Egress, Facts, Outcome, Purpose, Reading, Sender, Settings, State, Told};
use stdx::{Dice, Now};
use words::Domain;

const GROUPS: u64 = 10_000;
const ROUNDS: u64 = 200_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let egresses: Vec<Egress> =
        (1..=3u8).map(|n| Egress::address(&format!("E{n}"), [192, 0, 2, n].into(), "mail.example")).collect();
    let settings = Settings::default();
    let (mut state, mut dice) = (State::new(), Dice::new(1));
    let domains: Result<Vec<Domain>, _> =
        (0..GROUPS).map(|n| Domain::new(&format!("d{n}.example"))).collect();
    let domains = domains?;
    let hosts: Vec<Vec<String>> =
        (0..GROUPS).map(|n| vec![format!("mx1.d{n}.example"), format!("mx2.d{n}.example")]).collect();
    let groups: Vec<String> = (0..GROUPS).map(|n| format!("d{n}.example")).collect();
    let t0 = 1_700_000_000_000;
    let reply = "550 5.7.1 blocked using zen.spamhaus.org";
    let reading =
        Reading { class: route::Class::IpReputation, sub: "dnsbl", confidence: 0.9, rule: "ip.list.named" };
    let sender_domain = Domain::new("sender.example")?;
    let sender = Sender { domain: Some(&sender_domain), ..Sender::default() };
    let mut spent = (0u128, 0u128);
    for round in 0..ROUNDS + GROUPS {
        let i = if round < GROUPS { round } else { dice.below(GROUPS) } as usize;
        let now = Now(t0 + round * 20);
        let facts = Facts {
            egresses: &egresses,
            group: &groups[i],
            hosts: &hosts[i],
            domain: &domains[i],
            sender: &sender,
            tried: &[],
            accepted_at: now,
            first_blocked: None,
            stick: None,
            may_probe: true,
            draw: dice.next_u64(),
        };
        let clock = Instant::now();
        let verdict = route::plan(&facts, &state, &settings, now);
        let planned = clock.elapsed().as_nanos();
        let route::Way::Send { egress, .. } = verdict.decision else { continue };
        let clock = Instant::now();
        route::start(&mut state, &facts, egress, Purpose::Usual, &settings, now);
        let told = if dice.chance(0.02) {
            Told::Refused { stage: route::Stage::Rcpt, reading, permanent: true, reply }
        } else {
            Told::Taken
        };
        let outcome = Outcome {
            egress: &egresses[egress],
            group: &groups[i],
            host: Some(&hosts[i][0]),
            domain: &domains[i],
            sender_domain: Some(&sender_domain),
            purpose: Purpose::Usual,
            told,
            zones: &[],
        };
        let lesson = route::learn(&mut state, &outcome, &settings, now);
        if round >= GROUPS {
            spent = (spent.0 + planned, spent.1 + clock.elapsed().as_nanos());
        }
        assert!(lesson.events.len() < 10);
    }
    println!(
        "groups {}: plan {} ns, start + learn {} ns (means of {ROUNDS})",
        state.groups(),
        spent.0 / u128::from(ROUNDS),
        spent.1 / u128::from(ROUNDS)
    );
    Ok(())
}
