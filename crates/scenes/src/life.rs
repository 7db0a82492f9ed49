//! A life that can end at once, as by `kill -9`, in a world that goes on.
//!
//! What it is: [`mortal`] wraps a world so that, after [`Life::end`], whoever lived in it waits
//! for ever: its streams break for the others, its ports are free, its timers never fire. And
//! egresses that are down for a while. What it is not: the power cut of the store.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use stdx::Now;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use world::{Clock, Connection, Later, Listener, Net, Stream, World};

type Slot<T> = Arc<Mutex<Option<T>>>;

/// One life; clones are the same one.
#[derive(Clone, Default)]
pub struct Life(Arc<Inner>);

#[derive(Default)]
struct Inner {
    over: AtomicBool,
    told: Notify,
    streams: Mutex<Vec<Slot<Box<dyn Stream>>>>,
    listeners: Mutex<Vec<Slot<Arc<dyn Listener>>>>,
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Life {
    pub fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }
    /// Ends it here and now.
    pub fn end(&self) {
        self.0.over.store(true, Ordering::Relaxed);
        for slot in lock(&self.0.streams).drain(..) {
            lock(&slot).take();
        }
        for slot in lock(&self.0.listeners).drain(..) {
            lock(&slot).take();
        }
        self.0.told.notify_waiters();
    }
    fn hold(&self, connection: Connection) -> Connection {
        let slot = Arc::new(Mutex::new(Some(connection.stream)));
        let mut streams = lock(&self.0.streams);
        streams.retain(|s| Arc::strong_count(s) > 1);
        streams.push(slot.clone());
        Connection { stream: Box::new(Held(slot)), ..connection }
    }
}

/// The world as one life sees it; from the addresses in `down` nothing leaves within their times.
pub fn mortal(world: World, life: &Life, down: Vec<(IpAddr, Now, Now)>) -> World {
    let net = MortalNet { net: world.net, life: life.clone(), down, clock: world.clock.clone() };
    let clock = MortalClock { clock: world.clock, life: life.clone() };
    World { net: Arc::new(net), clock: Arc::new(clock), ..world }
}

struct MortalClock {
    clock: Arc<dyn Clock>,
    life: Life,
}

impl Clock for MortalClock {
    fn now(&self) -> Now {
        self.clock.now()
    }
    fn sleep_until(&self, until: Now) -> Later<'_, ()> {
        Box::pin(async move {
            self.clock.sleep_until(until).await;
            if self.life.is_over() {
                pending::<()>().await;
            }
        })
    }
}

struct MortalNet {
    net: Arc<dyn Net>,
    life: Life,
    down: Vec<(IpAddr, Now, Now)>,
    clock: Arc<dyn Clock>,
}

impl Net for MortalNet {
    fn dial(&self, from: Option<IpAddr>, to: SocketAddr) -> Later<'_, io::Result<Connection>> {
        Box::pin(async move {
            let now = self.clock.now();
            if self.down.iter().any(|(ip, a, b)| from == Some(*ip) && now >= *a && now < *b) {
                return Err(io::Error::new(io::ErrorKind::NetworkUnreachable, "network is unreachable"));
            }
            let done = self.net.dial(from, to).await;
            if self.life.is_over() {
                pending::<()>().await;
            }
            done.map(|c| self.life.hold(c))
        })
    }
    fn listen(&self, at: SocketAddr) -> Later<'_, io::Result<Arc<dyn Listener>>> {
        Box::pin(async move {
            let inner = self.net.listen(at).await?;
            let local = inner.local();
            let slot = Arc::new(Mutex::new(Some(inner)));
            lock(&self.life.0.listeners).push(slot.clone());
            Ok(Arc::new(MortalListener { slot, local, life: self.life.clone() }) as Arc<dyn Listener>)
        })
    }
}

struct MortalListener {
    slot: Slot<Arc<dyn Listener>>,
    local: SocketAddr,
    life: Life,
}

impl Listener for MortalListener {
    fn local(&self) -> SocketAddr {
        self.local
    }
    fn accept(&self) -> Later<'_, io::Result<Connection>> {
        Box::pin(async move {
            let Some(inner) = lock(&self.slot).clone() else { return pending().await };
            let accepted = match drive::first(self.life.0.told.notified(), inner.accept()).await {
                drive::First::B(accepted) => accepted,
                drive::First::A(()) => {
                    // The port is free from here on.
                    drop(inner);
                    return pending().await;
                }
            };
            if self.life.is_over() {
                pending::<()>().await;
            }
            accepted.map(|c| self.life.hold(c))
        })
    }
}

/// A stream that breaks for the other side when the life ends, and hangs for its own.
struct Held(Slot<Box<dyn Stream>>);

impl Held {
    fn with<T>(&self, f: impl FnOnce(Pin<&mut dyn Stream>) -> Poll<T>) -> Poll<T> {
        match lock(&self.0).as_mut() {
            Some(stream) => f(Pin::new(stream.as_mut())),
            None => Poll::Pending,
        }
    }
}

impl AsyncRead for Held {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|s| s.poll_read(cx, buf))
    }
}

impl AsyncWrite for Held {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|s| s.poll_write(cx, bytes))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|s| s.poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|s| s.poll_shutdown(cx))
    }
}
