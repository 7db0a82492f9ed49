//! Mail on disk (mbox files, Maildir trees) into an account's folders.

use std::path::PathBuf;

use mailbox::{Flags, New, Pen, folder};
use migrate::{Found, ReadError};
use role_mail::Site;
use serde_json::json;
use store::{Sealed, StoreError};
use tokio::sync::mpsc;
use words::AccountId;

use super::{Answer, Order, Reply, says};

/// Messages in one commit, and octets.
const GROUP: usize = 200;
const GROUP_BYTES: usize = 16 << 20;
/// Messages read ahead of the store.
const AHEAD: usize = 64;
/// Failures shown.
const SHOWN: usize = 20;

#[derive(Default)]
struct Tally {
    taken: u64,
    bytes: u64,
    failed: Vec<String>,
}

pub(super) async fn carry_out(site: &Site, order: Order) -> Answer {
    let Order::Import { account, from, folder } = order else {
        return Err("This order is about something else.".into());
    };
    if !from.exists() {
        return Err(format!(
            "{} does not exist on this host: give the path of an mbox file or a Maildir.",
            from.display()
        ));
    }
    let login = account.clone();
    let known = site.store().read(move |c| directory::account_by_login(c, &login)).await.map_err(says)?;
    let known = known
        .ok_or_else(|| format!("There is no account {account}: `account list` shows those there are."))?;
    let tally = copy(site, known.id, from, &folder).await?;
    if tally.taken == 0 && tally.failed.is_empty() {
        return Err(
            "No message was found there. Is it an mbox file, a Maildir, or a folder of either?".into()
        );
    }
    let mut text = format!(
        "{} messages ({}) are in the mailbox of {account} now.\n",
        tally.taken,
        stdx::Bytes(tally.bytes)
    );
    for failure in tally.failed.iter().take(SHOWN) {
        text.push_str(&format!("not taken: {failure}\n"));
    }
    if tally.failed.len() > SHOWN {
        text.push_str(&format!("… and {} more that were not taken\n", tally.failed.len() - SHOWN));
    }
    Ok(Reply::new(text, json!({ "taken": tally.taken, "bytes": tally.bytes, "failed": tally.failed })))
}

/// Reads on a thread of its own, stores in groups of one folder.
async fn copy(site: &Site, account: AccountId, from: PathBuf, below: &str) -> Result<Tally, String> {
    let (put, mut got) = mpsc::channel::<Result<Found, ReadError>>(AHEAD);
    let reader = tokio::task::spawn_blocking(move || {
        // A receiver that is gone has failed; the reading then runs into nothing and ends.
        migrate::read(&from, &mut |found| drop(put.blocking_send(found)));
    });
    let mut tally = Tally::default();
    let mut group: Vec<Found> = Vec::new();
    let mut size = 0;
    while let Some(found) = got.recv().await {
        let found = match found {
            Ok(found) => found,
            Err(why) => {
                tally.failed.push(why.to_string());
                continue;
            }
        };
        let other = group.first().is_some_and(|first| first.folder != found.folder);
        if other || group.len() >= GROUP || size >= GROUP_BYTES {
            keep(site, (account, below), std::mem::take(&mut group), &mut tally).await;
            size = 0;
        }
        size += found.bytes.len();
        group.push(found);
    }
    keep(site, (account, below), group, &mut tally).await;
    reader.await.map_err(|e| format!("The reading broke off: {e}."))?;
    Ok(tally)
}

/// One commit. If the store refuses it, its messages are named, and the next group is tried.
async fn keep(site: &Site, (account, below): (AccountId, &str), group: Vec<Found>, tally: &mut Tally) {
    let Some(first) = group.first() else { return };
    let name = target(below, &first.folder);
    let (count, bytes) = (group.len() as u64, group.iter().map(|f| f.bytes.len() as u64).sum::<u64>());
    let places: Vec<String> = group.iter().map(|f| f.place.clone()).collect();
    match store_group(site, account, name, group).await {
        Ok(()) => {
            tally.taken += count;
            tally.bytes += bytes;
        }
        Err(why) => tally.failed.extend(places.iter().map(|p| format!("{p}: {why}"))),
    }
}

fn target(below: &str, folder: &str) -> String {
    match (below, folder) {
        ("", "") => "INBOX".to_owned(),
        ("", folder) => folder.to_owned(),
        (below, "") => below.to_owned(),
        (below, folder) => format!("{below}/{folder}"),
    }
}

async fn store_group(
    site: &Site,
    account: AccountId,
    name: String,
    group: Vec<Found>,
) -> Result<(), StoreError> {
    let now = site.now();
    let mut sealed: Vec<Sealed> = Vec::with_capacity(group.len());
    let mut facts = Vec::with_capacity(group.len());
    for found in group {
        let mut draft = site.store().draft();
        draft.write(&found.bytes).await?;
        sealed.push(draft.seal().await?);
        facts.push((found.bytes.len() as u64, flags(&found), found.received.unwrap_or(now)));
    }
    let pen = Pen::of_delivery(site.hub().clone(), now);
    site.store()
        .commit(sealed, move |batch| {
            let place = match folder::find(batch.sql(), account, &name)? {
                Some(place) => place,
                None => folder::create(batch, account, &name, "", now)?,
            };
            let items: Vec<New> = facts
                .iter()
                .enumerate()
                .map(|(n, (size, flags, at))| New {
                    flags: *flags,
                    ..New::arriving(batch.body(n), *size, *at)
                })
                .collect();
            mailbox::append(batch, &pen, &place, &items).map(drop)
        })
        .await
}

fn flags(found: &Found) -> Flags {
    let f = found.flags;
    [
        (f.seen, Flags::SEEN),
        (f.answered, Flags::ANSWERED),
        (f.flagged, Flags::FLAGGED),
        (f.deleted, Flags::DELETED),
        (f.draft, Flags::DRAFT),
    ]
    .into_iter()
    .filter(|(on, _)| *on)
    .fold(Flags::NONE, |all, (_, flag)| Flags(all.0 | flag.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_go_below_the_one_that_was_named() {
        assert_eq!(target("", ""), "INBOX");
        assert_eq!(target("", "Sent"), "Sent");
        assert_eq!(target("Old", ""), "Old");
        assert_eq!(target("Old", "A/b"), "Old/A/b");
    }
}
