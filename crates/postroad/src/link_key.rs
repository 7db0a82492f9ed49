//! This host's own key for the hosts' talk: made once, kept in its data folder.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use world::Random;

const FILE: &str = "link.key";

/// Reads the key, or makes it the first time.
pub fn load(data: &Path) -> Result<link::Key, String> {
    let file = data.join(FILE);
    let seed: [u8; 32] = match std::fs::read(&file) {
        Ok(bytes) => bytes.try_into().map_err(|_| {
            format!(
                "{} is no key of ours: it must hold 32 bytes. Move it away to get a new one.",
                file.display()
            )
        })?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => make(&file)?,
        Err(e) => return Err(format!("{} cannot be read: {e}.", file.display())),
    };
    link::Key::from_seed(&seed).ok_or_else(|| format!("{} is no key of ours.", file.display()))
}

fn make(file: &Path) -> Result<[u8; 32], String> {
    let mut seed = [0; 32];
    host::SystemRandom.fill(&mut seed);
    let write = || {
        let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        out.write_all(&seed)?;
        out.sync_all()
    };
    write().map_err(|e| format!("{} cannot be written: {e}.", file.display()))?;
    Ok(seed)
}
