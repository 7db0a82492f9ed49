//! `postroad serve` where the configuration says `role = "relay"`.
//!
//! The relay's door fills the spool of an ordinary house, whose sender empties it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Config, TlsMode};
use drive::TlsServer;
use host::{Certificates, Pair};
use role_relay::Relay;

use crate::house::{self, House, Plan, Signals, Told};
use crate::{report, serve};

pub async fn serve(file: PathBuf, config: Config) -> Result<(), String> {
    let mut signals = Signals::new()?;
    let net = host::NetSettings { inherit: true, ..host::NetSettings::default() };
    let dns = host::DnsSettings {
        servers: config.dns.servers.clone(),
        trust_ad: config.dns.trust_ad,
        ..host::DnsSettings::default()
    };
    let world = host::world(host::Settings { net, dns });
    std::fs::create_dir_all(&config.data)
        .map_err(|e| format!("The data folder {} cannot be made: {e}.", config.data.display()))?;
    let certificates = Arc::new(certificates(&config)?);
    let roots = Arc::new(serve::roots(&config)?);
    let ports = house::open_ports(&world, &serve::doors(&config)).await?;
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
        let shown: Arc<dyn TlsServer> = certificates.clone();
        let port = role_relay::Port {
            implicit_tls: opened.door.tls == TlsMode::Implicit,
            certificates: (opened.door.tls != TlsMode::None).then_some(shown),
            listener: opened.listener,
        };
        let relay = relay.clone();
        house.also(|stop| role_relay::listen(relay, port, stop));
    }
    let told = report::begin(&config, &house)?;
    host::process::notify("READY=1");
    tracing::info!("ready");
    while signals.next().await == Told::Reload {
        reload(&file, &house, &certificates);
    }
    tracing::info!("stopping");
    told.abort();
    house.end().await;
    Ok(())
}

/// The certificates of the configuration; behind them, or alone, that of our own key.
fn pairs(config: &Config) -> Result<Vec<Pair>, String> {
    let own = serve::identity(&config.data, &config.host_name)?.pair;
    let named = config.certificates.iter().map(|c| Pair { chain: c.chain.clone(), key: c.key.clone() });
    Ok(named.chain([own]).collect())
}

fn certificates(config: &Config) -> Result<Certificates, String> {
    Certificates::asking(&pairs(config)?).map_err(|e| e.to_string())
}

fn reload(file: &Path, house: &House, certificates: &Certificates) {
    host::process::notify("RELOADING=1");
    match config::read(file) {
        Ok(config) => {
            match pairs(&config).and_then(|p| certificates.reload(&p).map_err(|e| e.to_string())) {
                Ok(()) => tracing::info!("certificates were read again"),
                Err(why) => tracing::error!("certificates stay as they were: {why}"),
            }
            house.site.reload(serve::settings(&config));
            tracing::info!("settings were read again; ports, folder and user change only with a restart");
        }
        Err(faults) => tracing::error!("the configuration stays as it was:\n{faults}"),
    }
    host::process::notify("READY=1");
}
