//! `postroad customer …` as orders.

use role_relay::Customer;
use role_relay::customers::Price;

use super::read_password;
use crate::cli::customer::CustomerVerb;
use crate::orders::{CustomerOrder, Order};

pub fn order(verb: CustomerVerb) -> Result<Order, String> {
    Ok(Order::Customer(match verb {
        CustomerVerb::Pin => return Err("This is about the host's own key.".into()),
        CustomerVerb::Add { name, network, pin, per_hour, per_day, price, password } => {
            let prices = price.iter().map(|p| Price::parse(p)).collect::<Result<_, _>>()?;
            let by_password = (network.is_empty() && pin.is_none()) || password.password_file.is_some();
            let password = if by_password { Some(read_password(&password)?) } else { None };
            let customer = Customer {
                networks: network,
                pin,
                hour_max: per_hour,
                day_max: per_day,
                prices,
                ..Customer::default()
            };
            CustomerOrder::Add { name, customer, password }
        }
        CustomerVerb::List => CustomerOrder::List,
        CustomerVerb::Stop { name, why } => CustomerOrder::Stop { name, why: Some(why) },
        CustomerVerb::Start { name } => CustomerOrder::Stop { name, why: None },
        CustomerVerb::Password { name, password } => {
            CustomerOrder::Password { name, password: read_password(&password)? }
        }
        CustomerVerb::Remove { name } => CustomerOrder::Remove { name },
        CustomerVerb::Bill { name, month } => CustomerOrder::Bill { name, month },
    }))
}
