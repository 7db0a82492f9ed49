//! Orders: what the operator tells a host, as values that travel over the control socket.
//!
//! An order changes or reads the store of one [`Site`] (or, [`StatusOrder`], of one status site),
//! running or not, and is answered by a [`Reply`] for people and for machines. What is allowed is
//! the keepers' to say.

mod customers;
mod egresses;
mod import;
mod keys;
mod logins;
mod mail;
mod monitor;
mod people;
mod queue;
mod records;
mod restore;
mod routes;
mod status;
mod tls;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;

use role_mail::Site;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{StoreError, Tell};
use words::{Address, Domain};
use world::World;

use crate::upgrade::{Wish, Wishes};

pub use customers::CustomerOrder;
pub use keys::records as key_records;
pub use monitor::MonitorOrder;
pub use routes::restore as restore_routes;
pub use status::StatusOrder;
pub use upkeep::{Backups, HOLDERS, verified};

/// What is to be done. No `Debug`: some carry passwords.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    DomainAdd { domain: String },
    DomainRemove { domain: String },
    DomainList,
    DomainShow { domain: String },
    DomainAlias { domain: String, of: String },
    DomainCatchAll { domain: String, to: Option<String> },
    DomainPlus { domain: String, on: bool },
    DomainKey { domain: String },
    AccountAdd { address: String, name: String, quota: Option<u64>, password: String },
    AccountRemove { address: String, dry_run: bool },
    AccountList,
    AccountShow { address: String },
    AccountPassword { address: String, password: String },
    AccountQuota { address: String, quota: Option<u64> },
    AccountLock { address: String, locked: bool },
    AddressAdd { account: String, address: String },
    AddressRemove { address: String },
    SendAs { account: String, pattern: String, allow: bool },
    AliasAdd { from: String, to: String },
    AliasRemove { from: String, to: Option<String> },
    AliasList,
    Why { id: String },
    CheckDns { domain: String },
    CheckPtr { ip: std::net::IpAddr },
    QueueList { about: Option<String>, limit: usize },
    QueueShow { message: String },
    QueueHold { message: String, why: String },
    QueueRelease { message: String },
    QueueRetry { message: Option<String> },
    QueueDrop { message: String, dry_run: bool },
    RouteShow { group: Option<String> },
    RouteWhy { destination: String, from: Option<String> },
    RoutePin { destination: String, egress: String, for_ms: Option<u64>, until_ms: Option<u64>, note: String },
    RouteUnpin { destination: String },
    ListsShow,
    EgressList,
    EgressCheck { name: String },
    EgressForce { name: String, why: Option<String> },
    Dossier { egress: String, group: Option<String>, asked: Option<String>, answered: Option<String> },
    Logins { account: Option<String>, failed: bool },
    TlsReport { day: Option<String>, domain: Option<String> },
    Import { account: String, from: PathBuf, folder: String },
    Backup { to: PathBuf },
    Restore { from: PathBuf, mailbox: String, folder: Option<String> },
    Verify,
    Doctor,
    Upgrade { binary: PathBuf },
    Status(StatusOrder),
    Monitor(MonitorOrder),
    Customer(CustomerOrder),
}

/// The answer, for people and for machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    pub text: String,
    pub json: Value,
}

impl Reply {
    fn new(text: impl Into<String>, json: Value) -> Reply {
        Reply { text: text.into(), json }
    }
    /// Done, and this is what to say.
    fn done(text: impl Into<String>) -> Reply {
        let text = text.into();
        Reply { json: serde_json::json!({ "done": text }), text }
    }
}

pub type Answer = Result<Reply, String>;

/// Whoever carries orders out: a running host, of whatever role.
pub type Carry = Arc<dyn Fn(Order, Tell) -> world::Later<'static, Answer> + Send + Sync>;

/// Orders to a mail host.
pub fn for_mail(site: Site, wishes: Option<Wishes>) -> Carry {
    Arc::new(move |order, tell| {
        let (site, wishes) = (site.clone(), wishes.clone());
        Box::pin(async move {
            match order {
                Order::Upgrade { binary } => upgrade(wishes, binary).await,
                order => carry_out_telling(&site, order, tell).await,
            }
        })
    })
}

/// Orders to a monitor.
pub fn for_monitor(monitor: role_monitor::Monitor) -> Carry {
    Arc::new(move |order, _| {
        let monitor = monitor.clone();
        Box::pin(async move {
            match order {
                Order::Monitor(order) => monitor::carry_out(&monitor, order).await,
                _ => {
                    Err("This is a monitor: it keeps no mail. Name the mail host with --config or --data."
                        .into())
                }
            }
        })
    })
}

async fn upgrade(wishes: Option<Wishes>, binary: PathBuf) -> Answer {
    const NOT_HERE: &str =
        "Only a host under `serve` hands over to another version; stop this one and start that.";
    let wishes = wishes.ok_or(NOT_HERE)?;
    let (answer, answered) = tokio::sync::oneshot::channel();
    wishes.try_send(Wish { binary, answer }).map_err(|_| "Another upgrade is under way.".to_owned())?;
    answered.await.unwrap_or_else(|_| Err("The host ended before it had an answer.".into()))
}

/// Orders to a status site.
pub fn for_status(board: role_status::Board) -> Carry {
    Arc::new(move |order, _| {
        let board = board.clone();
        Box::pin(async move {
            match order {
                Order::Status(order) => status::carry_out(&board, order).await,
                _ => Err("This is a status site: it knows nothing of mail. Name the mail host with --config or --data.".into()),
            }
        })
    })
}

pub async fn carry_out(site: &Site, order: Order) -> Answer {
    carry_out_telling(site, order, Tell::default()).await
}

/// As [`carry_out`], and says on the way how far a long work is.
pub async fn carry_out_telling(site: &Site, order: Order, tell: Tell) -> Answer {
    match order {
        Order::Why { .. } => mail::carry_out(site, order).await,
        Order::QueueList { .. }
        | Order::QueueShow { .. }
        | Order::QueueHold { .. }
        | Order::QueueRelease { .. }
        | Order::QueueRetry { .. }
        | Order::QueueDrop { .. } => queue::carry_out(site, order).await,
        Order::RouteShow { .. }
        | Order::RouteWhy { .. }
        | Order::RoutePin { .. }
        | Order::RouteUnpin { .. } => routes::carry_out(site, order).await,
        Order::Customer(order) => customers::carry_out(site, order).await,
        Order::ListsShow
        | Order::EgressList
        | Order::EgressCheck { .. }
        | Order::EgressForce { .. }
        | Order::Dossier { .. } => egresses::carry_out(site, order).await,
        Order::CheckDns { .. } | Order::CheckPtr { .. } => records::carry_out(site, order).await,
        Order::Logins { account, failed } => logins::list(site, account.as_deref(), failed).await,
        Order::TlsReport { day, domain } => tls::report(site, day.as_deref(), domain.as_deref()).await,
        Order::Import { .. } => import::carry_out(site, order).await,
        Order::Restore { .. } => restore::carry_out(site, order, tell).await,
        Order::Backup { .. } | Order::Verify | Order::Doctor => upkeep::carry_out(site, order, tell).await,
        Order::Monitor(_) => Err("This is a mail host. Name the monitor with --config or --data.".into()),
        Order::Status(_) => Err("This is a mail host. Name the status site with --config or --data.".into()),
        Order::Upgrade { .. } => Err("No host runs here: start the new version itself.".into()),
        order => people::carry_out(site, order).await,
    }
}

/// A password that can be read out on a phone: 18 letters and digits without look-alikes, 90 bits.
pub fn new_password(world: &World) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 18];
    world.random.fill(&mut bytes);
    let letters: Vec<char> = bytes.iter().map(|b| char::from(LETTERS[usize::from(b & 31)])).collect();
    let groups: Vec<String> = letters.chunks(6).map(|group| group.iter().collect()).collect();
    groups.join("-")
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|e| format!("\"{text}\" is no address: {e}."))
}

fn domain(text: &str) -> Result<Domain, String> {
    Domain::new(text).map_err(|e| format!("\"{text}\" is no domain: {e}."))
}

/// A keeper's refusal in a sentence; anything else with what happened.
fn says(error: StoreError) -> String {
    let mut text = error.to_string();
    if let Some(first) = text.get(..1) {
        text = first.to_uppercase() + &text[1..];
    }
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

/// Rows with their columns in line.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(text, width)| {
            let pad = width.saturating_sub(text.chars().count());
            format!("{text}{}", " ".repeat(pad))
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests;
