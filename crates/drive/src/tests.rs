//! A line-eating toy machine on in-memory streams.

use super::*;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;
use stdx::{Action, Now, TlsFacts};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use world::Later;

struct TokioClock(tokio::time::Instant);
impl Clock for TokioClock {
    fn now(&self) -> Now {
        Now(1_000_000 + self.0.elapsed().as_millis() as u64)
    }
    fn sleep_until(&self, until: Now) -> Later<'_, ()> {
        let wait = until.since(self.now());
        Box::pin(tokio::time::sleep(wait.to_std()))
    }
}

/// Echoes lines; `ask x` asks; some words act.
#[derive(Default)]
struct Echo {
    client: bool,
    buffer: Vec<u8>,
    out: VecDeque<Action<String>>,
    waits: bool,
    deadline: Option<Now>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    fn say(&mut self, text: &str) {
        self.out.push_back(Action::Send(format!("{text}\r\n").into_bytes()));
    }
    fn lines(&mut self) {
        while !self.waits
            && let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n")
        {
            let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            self.buffer.drain(..end + 2);
            self.log.lock().expect("log").push(line.clone());
            match line.as_str() {
                _ if self.client => {}
                "tls" => {
                    self.say("go");
                    self.buffer.clear();
                    self.out.push_back(Action::StartTls);
                }
                "deflate" => {
                    self.say("go");
                    self.out.push_back(Action::StartDeflate);
                }
                "panic" => panic!("as asked"),
                "much" => {
                    for _ in 0..100 {
                        self.say(&"m".repeat(100_000));
                    }
                }
                "quit" => self.out.push_back(Action::Close),
                l if l.starts_with("ask ") => {
                    self.waits = true;
                    self.out.push_back(Action::Ask(l.to_owned()));
                }
                l => self.say(l),
            }
        }
    }
}

impl Machine for Echo {
    type Ask = String;
    type Answer = String;
    type Notice = String;
    fn opened(&mut self, now: Now) {
        if !self.client {
            self.deadline = Some(now + Span::mins(5));
            self.say("hello");
        }
    }
    fn received(&mut self, now: Now, bytes: &[u8]) {
        self.deadline = Some(now + Span::mins(5));
        self.buffer.extend_from_slice(bytes);
        self.lines();
    }
    fn answered(&mut self, _: Now, answer: String) {
        self.waits = false;
        self.say(&answer);
        self.lines();
    }
    fn tls_started(&mut self, _: Now, facts: TlsFacts) {
        let said = format!("{} {} {}", facts.version, facts.sni.clone().unwrap_or_default(), facts.verified);
        self.log.lock().expect("log").push(format!("facts {facts:?}"));
        self.say(&said);
    }
    fn notified(&mut self, _: Now, notice: String) {
        self.say(&notice);
    }
    fn timed_out(&mut self, _: Now) {
        self.deadline = None;
        self.say("too slow");
        self.out.push_back(Action::Close);
    }
    fn closed(&mut self, _: Now) {
        self.log.lock().expect("log").push("closed".into());
        self.say("dropped");
        self.out.push_back(Action::Ask("last".into()));
    }
    fn shutdown(&mut self, now: Now) {
        self.deadline = Some(now + Span::hours(1));
        self.say("stopping");
    }
    fn next(&mut self) -> Option<Action<String>> {
        self.out.pop_front()
    }
    fn deadline(&self) -> Option<Now> {
        self.deadline
    }
}

struct EchoDesk(Option<tokio::sync::mpsc::Receiver<String>>, Option<Arc<Mutex<Vec<String>>>>);
impl Desk for EchoDesk {
    type M = Echo;
    async fn answer(&mut self, ask: String) -> String {
        if ask.contains("slow") {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert!(!ask.contains("fault"), "the desk breaks");
        if let Some(log) = &self.1 {
            log.lock().expect("log").push(format!("asked {ask}"));
        }
        ask.to_uppercase()
    }
    async fn notice(&mut self) -> String {
        match &mut self.0 {
            Some(receiver) => receiver.recv().await.unwrap_or_default(),
            None => std::future::pending().await,
        }
    }
}

pub(crate) fn wires(tls: Tls, stop: Stop) -> Wires {
    Wires {
        clock: Arc::new(TokioClock(tokio::time::Instant::now())),
        tls,
        stop,
        farewell: b"421 our fault\r\n",
        meter: Arc::default(),
        limits: Limits::default(),
    }
}

fn connection(stream: impl world::Stream + 'static) -> Connection {
    let here = "127.0.0.1:1".parse().expect("address");
    Connection { stream: Box::new(stream), local: here, peer: here }
}

fn serve(wires: Wires) -> (DuplexStream, tokio::task::JoinHandle<End>, Arc<Mutex<Vec<String>>>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let machine = Echo::default();
    let log = machine.log.clone();
    let task = tokio::spawn(run(machine, EchoDesk(None, None), connection(far), wires));
    (near, task, log)
}

async fn line(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut out = Vec::new();
    while !out.ends_with(b"\r\n") {
        let n = stream.read_u8().await;
        match n {
            Ok(b) => out.push(b),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&out).trim_end().to_owned()
}

#[tokio::test(start_paused = true)]
async fn pipelined_lines_are_answered_in_order_across_a_slow_question() {
    let (mut near, task, _) = serve(wires(Tls::None, never_stop()));
    near.write_all(b"a\r\nask slow\r\nb\r\nask x\r\nquit\r\n").await.expect("write");
    let mut all = String::new();
    near.read_to_string(&mut all).await.expect("read");
    assert_eq!(all, "hello\r\na\r\nASK SLOW\r\nb\r\nASK X\r\n");
    let end = task.await.expect("task");
    assert_eq!((end.why, end.bytes_in, end.bytes_out), (Why::Done, 29, all.len() as u64));
}

#[tokio::test(start_paused = true)]
async fn what_was_said_before_a_slow_question_goes_out_meanwhile() {
    let (mut near, _task, _) = serve(wires(Tls::None, never_stop()));
    near.write_all(b"a\r\nask slow\r\n").await.expect("write");
    let before = tokio::time::Instant::now();
    assert_eq!((line(&mut near).await, line(&mut near).await), ("hello".into(), "a".into()));
    assert!(before.elapsed() < Duration::from_secs(1));
    assert_eq!(line(&mut near).await, "ASK SLOW");
    assert!(before.elapsed() >= Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn several_actions_leave_in_one_write() {
    let (mut near, _task, _) = serve(wires(Tls::None, never_stop()));
    assert_eq!(line(&mut near).await, "hello");
    near.write_all(b"a\r\nb\r\nc\r\n").await.expect("write");
    let mut buf = [0; 100];
    let n = near.read(&mut buf).await.expect("read");
    assert_eq!(&buf[..n], b"a\r\nb\r\nc\r\n");
}

#[tokio::test(start_paused = true)]
async fn silence_meets_the_machines_deadline_and_bytes_move_it() {
    let (mut near, task, _) = serve(wires(Tls::None, never_stop()));
    let begin = tokio::time::Instant::now();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(240)).await;
        near.write_all(b"x\r\n").await.expect("write");
    }
    let mut all = String::new();
    near.read_to_string(&mut all).await.expect("read");
    assert_eq!(all, "hello\r\nx\r\nx\r\nx\r\ntoo slow\r\n");
    assert_eq!(begin.elapsed().as_secs(), 720 + 300);
    assert_eq!(task.await.expect("task").why, Why::Done);
}

#[tokio::test(start_paused = true)]
async fn a_stop_reaches_the_machine_and_ends_within_its_grace() {
    let (say, stop) = tokio::sync::watch::channel(false);
    let (mut near, task, _) = serve(wires(Tls::None, stop));
    assert_eq!(line(&mut near).await, "hello");
    let begin = tokio::time::Instant::now();
    say.send(true).expect("someone listens");
    assert_eq!(line(&mut near).await, "stopping");
    assert_eq!(task.await.expect("task").why, Why::Stopped);
    assert_eq!(begin.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_one_session_with_a_last_word() {
    for cry in [b"panic\r\n".as_slice(), b"ask fault\r\n"] {
        let wires = wires(Tls::None, never_stop());
        let meter = wires.meter.clone();
        let (mut near, task, _) = serve(wires);
        assert_eq!(line(&mut near).await, "hello");
        near.write_all(cry).await.expect("write");
        assert_eq!(line(&mut near).await, "421 our fault");
        assert!(matches!(task.await.expect("caught").why, Why::Panicked(_)));
        assert_eq!((Meter::get(&meter.panics), Meter::get(&meter.open)), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_left() {
    let (mut near, task, _) = serve(wires(Tls::None, never_stop()));
    near.write_all(b"much\r\n").await.expect("write");
    assert_eq!(task.await.expect("task").why, Why::Stalled);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_while_a_question_is_open() {
    let (near, far) = tokio::io::duplex(16);
    let machine = Echo::default();
    let log = machine.log.clone();
    tokio::spawn(run(machine, EchoDesk(None, None), connection(far), wires(Tls::None, never_stop())));
    let (mut reader, mut writer) = tokio::io::split(near);
    tokio::spawn(async move { while reader.read_u8().await.is_ok() {} });
    let begin = tokio::time::Instant::now();
    writer.write_all(b"ask slow\r\n").await.expect("write");
    tokio::time::sleep(Duration::from_secs(1)).await;
    writer.write_all(&[b'x'; 17]).await.expect("write");
    assert!(begin.elapsed() >= Duration::from_secs(60), "the second write waited for the answer");
    assert_eq!(*log.lock().expect("log"), ["ask slow"]);
}

#[tokio::test(start_paused = true)]
async fn notices_reach_a_waiting_session() {
    let (near, far) = tokio::io::duplex(1024);
    let (say, heard) = tokio::sync::mpsc::channel(1);
    tokio::spawn(run(
        Echo::default(),
        EchoDesk(Some(heard), None),
        connection(far),
        wires(Tls::None, never_stop()),
    ));
    let mut near = near;
    assert_eq!(line(&mut near).await, "hello");
    say.send("news".into()).await.expect("someone listens");
    assert_eq!(line(&mut near).await, "news");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_ends_the_session() {
    let (near, task, log) = serve(wires(Tls::None, never_stop()));
    drop(near);
    let why = task.await.expect("task").why;
    assert!(matches!(why, Why::PeerClosed | Why::Broken(_)), "{why}");
    assert!(why != Why::PeerClosed || log.lock().expect("log").contains(&"closed".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_client_hears_why_it_was_cut_off_and_asks_its_last_question() {
    let (mut near, far) = tokio::io::duplex(64);
    let machine = Echo { client: true, ..Echo::default() };
    let log = machine.log.clone();
    let limits = Limits { write: Span::secs(5), ..Limits::client() };
    let wires = Wires { limits, ..wires(Tls::None, never_stop()) };
    let (say, heard) = tokio::sync::mpsc::channel(1);
    let desk = EchoDesk(Some(heard), Some(log.clone()));
    let task = tokio::spawn(run(machine, desk, connection(far), wires));
    // The client talks, nobody reads, and the peer says why at the end.
    say.send("x".repeat(1000)).await.expect("someone listens");
    tokio::task::yield_now().await;
    near.write_all(b"421 enough\r\n").await.expect("write");
    assert_eq!(task.await.expect("task").why, Why::Stalled);
    assert_eq!(*log.lock().expect("log"), ["421 enough", "closed", "asked last"]);
}

struct OneCert(Arc<rustls::ServerConfig>, Vec<u8>);
impl TlsServer for OneCert {
    fn pick(&self, _: Option<&str>) -> Result<TlsPick, String> {
        Ok(TlsPick { config: self.0.clone(), endpoint: Some(self.1.clone()) })
    }
}

fn certificate() -> (Arc<OneCert>, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["mx.example".to_owned()]).expect("rcgen");
    let der = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![der.clone()], key)
            .expect("certificate");
    (Arc::new(OneCert(Arc::new(config), tls::endpoint_hash(&der))), der)
}

/// Joins a server and a client over implicit TLS; what the client learned, and how it ended.
async fn shake(trust: impl FnOnce(&CertificateDer<'static>) -> Trust) -> (Vec<String>, Why) {
    let (cert, der) = certificate();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = Tls::Server { certificates: cert, implicit: true };
    let server_machine = Echo::default();
    let server_log = server_machine.log.clone();
    let serving =
        tokio::spawn(run(server_machine, EchoDesk(None, None), connection(far), wires(server, never_stop())));
    let mut store = rustls::RootCertStore::empty();
    store.add(der.clone()).expect("root");
    let client = ClientTls::new(Arc::new(Roots::new(store)), "mx.example", trust(&der));
    let machine = Echo { client: true, ..Echo::default() };
    let log = machine.log.clone();
    let wires = wires(Tls::Client { tls: Arc::new(client), implicit: true }, never_stop());
    let client = tokio::time::timeout(
        Duration::from_secs(5),
        run(machine, EchoDesk(None, None), connection(near), wires),
    )
    .await;
    drop(serving);
    let why = client.map_or(Why::Done, |end| end.why);
    let mut log = log.lock().expect("log").clone();
    let server_log = server_log.lock().expect("log");
    let exporter =
        |l: &String| l.split_once("exporter: ").map(|(_, e)| e.split("endpoint").next().map(str::to_owned));
    if let (Some(a), Some(b)) = (log.first().and_then(exporter), server_log.first().and_then(exporter)) {
        assert_eq!(a, b, "both sides export the same value");
        assert!(a.is_some_and(|e| e.starts_with("Some(")), "TLS 1.3 exports one");
    }
    log.truncate(3);
    (log, why)
}

#[tokio::test(start_paused = true)]
async fn a_client_learns_whether_the_chain_would_pass() {
    let (log, _) = shake(|_| Trust::Any).await;
    assert!(log[0].contains("TLSv1.3") && log[0].contains("verified: true"), "{log:?}");
    assert_eq!(log[1], "TLSv1.3 mx.example false", "the server greets over TLS");
}

#[tokio::test(start_paused = true)]
async fn wrong_names_and_wrong_tlsa_are_refused_right_ones_pass() {
    let (log, _) = shake(|_| Trust::Names(vec!["mx.example".into()])).await;
    assert!(log[0].contains("verified: true"), "{log:?}");
    let (_, why) = shake(|_| Trust::Names(vec!["other.example".into()])).await;
    assert!(matches!(why, Why::TlsFailed(_)), "{why}");
    let record = |data: Vec<u8>| Trust::Dane {
        tlsa: vec![world::Tlsa { usage: 3, selector: 0, matching: 1, data }],
        names: vec!["mx.example".into()],
    };
    let (log, _) =
        shake(|der| record(ring::digest::digest(&ring::digest::SHA256, der).as_ref().to_vec())).await;
    assert!(log[0].contains("verified: true"), "{log:?}");
    let (_, why) = shake(|_| record(vec![0; 32])).await;
    assert!(why.to_string().contains("TLSA"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn plain_bytes_after_starttls_never_reach_the_machine() {
    let (cert, _) = certificate();
    let (mut near, task, log) =
        serve(wires(Tls::Server { certificates: cert, implicit: false }, never_stop()));
    assert_eq!(line(&mut near).await, "hello");
    near.write_all(b"tls\r\n").await.expect("write");
    assert_eq!(line(&mut near).await, "go");
    near.write_all(b"injected\r\n").await.expect("write");
    assert!(matches!(task.await.expect("task").why, Why::TlsFailed(_)));
    assert!(!log.lock().expect("log").contains(&"injected".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn tls_before_its_time_ends_the_session_and_says_why() {
    let (cert, _) = certificate();
    let (mut near, task, _) = serve(wires(Tls::Server { certificates: cert, implicit: false }, never_stop()));
    near.write_all(b"\x16\x03\x01\x00\xa5").await.expect("write");
    let why = task.await.expect("task").why;
    assert!(matches!(&why, Why::TlsFailed(text) if text == crate::TLS_TOO_EARLY), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_half_open_handshake_is_left_after_its_limit() {
    let (cert, _) = certificate();
    let (near, task, _) = serve(wires(Tls::Server { certificates: cert, implicit: true }, never_stop()));
    let begin = tokio::time::Instant::now();
    assert!(matches!(task.await.expect("task").why, Why::TlsFailed(_)));
    assert_eq!(begin.elapsed().as_secs(), 30);
    drop(near);
}

#[tokio::test(start_paused = true)]
async fn deflate_carries_both_directions_and_big_texts() {
    let (mut near, _task, _) = serve(wires(Tls::None, never_stop()));
    assert_eq!(line(&mut near).await, "hello");
    near.write_all(b"deflate\r\n").await.expect("write");
    assert_eq!(line(&mut near).await, "go");
    let mut near = crate::deflate::Deflated::new(Box::new(near));
    let mut dice = stdx::Dice::new(5);
    for len in [1, 100, 5_000, 70_000, 300_000] {
        let text: String = (0..len).map(|_| char::from(b'a' + dice.below(26) as u8)).collect();
        let (mut reader, mut writer) = tokio::io::split(near);
        let sent = format!("{text}\r\n");
        let (_, back) = tokio::join!(
            async {
                writer.write_all(sent.as_bytes()).await.expect("write");
                writer.flush().await.expect("flush");
            },
            line(&mut reader)
        );
        assert_eq!(back, text);
        near = reader.unsplit(writer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_compressed_stream_ends_the_session() {
    let (mut near, task, _) = serve(wires(Tls::None, never_stop()));
    near.write_all(b"deflate\r\n").await.expect("write");
    assert_eq!(line(&mut near).await, "hello");
    assert_eq!(line(&mut near).await, "go");
    near.write_all(&[0xff; 64]).await.expect("write");
    assert!(matches!(task.await.expect("task").why, Why::Broken(_)));
}

#[test]
fn a_waiting_session_is_small() {
    let wires_size = std::mem::size_of::<Wires>();
    assert!(wires_size <= 160, "wires are {wires_size} bytes");
}

/// A desk that lets its session go on elsewhere.
struct Mover(EchoDesk, tokio::sync::mpsc::UnboundedSender<Box<dyn world::Stream>>);
impl Desk for Mover {
    type M = Echo;
    async fn answer(&mut self, ask: String) -> String {
        self.0.answer(ask).await
    }
    fn leave(&mut self, _: &Echo) -> Option<crate::Takes> {
        let there = self.1.clone();
        Some(Box::new(move |stream| drop(there.send(stream))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_can_go_on_elsewhere_is_left_without_a_word() {
    let (say, stop) = tokio::sync::watch::channel(false);
    let (there, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let (mut ours, theirs) = tokio::io::duplex(4096);
    let log = Arc::<Mutex<Vec<String>>>::default();
    let machine = Echo { log: log.clone(), ..Echo::default() };
    let desk = Mover(EchoDesk(None, None), there);
    let task = tokio::spawn(run(machine, desk, connection(theirs), wires(Tls::None, stop)));
    let mut heard = [0; 4096];
    let n = ours.read(&mut heard).await.expect("greets");
    assert!(n > 0);
    say.send(true).expect("it listens");
    let mut stream = taken.recv().await.expect("it is handed on");
    let end = task.await.expect("it ends");
    assert_eq!(end.why, Why::Left);
    assert!(!log.lock().expect("log").iter().any(|l| l == "closed"), "its machine is not told of an end");
    ours.write_all(b"more\n").await.expect("writes");
    let n = stream.read(&mut heard).await.expect("it is the same stream");
    assert_eq!(&heard[..n], b"more\n");
    stream.write_all(b"yes\n").await.expect("writes");
    let n = ours.read(&mut heard).await.expect("reads");
    assert_eq!(&heard[..n], b"yes\n", "nothing else was said");
}
