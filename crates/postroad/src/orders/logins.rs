//! Orders about log-ins: how each account comes in, and why it does not. This is what "who would
//! break?" is answered from.

use std::collections::BTreeMap;

use ledger::Fact;
use role_mail::Site;
use role_mail::login::shaken::words;
use serde_json::{Value, json};
use stdx::Now;

use super::{Answer, Reply, says, table};

/// Log-ins looked at, and facts they are looked for among.
const LOGINS_MAX: usize = 50_000;
const FACTS_MAX: i64 = 1_000_000;
/// Rows shown.
const ROWS_MAX: usize = 2_000;

/// What makes log-ins alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    account: String,
    /// Empty for a log-in that went well.
    cause: String,
    front: String,
    port: u64,
    tls: String,
    via: String,
    name: String,
    client: String,
    odd: String,
    from: String,
    /// The account is that of others from the same address.
    guessed: bool,
}

struct Seen {
    times: u64,
    last: Now,
}

pub(super) async fn list(site: &Site, account: Option<&str>, failed: bool) -> Answer {
    role_mail::housekeeping::once(site, false).await.map_err(says)?;
    let kinds = ["login.ok", "login.failed"];
    let facts = site.store().read(move |conn| ledger::of_kinds(conn, kinds, (LOGINS_MAX, FACTS_MAX))).await;
    let facts = facts.map_err(says)?;
    let wanted = account.map(|text| super::address(text).map(|a| a.key())).transpose()?;
    let mut ways: Vec<(Way, Seen)> = gather(&facts).into_iter().collect();
    ways.retain(|(way, _)| {
        wanted.as_ref().is_none_or(|a| way.account == *a) && (!failed || !way.cause.is_empty())
    });
    ways.sort_by(|(a, x), (b, y)| (&a.account, y.last).cmp(&(&b.account, x.last)));
    ways.truncate(ROWS_MAX);
    let rows: Vec<Value> = ways.iter().map(json_row).collect();
    Ok(Reply::new(text(&ways), json!(rows)))
}

/// Alike log-ins as one. One that named nobody is put down to the account that logged in from
/// there last.
fn gather(facts: &[Fact]) -> BTreeMap<Way, Seen> {
    let mut at: BTreeMap<String, String> = BTreeMap::new();
    for fact in facts.iter().filter(|f| f.kind == "login.ok") {
        if let Some(account) = fact.about.first() {
            at.insert(fact.text("from").to_owned(), account.clone());
        }
    }
    let mut out: BTreeMap<Way, Seen> = BTreeMap::new();
    for fact in facts {
        let way = way(fact, &at);
        let seen = out.entry(way).or_insert(Seen { times: 0, last: fact.at });
        seen.times += 1;
        seen.last = seen.last.max(fact.at);
    }
    out
}

fn way(fact: &Fact, at: &BTreeMap<String, String>) -> Way {
    let text = |name: &str| fact.text(name).to_owned();
    let named = fact.about.first().cloned().or_else(|| Some(text("user")).filter(|u| !u.is_empty()));
    let guessed = named.is_none();
    let account = named.or_else(|| at.get(fact.text("from")).cloned()).unwrap_or_default();
    Way {
        guessed: guessed && !account.is_empty(),
        account,
        cause: text("cause"),
        front: text("front"),
        port: fact.detail.get("port").and_then(Value::as_u64).unwrap_or(0),
        tls: text("tls"),
        via: text("via"),
        name: text("name"),
        client: text("client"),
        odd: text("odd"),
        from: text("from"),
    }
}

fn json_row((way, seen): &(Way, Seen)) -> Value {
    json!({
        "account": way.account, "account_by_address": way.guessed, "ok": way.cause.is_empty(), "cause": way.cause,
        "says": if way.cause.is_empty() { "" } else { words(&way.cause) },
        "front": way.front, "port": way.port, "tls": way.tls, "mechanism": way.via, "name": way.name,
        "client": way.client, "odd": way.odd, "from": way.from, "times": seen.times, "last": seen.last.iso(),
    })
}

fn text(ways: &[(Way, Seen)]) -> String {
    if ways.is_empty() {
        return "No such log-in is on record.\n".to_owned();
    }
    let head =
        ["account", "how", "TLS", "mechanism", "name used", "program", "from", "times", "last", "result"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (way, seen) in ways {
        let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let account = match (way.account.as_str(), way.guessed) {
            ("", _) => "(nobody named)".to_owned(),
            (account, true) => format!("{account}?"),
            (account, false) => account.to_owned(),
        };
        let result = match (way.cause.as_str(), way.odd.as_str()) {
            ("", "") => "ok".to_owned(),
            ("", odd) => format!("ok, tolerated: {odd}"),
            (cause, _) => format!("failed ({cause}): {}", words(cause)),
        };
        rows.push(vec![
            account,
            format!("{} {}", way.front, way.port),
            dash(&way.tls),
            dash(&way.via),
            dash(&way.name),
            dash(&way.client),
            dash(&way.from),
            seen.times.to_string(),
            seen.last.iso(),
            result,
        ]);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use words::Address;

    #[test]
    fn alike_log_ins_are_one_row_and_the_nameless_get_a_likely_name() {
        let bob = Address::parse("bob@x.example").expect("an address");
        let fact = |kind, at| {
            Fact::new(kind, Now(at)).with("from", "192.0.2.1").with("front", "imap").with("port", 993)
        };
        let facts = [
            fact("login.ok", 1)
                .about(&bob)
                .with("via", "PLAIN")
                .with("tls", "TLSv1.3")
                .with("name", "mail27.x.example"),
            fact("login.ok", 5)
                .about(&bob)
                .with("via", "PLAIN")
                .with("tls", "TLSv1.3")
                .with("name", "mail27.x.example"),
            fact("login.failed", 9).with("cause", "tls_too_old"),
        ];
        let ways: Vec<(Way, Seen)> = gather(&facts).into_iter().collect();
        assert_eq!(ways.len(), 2);
        let old = ways.iter().find(|(w, _)| w.cause == "tls_too_old").expect("is there");
        assert!(old.0.guessed && old.0.account == "bob@x.example");
        let shown = text(&ways);
        assert!(
            shown.contains("bob@x.example?")
                && shown.contains("mail27.x.example")
                && shown.contains("TLS 1.0"),
            "{shown}"
        );
    }
}
