//! `postroad customer …`

use clap::Subcommand;

use super::PasswordArgs;

#[derive(Debug, Subcommand)]
pub enum CustomerVerb {
    /// Let somebody hand mail to this relay; without --network and --pin a password is made and shown
    Add {
        name: String,
        /// Hosts of this network need no password (several times for several)
        #[arg(long, value_name = "NET", value_parser = config::value::network_of)]
        network: Vec<(std::net::IpAddr, u8)>,
        /// A mail host of ours, by the pin that `postroad egress pin` prints there
        #[arg(long, value_name = "PIN")]
        pin: Option<String>,
        /// Recipients an hour at most
        #[arg(long, value_name = "N")]
        per_hour: Option<u64>,
        /// Recipients a day at most
        #[arg(long, value_name = "N")]
        per_day: Option<u64>,
        /// What a month costs, in each currency it is offered in: "30.00 USD"
        #[arg(long, value_name = "PRICE")]
        price: Vec<String>,
        #[command(flatten)]
        password: PasswordArgs,
    },
    List,
    /// Take no more of its mail, at once; its own server keeps it meanwhile
    Stop {
        name: String,
        /// The customer reads this
        #[arg(long, default_value = "please call us")]
        why: String,
    },
    /// Take its mail again
    Start {
        name: String,
    },
    /// A new password
    Password {
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// End it; its last month is still billed
    Remove {
        name: String,
    },
    /// What is owed for a month [default: this one]
    Bill {
        /// Only this customer
        name: Option<String>,
        /// 2026-11
        #[arg(long, value_name = "MONTH")]
        month: Option<String>,
    },
    /// The pin of this relay's own key: mail hosts of ours know it by it (relay_pin)
    Pin,
}
