//! A folder for the time of a scene, with the certificates of the relays in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use drive::{Roots, TlsServer};
use host::Certificates;
use sim::Wrap;
use stdx::Now;
use tokio_rustls::TlsAcceptor;
use world::Stream;

use crate::scene::Scene;

/// Gone when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Result<Folder, String> {
        let mark = world::Random::next_u64(&host::SystemRandom);
        let path = std::env::temp_dir().join(format!("postroad-drill-{}-{mark:016x}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|e| format!("The folder {} cannot be made: {e}.", path.display()))?;
        Ok(Folder(path))
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be taken away lies in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The relays' side of TLS, and whom our host must believe for it.
pub struct Secrets {
    pub wrap: Wrap,
    pub ca: PathBuf,
}

/// `None` where no relay plays.
pub fn secrets(scene: &Scene, folder: &Path, now: Now) -> Result<Option<Secrets>, String> {
    let relays = scene.peers.iter().filter(|p| p.is_relay(scene));
    let names: Vec<String> = relays.flat_map(|p| p.names.iter().chain([&p.greeting]).cloned()).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let made = host::authority::ensure(&folder.join("relays"), &names, now)
        .map_err(|e| format!("The relays' certificates cannot be made: {e}."))?;
    let certificates =
        Arc::new(Certificates::load(std::slice::from_ref(&made.pair)).map_err(|e| e.to_string())?);
    let wrap: Wrap = Arc::new(move |plain: Box<dyn Stream>| {
        let pick = certificates.pick(None);
        Box::pin(async move {
            let config = pick.map_err(std::io::Error::other)?.config;
            let secure = TlsAcceptor::from(config).accept(plain).await?;
            Ok(Box::new(secure) as Box<dyn Stream>)
        })
    });
    Ok(Some(Secrets { wrap, ca: made.ca }))
}

/// The certificate at the relay's door, if our host is one.
pub fn door(scene: &Scene, folder: &Path, now: Now) -> Result<Option<Arc<dyn TlsServer>>, String> {
    if !scene.host.relay {
        return Ok(None);
    }
    let made = host::authority::ensure(&folder.join("door"), std::slice::from_ref(&scene.host.name), now)
        .map_err(|e| format!("The relay's certificate cannot be made: {e}."))?;
    let certificates = Certificates::asking(std::slice::from_ref(&made.pair)).map_err(|e| e.to_string())?;
    Ok(Some(Arc::new(certificates)))
}

/// A file with the password by which everybody in the scene logs in.
pub fn password(scene: &Scene, folder: &Path) -> Result<PathBuf, String> {
    let path = folder.join("password");
    let text = crate::farm::doors(scene, crate::farm::USUAL).password;
    std::fs::write(&path, text).map_err(|e| format!("{} cannot be written: {e}.", path.display()))?;
    Ok(path)
}

/// An order with the file's name filled in.
pub fn filled(words: &[String], password: &Path) -> Vec<String> {
    words.iter().map(|w| w.replace("{password_file}", &password.display().to_string())).collect()
}

/// The authorities our host believes.
pub fn roots(secrets: Option<&Secrets>) -> Result<Arc<Roots>, String> {
    match secrets {
        Some(secrets) => {
            host::roots(std::slice::from_ref(&secrets.ca)).map(Arc::new).map_err(|e| e.to_string())
        }
        None => Ok(Arc::new(Roots::none())),
    }
}
