//! Orders on a store in memory.

use super::*;
use std::sync::Arc;
use stdx::Bytes;

fn site() -> Site {
    let city = sim::City::new(1);
    city.zones.mx("demo.example", 10, "mx.demo.example");
    let store = store::Store::in_memory(store::Settings::default(), &role_mail::schemas()).expect("a store");
    let roots = Arc::new(host::roots(&[]).expect("roots"));
    Site::with_roots(city.world(&[]), store, role_mail::Settings::new("mx.demo.example"), roots)
}

async fn good(site: &Site, order: Order) -> Reply {
    carry_out(site, order).await.unwrap_or_else(|why| panic!("{why}"))
}

fn add(address: &str) -> Order {
    Order::AccountAdd {
        address: address.into(),
        name: "A".into(),
        quota: Some(1 << 30),
        password: "x".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_domain_and_its_people_are_made_shown_and_removed() {
    let site = site();
    good(&site, Order::DomainAdd { domain: "Demo.Example".into() }).await;
    good(&site, add("alice@demo.example")).await;
    good(
        &site,
        Order::AddressAdd { account: "alice@demo.example".into(), address: "al@demo.example".into() },
    )
    .await;
    good(&site, Order::AliasAdd { from: "info@demo.example".into(), to: "alice@demo.example".into() }).await;
    let listed = good(&site, Order::AccountList).await;
    assert_eq!(listed.json[0]["address"], "alice@demo.example");
    assert!(
        listed.text.contains("0 messages") && listed.text.contains(&Bytes(1 << 30).to_string()),
        "{}",
        listed.text
    );
    let shown = good(&site, Order::AccountShow { address: "al@demo.example".into() }).await;
    assert_eq!(shown.json["addresses"].as_array().map(Vec::len), Some(2));
    let aliases = good(&site, Order::AliasList).await;
    assert!(aliases.text.contains("info@demo.example"), "{}", aliases.text);
    let records = good(&site, Order::DomainShow { domain: "demo.example".into() }).await;
    assert!(records.text.contains("MX") && records.text.contains("v=spf1 mx -all"), "{}", records.text);
    let dry = good(&site, Order::AccountRemove { address: "alice@demo.example".into(), dry_run: true }).await;
    assert_eq!(dry.json["removed"], false);
    good(&site, Order::AccountRemove { address: "alice@demo.example".into(), dry_run: false }).await;
    assert_eq!(good(&site, Order::AccountList).await.json, serde_json::json!([]));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_sentences_with_a_way_on() {
    let site = site();
    let says = |answer: Answer| answer.err().unwrap_or_default();
    let text = says(carry_out(&site, add("alice@nowhere.example")).await);
    assert!(text.contains("nowhere.example") && text.ends_with('.'), "{text}");
    let text = says(carry_out(&site, add("alice")).await);
    assert!(text.contains("is no address"), "{text}");
    let text = says(carry_out(&site, Order::AccountShow { address: "x@y.example".into() }).await);
    assert!(text.contains("postroad account list"), "{text}");
    let text = says(carry_out(&site, Order::DomainShow { domain: "y.example".into() }).await);
    assert!(text.contains("postroad domain list"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_doctor_names_what_is_missing() {
    let site = site();
    assert!(good(&site, Order::Doctor).await.text.contains("postroad domain add"));
    good(&site, Order::DomainAdd { domain: "demo.example".into() }).await;
    good(&site, Order::DomainAdd { domain: "other.example".into() }).await;
    let found = good(&site, Order::Doctor).await;
    assert!(found.text.contains("mail for demo.example comes here"), "{}", found.text);
    assert!(found.text.contains("other.example has no MX"), "{}", found.text);
    assert!(found.text.contains("no backup of this host was ever made"), "{}", found.text);
    assert_eq!(found.json["wrong"], 2);
}

#[tokio::test(start_paused = true)]
async fn passwords_made_up_are_long_and_differ() {
    let site = site();
    let (a, b) = (new_password(site.world()), new_password(site.world()));
    assert!(a.len() == 20 && a != b, "{a} {b}");
}

#[test]
fn tables_stand_in_line() {
    let rows = [vec!["a".into(), "bb".into()], vec!["ccc".into(), "d".into()]];
    assert_eq!(table(&rows), "a    bb\nccc  d\n");
}
