//! `postroad serve` where the configuration says `role = "status"`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Config;
use host::Certificates;
use role_mail::Front;
use role_status::listen::Door;

use crate::house::{self, Signals, Told};
use crate::status_site::{self, StatusSite};
use crate::{link_key, opening, serve};

pub async fn serve(file: PathBuf, config: Config) -> Result<(), String> {
    let mut signals = Signals::new()?;
    let world = host::world(opening::outside(&config));
    opening::data_folder(&config.data)?;
    let certificates = opening::certificates_if_shown(&config, world.now())?;
    let doors = doors(&world, &config, certificates.as_ref()).await?;
    link_key::load(&config.data)?;
    serve::give_up_root(&config)?;
    let store = status_site::open(&config.data, house::store_settings(config.store_reserve))?;
    let mut settings = status_site::settings(&config);
    settings.outgoing = Some(status_site::outgoing(&config)?);
    let shown = status_site::shown(&config);
    let site = StatusSite::begin(&config.data, (world, store), settings, shown, doors).await?;
    opening::ready();
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
    for opened in opening::open_ports(world, &serve::doors(config)).await? {
        let certificates = opened.shown(certificates);
        let opening::Door { front, at, .. } = opened.door;
        let letters = match front {
            Front::Http => false,
            Front::Smtp if config.status.post_by_mail.is_some() => true,
            Front::Smtp => {
                return Err(format!("{at} would take letters, but [status] names no post_by_mail address."));
            }
            _ => {
                return Err(format!("A status site has only http and smtp fronts; {at} is another."));
            }
        };
        doors.push(Door { listener: opened.listener, certificates, letters });
    }
    Ok(doors)
}

/// Settings, components and certificates from the file as it is now.
async fn reload(file: &Path, site: &StatusSite, certificates: Option<&Certificates>) {
    let put = async |config: Config| {
        if let Some(certificates) = certificates {
            opening::reread_certificates(certificates, opening::load_pairs(&config, site.board.now()));
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
        Ok(())
    };
    opening::reread(file, put).await;
}
