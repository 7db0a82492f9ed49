//! `postroad monitor …`

use clap::Subcommand;

use super::span;

#[derive(Debug, Subcommand)]
pub enum MonitorVerb {
    /// What this point sees, in a few lines
    Show,
    /// Every probe with its state and last words
    Probes {
        /// Only those with this text in their name or component
        about: Option<String>,
    },
    /// Alerts, the newest first
    Alerts {
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Say that you have an alert in hand
    Ack {
        cause: String,
        #[arg(long, default_value = "the operator")]
        by: String,
    },
    /// Tell nobody of causes that fit (`ports.*`, `*`) for a time
    Silence {
        pattern: String,
        #[arg(long = "for", value_name = "TIME", value_parser = span)]
        for_time: stdx::Span,
        #[arg(long, default_value = "")]
        why: String,
    },
    /// End a silence
    Unsilence { pattern: String },
    /// Try every channel with a message that is to be answered
    Test,
    /// A probe's days
    History {
        probe: String,
        #[arg(long, default_value_t = 30)]
        days: usize,
    },
    /// Look at a probe now
    Look { probe: String },
    /// The dashboard for Grafana, as JSON
    Grafana,
    /// Alerting rules for Prometheus, as YAML
    Rules,
}
