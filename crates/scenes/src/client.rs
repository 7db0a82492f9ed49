//! Senders with patience: they hand mail to our host and come again until it is taken.
//!
//! Written apart from our own client, so that the two check each other.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use drive::{ClientTls, Roots, Trust};
use stdx::{Now, Span};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{Stream, World};

use crate::letters::Letter;
use crate::scene::{Customer, Mark, Scene};

/// Tries before a sender gives up, and the wait between them.
const TRIES_MAX: u32 = 60;
const AGAIN: Span = Span::secs(20);
/// A customer's server has a queue of its own.
const CUSTOMER_AGAIN: Span = Span::mins(5);
/// One step of the dialogue takes at most so long.
const STEP_MAX: Span = Span::mins(5);
/// Senders at the same time.
const AT_ONCE: usize = 64;

/// What became of a letter at our own door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    pub letter: usize,
    pub accepted: Option<Now>,
    /// A 5xx of ours, verbatim.
    pub refused: Option<String>,
    pub tries: u32,
}

/// Where our host takes mail.
#[derive(Clone)]
pub struct Doors {
    pub submission: SocketAddr,
    pub smtp: SocketAddr,
    /// Addresses of our people, and of the people outside.
    pub inside: IpAddr,
    pub outside: IpAddr,
    pub password: String,
    /// Senders whose server is a customer of our relay.
    pub customers: BTreeMap<String, Customer>,
}

/// How one message comes to our door.
pub struct Way {
    pub from: IpAddr,
    pub to: SocketAddr,
    pub helo: String,
    pub tls: bool,
    /// User and password.
    pub login: Option<(String, String)>,
}

impl Doors {
    fn way(&self, letter: &Letter, forward: bool) -> Way {
        let helo = || letter.sender.rsplit_once('@').map_or("client.example", |(_, d)| d).to_owned();
        if forward {
            return Way { from: self.outside, to: self.smtp, helo: helo(), tls: false, login: None };
        }
        let login = |user: &str| Some((user.to_owned(), self.password.clone()));
        let way = Way { from: self.inside, to: self.submission, helo: helo(), tls: false, login: None };
        match self.customers.get(&letter.sender) {
            Some(customer) => Way {
                helo: customer.helo.clone(),
                tls: true,
                login: login(&customer.name).filter(|_| customer.logs_in),
                ..way
            },
            None => Way { login: login(&letter.sender), ..way },
        }
    }
}

/// Hands in all letters, each at its time, and notes in `done` what became of them.
pub async fn send_all(
    world: World,
    scene: Arc<Scene>,
    letters: Arc<Vec<Letter>>,
    doors: Doors,
    done: Arc<Mutex<Vec<Handed>>>,
) {
    let places = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    for (n, letter) in letters.iter().enumerate() {
        world.clock.sleep_until(letter.at).await;
        let Ok(place) = places.clone().acquire_owned().await else { break };
        let (world, scene, letters, doors, done) =
            (world.clone(), scene.clone(), letters.clone(), doors.clone(), done.clone());
        tokio::spawn(async move {
            let forward = scene.traffic[letters[n].traffic].mark == Mark::Forward;
            let handed = hand_in(&world, (n, &letters[n]), &doors, forward).await;
            done.lock().unwrap_or_else(PoisonError::into_inner).push(handed);
            drop(place);
        });
    }
    let _all = places.acquire_many(AT_ONCE as u32).await;
}

async fn hand_in(world: &World, (n, letter): (usize, &Letter), doors: &Doors, forward: bool) -> Handed {
    let mut handed = Handed { letter: n, accepted: None, refused: None, tries: 0 };
    let way = doors.way(letter, forward);
    let again = if doors.customers.contains_key(&letter.sender) { CUSTOMER_AGAIN } else { AGAIN };
    while handed.tries < TRIES_MAX {
        handed.tries += 1;
        let text = letter.text(world.now());
        match once(world, letter, &way, &text).await {
            Ok(()) => {
                handed.accepted = Some(world.now());
                return handed;
            }
            Err(reply) if reply.starts_with('5') => {
                handed.refused = Some(reply);
                return handed;
            }
            Err(_) => world.clock.sleep_until(world.now() + again).await,
        }
    }
    handed
}

/// `Err` is the reply that was not the one wanted, or why there was none.
pub async fn once(world: &World, letter: &Letter, way: &Way, text: &str) -> Result<(), String> {
    let connection = world.net.dial(Some(way.from), way.to).await.map_err(|e| e.to_string())?;
    let mut talk = Talk { stream: connection.stream, held: Vec::new(), world };
    talk.want("220", None).await?;
    let hello = format!("EHLO {}", way.helo);
    talk.want("250", Some(&hello)).await?;
    if way.tls {
        talk.want("220", Some("STARTTLS")).await?;
        talk = talk.secure().await?;
        talk.want("250", Some(&hello)).await?;
    }
    if let Some((user, password)) = &way.login {
        let both = base64(format!("\0{user}\0{password}").as_bytes());
        talk.want("235", Some(&format!("AUTH PLAIN {both}"))).await?;
    }
    talk.want("250", Some(&format!("MAIL FROM:<{}>", letter.sender))).await?;
    for rcpt in &letter.through {
        talk.want("250", Some(&format!("RCPT TO:<{rcpt}>"))).await?;
    }
    talk.want("354", Some("DATA")).await?;
    talk.want("250", Some(&format!("{text}."))).await?;
    // It is taken; what becomes of the farewell says nothing about it.
    let _ = talk.want("221", Some("QUIT")).await;
    Ok(())
}

struct Talk<'w> {
    stream: Box<dyn Stream>,
    held: Vec<u8>,
    world: &'w World,
}

impl Talk<'_> {
    /// Whoever answers will do: it is the door we were told of.
    async fn secure(self) -> Result<Self, String> {
        let client = ClientTls::new(Arc::new(Roots::none()), "relay.example", Trust::Any);
        let (stream, _) = drive::tls::client_handshake(&client, self.stream).await?;
        Ok(Talk { stream, ..self })
    }

    async fn want(&mut self, code: &str, say: Option<&str>) -> Result<(), String> {
        let world = self.world;
        let step = async {
            if let Some(say) = say {
                self.stream.write_all(format!("{say}\r\n").as_bytes()).await.map_err(|e| e.to_string())?;
                self.stream.flush().await.map_err(|e| e.to_string())?;
            }
            self.reply().await
        };
        let reply = match drive::first(step, world.clock.sleep_until(world.now() + STEP_MAX)).await {
            drive::First::A(reply) => reply?,
            drive::First::B(()) => return Err("no answer".into()),
        };
        if reply.starts_with(code) { Ok(()) } else { Err(reply) }
    }

    async fn reply(&mut self) -> Result<String, String> {
        let mut all = String::new();
        loop {
            while let Some(end) = self.held.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                let more = line.as_bytes().get(3) == Some(&b'-');
                all.push_str(&line);
                if !more {
                    return Ok(all);
                }
                all.push('\n');
            }
            let n = self.stream.read_buf(&mut self.held).await.map_err(|e| e.to_string())?;
            if n == 0 {
                return Err("closed".into());
            }
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    sasl::encode(bytes)
}
