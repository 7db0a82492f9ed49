//! `postroad serve` where the configuration says `role = "monitor"`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Config;
use host::Certificates;

use crate::house::{Signals, Told};
use crate::watch_post::{self, WatchPost};
use crate::{link_key, opening, serve};

pub async fn serve(file: PathBuf, config: Config) -> Result<(), String> {
    let mut signals = Signals::new()?;
    let world = host::world(opening::outside(&config));
    opening::data_folder(&config.data)?;
    let certificates = opening::certificates_if_shown(&config, world.now())?;
    let opened = opening::open_ports(&world, &serve::doors(&config)).await?;
    let doors = opened.into_iter().map(|o| (o.listener.clone(), o.shown(certificates.as_ref()))).collect();
    link_key::load(&config.data)?;
    let settings = watch_post::settings(&config)?;
    serve::give_up_root(&config)?;
    let roots = Arc::new(host::roots(&config.access.trusted_authorities).map_err(|e| e.to_string())?);
    let post = WatchPost::begin(&config.data, (world, roots), &config.host_name, settings, doors).await?;
    opening::ready();
    while signals.next().await == Told::Reload {
        reload(&file, &post, certificates.as_deref()).await;
    }
    tracing::info!("stopping");
    host::process::notify("STOPPING=1");
    post.end().await;
    Ok(())
}

/// Probes, channels and certificates from the file as it is now.
async fn reload(file: &Path, post: &WatchPost, certificates: Option<&Certificates>) {
    let put = async |config: Config| {
        let settings = watch_post::settings(&config)?;
        if let Some(certificates) = certificates {
            opening::reread_certificates(certificates, opening::load_pairs(&config, post.monitor.now()));
        }
        post.monitor.reload(settings);
        Ok(())
    };
    opening::reread(file, put).await;
}
