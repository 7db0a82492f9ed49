//! `postroad serve` where the configuration says `role = "monitor"`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Config, TlsMode};
use drive::TlsServer;
use host::Certificates;

use crate::house::{self, Signals, Told};
use crate::watch_post::{self, WatchPost};
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
    let mut doors = Vec::new();
    for (l, opened) in config.listeners.iter().zip(house::open_ports(&world, &serve::doors(&config)).await?) {
        let shown = certificates.as_ref().filter(|_| l.tls != TlsMode::None);
        doors.push((opened.listener, shown.map(|c| c.clone() as Arc<dyn TlsServer>)));
    }
    link_key::load(&config.data)?;
    let settings = watch_post::settings(&config)?;
    serve::give_up_root(&config)?;
    let roots = Arc::new(host::roots(&config.access.trusted_authorities).map_err(|e| e.to_string())?);
    let post = WatchPost::begin(&config.data, (world, roots), &config.host_name, settings, doors).await?;
    host::process::notify("READY=1");
    tracing::info!("ready");
    while signals.next().await == Told::Reload {
        reload(&file, &post, certificates.as_deref());
    }
    tracing::info!("stopping");
    host::process::notify("STOPPING=1");
    post.end().await;
    Ok(())
}

/// Probes, channels and certificates from the file as it is now; if anything is wrong, everything
/// stays as it was.
fn reload(file: &Path, post: &WatchPost, certificates: Option<&Certificates>) {
    host::process::notify("RELOADING=1");
    let read = config::read(file).map_err(|faults| faults.to_string());
    match read.and_then(|config| Ok((watch_post::settings(&config)?, config))) {
        Ok((settings, config)) => {
            if let Some(certificates) = certificates {
                let read = serve::load_pairs(&config, post.monitor.now());
                match read.and_then(|p| certificates.reload(&p).map_err(|e| e.to_string())) {
                    Ok(()) => tracing::info!("certificates were read again"),
                    Err(why) => tracing::error!("certificates stay as they were: {why}"),
                }
            }
            post.monitor.reload(settings);
            tracing::info!("settings were read again; ports, folder and user change only with a restart");
        }
        Err(why) => tracing::error!("the configuration stays as it was:\n{why}"),
    }
    host::process::notify("READY=1");
}
