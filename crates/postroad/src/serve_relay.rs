//! `postroad serve` where the configuration says `role = "relay"`.
//!
//! The relay's door fills the spool of an ordinary house, whose sender empties it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Config, TlsMode};
use host::{Certificates, Pair};
use role_relay::Relay;

use crate::house::{self, House, Plan, Signals, Told};
use crate::{opening, report, serve};

pub async fn serve(file: PathBuf, config: Config) -> Result<(), String> {
    let mut signals = Signals::new()?;
    let world = host::world(opening::outside(&config));
    opening::data_folder(&config.data)?;
    let certificates = Arc::new(certificates(&config)?);
    let roots = Arc::new(serve::roots(&config)?);
    let ports = opening::open_ports(&world, &serve::doors(&config)).await?;
    serve::give_up_root(&config)?;
    let plan = Plan {
        data: &config.data,
        world: world.clone(),
        settings: serve::settings(&config),
        store: house::store_settings(config.store_reserve),
        certificates: certificates.clone(),
        roots,
        wishes: None,
    };
    let mut house = House::begin(plan, Vec::new())?;
    let (store, feed) = (house.site.store().clone(), house.site.feed().clone());
    let relay = Relay::new(world, store, feed, &config.host_name, config.limits.message_size.get());
    for opened in ports {
        let port = role_relay::Port {
            implicit_tls: opened.door.tls == TlsMode::Implicit,
            certificates: opened.shown(Some(&certificates)),
            listener: opened.listener,
        };
        let relay = relay.clone();
        house.also(|stop| role_relay::listen(relay, port, stop));
    }
    let told = report::begin(&config, &house)?;
    opening::ready();
    while signals.next().await == Told::Reload {
        reload(&file, &house, &certificates).await;
    }
    tracing::info!("stopping");
    told.abort();
    house.end().await;
    Ok(())
}

/// The certificates of the configuration; behind them, or alone, that of our own key.
fn pairs(config: &Config) -> Result<Vec<Pair>, String> {
    let own = serve::identity(&config.data, &config.host_name)?.pair;
    Ok(opening::named_pairs(config).into_iter().chain([own]).collect())
}

fn certificates(config: &Config) -> Result<Certificates, String> {
    Certificates::asking(&pairs(config)?).map_err(|e| e.to_string())
}

async fn reload(file: &Path, house: &House, certificates: &Certificates) {
    let put = async |config: Config| {
        opening::reread_certificates(certificates, pairs(&config));
        house.site.reload(serve::settings(&config));
        Ok(())
    };
    opening::reread(file, put).await;
}
