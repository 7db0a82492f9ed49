//! This host's own key for the hosts' talk: made once, kept in its data folder.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use stdx::Secret;
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

/// Bytes for another purpose that stay the same as long as the key does.
pub fn derived(data: &Path, purpose: &str) -> Result<Secret<Vec<u8>>, String> {
    let file = data.join(FILE);
    let mut bytes = std::fs::read(&file).map_err(|e| format!("{} cannot be read: {e}.", file.display()))?;
    bytes.extend_from_slice(purpose.as_bytes());
    Ok(Secret::new(bytes))
}

fn make(file: &Path) -> Result<[u8; 32], String> {
    let mut seed = [0; 32];
    host::SystemRandom.fill(&mut seed);
    write_secret(file, &seed)?;
    Ok(seed)
}

/// Writes a file that only we can read; it must not be there yet.
pub fn write_secret(file: &Path, bytes: &[u8]) -> Result<(), String> {
    let write = || {
        // The key is often wanted before the host has run for the first time.
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        out.write_all(bytes)?;
        out.sync_all()
    };
    write().map_err(|e| format!("{} cannot be written: {e}.", file.display()))
}
