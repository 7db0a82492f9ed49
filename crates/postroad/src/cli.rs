//! The command line as a value.

pub mod customer;
pub mod monitor;
pub mod status;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A mail host in one binary.
#[derive(Debug, Parser)]
#[command(name = "postroad", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Answer as JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Which host is meant.
#[derive(Clone, Debug, Default, Args)]
pub struct PlaceArgs {
    /// The host's configuration file [default: /etc/postroad/postroad.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The host's data folder, in place of the one the configuration names
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start a whole farm on this machine: no root, no DNS, no configuration
    Up {
        /// Ports are this number plus the last digits of the usual ones (2500: smtp 2525, imap 2643)
        #[arg(long, value_name = "N", default_value_t = 2500)]
        port_base: u16,
    },
    /// Run the host that the configuration describes
    Serve,
    /// Play a scene: a host, its neighbours, traffic and faults from one file; then the verdict
    ///
    /// Exit codes: 0 all checks passed, 1 some failed, 2 the scene could not be played.
    Drill(Drill),
    /// The host of a scene, started by `drill`
    #[command(hide = true)]
    DrillHost(DrillHost),
    /// Check, show or explain the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Domains this host takes mail for
    #[command(subcommand)]
    Domain(DomainVerb),
    /// Accounts: a mailbox, its addresses and passwords
    #[command(subcommand)]
    Account(AccountVerb),
    /// Addresses that are handed on to others
    #[command(subcommand)]
    Alias(AliasVerb),
    /// Explain a message, session, attempt or address
    Why {
        /// m=…, s=… or a=… as replies and logs print them, a Message-ID in <>, or an address
        id: String,
    },
    /// Ask a monitor what it sees, answer its alerts
    #[command(subcommand)]
    Monitor(monitor::MonitorVerb),
    /// Look at the world as mail sees it
    #[command(subcommand)]
    Check(CheckVerb),
    /// Look for what is wrong with this host, and say what to do
    Doctor,
    /// Mail on its way to others
    #[command(subcommand)]
    Queue(QueueVerb),
    /// Ways out, and what was learned about them
    #[command(subcommand)]
    Route(RouteVerb),
    /// Who may hand mail to this relay, what he may send, and what he owes
    #[command(subcommand)]
    Customer(customer::CustomerVerb),
    /// Block lists that are asked about our ways out
    #[command(subcommand)]
    Lists(ListsVerb),
    /// Ways out as such: whether they may carry mail
    #[command(subcommand)]
    Egress(EgressVerb),
    /// What has been said against a way out, with proofs and the place to write to
    Dossier {
        egress: String,
        /// Only one group of destinations
        group: Option<String>,
        /// Note that they were asked (a ticket's number, whom)
        #[arg(long, value_name = "NOTE", requires = "group")]
        asked: Option<String>,
        /// Note what they answered
        #[arg(long, value_name = "NOTE", requires = "group", conflicts_with = "asked")]
        answered: Option<String>,
    },
    /// How people log in, and why they cannot: port, TLS, mechanism, name, program, cause
    Logins {
        /// Only this account
        #[arg(long)]
        account: Option<String>,
        /// Only log-ins that failed
        #[arg(long)]
        failed: bool,
    },
    /// How TLS with other hosts went
    #[command(subcommand)]
    Tls(TlsVerb),
    /// Take mail over from disk: an mbox file, a Maildir, or a folder of either
    Import {
        account: String,
        /// A path on the machine of the running host
        from: PathBuf,
        /// Put everything below this folder [default: the inbox and folders beside it]
        #[arg(long, default_value = "")]
        folder: String,
    },
    /// The status site: say what happens, when and for whom
    #[command(subcommand)]
    Status(status::StatusVerb),
    /// The hosts' own talk
    #[command(subcommand)]
    Link(LinkVerb),
    /// Copy everything that matters to a folder, while mail flows; again copies what is new
    Backup { to: PathBuf },
    /// Bring a backup back: all of it into a new or empty data folder, or one mailbox into the running host
    Restore {
        from: PathBuf,
        /// Only this account's mail: what is missing there comes back, what is there stays
        #[arg(long)]
        mailbox: Option<String>,
        /// Only this folder of it
        #[arg(long, requires = "mailbox")]
        folder: Option<String>,
    },
    /// Check every checksum and every reference of the store, or of a backup
    Verify {
        /// A backup to check in place of the host's store
        backup: Option<PathBuf>,
    },
    /// Let another version of this program take over from the running host, and go back if it does not serve
    Upgrade {
        /// The new program
        #[arg(long)]
        binary: PathBuf,
    },
    /// Make the index of a stopped host anew, from its segments alone
    Rebuild,
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Write man pages into a folder
    Man { to: PathBuf },
}

#[derive(Clone, Debug, Args)]
pub struct Drill {
    /// A scene, such as scenes/r01.toml; docs/operating/drills.md describes the format
    pub file: PathBuf,
    /// In virtual time and memory: hours pass in seconds [default: on loopback sockets]
    #[arg(long = "virtual")]
    pub in_virtual_time: bool,
    /// Scene seconds per second on sockets [default: as the scene says, or to last two minutes]
    #[arg(long, value_name = "N", conflicts_with = "in_virtual_time")]
    pub pace: Option<u64>,
    /// Write everything that was seen into a file, a line each
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

/// What `drill` tells the host it starts.
#[derive(Clone, Debug, Args)]
pub struct DrillHost {
    pub file: PathBuf,
    #[arg(long)]
    pub folder: PathBuf,
    #[arg(long)]
    pub smtp: u16,
    #[arg(long)]
    pub submission: u16,
    #[arg(long)]
    pub dns: std::net::SocketAddr,
    #[arg(long)]
    pub begin: u64,
    #[arg(long)]
    pub pace: u64,
    #[arg(long)]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Say whether a file is right, and where it is not
    Check { file: Option<PathBuf> },
    /// Show what is in force: what differs from the defaults, or all of it
    Show {
        #[arg(long)]
        all: bool,
    },
    /// Explain a key (limits.message_size), a section, or list every key
    Explain {
        key: Option<String>,
        /// The whole reference page
        #[arg(long)]
        markdown: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum DomainVerb {
    /// Take mail for a domain
    Add {
        domain: String,
    },
    /// Take mail for it no longer
    Remove {
        domain: String,
    },
    List,
    /// What is known of a domain, and the DNS records it should have
    Show {
        domain: String,
    },
    /// Let mail for one name be mail for another domain of ours
    Alias {
        domain: String,
        of: String,
    },
    /// Where mail for addresses that do not exist goes; without an address, nowhere
    CatchAll {
        domain: String,
        to: Option<String>,
    },
    /// Make DKIM keys; said again once their records are in the DNS, sign with them
    Key {
        domain: String,
    },
    /// Whether anna+news@ is anna@
    Plus {
        domain: String,
        on: Switch,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Debug, Subcommand)]
pub enum AccountVerb {
    /// Make an account; its password is read from standard input, a file, or made up and shown
    Add {
        address: String,
        /// For people: "Anna Berg"
        #[arg(long, default_value = "")]
        name: String,
        /// The most its mail may take: "5 GiB"
        #[arg(long, value_parser = size)]
        quota: Option<stdx::Bytes>,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Forget an account and its mail
    Remove {
        address: String,
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
    },
    List,
    Show {
        address: String,
    },
    /// Give an account a new password
    Password {
        address: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Change the most an account's mail may take; without a size there is no bound
    Quota {
        address: String,
        #[arg(value_parser = size)]
        quota: Option<stdx::Bytes>,
    },
    /// No log-in, mail is still taken
    Lock {
        address: String,
    },
    /// Log in again
    Unlock {
        address: String,
    },
    /// Give an account another address
    AddAddress {
        account: String,
        address: String,
    },
    /// Take an address away
    RemoveAddress {
        address: String,
    },
    /// Let an account send as another address, or a whole domain (*@example.org)
    AllowSendAs {
        account: String,
        pattern: String,
    },
    ForbidSendAs {
        account: String,
        pattern: String,
    },
}

#[derive(Clone, Debug, Args)]
pub struct PasswordArgs {
    /// Read the password from the first line of this file (- for standard input)
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum AliasVerb {
    /// Hand mail for an address on to another (several times for several)
    Add {
        from: String,
        to: String,
    },
    /// Take one target away, or all
    Remove {
        from: String,
        to: Option<String>,
    },
    List,
}

#[derive(Debug, Subcommand)]
pub enum QueueVerb {
    /// Messages that wait, oldest first
    List {
        /// Only those with this text in an address or a reason
        about: Option<String>,
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// One message with each recipient's state
    Show { message: String },
    /// Keep a message back until it is released
    Hold {
        message: String,
        /// Shown to whoever looks at it
        #[arg(long, default_value = "by order")]
        why: String,
    },
    /// Let a held message go on
    Release { message: String },
    /// Try a message now; without one, all
    Retry { message: Option<String> },
    /// End a message without a report to its sender
    Drop {
        message: String,
        /// Only say what would end
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum RouteVerb {
    /// Ways that are not simply open, or all ways to one group
    Show { group: Option<String> },
    /// A dry run: what would happen to mail for an address or a domain now, and why
    Why {
        destination: String,
        /// As mail of this sender or domain; without it, signed mail of ours
        #[arg(long, value_name = "DOMAIN")]
        from: Option<String>,
    },
    /// Send a destination (a domain, host:NAME or group:NAME) by one egress
    Pin {
        destination: String,
        egress: String,
        /// For this long; without it until unpinned
        #[arg(long = "for", value_name = "TIME", value_parser = span)]
        for_time: Option<stdx::Span>,
        /// Until this moment, UTC: "2026-11-30 18:00"
        #[arg(long, value_name = "MOMENT", value_parser = moment, conflicts_with = "for_time")]
        until: Option<stdx::Now>,
        /// Shown beside it
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Let a destination's way be chosen again
    Unpin { destination: String },
}

#[derive(Debug, Subcommand)]
pub enum ListsVerb {
    /// What each list says of each address and name of ours
    Show,
}

#[derive(Debug, Subcommand)]
pub enum EgressVerb {
    /// All ways out, and whether mail may leave there
    List,
    /// Pre-flight: reverse name, EHLO name, SPF of every domain, lists, port 25, its neighbours
    Check { name: String },
    /// Let mail out there although the pre-flight was not passed
    Force {
        name: String,
        /// Shown to whoever looks at it
        #[arg(long, default_value = "by order")]
        why: String,
    },
    /// Take that back
    Unforce { name: String },
    /// The pin of this host's own key: a relay of ours knows us by it
    Pin,
}

#[derive(Debug, Subcommand)]
pub enum TlsVerb {
    /// Sessions of a day under each policy, and what went wrong; with --json as RFC 8460 reports it
    Report {
        /// 2026-11-22, in UTC [default: today]
        #[arg(long)]
        day: Option<String>,
        /// Only mail for this domain
        #[arg(long)]
        domain: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum CheckVerb {
    /// Read refusals, a JSON object a line, and say what each means
    Replies,
    /// What DNS says about a domain's mail
    Dns { domain: String },
    /// Whether an address and its name agree
    Ptr { ip: std::net::IpAddr },
}

#[derive(Debug, Subcommand)]
pub enum LinkVerb {
    /// Print this host's public key, for [[peer]] in the configuration of others
    Key,
}

fn span(text: &str) -> Result<stdx::Span, String> {
    config::value::span(text)
}
fn size(text: &str) -> Result<stdx::Bytes, String> {
    config::value::size(text)
}
/// "2026-11-30 18:00", "2026-11-30T18:00:00Z", or a day alone.
fn moment(text: &str) -> Result<stdx::Now, String> {
    let wrong = || format!("\"{text}\" is no moment: write it like 2026-11-30 18:00 (UTC)");
    let parts: Vec<u32> = text
        .trim_end_matches('Z')
        .split(['-', ' ', 'T', ':'])
        .map(|p| p.parse().map_err(|_| wrong()))
        .collect::<Result<_, _>>()?;
    let part = |n: usize| parts.get(n).copied().unwrap_or(0);
    let (month, day, hour, minute, second) = (part(1), part(2), part(3), part(4), part(5));
    let sound = (3..=6).contains(&parts.len())
        && (1970..3000).contains(&part(0))
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !sound {
        return Err(wrong());
    }
    let days = stdx::time::days_from_civil(i64::from(part(0)), month, day) as u64;
    Ok(stdx::Now::from_secs(days * 86_400 + u64::from(hour * 3600 + minute * 60 + second)))
}
#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn moments_are_read_in_utc() {
        for (text, want) in [
            ("2026-11-30 18:00", Some("2026-11-30T18:00:00Z")),
            ("2026-11-30T18:00:05Z", Some("2026-11-30T18:00:05Z")),
            ("2026-11-30", Some("2026-11-30T00:00:00Z")),
            ("18:00", None),
            ("2026-13-01", None),
            ("tomorrow", None),
        ] {
            assert_eq!(moment(text).ok().map(stdx::Now::iso).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn the_place_may_be_named_before_or_behind_the_verb() {
        for args in [["postroad", "--data", "/x", "why", "m=1"], ["postroad", "why", "m=1", "--data", "/x"]] {
            let cli = Cli::try_parse_from(args).expect("it parses");
            assert_eq!(cli.place.data, Some("/x".into()));
        }
    }
}
