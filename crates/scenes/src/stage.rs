//! A scene in virtual time: the product's own host in a simulated city, hours in seconds.
//!
//! Everything of ours is the product: listeners, sessions, spool, send loop, judge, ledger, store.
//! Only the world is another: wires in memory, names in a table, a clock that jumps when
//! everybody waits. Begin with [`play`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use drive::TlsServer;
use role_mail::gate::Gate;
use role_mail::listen::{Port, listen};
use role_mail::{Front, Site};
use sim::{City, Wrap};
use stdx::{Bytes, Span};
use store::Store;
use tokio::sync::watch;
use tokio::task::JoinSet;
use world::{Clock, Dns, Net, World};

use crate::cast::{Cast, Place};
use crate::client::{self, Handed};
use crate::farm::{self, USUAL};
use crate::folder::{self, Folder};
use crate::letters::{self, Letter};
use crate::life::{Life, mortal};
use crate::names::Names;
use crate::outcry::{Outcry, Reports};
use crate::scene::{Broken, Scene};
use crate::{Record, gather, snds};

/// After the end, tries under way may take so long.
const STOP: Span = Span::secs(40);
/// Before the first letter, so that everything is at work.
const WARM: Span = Span::secs(1);

const SEGMENT_MAX: Bytes = Bytes::kib(256);

/// Carries out an operator's order on the host that runs; `Err` says why it could not.
pub type Orders<'o> =
    &'o dyn Fn(Site, Vec<String>) -> std::pin::Pin<Box<dyn Future<Output = Result<String, String>> + 'o>>;

/// Plays a scene in virtual time.
pub fn play(scene: &Scene, orders: Orders<'_>) -> Result<Record, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|e| format!("The virtual world cannot begin: {e}."))?;
    let done = runtime.block_on(Stage::play(scene, orders));
    // Whoever was killed waits for ever.
    runtime.shutdown_background();
    done
}

/// One life of our host.
struct House {
    site: Site,
    life: Life,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

struct Stage<'s> {
    scene: &'s Scene,
    city: City,
    names: Names,
    begin: stdx::Now,
    roots: Arc<drive::Roots>,
    password: PathBuf,
    /// The relay's certificate.
    door: Option<Arc<dyn TlsServer>>,
}

impl Stage<'_> {
    async fn play(scene: &Scene, orders: Orders<'_>) -> Result<Record, String> {
        let city = City::new(scene.seed);
        let begin = city.clock().now() + WARM;
        let names = Names::new(scene, scene.zones(), begin, city.clock());
        let folder = Folder::new()?;
        // Certificates are valid by the system's clock, whatever the scene's says.
        let secrets = folder::secrets(scene, folder.path(), host::SystemClock.now())?;
        let roots = folder::roots(secrets.as_ref())?;
        let password = folder::password(scene, folder.path())?;
        let door = folder::door(scene, folder.path(), host::SystemClock.now())?;
        let stage = Stage { scene, city, names, begin, roots, password, door };
        stage.run(secrets.map(|s| s.wrap), orders).await
    }

    async fn run(self, tls: Option<Wrap>, orders: Orders<'_>) -> Result<Record, String> {
        let (scene, begin) = (self.scene, self.begin);
        let clock = self.city.clock();
        let net = |at: SocketAddr| -> Arc<dyn Net> { self.city.world(&[at.ip()]).net };
        let cast =
            Cast::begin(scene, Place { net: &net, clock: clock.clone(), port: USUAL.smtp, begin, tls })
                .await?;
        let table = self.snds().await?;
        let letters = Arc::new(letters::draw(scene, begin));
        let store = Store::in_memory(memory(), &farm::schemas()).map_err(says)?;
        farm::furnish(&store, scene, &letters, begin).await.map_err(says)?;
        let mut house = self.house(store).await?;
        clock.sleep_until(begin).await;
        let before = tasks();
        let (handed, reports) = (self.send(&letters), self.complain(&letters, &cast));
        let (mut happenings, mut kills, mut answers) = (happenings(scene), 0, Vec::new());
        while let Some((at, happening)) = happenings.pop() {
            clock.sleep_until(begin + at).await;
            match happening {
                Happening::Kill(lasts) => {
                    kills += 1;
                    house.life.end();
                    let store = house.site.store().power_cut().map_err(says)?;
                    clock.sleep_until(clock.now() + lasts).await;
                    house = self.house(store).await?;
                }
                Happening::Record(n) => scene.records[n].enter(self.names.zones()),
                Happening::Order(n) => {
                    let words = folder::filled(&scene.orders[n].words, &self.password);
                    let answer = orders(house.site.clone(), words).await;
                    answers.push((n, answer.map_err(|why| scene.orders[n].failed(&why))?));
                }
            }
        }
        let end = begin + scene.length;
        clock.sleep_until(end).await;
        let after = tasks();
        let _ = house.stop.send(true);
        let stopping = async { while house.tasks.join_next().await.is_some() {} };
        drive::first(stopping, clock.sleep_until(clock.now() + STOP)).await;
        let store = house.site.store().clone();
        table.iter().for_each(tokio::task::JoinHandle::abort);
        let reports = reports.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let handed = handed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (letters, asked) = (letters.to_vec(), self.names.asked());
        let played = gather::Played { begin, end, letters, handed, asked, kills, answers };
        let record = gather::record(scene, &cast.peers, &store, played).await.map_err(says)?;
        Ok(Record { reports, tasks: Some((before, after)), ..record })
    }

    /// Begins a life of our host over what it kept.
    async fn house(&self, store: Store) -> Result<House, String> {
        let scene = self.scene;
        let life = Life::default();
        let down = scene.faults.iter().filter_map(|f| match f.what {
            Broken::Egress(ip) => Some((ip, self.begin + f.at, self.begin + f.at + f.lasts)),
            _ => None,
        });
        let world = self.city.world(&farm::own_addresses(scene));
        let dns: Arc<dyn Dns> = Arc::new(self.names.clone());
        let world = mortal(World { dns, ..world }, &life, down.collect());
        let mut tasks = JoinSet::new();
        let (stop, stopped) = watch::channel(false);
        let site = Site::with_roots(
            world.clone(),
            store,
            farm::settings(scene, USUAL, self.begin),
            self.roots.clone(),
        );
        let gate = Gate::default();
        for (front, port) in [(Front::Smtp, USUAL.smtp), (Front::Submission, USUAL.submission)] {
            let at = SocketAddr::new(scene.host.address, port);
            let listener =
                world.net.listen(at).await.map_err(|e| format!("Our host cannot listen on {at}: {e}."))?;
            if let Some(door) = self.door.clone().filter(|_| front == Front::Submission) {
                let (relay, port) = farm::relay_door(&site, scene, listener, door);
                tasks.spawn(role_relay::listen(relay, port, stopped.clone()));
                continue;
            }
            let port = Port { front, implicit_tls: false, listener, certificates: None };
            tasks.spawn(listen(site.clone(), port, gate.clone(), stopped.clone()));
        }
        role_mail::begin(&site, &stopped, &mut tasks);
        Ok(House { site, life, stop, tasks })
    }

    /// Opens the page of SNDS, if the scene has one.
    async fn snds(&self) -> Result<Option<tokio::task::JoinHandle<()>>, String> {
        if self.scene.snds.is_empty() {
            return Ok(None);
        }
        let world = self.city.world(&[snds::ADDRESS]);
        snds::open(&world, self.scene, USUAL.web(), self.begin).await.map(Some)
    }

    fn complain(&self, letters: &Arc<Vec<Letter>>, cast: &Cast) -> Reports {
        let done = Reports::default();
        if !self.scene.complaints.is_empty() {
            let worlds = self.scene.peers.iter().map(|p| self.city.world(&p.addresses)).collect();
            let outcry = Outcry {
                scene: Arc::new(self.scene.clone()),
                letters: letters.clone(),
                doors: farm::doors(self.scene, USUAL),
                begin: self.begin,
                peers: cast.peers.clone(),
                worlds,
                done: done.clone(),
            };
            tokio::spawn(outcry.run());
        }
        done
    }

    fn send(&self, letters: &Arc<Vec<Letter>>) -> Arc<Mutex<Vec<Handed>>> {
        let world = self.city.world(&farm::client_addresses());
        let done = Arc::new(Mutex::new(Vec::new()));
        let sending = client::send_all(
            world,
            Arc::new(self.scene.clone()),
            letters.clone(),
            farm::doors(self.scene, USUAL),
            done.clone(),
        );
        tokio::spawn(sending);
        done
    }
}

/// A disk in memory looks through the whole file it makes durable: short ones cost less.
fn memory() -> store::Settings {
    store::Settings { segment_max: SEGMENT_MAX, ..store::Settings::default() }
}

/// What happens at its time.
pub enum Happening {
    Kill(Span),
    Record(usize),
    Order(usize),
}

/// All that happens, the first last.
pub fn happenings(scene: &Scene) -> Vec<(Span, Happening)> {
    let kills = scene.faults.iter().filter(|f| f.what == Broken::Kill);
    let mut all: Vec<(Span, Happening)> = kills.map(|f| (f.at, Happening::Kill(f.lasts))).collect();
    let later = scene.records.iter().enumerate();
    all.extend(later.filter_map(|(n, r)| r.begin.map(|at| (at, Happening::Record(n)))));
    all.extend(scene.orders.iter().enumerate().map(|(n, o)| (o.at, Happening::Order(n))));
    all.retain(|(at, _)| *at < scene.length);
    all.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    all
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

fn says(error: store::StoreError) -> String {
    format!("The store: {error}.")
}
