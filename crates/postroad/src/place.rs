//! Which host a verb is about: its data folder and its settings.

use std::path::{Path, PathBuf};

use role_mail::Settings;

use crate::cli::PlaceArgs;

/// Where a host's configuration is looked for.
pub const CONFIG: &str = "/etc/postroad/postroad.toml";

/// A host's place on this machine.
#[derive(Clone)]
pub struct Place {
    pub data: PathBuf,
    pub settings: Settings,
}

/// `--data`, else what the configuration says, else the folder of `up` if there is one.
pub fn find(args: &PlaceArgs) -> Result<Place, String> {
    if let Some(data) = &args.data {
        return Ok(Place { data: data.clone(), settings: Settings::new(&name_in(data)) });
    }
    let file = args.config.clone().unwrap_or_else(|| PathBuf::from(CONFIG));
    if args.config.is_some() || file.exists() {
        let config = config::read(&file).map_err(|faults| faults.to_string())?;
        return Ok(Place { settings: crate::serve::settings(&config), data: config.data });
    }
    let data = up_folder();
    if data.exists() {
        return Ok(Place { settings: Settings::new(&name_in(&data)), data });
    }
    Err(format!("There is no host here: {CONFIG} does not exist. Name one with --config FILE or --data DIR."))
}

/// Where `up` lives unless it is told otherwise.
pub fn up_folder() -> PathBuf {
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share"));
    base.or_else(home).unwrap_or_else(std::env::temp_dir).join("postroad/up")
}

/// The host name that the running host wrote into its folder.
fn name_in(data: &Path) -> String {
    let name = std::fs::read_to_string(data.join("host-name")).unwrap_or_default();
    if name.trim().is_empty() { "localhost".into() } else { name.trim().to_owned() }
}
