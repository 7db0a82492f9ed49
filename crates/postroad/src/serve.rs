//! `postroad serve`: the host that the configuration describes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Config, Front as ConfigFront};
use host::Certificates;
use role_mail::{Front, Settings, Tolerance};

use crate::house::{self, House, Plan, Signals, Told};
use crate::opening::{self, Door};
use crate::upgrade::{self, End, Own};
use crate::{ferry, logs, place, report, serve_monitor, serve_relay, serve_status, ways};

pub fn run(file: Option<&Path>, data: Option<&Path>) -> Result<(), String> {
    let file = file.unwrap_or(Path::new(place::CONFIG)).to_owned();
    let mut config = config::read(&file).map_err(|faults| faults.to_string())?;
    if let Some(data) = data {
        config.data = data.to_owned();
    }
    logs::begin(&config.log.level, config.log.file.as_deref(), config.log.budget)?;
    let files = host::process::raise_open_files().unwrap_or(0);
    tracing::info!(files, "postroad {} starts as {}", env!("CARGO_PKG_VERSION"), config.host_name);
    let runtime = house::runtime(house::processors())?;
    match config.role {
        config::Role::Mail => match runtime.block_on(serve(file, config))? {
            Some((after, signals)) => {
                runtime.block_on(after.run(signals));
                Ok(())
            }
            None => Ok(()),
        },
        config::Role::Monitor => runtime.block_on(serve_monitor::serve(file, config)),
        config::Role::Relay => runtime.block_on(serve_relay::serve(file, config)),
        config::Role::Status => runtime.block_on(serve_status::serve(file, config)),
    }
}

/// What it leaves behind is what a host does that was followed by another version.
async fn serve(file: PathBuf, config: Config) -> Result<Option<(ferry::Afterlife, Signals)>, String> {
    let mut signals = Signals::new()?;
    let (mut before, given) = upgrade::before()?;
    let (world, sockets) = host::world_over(opening::outside(&config), given);
    opening::data_folder(&config.data)?;
    let certificates = Arc::new(opening::load_certificates(&config, world.now())?);
    let roots = roots(&config)?;
    let ports = opening::open_ports(&world, &doors(&config)).await?;
    give_up_root(&config)?;
    upgrade::wait_turn(&mut before)?;
    let (wishes, mut wished) = tokio::sync::mpsc::channel(1);
    let roots = Arc::new(roots);
    let plan = || Plan {
        data: &config.data,
        world: world.clone(),
        settings: settings(&config),
        store: house::store_settings(config.store_reserve),
        certificates: certificates.clone(),
        roots: roots.clone(),
        wishes: Some(wishes.clone()),
    };
    let mut house = House::begin(plan(), ports.clone())?;
    let mut told = report::begin(&config, &house)?;
    ferry::take(upgrade::serves(before)?, &mut house);
    opening::ready();
    loop {
        let wish = match drive::first(signals.next(), wished.recv()).await {
            drive::First::A(Told::Reload) => {
                reload(&file, &house, &certificates).await;
                continue;
            }
            drive::First::A(Told::End) | drive::First::B(None) => break,
            drive::First::B(Some(wish)) => wish,
        };
        let own = Own { data: &config.data, args: arguments(&file, &config), sockets: sockets.clone() };
        told.abort();
        let (end, answer) = upgrade::hand_over(own, house, wish).await;
        house = match end {
            End::Unchanged(house) => *house,
            End::Gone(after) => {
                tracing::info!("the next version serves; this one ends");
                // The answer to the operator is on its way.
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                return Ok(Some((after, signals)));
            }
            End::Back { why, begun, sessions } => {
                let mut house = House::begin(plan(), ports.clone())?;
                ferry::back(sessions, &mut house);
                tracing::error!("{why}; rolled back");
                drop(answer.map(|answer| answer.send(upgrade::rolled_back(&why, begun))));
                house
            }
        };
        told = report::begin(&config, &house)?;
    }
    tracing::info!("stopping");
    told.abort();
    house.end().await;
    Ok(None)
}

/// What the next version is started with.
fn arguments(file: &Path, config: &Config) -> Vec<String> {
    let (file, data) = (file.display().to_string(), config.data.display().to_string());
    vec!["serve".to_owned(), "--config".to_owned(), file, "--data".to_owned(), data]
}

/// Once the ports are bound, nothing needs root any more.
pub fn give_up_root(config: &Config) -> Result<(), String> {
    if let Some(user) = &config.user {
        return drop_privileges(&config.data, user);
    }
    if host::process::is_root() {
        tracing::warn!("running as root; name a user in the configuration to give that up after binding");
    }
    Ok(())
}

fn drop_privileges(data: &Path, user: &str) -> Result<(), String> {
    if !host::process::is_root() {
        return Ok(());
    }
    host::process::give_folder(data, user)
        .map_err(|e| format!("The data folder {} cannot be given to {user}: {e}.", data.display()))?;
    host::process::become_user(user).map_err(|e| format!("Cannot become {user}: {e}."))
}

/// Settings and certificates from the file as it is now.
async fn reload(file: &Path, house: &House, certificates: &Certificates) {
    let put = async |config: Config| {
        opening::reread_certificates(certificates, opening::load_pairs(&config, house.site.now()));
        house.site.reload(settings(&config));
        Ok(())
    };
    opening::reread(file, put).await;
}

pub fn doors(config: &Config) -> Vec<Door> {
    let door = |l: &config::Listener| Door { front: front(l.front), at: l.address, tls: l.tls };
    config.listeners.iter().map(door).collect()
}

fn front(front: ConfigFront) -> Front {
    match front {
        ConfigFront::Smtp => Front::Smtp,
        ConfigFront::Submission => Front::Submission,
        ConfigFront::Imap => Front::Imap,
        ConfigFront::Pop3 => Front::Pop3,
        ConfigFront::Sieve => Front::Sieve,
        ConfigFront::Http => Front::Http,
    }
}

/// The authorities we believe; and who we are towards relays of ours.
pub fn roots(config: &Config) -> Result<drive::Roots, String> {
    let roots = host::roots(&config.access.trusted_authorities).map_err(|e| e.to_string())?;
    match config.egresses.iter().any(|e| e.relay.is_some()) {
        true => Ok(identity(&config.data, &config.host_name)?.shown_by(roots)),
        false => Ok(roots),
    }
}

/// This host's own key, by whose pin others of ours know it.
pub fn identity(data: &Path, name: &str) -> Result<host::identity::Identity, String> {
    host::identity::ensure(&data.join("identity"), name)
        .map_err(|e| format!("The host's own key in {} cannot be had: {e}.", data.display()))
}

/// The mail host's settings as the configuration says them.
pub fn settings(config: &Config) -> Settings {
    Settings {
        message_size_max: config.limits.message_size,
        recipients_max: config.limits.recipients,
        sessions_per_address_max: config.limits.sessions_per_address,
        sessions_max: config.limits.sessions,
        hops_max: config.limits.hops,
        egresses: config.egresses.iter().map(ways::egress).collect(),
        egress_rules: config.egresses.iter().map(|e| (e.name.clone(), ways::rules(e))).collect(),
        list_zones: ways::lists(config).into_iter().map(|list| list.zone).collect(),
        lists: ways::lists(config),
        feedback: config.feedback.clone(),
        snds_url: config.snds_url.clone(),
        probe_domains: config.queue.probe_domains.clone(),
        sessions_per_destination_max: config.limits.sessions_per_destination,
        remote_port: config.queue.remote_port,
        policy_port: config.queue.policy_port,
        tls_reports: config.queue.tls_reports,
        give_up_after: config.queue.give_up_after,
        delay_notice_after: config.queue.delay_notice_after,
        dnssec: true,
        tolerance: Tolerance {
            login_without_domain: config.access.login_without_domain,
            login_in_capitals: config.access.login_in_capitals,
            plain_on_trusted_network: config.access.plain_on_trusted_network,
            tls_on_any_port: config.access.tls_on_any_port,
        },
        list_channel_binding: config.access.list_channel_binding,
        trusted_networks: config.access.trusted_networks.clone(),
        peers: config.peers.iter().map(ways::peer).collect(),
        ledger_keeps: config.ledger_keeps,
        ledger_rows_max: config.ledger_rows_max,
        ..Settings::new(&config.host_name)
    }
}
