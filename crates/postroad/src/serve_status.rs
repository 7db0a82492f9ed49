//! `postroad serve` where the configuration says `role = "status"`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Config, TlsMode};
use drive::TlsServer;
use host::Certificates;
use role_status::listen::Door;

use crate::house::{self, Signals, Told};
use crate::status_site::{self, StatusSite};
use crate::{link_key, serve};

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
    let with_tls = config.listeners.iter().any(|l| l.tls != TlsMode::None);
    let certificates =
        if with_tls { Some(Arc::new(serve::load_certificates(&config, world.now())?)) } else { None };
    let doors = doors(&world, &config, certificates.as_ref()).await?;
    link_key::load(&config.data)?;
    serve::give_up_root(&config)?;
    let store = status_site::open(&config.data, house::store_settings(config.store_reserve))?;
    let mut settings = status_site::settings(&config);
    settings.outgoing = Some(status_site::outgoing(&config)?);
    let shown = status_site::shown(&config);
    let site = StatusSite::begin(&config.data, (world, store), settings, shown, doors).await?;
    host::process::notify("READY=1");
    tracing::info!("ready");
    while signals.next().await == Told::Reload {
        reload(&file, &site, certificates.as_deref()).await;
    }
    tracing::info!("stopping");
    host::process::notify("STOPPING=1");
    site.end().await;
    Ok(())
}

async fn doors(
    world: &world::World,
    config: &Config,
    certificates: Option<&Arc<Certificates>>,
) -> Result<Vec<Door>, String> {
    let mut doors = Vec::new();
    for (l, opened) in config.listeners.iter().zip(house::open_ports(world, &serve::doors(config)).await?) {
        let shown = certificates.filter(|_| l.tls != TlsMode::None);
        let certificates = shown.map(|c| c.clone() as Arc<dyn TlsServer>);
        let letters = match l.front {
            config::Front::Http => false,
            config::Front::Smtp if config.status.post_by_mail.is_some() => true,
            config::Front::Smtp => {
                return Err(format!(
                    "{} would take letters, but [status] names no post_by_mail address.",
                    l.address
                ));
            }
            _ => {
                return Err(format!(
                    "A status site has only http and smtp fronts; {} is another.",
                    l.address
                ));
            }
        };
        doors.push(Door { listener: opened.listener, certificates, letters });
    }
    Ok(doors)
}

/// Settings, components and certificates from the file as it is now; if anything is wrong,
/// everything stays as it was.
async fn reload(file: &Path, site: &StatusSite, certificates: Option<&Certificates>) {
    host::process::notify("RELOADING=1");
    match config::read(file) {
        Ok(config) => {
            if let Some(certificates) = certificates {
                let read = serve::load_pairs(&config, site.board.now());
                match read.and_then(|p| certificates.reload(&p).map_err(|e| e.to_string())) {
                    Ok(()) => tracing::info!("certificates were read again"),
                    Err(why) => tracing::error!("certificates stay as they were: {why}"),
                }
            }
            let mut settings = status_site::settings(&config);
            settings.outgoing = match status_site::outgoing(&config) {
                Ok(outgoing) => Some(outgoing),
                Err(why) => {
                    tracing::error!("the ways out stay as they were: {why}");
                    site.board.settings().outgoing.clone()
                }
            };
            site.board.reload(settings);
            let shown = status_site::shown(&config);
            let parts = site.board.set_parts(shown.parts).await;
            if let Err(e) = parts.and(site.board.set_machines(shown.machines).await) {
                tracing::error!("components and systems stay as they were: {e}");
            }
            tracing::info!("settings were read again; ports, folder and user change only with a restart");
        }
        Err(faults) => tracing::error!("the configuration stays as it was:\n{faults}"),
    }
    host::process::notify("READY=1");
}
