//! One session: the loop itself.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use stdx::{Action, Machine, Now, Span, TlsFacts};
use tokio::io::{AsyncWrite, ReadBuf};
use world::{Clock, Later, Stream};

use crate::deflate::Deflated;
use crate::out::{OUT_MAX, Out};
use crate::tls::Tls;
use crate::{Desk, End, Meter, TLS_TOO_EARLY, Why, Wires, tls};

/// One read takes at most this much.
const READ_MAX: usize = 64 * 1024;
/// A machine whose deadline fires this often without anything else happening is broken.
const IDLE_FIRES_MAX: u32 = 1000;

thread_local! {
    /// Where bytes land before the machine takes them: one buffer per thread, not per connection.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_MAX]);
}

type NoticeOf<D> = <<D as Desk>::M as Machine>::Notice;
type AnswerOf<D> = <<D as Desk>::M as Machine>::Answer;
type AskOf<D> = <<D as Desk>::M as Machine>::Ask;

pub(crate) struct Session<D: Desk> {
    machine: D::M,
    desk: D,
    line: Line,
    wires: Wires,
}

/// The connection's side of a session.
struct Line {
    /// Gone only while a handshake has it.
    stream: Option<Box<dyn Stream>>,
    out: Out,
    bytes_in: u64,
    tls: Option<Box<TlsFacts>>,
    /// The first octets were those of a TLS handshake.
    early_tls: bool,
    peer_closed: bool,
}

/// What the loop woke up for.
enum Woke<N> {
    Read(io::Result<usize>),
    Notice(N),
    Stop,
    Time,
}

impl<D: Desk> Session<D> {
    pub(crate) fn new(machine: D::M, desk: D, stream: Box<dyn Stream>, wires: Wires) -> Session<D> {
        let (stream, out) = (Some(stream), Out::default());
        let line = Line { stream, out, bytes_in: 0, tls: None, early_tls: false, peer_closed: false };
        Session { machine, desk, line, wires }
    }

    pub(crate) async fn run(mut self: Box<Self>) -> End {
        let meter = self.wires.meter.clone();
        Meter::add(&meter.sessions, 1);
        let open = OpenGauge::new(&meter);
        let conversation = async {
            match self.converse().await {
                Ok(why) | Err(why @ Why::Left) => why,
                Err(why) => {
                    self.end_deaf(&why).await;
                    why
                }
            }
        };
        let why = match AssertUnwindSafe(conversation).catch_unwind().await {
            Ok(why) => why,
            Err(panic) => {
                Meter::add(&meter.panics, 1);
                self.say_farewell().await;
                Why::Panicked(panic_text(&*panic))
            }
        };
        drop(open);
        match why {
            Why::Stalled => Meter::add(&meter.stalls, 1),
            Why::TlsFailed(_) => Meter::add(&meter.tls_failures, 1),
            _ => {}
        }
        Meter::add(&meter.bytes_in, self.line.bytes_in);
        Meter::add(&meter.bytes_out, self.line.out.written);
        End {
            why,
            bytes_in: self.line.bytes_in,
            bytes_out: self.line.out.written,
            tls: self.line.tls.map(|facts| *facts),
        }
    }

    /// `Ok` and `Err` both say why it ended; `Err` is the way out of the depth.
    async fn converse(&mut self) -> Result<Why, Why> {
        if self.wires.tls.is_implicit() {
            self.start_tls().await?;
        }
        let clock = self.wires.clock.clone();
        let mut timer = Timer { clock: &*clock, sleep: None, armed: Now(0) };
        self.machine.opened(clock.now());
        let mut stopping: Option<Now> = None;
        let mut idle_fires = 0;
        loop {
            if self.act().await? {
                return Ok(Why::Done);
            }
            if self.line.peer_closed {
                return Ok(Why::PeerClosed);
            }
            if !self.line.out.is_clean() {
                self.line.flush(&self.wires).await?;
            }
            let deadline = self.machine.deadline().into_iter().chain(stopping).min();
            let now = clock.now();
            if stopping.is_some_and(|at| at <= now) {
                return Err(Why::Stopped);
            }
            let overdue = self.machine.deadline().is_some_and(|at| at <= now);
            idle_fires = if overdue { idle_fires + 1 } else { 0 };
            let woke = if overdue { Woke::Time } else { self.wait(&mut timer, deadline, stopping).await };
            assert!(idle_fires < IDLE_FIRES_MAX, "never: the machine's deadline does not move");
            self.take(woke, &mut stopping)?;
        }
    }

    /// Takes what the loop woke up for to the machine.
    fn take(&mut self, woke: Woke<NoticeOf<D>>, stopping: &mut Option<Now>) -> Result<(), Why> {
        let now = self.wires.clock.now();
        match woke {
            Woke::Read(Ok(0)) => {
                self.line.peer_closed = true;
                self.machine.closed(now);
            }
            Woke::Read(Ok(n)) => {
                self.line.bytes_in += n as u64;
                let clear = matches!(self.wires.tls, Tls::Server { implicit: false, .. });
                if self.line.early_tls && clear && self.line.tls.is_none() {
                    return Err(Why::TlsFailed(TLS_TOO_EARLY.to_owned()));
                }
            }
            Woke::Read(Err(e)) => return Err(Why::Broken(e.to_string())),
            Woke::Notice(notice) => self.machine.notified(now, notice),
            Woke::Stop => {
                // All that was said is flushed before anything is waited for.
                if let Some(takes) = self.desk.leave(&self.machine)
                    && let Some(stream) = self.line.stream.take()
                {
                    takes(stream);
                    return Err(Why::Left);
                }
                *stopping = Some(now + self.wires.limits.stop_grace);
                self.machine.shutdown(now);
            }
            Woke::Time => {
                if self.machine.deadline().is_some_and(|at| at <= now) {
                    self.machine.timed_out(now);
                }
            }
        }
        Ok(())
    }

    /// Carries out actions until there are none. True: the machine has closed.
    async fn act(&mut self) -> Result<bool, Why> {
        while let Some(action) = self.machine.next() {
            match action {
                Action::Send(bytes) => {
                    self.line.out.push(bytes);
                    if self.line.out.waiting() >= OUT_MAX {
                        self.line.flush(&self.wires).await?;
                    }
                }
                Action::Ask(ask) => {
                    let answer = self.ask(ask).await?;
                    self.machine.answered(self.wires.clock.now(), answer);
                }
                Action::StartTls => {
                    self.line.flush(&self.wires).await?;
                    self.start_tls().await?;
                }
                Action::StartDeflate => {
                    self.line.flush(&self.wires).await?;
                    if let Some(inner) = self.line.stream.take() {
                        self.line.stream = Some(Box::new(Deflated::new(inner)));
                    }
                }
                Action::Close => {
                    self.line.close(&self.wires).await?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The connection cannot be written any more. Hears what the peer may still have said (a 421 in
    /// the middle of our text explains the break), tells the machine that all is over, and lets
    /// it ask its last questions; what it says is dropped.
    async fn end_deaf(&mut self, why: &Why) {
        self.line.out.drop_all();
        let clock = self.wires.clock.clone();
        let patience = self.wires.limits.hear_out;
        if matches!(why, Why::Broken(_) | Why::Stalled) && patience > Span::ZERO {
            let until = clock.now() + patience;
            // Bounded by the patience and by what a socket's buffer holds.
            for _ in 0..64 {
                let Session { machine, line, .. } = self;
                let read = std::future::poll_fn(|cx| {
                    line.poll_read(cx, |bytes| machine.received(clock.now(), bytes))
                });
                match within(&*clock, until.since(clock.now()), read).await {
                    Some(Ok(n)) if n > 0 => self.act_deaf().await,
                    _ => break,
                }
            }
        }
        self.machine.closed(clock.now());
        self.act_deaf().await;
    }

    async fn act_deaf(&mut self) {
        // A machine that is never done after its end is broken; leave it.
        for _ in 0..1000 {
            match self.machine.next() {
                Some(Action::Ask(ask)) => {
                    let answer = Box::pin(self.desk.answer(ask)).await;
                    self.machine.answered(self.wires.clock.now(), answer);
                }
                Some(Action::Send(_)) => {}
                _ => return,
            }
        }
    }

    /// Asks the desk. What was said before the question goes out meanwhile. A connection that
    /// breaks does not stop the desk: a commit under way is finished, then the session ends.
    async fn ask(&mut self, ask: AskOf<D>) -> Result<AnswerOf<D>, Why> {
        // Boxed, because a desk's future is big and most of a session's life it is not needed.
        let mut answering: Pin<Box<dyn Future<Output = AnswerOf<D>> + Send + '_>> =
            Box::pin(self.desk.answer(ask));
        let line = &mut self.line;
        let answer = std::future::poll_fn(|cx| {
            if let Poll::Ready(answer) = answering.as_mut().poll(cx) {
                return Poll::Ready(answer);
            }
            if !line.out.is_clean()
                && let Some(stream) = line.stream.as_deref_mut()
                && let Poll::Ready(Err(_)) = line.out.poll_flush(stream, cx)
            {
                // The next read or write says what is wrong.
                line.out.drop_all();
            }
            Poll::Pending
        })
        .await;
        Ok(answer)
    }

    /// Waits for the first of: stop, bytes, a notice, the deadline. The one select of the
    /// product; the order is fixed, so the same events give the same trace.
    async fn wait(
        &mut self,
        timer: &mut Timer<'_>,
        deadline: Option<Now>,
        stopping: Option<Now>,
    ) -> Woke<NoticeOf<D>> {
        timer.set(deadline);
        let Session { machine, desk, line, wires } = self;
        let Wires { stop, clock, .. } = wires;
        let read =
            std::future::poll_fn(|cx| line.poll_read(cx, |bytes| machine.received(clock.now(), bytes)));
        tokio::select! {
            biased;
            () = stopped(stop), if stopping.is_none() => Woke::Stop,
            read = read => Woke::Read(read),
            notice = desk.notice() => Woke::Notice(notice),
            () = timer.fired() => Woke::Time,
        }
    }

    async fn start_tls(&mut self) -> Result<(), Why> {
        let stream = self.line.stream.take().ok_or_else(|| Why::Broken("no stream".into()))?;
        let clock = self.wires.clock.clone();
        let handshake = Box::pin(tls::handshake(self.wires.tls.clone(), stream));
        let done = within(&*clock, self.wires.limits.handshake, handshake).await;
        match done {
            Some(Ok((stream, facts))) => {
                self.line.stream = Some(stream);
                self.machine.tls_started(clock.now(), facts.clone());
                self.desk.tls_started(&facts);
                self.line.tls = Some(Box::new(facts));
                Ok(())
            }
            failed => {
                let why =
                    failed.and_then(Result::err).unwrap_or_else(|| "the handshake took too long".into());
                Err(Why::TlsFailed(why))
            }
        }
    }

    /// The peer's last word from us after our own fault, if it can be said at once.
    async fn say_farewell(&mut self) {
        const FAREWELL: Span = Span::secs(2);
        self.line.out.drop_all();
        self.line.out.push(self.wires.farewell.to_vec());
        let clock = self.wires.clock.clone();
        let Some(mut stream) = self.line.stream.take() else { return };
        let out = &mut self.line.out;
        let said = std::future::poll_fn(|cx| {
            std::task::ready!(out.poll_flush(&mut *stream, cx))?;
            Pin::new(&mut stream).poll_shutdown(cx)
        });
        // Whether the peer hears it changes nothing for us.
        let _ = within(&*clock, FAREWELL, said).await;
    }
}

impl Line {
    /// Reads once, straight into the machine's hands.
    fn poll_read(&mut self, cx: &mut Context<'_>, take: impl FnOnce(&[u8])) -> Poll<io::Result<usize>> {
        let Some(stream) = self.stream.as_deref_mut() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            std::task::ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
            let bytes = buf.filled();
            if !bytes.is_empty() {
                // RFC 8446 §5.1: a record of the handshake begins with 22.
                self.early_tls = self.bytes_in == 0 && bytes[0] == 22;
                take(bytes);
            }
            Poll::Ready(Ok(bytes.len()))
        })
    }

    async fn flush(&mut self, wires: &Wires) -> Result<(), Why> {
        let Some(stream) = self.stream.as_deref_mut() else {
            return Err(Why::Broken("no stream".into()));
        };
        let limits = &wires.limits;
        let slow = Span::secs(self.out.waiting() as u64 / limits.bytes_per_s_min.max(1));
        let out = &mut self.out;
        let flushed = std::future::poll_fn(|cx| out.poll_flush(stream, cx));
        match within(&*wires.clock, Span(limits.write.0 + slow.0), flushed).await {
            Some(Ok(())) => Ok(()),
            Some(Err(e)) => Err(Why::Broken(e.to_string())),
            None => Err(Why::Stalled),
        }
    }

    async fn close(&mut self, wires: &Wires) -> Result<(), Why> {
        const LAST: Span = Span::secs(10);
        if !self.out.is_clean() {
            self.flush(wires).await?;
        }
        if let Some(stream) = self.stream.as_deref_mut() {
            let shut = std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_shutdown(cx));
            // All is said; how the peer takes the end is its own matter.
            let _ = within(&*wires.clock, LAST, shut).await;
        }
        Ok(())
    }
}

async fn stopped(stop: &mut crate::Stop) {
    // An error means that nobody is left to say stop.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Runs `work` for at most `limit`; `None` if it took longer. The timer is made only if the work
/// does not finish at once.
pub(crate) async fn within<T>(clock: &dyn Clock, limit: Span, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut sleep: Option<Later<'_, ()>> = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        let sleep = sleep.get_or_insert_with(|| clock.sleep_until(clock.now() + limit));
        sleep.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// A timer that is set anew only when the deadline comes nearer; one that moves away lets it
/// fire early, which costs less than a new timer for each byte that comes.
struct Timer<'c> {
    clock: &'c dyn Clock,
    sleep: Option<Later<'c, ()>>,
    armed: Now,
}

impl Timer<'_> {
    fn set(&mut self, deadline: Option<Now>) {
        match deadline {
            None => self.sleep = None,
            Some(at) if self.sleep.is_none() || at < self.armed => {
                self.sleep = Some(self.clock.sleep_until(at));
                self.armed = at;
            }
            Some(_) => {}
        }
    }
    async fn fired(&mut self) {
        match self.sleep.as_mut() {
            Some(sleep) => {
                sleep.await;
                self.sleep = None;
            }
            None => std::future::pending().await,
        }
    }
}

/// Counts a session as open for as long as it lives, even if its task is dropped.
struct OpenGauge<'m>(&'m Meter);

impl OpenGauge<'_> {
    fn new(meter: &Meter) -> OpenGauge<'_> {
        Meter::add(&meter.open, 1);
        OpenGauge(meter)
    }
}
impl Drop for OpenGauge<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
