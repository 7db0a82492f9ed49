//! Orders about the relay's customers.

use role_mail::Site;
use role_relay::bill::{self, Bill, Month};
use role_relay::customers::{self, Customer};
use role_relay::desk;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::StoreError;

use super::{Answer, Reply, says, table};

/// What is to be done about customers. No `Debug`: some carry passwords.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CustomerOrder {
    Add { name: String, customer: Customer, password: Option<String> },
    List,
    Stop { name: String, why: Option<String> },
    Password { name: String, password: String },
    Remove { name: String },
    Bill { name: Option<String>, month: Option<String> },
}

pub(super) async fn carry_out(site: &Site, order: CustomerOrder) -> Answer {
    match order {
        CustomerOrder::Add { name, customer, password } => add(site, name, customer, password).await,
        CustomerOrder::List => list(site).await,
        CustomerOrder::Stop { name, why } => {
            let words = match &why {
                Some(why) => format!("No more mail is taken from {name}: {why}."),
                None => format!("Mail is taken from {name} again."),
            };
            change(site, name, move |customer| customer.stopped = why).await?;
            Ok(Reply::done(words))
        }
        CustomerOrder::Password { name, password } => {
            let hash = hash(site, password).await?;
            known(site, &name).await?;
            let whose = name.clone();
            let done = site.store().commit(Vec::new(), move |b| customers::set_hash(b, &whose, &hash));
            done.await.map_err(says)?;
            Ok(Reply::done(format!("{name} logs in with the new password.")))
        }
        CustomerOrder::Remove { name } => {
            let now = site.now().0;
            let words = format!("{name} is no customer any more; this month is still billed.");
            change(site, name, move |customer| customer.ended = Some(now)).await?;
            Ok(Reply::done(words))
        }
        CustomerOrder::Bill { name, month } => bills(site, name, month).await,
    }
}

async fn hash(site: &Site, password: String) -> Result<String, String> {
    let random = site.world().random.clone();
    let work = tokio::task::spawn_blocking(move || desk::hash(random.as_ref(), &password));
    work.await.map_err(|e| format!("The password could not be stored: {e}."))
}

async fn known(site: &Site, name: &str) -> Result<Customer, String> {
    let wanted = name.to_owned();
    let found = site.store().read(move |conn| customers::by_name(conn, &wanted)).await.map_err(says)?;
    found.filter(|c| c.ended.is_none()).ok_or_else(|| {
        format!("There is no customer {name}. `postroad customer list` names those there are.")
    })
}

async fn add(site: &Site, name: String, customer: Customer, password: Option<String>) -> Answer {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return Err(format!("\"{name}\" is no name for a customer: letters, digits, - _ . @, 64 at most."));
    }
    if let Some(pin) = customer.pin.as_deref().filter(|p| drive::tls::pinned(p).is_none()) {
        return Err(format!("\"{pin}\" is no pin: `postroad egress pin` prints it on the mail host."));
    }
    let hash = match password {
        Some(password) => Some(hash(site, password).await?),
        None => None,
    };
    let new = Customer { name: name.clone(), since: site.now().0, ..customer };
    let made = site.store().commit(Vec::new(), move |b| customers::add(b, &new, hash.as_deref()));
    made.await.map_err(says)?;
    let host = site.settings().host_name.clone();
    let text = format!(
        "{name} may send: host {host}, port 587 (STARTTLS) or 465 (TLS), user {name}. What its server calls itself does not matter.\n"
    );
    Ok(Reply::new(text, json!({ "customer": name, "user": name, "host": host, "ports": [587, 465] })))
}

async fn change(
    site: &Site,
    name: String,
    change: impl FnOnce(&mut Customer) + Send + 'static,
) -> Result<(), String> {
    known(site, &name).await?;
    let done = site.store().commit(Vec::new(), move |batch| {
        let Some(mut customer) = customers::by_name(batch.sql(), &name)? else {
            return Err(StoreError::rule(format!("there is no customer {name}")));
        };
        change(&mut customer);
        customers::put(batch, &customer)
    });
    done.await.map_err(says)
}

async fn list(site: &Site) -> Answer {
    let now = site.now();
    let found = site.store().read(move |conn| {
        let all = customers::all(conn)?.into_iter().filter(|c| c.ended.is_none());
        all.map(|c| Ok((customers::used_now(conn, &c.name, now)?, c))).collect::<Result<Vec<_>, StoreError>>()
    });
    let found = found.await.map_err(says)?;
    let bound = |n: Option<u64>| n.map_or("∞".to_owned(), |n| n.to_string());
    let mut lines = Vec::new();
    let mut rows = Vec::new();
    for ((hour, day), c) in &found {
        let how = match (&c.pin, c.networks.is_empty()) {
            (Some(_), _) => "key".to_owned(),
            (None, true) => "password".to_owned(),
            (None, false) => {
                c.networks.iter().map(|(ip, bits)| format!("{ip}/{bits}")).collect::<Vec<_>>().join(" ")
            }
        };
        let state = c.stopped.as_ref().map_or("open".to_owned(), |why| format!("stopped: {why}"));
        let prices: Vec<String> = c.prices.iter().map(ToString::to_string).collect();
        lines.push(vec![
            c.name.clone(),
            how.clone(),
            state.clone(),
            format!("hour {hour}/{}", bound(c.hour_max)),
            format!("day {day}/{}", bound(c.day_max)),
            prices.join(" / "),
        ]);
        rows.push(json!({ "name": c.name, "by": how, "state": state, "hour": hour, "day": day,
            "hour_max": c.hour_max, "day_max": c.day_max, "prices": prices }));
    }
    let text = if lines.is_empty() { "There are no customers.\n".to_owned() } else { table(&lines) };
    Ok(Reply::new(text, json!({ "customers": rows })))
}

async fn bills(site: &Site, name: Option<String>, month: Option<String>) -> Answer {
    let month = match month {
        Some(text) => Month::parse(&text)?,
        None => Month::of(site.now()),
    };
    let found = site.store().read(move |conn| {
        let mut out: Vec<Bill> = Vec::new();
        for customer in customers::all(conn)?.iter().filter(|c| name.as_ref().is_none_or(|n| *n == c.name)) {
            let used = customers::used(conn, &customer.name, month.hours())?;
            out.extend(bill::bill(customer, month, used));
        }
        Ok(out)
    });
    let found = found.await.map_err(says)?;
    let line = |b: &Bill| {
        let used = format!("{} messages to {} recipients", b.messages, b.recipients);
        vec![b.customer.clone(), b.month.clone(), b.lines.join(" / "), used]
    };
    let text = match found.is_empty() {
        true => format!("Nobody owes anything for {month}.\n"),
        false => table(&found.iter().map(line).collect::<Vec<_>>()),
    };
    Ok(Reply::new(text, json!({ "month": month.to_string(), "bills": found })))
}
