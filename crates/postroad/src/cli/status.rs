//! `postroad status …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{PasswordArgs, span};

#[derive(Debug, Subcommand)]
pub enum StatusVerb {
    /// Show the verdict, the components, and what is open
    Show,
    /// Write a post
    Post {
        title: String,
        #[command(flatten)]
        words: Words,
        /// A tag (several times for several)
        #[arg(long)]
        tag: Vec<String>,
        /// A category (several times for several)
        #[arg(long)]
        category: Vec<String>,
        /// Numbered by the site: "Migration update" becomes "Migration update 8"
        #[arg(long, default_value = "")]
        series: String,
        /// A knowledge note: found by the error text it quotes, not among the news
        #[arg(long)]
        note: bool,
    },
    /// Open an incident; it is public at once
    Incident {
        title: String,
        #[command(flatten)]
        words: Words,
        #[command(flatten)]
        touched: Touched,
        #[command(flatten)]
        promises: Promises,
        /// none, minor, major or critical
        #[arg(long, default_value = "major")]
        impact: String,
        #[arg(long, default_value = "investigating")]
        stage: String,
    },
    /// Say a word on an incident, or add a dated update to a post
    Update {
        /// An incident's number; with --post a post's number or path
        id: String,
        #[arg(long)]
        post: bool,
        #[command(flatten)]
        words: Words,
        #[command(flatten)]
        promises: Promises,
        /// investigating, identified, monitoring, resolved or postmortem
        #[arg(long, default_value = "")]
        stage: String,
    },
    /// Say that an incident is over
    Resolve {
        incident: i64,
        #[command(flatten)]
        words: Words,
    },
    /// What waits to be said; with an incident's number, its post-mortem drafted from its timeline
    Draft { incident: Option<i64> },
    /// Planned work
    #[command(subcommand)]
    Maintenance(MaintenanceVerb),
    /// Take over the posts of a WordPress export
    Import { file: PathBuf },
    /// Write the whole site as plain files
    Export { to: PathBuf },
    /// Who is told
    #[command(subcommand)]
    Subscribers(SubscribersVerb),
    /// What is owed to whom after an outage
    #[command(subcommand)]
    Credits(CreditsVerb),
    /// Tokens that programs and phones post with
    #[command(subcommand)]
    Token(TokenVerb),
    /// People who log in at the desk
    #[command(subcommand)]
    Operator(OperatorVerb),
}

/// What is said, and by whom.
#[derive(Debug, Args)]
pub struct Words {
    /// The text, Markdown [default: from standard input]
    #[arg(long)]
    pub text: Option<String>,
    /// Who says it
    #[arg(long, default_value = "")]
    pub author: String,
}

#[derive(Debug, Args)]
pub struct Touched {
    /// A component's id (several times for several)
    #[arg(long)]
    pub affected: Vec<String>,
    /// A component that is not touched, to say so
    #[arg(long)]
    pub not_affected: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Promises {
    /// When you will say more: "30 min"
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub next: Option<stdx::Span>,
    /// When you expect it to end: "2 h"
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub eta: Option<stdx::Span>,
}

#[derive(Debug, Subcommand)]
pub enum MaintenanceVerb {
    /// Announce work, from and to in UTC: 2026-11-22T14:00
    Plan {
        title: String,
        #[arg(long)]
        from: String,
        #[arg(long)]
        to: String,
        #[command(flatten)]
        words: Words,
        #[command(flatten)]
        touched: Touched,
    },
    /// Say that it is done
    Done {
        id: i64,
        #[command(flatten)]
        words: Words,
    },
}

#[derive(Debug, Subcommand)]
pub enum SubscribersVerb {
    List,
    /// Tell an address without asking it: your own
    Add {
        address: String,
        /// Component ids, with spaces [default: all]
        #[arg(long, default_value = "")]
        components: String,
        /// incidents, maintenance, posts, desk; with spaces [default: all but desk]
        #[arg(long, default_value = "")]
        kinds: String,
    },
    Remove {
        address: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum CreditsVerb {
    /// Keep the price list: lines of client,server,currency,monthly
    Prices { file: PathBuf },
    /// Credit an incident on a server, as CSV; a second run changes nothing
    Give {
        incident: i64,
        server: String,
        /// This part of a month for everyone on the server, in per cent: 25
        #[arg(long, value_name = "PER CENT", conflicts_with = "pro_rata")]
        share: Option<f64>,
        /// The minutes it was down, of a month of 30 days
        #[arg(long)]
        pro_rata: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// Make one; it is shown once
    New {
        name: String,
    },
    List,
    Remove {
        id: i64,
    },
}

#[derive(Debug, Subcommand)]
pub enum OperatorVerb {
    /// Make one, or give one a new password
    Add {
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    List,
    Remove {
        name: String,
    },
}
