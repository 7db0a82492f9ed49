//! `postroad monitor …` as orders, and what needs no monitor.

use crate::cli::PlaceArgs;
use crate::cli::monitor::MonitorVerb;
use crate::orders::{MonitorOrder, Order};
use crate::{say, watch_post};

pub fn run(place: &PlaceArgs, verb: MonitorVerb, json: bool) -> Result<(), String> {
    let order = match verb {
        MonitorVerb::Grafana => {
            say::line(format_args!("{:#}", watch::metrics::dashboard()));
            return Ok(());
        }
        MonitorVerb::Rules => {
            say::text(watch::metrics::rules());
            return Ok(());
        }
        MonitorVerb::Show => MonitorOrder::Show,
        MonitorVerb::Probes { about } => MonitorOrder::Probes { about },
        MonitorVerb::Alerts { limit } => MonitorOrder::Alerts { limit },
        MonitorVerb::Ack { cause, by } => MonitorOrder::Acknowledge { cause, by },
        MonitorVerb::Silence { pattern, for_time, why } => {
            MonitorOrder::Silence { pattern, for_ms: Some(for_time.as_ms()), why }
        }
        MonitorVerb::Unsilence { pattern } => {
            MonitorOrder::Silence { pattern, for_ms: None, why: String::new() }
        }
        MonitorVerb::Test => MonitorOrder::Test,
        MonitorVerb::History { probe, days } => MonitorOrder::History { probe, days },
        MonitorVerb::Look { probe } => MonitorOrder::Look { probe },
    };
    let reply = watch_post::order(place, Order::Monitor(order))?;
    super::tell(&reply, json);
    Ok(())
}
