//! Measures how fast mail comes in: port 25 alone on loopback, with a store on disk.
//!
//! `cargo run --release -p role-mail --example intake -- FOLDER PORT`, then for instance
//! `smtp-source -c -s 20 -m 5000 -l 10240 -t u0@bench.test 127.0.0.1:PORT`. Stops on a line or the end
//! of standard input and prints CPU time per message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use role_mail::{Arrival, Front, Settings, Site};
use words::{Address, Domain};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (folder, port) =
        (args.next().ok_or("say a folder")?, args.next().ok_or("say a port")?.parse::<u16>()?);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(&folder, port))
}

async fn run(folder: &str, port: u16) -> Result<(), Box<dyn std::error::Error>> {
    let world = host::world(host::Settings::default());
    let store = store::Store::open(folder.as_ref(), store::Settings::default(), &role_mail::schemas())?;
    let site = Site::new(world, store, Settings::new("mx.bench.test"));
    let now = site.now();
    let filled = site.store().commit(Vec::new(), move |batch| {
        directory::add_domain(batch, &Domain::new("bench.test").expect("a domain"), now)?;
        for n in 0..320 {
            let address = Address::parse(&format!("u{n}@bench.test")).expect("an address");
            directory::add_account(
                batch,
                &directory::NewAccount { address: &address, name: "", quota: None },
                now,
            )?;
        }
        Ok(())
    });
    if let Err(error) = filled.await {
        println!("the accounts are there already: {error}");
    }
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(role_mail::housekeeping::tend(site.clone(), stopped.clone()));
    let listener = site.world().net.listen(([127, 0, 0, 1], port).into()).await?;
    let taken = Arc::new(AtomicU64::new(0));
    let counted = taken.clone();
    tokio::spawn(async move {
        while let Ok(connection) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(site.clone(), connection, stopped.clone()));
        }
    });
    let mut line = String::new();
    tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut line)).await??;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let ticks: u64 = stat.rsplit(')').next().map_or(0, |rest| {
        rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum()
    });
    let sessions = taken.load(Ordering::Relaxed);
    println!("{sessions} sessions, {:.3} CPU s per 1000", ticks as f64 * 10.0 / sessions.max(1) as f64);
    Ok(())
}

async fn serve(site: Site, connection: world::Connection, stop: drive::Stop) {
    let arrival = Arrival {
        id: site.session_id(),
        front: Front::Smtp,
        peer: connection.peer,
        local: connection.local,
        implicit_tls: false,
        tls_offered: false,
        at: site.now(),
    };
    let wires = drive::Wires {
        clock: site.world().clock.clone(),
        tls: drive::Tls::None,
        stop,
        farewell: Front::Smtp.farewell(),
        meter: site.meter(Front::Smtp),
        limits: drive::Limits::default(),
    };
    role_mail::smtp_in::serve(site, arrival, connection, wires).await;
}
