//! A scene on real sockets: our host is a process of its own, which can be killed.
//!
//! What it is: the director's side. It opens the peers' ports and the name server on 127.0.0.0/8,
//! starts the host, hands in the letters, and reads the host's folder when all is over. The host
//! is the product with the scene's settings; its clock may run faster ([`PacedClock`]).
//! Begin with [`play`]; [`host_world`] is the host's side.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use host::Datagrams;
use stdx::{Now, Span};
use store::Store;
use world::{Clock, Dns, Net, World};

use crate::cast::{Cast, Place};
use crate::client::{self, Handed};
use crate::farm::{self, Ports};
use crate::folder::{self, Folder};
use crate::letters::{self, Letter};
use crate::life::{Life, mortal};
use crate::names::Names;
use crate::outcry::{Outcry, Reports};
use crate::pace::PacedClock;
use crate::scene::{Broken, Scene};
use crate::stage::{Happening, happenings};
use crate::{Record, dnsd, gather, snds};

/// Where ports are looked for.
const PORTS: std::ops::Range<u16> = 23_000..31_000;
/// A scene that names no pace is played in so long.
const PLAYED_IN: Span = Span::mins(2);
const PACE_MAX: u64 = 600;
/// Before the scene begins, so that the host stands.
const READY: Span = Span::secs(20);
/// After the end, the host may take so long to stop.
const STOP: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(20);

/// What the host's process must know besides the scene.
#[derive(Clone, Debug)]
pub struct Terms {
    pub data: std::path::PathBuf,
    pub ports: Ports,
    pub dns: SocketAddr,
    pub begin: Now,
    pub pace: u64,
    pub ca: Option<std::path::PathBuf>,
}

/// What the door does for a scene: it starts the host's process and carries orders to it.
pub trait Crew {
    fn start(&self, terms: &Terms) -> std::io::Result<Child>;
    fn order(&self, data: &Path, words: Vec<String>) -> Result<String, String>;
}

/// Plays a scene on sockets.
pub fn play(scene: &Scene, pace: Option<u64>, crew: &dyn Crew) -> Result<Record, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| format!("The scene cannot begin: {e}."))?;
    runtime.block_on(direct(scene, pace, crew))
}

/// The world of the host's process.
pub fn host_world(scene: &Scene, terms: &Terms) -> World {
    let dns = host::DnsSettings { servers: vec![terms.dns], ..host::DnsSettings::default() };
    let world = host::world(host::Settings { dns, ..host::Settings::default() });
    let clock = PacedClock { begin: terms.begin, pace: terms.pace };
    let down = scene.faults.iter().filter_map(|f| match f.what {
        Broken::Egress(ip) => Some((ip, terms.begin + f.at, terms.begin + f.at + f.lasts)),
        _ => None,
    });
    mortal(World { clock: Arc::new(clock), ..world }, &Life::default(), down.collect())
}

async fn direct(scene: &Scene, pace: Option<u64>, crew: &dyn Crew) -> Result<Record, String> {
    let folder = Folder::new()?;
    let real = host::SystemClock.now();
    let pace = pace.or(scene.pace).unwrap_or((scene.length.0 / PLAYED_IN.0).clamp(1, PACE_MAX));
    let begin = real + Span::secs(1);
    let secrets = folder::secrets(scene, folder.path(), real)?;
    let (ports, socket) = ports(scene).await?;
    let dns = socket.local().map_err(|e| e.to_string())?;
    let mut terms = Terms {
        data: folder.path().join("data"),
        ports,
        dns,
        begin,
        pace,
        ca: secrets.as_ref().map(|s| s.ca.clone()),
    };
    // The scene waits for its host: the furniture takes its time.
    let letters = letters::draw(scene, Now(0));
    furnish(scene, &letters, &terms).await?;
    terms.begin = host::SystemClock.now() + READY;
    let clock: Arc<dyn Clock> = Arc::new(PacedClock { begin: terms.begin, pace });
    let names = Names::new(scene, scene.zones(), terms.begin, clock.clone());
    let answering = tokio::spawn(dnsd::serve(socket, names.clone(), (60 / pace).max(1) as u32));
    let world = host::world(host::Settings::default());
    let world = World { clock: clock.clone(), dns: Arc::new(names.clone()) as Arc<dyn Dns>, ..world };
    let net = |_: SocketAddr| -> Arc<dyn Net> { world.net.clone() };
    let place =
        Place { net: &net, clock, port: ports.smtp, begin: terms.begin, tls: secrets.map(|s| s.wrap) };
    let cast = Cast::begin(scene, place).await?;
    let password = folder::password(scene, folder.path())?;
    let played = Director { scene, terms, world, names, crew, password }.run(&cast).await;
    answering.abort();
    played
}

/// Ports that are free on every address of the scene, and the name server's socket.
async fn ports(scene: &Scene) -> Result<(Ports, Datagrams), String> {
    let mut all: Vec<IpAddr> = scene.peers.iter().flat_map(|p| p.addresses.iter().copied()).collect();
    all.push(scene.host.address);
    let span = u64::from(PORTS.end - PORTS.start) / 4;
    let first = world::Random::next_u64(&host::SystemRandom) % span;
    let mut why = String::new();
    for n in 0..200 {
        let smtp = PORTS.start + 4 * ((first + n * 7) % span) as u16;
        let ports = Ports { smtp, submission: smtp + 1 };
        let dns = SocketAddr::new(scene.host.address, smtp + 2);
        let free =
            |ip: &IpAddr| [smtp, smtp + 1].iter().all(|p| std::net::TcpListener::bind((*ip, *p)).is_ok());
        if !all.iter().all(free) {
            why =
                "one of the scene's addresses has no free port; are they all on this machine (127.0.0.0/8)?"
                    .into();
            continue;
        }
        match Datagrams::bind(dns).await {
            Ok(socket) => return Ok((ports, socket)),
            Err(e) => why = format!("{dns}: {e}"),
        }
    }
    Err(format!("No ports are free for the scene: {why}"))
}

async fn furnish(scene: &Scene, letters: &[Letter], terms: &Terms) -> Result<(), String> {
    let store = open(&terms.data)?;
    farm::furnish(&store, scene, letters, terms.begin).await.map_err(|e| format!("The store: {e}."))
}

fn open(data: &Path) -> Result<Store, String> {
    Store::open(data, store::Settings::default(), &farm::schemas())
        .map_err(|e| format!("The store in {} cannot be opened: {e}.", data.display()))
}

struct Director<'s> {
    scene: &'s Scene,
    terms: Terms,
    world: World,
    names: Names,
    crew: &'s dyn Crew,
    password: std::path::PathBuf,
}

impl Director<'_> {
    async fn run(&self, cast: &Cast) -> Result<Record, String> {
        let (scene, begin, clock) = (self.scene, self.terms.begin, &self.world.clock);
        let mut process = Process::start(self).await?;
        let letters = Arc::new(letters::draw(scene, begin));
        let handed = Arc::new(Mutex::new(Vec::new()));
        let doors = farm::doors(scene, self.terms.ports);
        let sending = client::send_all(
            self.world.clone(),
            Arc::new(scene.clone()),
            letters.clone(),
            doors,
            handed.clone(),
        );
        let sending = tokio::spawn(sending);
        let reports = Reports::default();
        let crying = tokio::spawn(self.outcry(cast, letters.clone(), reports.clone()).run());
        let table = match scene.snds.is_empty() {
            true => None,
            false => Some(snds::open(&self.world, scene, self.terms.ports.web(), begin).await?),
        };
        let (mut kills, mut answers) = (0, Vec::new());
        let mut happenings = happenings(scene);
        while let Some((at, happening)) = happenings.pop() {
            clock.sleep_until(begin + at).await;
            match happening {
                Happening::Kill(lasts) => {
                    kills += 1;
                    process.kill()?;
                    clock.sleep_until(clock.now() + lasts).await;
                    let peak = process.peak;
                    process = Process::start(self).await?;
                    process.peak = peak;
                }
                Happening::Record(n) => scene.records[n].enter(self.names.zones()),
                Happening::Order(n) => {
                    let words = folder::filled(&scene.orders[n].words, &self.password);
                    let answer = self.crew.order(&self.terms.data, words);
                    answers.push((n, answer.map_err(|why| scene.orders[n].failed(&why))?));
                }
            }
        }
        let end = begin + scene.length;
        clock.sleep_until(end).await;
        process.end().await?;
        sending.abort();
        crying.abort();
        table.iter().for_each(tokio::task::JoinHandle::abort);
        let handed = handed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut record = self.record(cast, (letters, handed), (kills, answers, process.peak), end).await?;
        record.reports = reports.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(record)
    }

    fn outcry(&self, cast: &Cast, letters: Arc<Vec<Letter>>, done: Reports) -> Outcry {
        Outcry {
            scene: Arc::new(self.scene.clone()),
            letters,
            doors: farm::doors(self.scene, self.terms.ports),
            begin: self.terms.begin,
            peers: cast.peers.clone(),
            worlds: vec![self.world.clone(); cast.peers.len()],
            done,
        }
    }

    async fn record(
        &self,
        cast: &Cast,
        (letters, handed): (Arc<Vec<Letter>>, Vec<Handed>),
        (kills, answers, peak): (u64, Vec<(usize, String)>, u64),
        end: Now,
    ) -> Result<Record, String> {
        let store = open(&self.terms.data)?;
        let (begin, letters, asked) = (self.terms.begin, letters.to_vec(), self.names.asked());
        let played = gather::Played { begin, end, letters, handed, asked, kills, answers };
        let record = gather::record(self.scene, &cast.peers, &store, played).await;
        let record = record.map_err(|e| format!("The store: {e}."))?;
        Ok(Record { memory_max: Some(peak), ..record })
    }
}

/// The host's process; it does not outlive this value.
struct Process {
    child: Child,
    /// Most memory it was seen to use.
    peak: u64,
}

impl Process {
    /// Starts it and waits until its doors are open.
    async fn start(director: &Director<'_>) -> Result<Process, String> {
        let child =
            director.crew.start(&director.terms).map_err(|e| format!("Our host cannot be started: {e}."))?;
        let mut process = Process { child, peak: 0 };
        let door = farm::doors(director.scene, director.terms.ports).submission;
        let began = std::time::Instant::now();
        while began.elapsed() < READY.to_std() {
            if director.world.net.dial(None, door).await.is_ok() {
                return Ok(process);
            }
            if let Ok(Some(status)) = process.child.try_wait() {
                return Err(format!("Our host ended at once ({status}); it says why above."));
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(format!("Our host did not open {door} within {READY}."))
    }

    /// `kill -9`.
    fn kill(&mut self) -> Result<(), String> {
        self.look();
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(|e| format!("Our host cannot be killed: {e}."))
    }

    async fn end(&mut self) -> Result<(), String> {
        self.look();
        // It stops once nobody holds the other end of its input.
        drop(self.child.stdin.take());
        let began = std::time::Instant::now();
        while began.elapsed() < STOP {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(format!("Our host did not stop within {} s.", STOP.as_secs()))
    }

    fn look(&mut self) {
        self.peak = self.peak.max(host::process::memory_peak(self.child.id()).unwrap_or(0));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
