//! Orders to a status site.

use std::path::PathBuf;

use role_status::Board;
use role_status::act::Fields;
use role_status::subscribe::Channel;
use serde::{Deserialize, Serialize};
use serde_json::json;
use watch::credits::{Rule, Service};

use super::{Answer, Reply, says, table};

/// Subscribers that one order shows.
const SUBSCRIBERS_SHOWN: usize = 10_000;

/// What is to be done. No `Debug`: some carry passwords.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusOrder {
    /// What the desk can do, by its own names.
    Act {
        what: String,
        fields: Fields,
        author: String,
    },
    Show,
    Drafts,
    Postmortem {
        incident: i64,
    },
    Import {
        from: PathBuf,
    },
    Export {
        to: PathBuf,
    },
    Subscribers,
    Enlist {
        address: String,
        components: String,
        kinds: String,
    },
    Unlist {
        address: String,
    },
    Prices {
        csv: String,
    },
    Credit {
        incident: i64,
        server: String,
        basis_points: Option<u32>,
    },
    TokenNew {
        name: String,
    },
    TokenList,
    TokenRemove {
        id: i64,
    },
    OperatorSet {
        name: String,
        password: String,
    },
    OperatorList,
    OperatorRemove {
        name: String,
    },
}

pub async fn carry_out(board: &Board, order: StatusOrder) -> Answer {
    match order {
        StatusOrder::Act { what, fields, author } => {
            board.act(&what, &fields, author).await.map(|said| Reply::done(said + ".")).map_err(says)
        }
        StatusOrder::Show => Ok(show(board)),
        StatusOrder::Drafts => drafts(board).await,
        StatusOrder::Postmortem { incident } => match board.postmortem_draft(incident) {
            Some(text) => Ok(Reply::new(text.clone(), json!({ "text": text }))),
            None => {
                Err(format!("There is no public incident {incident}; `postroad status show` lists them."))
            }
        },
        StatusOrder::Import { from } => import(board, from).await,
        StatusOrder::Export { to } => export(board, to).await,
        StatusOrder::Subscribers | StatusOrder::Enlist { .. } | StatusOrder::Unlist { .. } => {
            subscribers(board, order).await
        }
        StatusOrder::Prices { csv } => prices(board, &csv).await,
        StatusOrder::Credit { incident, server, basis_points } => {
            credit(board, incident, server, basis_points).await
        }
        order => people(board, order).await,
    }
}

fn show(board: &Board) -> Reply {
    let served = board.files().now();
    let s = &served.snapshot;
    let mut lines = vec![vec![s.verdict().word().to_owned(), s.site.url.clone()]];
    lines.extend(s.components.iter().map(|c| vec![c.state.word().to_owned(), c.name.clone(), c.id.clone()]));
    let mut text = table(&lines);
    for i in s.incidents.iter().filter(|i| i.stage.is_open()) {
        text.push_str(&format!("incident {}: {} ({})\n", i.id, i.title, i.stage.word()));
    }
    for m in s.maintenances.iter().filter(|m| m.phase != watch::maintenance::Phase::Completed) {
        let from = watch::zones::utc(stdx::Now(m.from));
        text.push_str(&format!("maintenance {}: {}, {from} ({})\n", m.id, m.title, m.phase.word()));
    }
    let json = json!({
        "verdict": s.verdict().key(), "url": s.site.url, "made": s.made,
        "components": s.components.iter().map(|c| json!({"id": c.id, "name": c.name, "state": c.state.key(), "since": c.since, "checked": c.checked})).collect::<Vec<_>>(),
        "incidents": s.incidents.iter().filter(|i| i.stage.is_open()).map(|i| json!({"id": i.id, "title": i.title, "stage": i.stage.key()})).collect::<Vec<_>>(),
        "posts": s.posts.len(),
    });
    Reply::new(text, json)
}

async fn drafts(board: &Board) -> Answer {
    let drafts = board.drafts().await.map_err(says)?;
    let served = board.files().now();
    let owed: Vec<_> = served
        .snapshot
        .incidents
        .iter()
        .filter(|i| i.postmortem_due.is_some() && !i.postmortem_done)
        .collect();
    let mut lines: Vec<Vec<String>> = drafts
        .iter()
        .map(|(id, title, began)| {
            vec![format!("draft {id}"), began.iso(), title.clone(), "any word on it publishes it".into()]
        })
        .collect();
    lines.extend(owed.iter().map(|i| {
        let due = stdx::Now(i.postmortem_due.unwrap_or_default());
        let late = if due < board.now() { "late since" } else { "due" };
        vec![format!("post-mortem of {}", i.id), format!("{late} {}", due.iso()), i.title.clone()]
    }));
    let text = if lines.is_empty() { "Nothing waits.\n".to_owned() } else { table(&lines) };
    let json = json!({
        "drafts": drafts.iter().map(|(id, title, began)| json!({"id": id, "title": title, "began": began.ms()})).collect::<Vec<_>>(),
        "postmortems": owed.iter().map(|i| json!({"incident": i.id, "title": i.title, "due": i.postmortem_due})).collect::<Vec<_>>(),
    });
    Ok(Reply::new(text, json))
}

async fn import(board: &Board, from: PathBuf) -> Answer {
    let size =
        std::fs::metadata(&from).map_err(|e| format!("{} cannot be read: {e}.", from.display()))?.len();
    if size > statuspage::wxr::EXPORT_BYTES_MAX as u64 {
        return Err(format!(
            "{} has {}: split the export by year in WordPress.",
            from.display(),
            stdx::Bytes(size)
        ));
    }
    let shown = from.display().to_string();
    let read = tokio::task::spawn_blocking(move || {
        let xml = std::fs::read_to_string(&from).map_err(|e| e.to_string())?;
        statuspage::wxr::read(&xml)
    });
    let imported = read
        .await
        .map_err(|e| format!("The import broke off: {e}."))?
        .map_err(|why| format!("{shown} cannot be imported: {why}."))?;
    let (notes, found, redirects) = (imported.notes.clone(), imported.posts.len(), imported.redirects.len());
    let new = board.import(imported).await.map_err(says)?;
    let mut text = format!(
        "{new} posts are new, {} were there already; {redirects} old addresses lead on.\n",
        found - new
    );
    for note in &notes {
        text.push_str(&format!("  {note}\n"));
    }
    Ok(Reply::new(text, json!({ "new": new, "known": found - new, "redirects": redirects, "notes": notes })))
}

async fn export(board: &Board, to: PathBuf) -> Answer {
    let shown = to.display().to_string();
    let count = board.export(to).await.map_err(|e| format!("The site cannot be written to {shown}: {e}."))?;
    Ok(Reply::new(
        format!("{shown} holds the whole site: {count} files.\n"),
        json!({ "files": count, "to": shown }),
    ))
}

async fn subscribers(board: &Board, order: StatusOrder) -> Answer {
    match order {
        StatusOrder::Enlist { address, components, kinds } => {
            let channel = if address.starts_with("http") { Channel::OwnHook } else { Channel::Mail };
            board.enlist(channel, &address, &components, &kinds).await.map_err(says)?;
            Ok(Reply::done(format!("{address} is told.")))
        }
        StatusOrder::Unlist { address } => match board.drop_subscriber(&address).await.map_err(says)? {
            true => Ok(Reply::done(format!("{address} hears nothing more."))),
            false => {
                Err(format!("{address} is no subscriber; `postroad status subscribers list` shows them."))
            }
        },
        _ => {
            let all = board.subscribers(SUBSCRIBERS_SHOWN).await.map_err(says)?;
            let or_all = |list: &str| if list.is_empty() { "everything".to_owned() } else { list.to_owned() };
            let lines: Vec<Vec<String>> = all
                .iter()
                .map(|s| {
                    let yes = if s.confirmed { "yes" } else { "not confirmed" };
                    vec![
                        s.channel.clone(),
                        s.address.clone(),
                        yes.into(),
                        or_all(&s.components),
                        or_all(&s.kinds),
                    ]
                })
                .collect();
            let text = if lines.is_empty() { "Nobody yet.\n".to_owned() } else { table(&lines) };
            Ok(Reply::new(text, json!(all)))
        }
    }
}

/// `client,server,currency,monthly` a line; a first line of these words is skipped.
async fn prices(board: &Board, csv: &str) -> Answer {
    let mut services = Vec::new();
    for (n, line) in csv.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if n == 0 && cells.first() == Some(&"client") {
            continue;
        }
        let wrong = || format!("Line {} is not client,server,currency,monthly: \"{line}\".", n + 1);
        let [client, server, currency, monthly] = cells[..] else { return Err(wrong()) };
        let monthly = cents(monthly).ok_or_else(wrong)?;
        services.push(Service {
            client: client.into(),
            server: server.into(),
            currency: currency.into(),
            monthly,
        });
    }
    let n = services.len();
    board.set_services(services).await.map_err(says)?;
    Ok(Reply::done(format!("{n} prices are kept.")))
}

/// `30`, `30.5` or `30.50` in the smallest unit.
fn cents(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 2 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part: u64 = format!("{part:0<2}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(part)
}

async fn credit(board: &Board, incident: i64, server: String, basis_points: Option<u32>) -> Answer {
    let rule = match basis_points {
        Some(basis_points) => Rule::Share { server: server.clone(), basis_points },
        None => Rule::ProRata { server: server.clone() },
    };
    let credits = board.credit(incident, server, rule).await.map_err(says)?;
    let csv = watch::credits::csv(&credits);
    let json = credits.iter().map(|c| json!({"client": c.client, "server": c.server, "currency": c.currency, "amount": c.amount, "incident": c.incident}));
    Ok(Reply::new(csv.replace("\r\n", "\n"), json!(json.collect::<Vec<_>>())))
}

async fn people(board: &Board, order: StatusOrder) -> Answer {
    match order {
        StatusOrder::TokenNew { name } => {
            let token = board.new_token(&name).await.map_err(says)?;
            Ok(Reply::new(
                format!("{token}\nIt is shown this once. Use it as: Authorization: Bearer {token}\n"),
                json!({ "token": token }),
            ))
        }
        StatusOrder::TokenList => {
            let all = board.tokens().await.map_err(says)?;
            let used = |t: &role_status::people::Token| {
                t.used.map_or("never used".to_owned(), |at| format!("used {}", at.iso()))
            };
            let lines: Vec<Vec<String>> = all
                .iter()
                .map(|t| vec![t.id.to_string(), t.name.clone(), format!("made {}", t.made.iso()), used(t)])
                .collect();
            let text = if lines.is_empty() { "There are none.\n".to_owned() } else { table(&lines) };
            let json = all.iter().map(|t| json!({"id": t.id, "name": t.name, "made": t.made.ms(), "used": t.used.map(stdx::Now::ms)}));
            Ok(Reply::new(text, json!(json.collect::<Vec<_>>())))
        }
        StatusOrder::TokenRemove { id } => match board.drop_token(id).await.map_err(says)? {
            true => Ok(Reply::done(format!("Token {id} is good for nothing now."))),
            false => Err(format!("There is no token {id}; `postroad status token list` shows them.")),
        },
        StatusOrder::OperatorSet { name, password } => {
            board.set_operator(&name, &password).await.map_err(says)?;
            Ok(Reply::done(format!("{name} can log in at the desk.")))
        }
        StatusOrder::OperatorRemove { name } => match board.drop_operator(&name).await.map_err(says)? {
            true => Ok(Reply::done(format!("{name} cannot log in any more."))),
            false => Err(format!("There is no operator {name}; `postroad status operator list` shows them.")),
        },
        _ => {
            let all = board.operators().await.map_err(says)?;
            let text = if all.is_empty() { "There are none.\n".to_owned() } else { all.join("\n") };
            Ok(Reply::new(text, json!(all)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_in_their_smallest_unit() {
        assert_eq!([cents("30"), cents("30.5"), cents("0.05")], [Some(3000), Some(3050), Some(5)]);
        assert_eq!([cents("30.555"), cents("x"), cents("-1")], [None, None, None]);
    }
}
