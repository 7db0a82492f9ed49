//! Orders about mail on its way to others.

use role_mail::{Site, send};
use serde_json::{Value, json};
use spool::{Entry, Listed, SpoolId, State};
use stdx::{Bytes, Now};
use words::MessageId;

use super::{Answer, Order, Reply, says, table};

/// Entries that one order looks at, at most.
const LIST_MAX: usize = 10_000;

pub(super) async fn carry_out(site: &Site, order: Order) -> Answer {
    match order {
        Order::QueueList { about, limit } => list(site, about, limit.min(LIST_MAX)).await,
        Order::QueueShow { message } => show(site, &message).await,
        Order::QueueHold { message, why } => hold(site, &message, why).await,
        Order::QueueRelease { message } => release(site, &message).await,
        Order::QueueRetry { message } => retry(site, message.as_deref()).await,
        Order::QueueDrop { message, dry_run } => drop_it(site, &message, dry_run).await,
        _ => Err("This order is about something else.".into()),
    }
}

fn id(text: &str) -> Result<MessageId, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("\"{text}\" is no message id; `postroad queue list` shows them (m=…)."))
}

async fn find(site: &Site, text: &str) -> Result<Vec<Listed>, String> {
    let wanted = id(text)?;
    let found = site.store().read(move |conn| spool::show(conn, wanted)).await.map_err(says)?;
    if found.is_empty() {
        return Err(format!("{text} is not in the queue. `postroad why {text}` tells how it ended."));
    }
    Ok(found)
}

/// What changed in the store is the sender's to take up.
fn ring(site: &Site) {
    site.feed().ring();
}

async fn list(site: &Site, about: Option<String>, limit: usize) -> Answer {
    let now = site.now();
    let (entries, counts) = site
        .store()
        .read(move |conn| {
            Ok((spool::list(conn, SpoolId(i64::MIN), about.as_deref(), limit)?, spool::counts(conn)?))
        })
        .await
        .map_err(says)?;
    let rows: Vec<Vec<String>> = entries.iter().map(|l| line(l, now)).collect();
    let closing = format!(
        "{} in the queue: {} under way, {} later, {} held.\n",
        counts.entries, counts.sending, counts.later, counts.held
    );
    let json = json!({
        "entries": entries.iter().map(|l| entry_json(&l.entry)).collect::<Vec<_>>(),
        "counts": { "all": counts.entries, "sending": counts.sending, "later": counts.later, "held": counts.held },
    });
    Ok(Reply::new(table(&rows) + &closing, json))
}

fn line(listed: &Listed, now: Now) -> Vec<String> {
    let entry = &listed.entry;
    let next = match listed.due {
        _ if listed.sending => "under way".to_owned(),
        Some(due) if due <= now => "due".to_owned(),
        Some(due) => format!("in {}", due.since(now).in_words()),
        None => "held".to_owned(),
    };
    let to: Vec<String> = entry.rcpts.iter().take(3).map(|r| r.address.to_string()).collect();
    let more =
        if entry.rcpts.len() > 3 { format!(" and {} more", entry.rcpts.len() - 3) } else { String::new() };
    vec![
        entry.message.tagged(),
        now.since(entry.at).in_words(),
        next,
        Bytes(entry.size).to_string(),
        sender(entry),
        format!("→ {}{more}", to.join(", ")),
    ]
}

fn sender(entry: &Entry) -> String {
    entry.sender.as_ref().map_or("<>".to_owned(), ToString::to_string)
}

fn state(state: &State) -> String {
    match state {
        State::Waiting => "waiting".into(),
        State::Sending => "under way".into(),
        State::Later => "later".into(),
        State::Held(why) => format!("held: {why}"),
    }
}

fn entry_json(entry: &Entry) -> Value {
    let rcpts = entry.rcpts.iter().map(|r| {
        json!({
            "address": r.address.to_string(), "state": state(&r.state), "due": r.due.iso(), "rounds": r.rounds,
            "last": r.last.as_ref().map(|l| json!({
                "at": l.at.iso(), "egress": l.egress, "host": l.host, "reply": l.reply,
            })),
        })
    });
    json!({
        "message": entry.message.to_string(), "at": entry.at.iso(), "size": entry.size, "sender": sender(entry),
        "header": entry.header, "recipients": rcpts.collect::<Vec<_>>(),
    })
}

async fn show(site: &Site, text: &str) -> Answer {
    let found = find(site, text).await?;
    let mut out = String::new();
    for Listed { entry, .. } in &found {
        out.push_str(&format!(
            "{}  {}  from {}  since {}\n",
            entry.message.tagged(),
            Bytes(entry.size),
            sender(entry),
            entry.at.iso()
        ));
        for r in &entry.rcpts {
            out.push_str(&format!("  {}  {}", r.address, state(&r.state)));
            if r.state == State::Later {
                out.push_str(&format!(" at {}", r.due.iso()));
            }
            out.push_str(&format!(", {} rounds\n", r.rounds));
            if let Some(last) = &r.last {
                let host = last.host.as_deref().unwrap_or("nobody");
                out.push_str(&format!(
                    "    {} by {}, {host} said: {}\n",
                    last.at.iso(),
                    last.egress,
                    last.reply
                ));
            }
        }
    }
    let json = found.iter().map(|l| entry_json(&l.entry)).collect();
    Ok(Reply::new(out, json))
}

async fn hold(site: &Site, text: &str, why: String) -> Answer {
    let ids: Vec<SpoolId> = find(site, text).await?.iter().map(|l| l.entry.id).collect();
    let now = site
        .store()
        .commit(Vec::new(), move |batch| {
            let mut at_once = true;
            for id in &ids {
                at_once &= spool::hold(batch, *id, &why)?;
            }
            Ok(at_once)
        })
        .await
        .map_err(says)?;
    ring(site);
    Ok(Reply::done(if now {
        format!("{text} is held until `postroad queue release {text}`.")
    } else {
        format!("{text} is under way; what is left of it is held when the try has ended.")
    }))
}

async fn release(site: &Site, text: &str) -> Answer {
    let (ids, now): (Vec<SpoolId>, _) =
        (find(site, text).await?.iter().map(|l| l.entry.id).collect(), site.now());
    let released = site
        .store()
        .commit(Vec::new(), move |batch| {
            let mut n = 0;
            for id in &ids {
                n += spool::release(batch, *id, now)?;
            }
            Ok(n)
        })
        .await
        .map_err(says)?;
    ring(site);
    Ok(Reply::done(match released {
        0 => format!("Nothing of {text} was held."),
        n => format!("{text} goes on, to {n} recipients."),
    }))
}

async fn retry(site: &Site, text: Option<&str>) -> Answer {
    let ids: Vec<SpoolId> = match text {
        Some(text) => find(site, text).await?.iter().map(|l| l.entry.id).collect(),
        None => {
            let all =
                |conn: &store::rusqlite::Connection| spool::list(conn, SpoolId(i64::MIN), None, LIST_MAX);
            site.store().read(all).await.map_err(says)?.iter().map(|l| l.entry.id).collect()
        }
    };
    let now = site.now();
    let tried = site
        .store()
        .commit(Vec::new(), move |batch| {
            let mut n = 0;
            for id in &ids {
                n += usize::from(spool::retry(batch, *id, now)?);
            }
            Ok(n)
        })
        .await
        .map_err(says)?;
    ring(site);
    Ok(Reply::done(match tried {
        0 => "Nothing was waiting: it is under way already, or held.".to_owned(),
        1 => "One message is tried now.".to_owned(),
        n => format!("{n} messages are tried now."),
    }))
}

async fn drop_it(site: &Site, text: &str, dry_run: bool) -> Answer {
    let found = find(site, text).await?;
    if dry_run {
        let recipients: usize = found.iter().map(|l| l.entry.rcpts.len()).sum();
        return Ok(Reply::done(format!(
            "{text} would end for {recipients} recipients, and nobody would hear of it."
        )));
    }
    let (ids, now): (Vec<SpoolId>, _) = (found.iter().map(|l| l.entry.id).collect(), site.now());
    let dropped = site
        .store()
        .commit(Vec::new(), move |batch| {
            let mut at_once = true;
            for id in &ids {
                match spool::drop_all(batch, *id)? {
                    Some(entry) => {
                        ledger::note(batch, &send::ends::dropped(&entry, now))?;
                    }
                    None => at_once = false,
                }
            }
            Ok(at_once)
        })
        .await
        .map_err(says)?;
    ring(site);
    Ok(Reply::done(if dropped {
        format!("{text} has ended, and nobody hears of it.")
    } else {
        format!("{text} is under way; what is left of it ends with this try.")
    }))
}
