//! Orders about domains, accounts and aliases.

use directory::{NewAccount, State};
use role_mail::{Site, login};
use serde_json::json;
use stdx::{Bytes, Secret};
use store::StoreError;
use store::rusqlite::Connection;
use words::AccountId;

use super::{Answer, Order, Reply, address, domain, keys, records, says, table};

/// Accounts listed at once.
const PAGE: usize = 1000;

pub(super) async fn carry_out(site: &Site, order: Order) -> Answer {
    match order {
        Order::DomainAdd { domain: name } => domain_add(site, &name).await,
        Order::DomainRemove { domain: name } => {
            let found = domain(&name)?;
            commit(site, move |b| directory::remove_domain(b, &found)).await?;
            Ok(Reply::done(format!("Mail for {name} is taken no longer.")))
        }
        Order::DomainList => domain_list(site).await,
        Order::DomainShow { domain: name } => records::domain_show(site, &name).await,
        Order::DomainKey { domain: name } => keys::step(site, &name).await,
        Order::DomainAlias { domain: name, of } => {
            let (alias, home, now) = (domain(&name)?, domain(&of)?, site.now());
            commit(site, move |b| directory::alias_domain(b, &alias, &home, now)).await?;
            Ok(Reply::done(format!("Mail for {name} is mail for {of} now.")))
        }
        Order::DomainCatchAll { domain: name, to } => {
            let (found, target) = (domain(&name)?, to.as_deref().map(address).transpose()?);
            commit(site, move |b| directory::set_catch_all(b, &found, target.as_ref())).await?;
            Ok(Reply::done(match to {
                Some(to) => format!("Mail for addresses of {name} that do not exist goes to {to} now."),
                None => format!("Mail for addresses of {name} that do not exist is refused now."),
            }))
        }
        Order::DomainPlus { domain: name, on } => {
            let found = domain(&name)?;
            commit(site, move |b| directory::set_plus(b, &found, on)).await?;
            let not = if on { "" } else { "not " };
            Ok(Reply::done(format!("In {name}, anna+news@ is {not}anna@ now.")))
        }
        Order::AliasAdd { from, to } => {
            let (source, target) = (address(&from)?, address(&to)?);
            commit(site, move |b| directory::add_alias(b, &source, &target)).await?;
            Ok(Reply::done(format!("Mail for {from} goes to {to} now.")))
        }
        Order::AliasRemove { from, to } => {
            let (source, target) = (address(&from)?, to.as_deref().map(address).transpose()?);
            commit(site, move |b| directory::remove_alias(b, &source, target.as_ref())).await?;
            Ok(Reply::done(match to {
                Some(to) => format!("Mail for {from} goes to {to} no longer."),
                None => format!("{from} is handed on to nobody now."),
            }))
        }
        Order::AliasList => alias_list(site).await,
        order => account(site, order).await,
    }
}

async fn account(site: &Site, order: Order) -> Answer {
    match order {
        Order::AccountAdd { address, name, quota, password } => {
            account_add(site, &address, name, (quota, password)).await
        }
        Order::AccountRemove { address, dry_run } => account_remove(site, &address, dry_run).await,
        Order::AccountList => account_list(site).await,
        Order::AccountShow { address } => account_show(site, &address).await,
        Order::AccountPassword { address, password } => {
            let (id, login) = find(site, &address).await?;
            login::set_password(site, id, Secret::new(password)).await.map_err(says)?;
            Ok(Reply::done(format!("{login} has a new password.")))
        }
        Order::AccountQuota { address, quota } => {
            let (id, login) = find(site, &address).await?;
            let quota = quota.map(Bytes);
            commit(site, move |b| directory::set_quota(b, id, quota)).await?;
            let words = quota.map_or("as much as there is room for".to_owned(), |q| format!("at most {q}"));
            Ok(Reply::done(format!("{login} may keep {words}.")))
        }
        Order::AccountLock { address, locked } => {
            let (id, login) = find(site, &address).await?;
            let state = if locked { State::Locked } else { State::Open };
            commit(site, move |b| directory::set_state(b, id, state)).await?;
            let words = if locked { "cannot log in; its mail is still taken" } else { "can log in" };
            Ok(Reply::done(format!("{login} {words}.")))
        }
        Order::AddressAdd { account, address: new } => {
            let ((id, login), wanted) = (find(site, &account).await?, address(&new)?);
            commit(site, move |b| directory::add_address(b, id, &wanted)).await?;
            Ok(Reply::done(format!("Mail for {new} comes to {login} now.")))
        }
        Order::AddressRemove { address: old } => {
            let gone = address(&old)?;
            commit(site, move |b| directory::remove_address(b, &gone)).await?;
            Ok(Reply::done(format!("{old} is no address of ours now.")))
        }
        Order::SendAs { account, pattern, allow } => {
            let (id, login) = find(site, &account).await?;
            let wanted = pattern.clone();
            if allow {
                commit(site, move |b| directory::allow_send_as(b, id, &wanted)).await?;
            } else {
                commit(site, move |b| directory::forbid_send_as(b, id, &wanted)).await?;
            }
            let may = if allow { "may" } else { "may not" };
            Ok(Reply::done(format!("{login} {may} send as {pattern} now.")))
        }
        _ => Err("This order is about something else.".into()),
    }
}

async fn commit<F>(site: &Site, change: F) -> Result<(), String>
where
    F: FnOnce(&mut store::Batch<'_>) -> Result<(), StoreError> + Send + 'static,
{
    site.store().commit(Vec::new(), change).await.map_err(says)
}

async fn read<T, F>(site: &Site, look: F) -> Result<T, String>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
{
    site.store().read(look).await.map_err(says)
}

/// The account that an address or login names.
async fn find(site: &Site, text: &str) -> Result<(AccountId, String), String> {
    let wanted = text.to_owned();
    let found = read(site, move |conn| directory::account_by_login(conn, &wanted)).await?;
    found
        .map(|a| (a.id, a.login))
        .ok_or_else(|| format!("There is no account {text}. `postroad account list` names those there are."))
}

async fn domain_add(site: &Site, name: &str) -> Answer {
    let (found, now) = (domain(name)?, site.now());
    commit(site, move |b| directory::add_domain(b, &found, now)).await?;
    Ok(Reply::done(format!(
        "Mail for {name} is taken now. `postroad domain show {name}` lists the DNS records it should have."
    )))
}

async fn domain_list(site: &Site) -> Answer {
    let domains = read(site, directory::domains).await?;
    let rows: Vec<Vec<String>> = domains
        .iter()
        .map(|d| {
            let alias = d.alias_of.as_ref().map(|of| format!("is {of}"));
            let rest = d.catch_all.as_ref().map(|to| format!("all others to {to}"));
            vec![d.name.to_string(), alias.or(rest).unwrap_or_default()]
        })
        .collect();
    let json = domains.iter().map(|d| {
        json!({
            "domain": d.name.as_str(),
            "alias_of": d.alias_of.as_ref().map(|of| of.as_str()),
            "catch_all": d.catch_all.as_ref().map(|to| to.to_string()),
            "plus": d.plus,
        })
    });
    Ok(Reply::new(table(&rows), json.collect()))
}

async fn account_add(
    site: &Site,
    text: &str,
    name: String,
    (quota, password): (Option<u64>, String),
) -> Answer {
    let (wanted, now) = (address(text)?, site.now());
    let quota = quota.map(Bytes);
    let random = site.world().random.clone();
    let secret = Secret::new(password);
    let hashes = tokio::task::spawn_blocking(move || login::hashes(random.as_ref(), &secret))
        .await
        .map_err(|e| format!("The password could not be hashed: {e}."))?;
    // One commit: an account without its password or its folders never exists.
    let made = site.store().commit(Vec::new(), move |b| {
        let id = directory::add_account(b, &NewAccount { address: &wanted, name: &name, quota }, now)?;
        directory::set_password(b, id, &hashes, now)?;
        mailbox::folder::ensure(b, id, now)?;
        Ok(id)
    });
    let id = made.await.map_err(says)?;
    Ok(Reply::new(format!("{text} can log in now."), json!({ "address": text, "id": id.0 })))
}

async fn account_remove(site: &Site, text: &str, dry_run: bool) -> Answer {
    let (id, login) = find(site, text).await?;
    let (messages, bytes) = read(site, move |conn| mailbox::folder::usage(conn, id)).await?;
    let size = Bytes(bytes);
    if dry_run {
        return Ok(Reply::new(
            format!("{login} and its {messages} messages ({size}) would be gone for good."),
            json!({ "address": login, "messages": messages, "bytes": bytes, "removed": false }),
        ));
    }
    let pen =
        mailbox::Pen { hub: site.hub().clone(), session: 0, now: site.now(), quota: Default::default() };
    commit(site, move |b| {
        mailbox::folder::remove_account(b, &pen, id)?;
        directory::remove_account(b, id)
    })
    .await?;
    Ok(Reply::new(
        format!("{login} and its {messages} messages ({size}) are gone."),
        json!({ "address": login, "messages": messages, "bytes": bytes, "removed": true }),
    ))
}

async fn account_list(site: &Site) -> Answer {
    let listed = read(site, |conn| {
        let (mut all, mut after) = (Vec::new(), AccountId(0));
        loop {
            let page = directory::accounts(conn, after, PAGE)?;
            let Some(last) = page.last() else { return Ok(all) };
            after = last.id;
            for account in page {
                let usage = mailbox::folder::usage(conn, account.id)?;
                all.push((account, usage));
            }
        }
    })
    .await?;
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|(a, (messages, bytes))| {
            let quota = a.quota.map(|q| format!(" of {q}")).unwrap_or_default();
            let state = if a.state == State::Open { String::new() } else { a.state.as_str().to_owned() };
            vec![
                a.login.clone(),
                a.name.clone(),
                format!("{messages} messages"),
                format!("{}{quota}", Bytes(*bytes)),
                state,
            ]
        })
        .collect();
    let json = listed.iter().map(|(a, (messages, bytes))| {
        json!({
            "address": a.login, "name": a.name, "messages": messages, "bytes": bytes,
            "quota": a.quota.map(|q| q.get()), "state": a.state.as_str(),
        })
    });
    Ok(Reply::new(table(&rows), json.collect()))
}

async fn account_show(site: &Site, text: &str) -> Answer {
    let (id, login) = find(site, text).await?;
    let (account, addresses, send_as, usage, folders) = read(site, move |conn| {
        Ok((
            directory::account(conn, id)?,
            directory::addresses_of(conn, id)?,
            directory::send_as_of(conn, id)?,
            mailbox::folder::usage(conn, id)?,
            mailbox::folder::list(conn, id)?.len(),
        ))
    })
    .await?;
    let account = account.ok_or_else(|| format!("{login} is gone."))?;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let quota = account.quota.map_or("no bound".to_owned(), |q| q.to_string());
    let mut rows = vec![
        vec!["login".into(), login.clone()],
        vec!["name".into(), account.name.clone()],
        vec!["state".into(), account.state.as_str().into()],
        vec!["addresses".into(), addresses.join(", ")],
        vec!["mail".into(), format!("{} messages, {} in {folders} folders", usage.0, Bytes(usage.1))],
        vec!["quota".into(), quota],
        vec!["since".into(), account.created.iso()],
    ];
    if !send_as.is_empty() {
        rows.push(vec!["sends as".into(), send_as.join(", ")]);
    }
    let json = json!({
        "address": login, "name": account.name, "state": account.state.as_str(), "addresses": addresses,
        "messages": usage.0, "bytes": usage.1, "quota": account.quota.map(|q| q.get()), "send_as": send_as,
        "created": account.created.iso(),
    });
    Ok(Reply::new(table(&rows), json))
}

async fn alias_list(site: &Site) -> Answer {
    let aliases = read(site, |conn| {
        let mut all: Vec<directory::Alias> = Vec::new();
        loop {
            let last = all.last().map(|a| (a.key.clone(), a.target.to_string())).unwrap_or_default();
            let page = directory::aliases(conn, (&last.0, &last.1), PAGE)?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    })
    .await?;
    let rows: Vec<Vec<String>> =
        aliases.iter().map(|a| vec![a.key.clone(), "→".into(), a.target.to_string()]).collect();
    let json = aliases.iter().map(|a| json!({ "from": a.key, "to": a.target.to_string() }));
    Ok(Reply::new(table(&rows), json.collect()))
}
