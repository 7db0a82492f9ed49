//! Each verb: an order, or something the command line does by itself.

mod customer;
mod local;
mod monitor;
mod status;

use std::io::{BufRead, Read};
use std::path::Path;

use crate::cli::customer::CustomerVerb;
use crate::cli::{
    AccountVerb, AliasVerb, CheckVerb, Cli, DomainVerb, EgressVerb, LinkVerb, ListsVerb, PasswordArgs,
    QueueVerb, RouteVerb, Switch, TlsVerb, Verb,
};
use crate::orders::{self, Order, Reply};
use crate::{control, house, place, say, serve, status_site, up};

pub fn run(cli: Cli) -> Result<(), String> {
    let Cli { place, json, verb } = cli;
    let verb = match verb {
        Verb::Up { port_base } => return up::run(place.data, port_base, json),
        Verb::Serve => return serve::run(place.config.as_deref(), place.data.as_deref()),
        Verb::Config(verb) => return local::config(&place, verb),
        Verb::Completions { shell } => return local::completions(shell),
        Verb::Man { to } => return local::man(&to),
        Verb::Check(CheckVerb::Replies) => return local::check_replies(),
        Verb::Restore { from, mailbox: None, .. } => return local::restore(&place, &from),
        Verb::Verify { backup: Some(backup) } => return local::verify(&backup, json),
        Verb::Rebuild => return local::rebuild(&place),
        Verb::Customer(CustomerVerb::Pin) | Verb::Egress(EgressVerb::Pin) => return local::pin(&place, json),
        Verb::Link(LinkVerb::Key) => return local::link_key(&place),
        Verb::Monitor(verb) => return monitor::run(&place, verb, json),
        Verb::Status(verb) => {
            let reply = status_site::order(&place, Order::Status(status::order(verb)?))?;
            tell(&reply, json);
            return Ok(());
        }
        other => other,
    };
    let order = order(verb)?;
    let place = place::find(&place)?;
    let mut pace = local::Pace::default();
    let reply =
        match control::ask(&place.data, &order, &mut |doing, done, total| pace.tell(doing, done, total)) {
            Some(answer) => answer?,
            None => house::alone(&place, order)?,
        };
    tell(&reply, json);
    Ok(())
}

/// The order that a verb is, for a host that runs.
pub fn order(verb: Verb) -> Result<Order, String> {
    Ok(match verb {
        Verb::Check(CheckVerb::Dns { domain }) => Order::CheckDns { domain },
        Verb::Check(CheckVerb::Ptr { ip }) => Order::CheckPtr { ip },
        Verb::Domain(verb) => domain(verb),
        Verb::Account(verb) => account(verb)?,
        Verb::Alias(verb) => alias(verb),
        Verb::Why { id } => Order::Why { id },
        Verb::Queue(verb) => queue(verb),
        Verb::Route(verb) => route(verb),
        Verb::Customer(verb) => customer::order(verb)?,
        Verb::Lists(ListsVerb::Show) => Order::ListsShow,
        Verb::Egress(verb) => egress(verb)?,
        Verb::Dossier { egress, group, asked, answered } => Order::Dossier { egress, group, asked, answered },
        Verb::Logins { account, failed } => Order::Logins { account, failed },
        Verb::Tls(TlsVerb::Report { day, domain }) => Order::TlsReport { day, domain },
        Verb::Import { account, from, folder } => Order::Import { account, from: absolute(&from)?, folder },
        Verb::Backup { to } => Order::Backup { to: absolute(&to)? },
        Verb::Restore { from, mailbox: Some(mailbox), folder } => {
            Order::Restore { from: absolute(&from)?, mailbox, folder }
        }
        Verb::Verify { backup: None } => Order::Verify,
        Verb::Upgrade { binary } => Order::Upgrade { binary: absolute(&binary)? },
        Verb::Doctor => Order::Doctor,
        _ => return Err("This verb is no order for a running host.".into()),
    })
}

fn tell(reply: &Reply, json: bool) {
    if json {
        say::line(&reply.json);
    } else {
        say::line(reply.text.trim_end());
    }
}

fn domain(verb: DomainVerb) -> Order {
    match verb {
        DomainVerb::Add { domain } => Order::DomainAdd { domain },
        DomainVerb::Remove { domain } => Order::DomainRemove { domain },
        DomainVerb::List => Order::DomainList,
        DomainVerb::Show { domain } => Order::DomainShow { domain },
        DomainVerb::Alias { domain, of } => Order::DomainAlias { domain, of },
        DomainVerb::CatchAll { domain, to } => Order::DomainCatchAll { domain, to },
        DomainVerb::Key { domain } => Order::DomainKey { domain },
        DomainVerb::Plus { domain, on } => Order::DomainPlus { domain, on: matches!(on, Switch::On) },
    }
}

fn queue(verb: QueueVerb) -> Order {
    match verb {
        QueueVerb::List { about, limit } => Order::QueueList { about, limit },
        QueueVerb::Show { message } => Order::QueueShow { message },
        QueueVerb::Hold { message, why } => Order::QueueHold { message, why },
        QueueVerb::Release { message } => Order::QueueRelease { message },
        QueueVerb::Retry { message } => Order::QueueRetry { message },
        QueueVerb::Drop { message, dry_run } => Order::QueueDrop { message, dry_run },
    }
}

fn route(verb: RouteVerb) -> Order {
    match verb {
        RouteVerb::Show { group } => Order::RouteShow { group },
        RouteVerb::Why { destination, from } => Order::RouteWhy { destination, from },
        RouteVerb::Pin { destination, egress, for_time, until, note } => {
            let (for_ms, until_ms) = (for_time.map(|t| t.as_ms()), until.map(stdx::Now::ms));
            Order::RoutePin { destination, egress, for_ms, until_ms, note }
        }
        RouteVerb::Unpin { destination } => Order::RouteUnpin { destination },
    }
}

fn egress(verb: EgressVerb) -> Result<Order, String> {
    Ok(match verb {
        EgressVerb::Pin => return Err("This is about the host's own key.".into()),
        EgressVerb::List => Order::EgressList,
        EgressVerb::Check { name } => Order::EgressCheck { name },
        EgressVerb::Force { name, why } => Order::EgressForce { name, why: Some(why) },
        EgressVerb::Unforce { name } => Order::EgressForce { name, why: None },
    })
}

/// The running host has another working folder than we.
fn absolute(path: &Path) -> Result<std::path::PathBuf, String> {
    std::path::absolute(path).map_err(|e| format!("{}: {e}.", path.display()))
}

fn account(verb: AccountVerb) -> Result<Order, String> {
    Ok(match verb {
        AccountVerb::Add { address, name, quota, password } => {
            let password = read_password(&password)?;
            Order::AccountAdd { address, name, quota: quota.map(|q| q.get()), password }
        }
        AccountVerb::Remove { address, dry_run } => Order::AccountRemove { address, dry_run },
        AccountVerb::List => Order::AccountList,
        AccountVerb::Show { address } => Order::AccountShow { address },
        AccountVerb::Password { address, password } => {
            Order::AccountPassword { address, password: read_password(&password)? }
        }
        AccountVerb::Quota { address, quota } => {
            Order::AccountQuota { address, quota: quota.map(|q| q.get()) }
        }
        AccountVerb::Lock { address } => Order::AccountLock { address, locked: true },
        AccountVerb::Unlock { address } => Order::AccountLock { address, locked: false },
        AccountVerb::AddAddress { account, address } => Order::AddressAdd { account, address },
        AccountVerb::RemoveAddress { address } => Order::AddressRemove { address },
        AccountVerb::AllowSendAs { account, pattern } => Order::SendAs { account, pattern, allow: true },
        AccountVerb::ForbidSendAs { account, pattern } => Order::SendAs { account, pattern, allow: false },
    })
}

fn alias(verb: AliasVerb) -> Order {
    match verb {
        AliasVerb::Add { from, to } => Order::AliasAdd { from, to },
        AliasVerb::Remove { from, to } => Order::AliasRemove { from, to },
        AliasVerb::List => Order::AliasList,
    }
}

/// From the file named, from standard input, or made up and told on standard error.
fn read_password(args: &PasswordArgs) -> Result<String, String> {
    let first_line = |reader: &mut dyn Read, from: &str| {
        let mut line = String::new();
        std::io::BufReader::new(reader.take(4096))
            .read_line(&mut line)
            .map_err(|e| format!("The password cannot be read from {from}: {e}."))?;
        let password = line.trim_end_matches(['\r', '\n']).to_owned();
        if password.is_empty() {
            Err(format!("There is no password in {from}: its first line is empty."))
        } else {
            Ok(password)
        }
    };
    match &args.password_file {
        Some(file) if file == Path::new("-") => first_line(&mut std::io::stdin(), "standard input"),
        Some(file) => {
            let mut open = std::fs::File::open(file)
                .map_err(|e| format!("The password file {} cannot be read: {e}.", file.display()))?;
            first_line(&mut open, &file.display().to_string())
        }
        None => {
            let password = orders::new_password(&host::world(host::Settings::default()));
            say::aside(format_args!("password: {password}"));
            Ok(password)
        }
    }
}
