//! On loopback, with real sockets.

use super::*;
use drive::{TlsServer, Trust};
use std::net::SocketAddr;
use stdx::Span;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use world::{Dns, DnsError, Net};

fn folder(name: &str) -> std::path::PathBuf {
    let at = std::env::temp_dir().join(format!("postroad-host-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&at);
    at
}

#[tokio::test]
async fn a_dial_comes_from_the_address_it_was_told() {
    let world = world(Settings::default());
    let listener = world.net.listen("127.0.0.1:0".parse().expect("address")).await.expect("listen");
    let from = "127.0.5.7".parse().ok();
    let (near, far) = tokio::join!(world.net.dial(from, listener.local()), listener.accept());
    let (mut near, mut far) = (near.expect("dial"), far.expect("accept"));
    assert_eq!(far.peer.ip(), "127.0.5.7".parse::<std::net::IpAddr>().expect("address"));
    assert_eq!((near.local, near.peer), (far.peer, far.local));
    near.stream.write_all(b"hello").await.expect("write");
    let mut buf = [0; 5];
    far.stream.read_exact(&mut buf).await.expect("read");
    assert_eq!(&buf, b"hello");
}

#[tokio::test]
async fn a_detour_leads_elsewhere_and_mixed_families_are_refused() {
    let plain = world(Settings::default());
    let listener = plain.net.listen("127.0.0.1:0".parse().expect("address")).await.expect("listen");
    let meant: SocketAddr = "127.0.9.9:25".parse().expect("address");
    let detours = Detours::from([(meant, listener.local())]);
    let net = HostNet::new(NetSettings { detours, ..NetSettings::default() }, Vec::new());
    let (near, _) = tokio::join!(net.dial(None, meant), listener.accept());
    assert_eq!(near.expect("dial").peer, listener.local());
    let refused = net.dial("::1".parse().ok(), listener.local()).await.err().expect("refused");
    assert!(refused.to_string().contains("one is IPv4"), "{refused}");
}

#[tokio::test]
async fn an_authority_stays_and_its_certificates_verify() {
    let folder = folder("authority");
    let names = ["mx.example".to_owned(), "127.0.0.1".to_owned()];
    let first = authority::ensure(&folder, &names, SystemClock.now()).expect("authority");
    let ca = std::fs::read(&first.ca).expect("ca.pem");
    let again = authority::ensure(&folder, &names, SystemClock.now()).expect("authority");
    assert_eq!(ca, std::fs::read(&again.ca).expect("ca.pem"), "the authority stays the same");
    let certificates = Certificates::load(std::slice::from_ref(&again.pair)).expect("load");
    assert_eq!(certificates.list()[0].0, ["mx.example"]);
    assert!(certificates.list()[0].1 > SystemClock.now() + Span::days(700));
    let pick = certificates.pick(Some("mx.example")).expect("pick");
    let roots = Arc::new(roots(&[again.ca]).expect("roots"));
    for (wanted, passes) in [("mx.example", true), ("127.0.0.1", true), ("other.example", false)] {
        assert_eq!(shakes(&pick, &roots, wanted).await, passes, "{wanted}");
    }
    std::fs::remove_dir_all(&folder).expect("clean up");
}

async fn shakes(pick: &drive::TlsPick, roots: &Arc<drive::Roots>, wanted: &str) -> bool {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let acceptor = tokio_rustls::TlsAcceptor::from(pick.config.clone());
    let accepting = tokio::spawn(async move { acceptor.accept(far).await.is_ok() });
    let client = drive::ClientTls::new(roots.clone(), wanted, Trust::Names(vec![wanted.to_owned()]));
    let shaken = drive::tls::client_handshake(&client, Box::new(near)).await;
    shaken.is_ok() && accepting.await.expect("task")
}

#[test]
fn a_wrong_file_is_named_with_what_it_should_be() {
    let folder = folder("wrong");
    std::fs::create_dir_all(&folder).expect("folder");
    let file = folder.join("no.pem");
    std::fs::write(&file, "nothing").expect("write");
    let pair = Pair { chain: file.clone(), key: file };
    let wrong = Certificates::load(&[pair]).err().expect("refused").to_string();
    assert!(wrong.contains("no.pem") && wrong.contains("PEM"), "{wrong}");
    std::fs::remove_dir_all(&folder).expect("clean up");
}

/// A name server that knows a little, on loopback; it counts what it is asked.
async fn name_server() -> (SocketAddr, Arc<std::sync::atomic::AtomicU32>) {
    use hickory_proto::op::{Message, ResponseCode};
    use hickory_proto::rr::{RData, Record, RecordType, rdata};
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    let at = socket.local_addr().expect("address");
    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut buf = [0; 2048];
        while let Ok((n, from)) = socket.recv_from(&mut buf).await {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let query = Message::from_vec(&buf[..n]).expect("a question");
            let question = query.queries[0].clone();
            let ad = query.metadata.authentic_data;
            let mut reply = query.into_response();
            reply.metadata.authentic_data = ad;
            let name = question.name().clone();
            let add = |reply: &mut Message, data: RData| {
                reply.add_answer(Record::from_rdata(name.clone(), 300, data));
            };
            match (name.to_ascii().as_str(), question.query_type()) {
                ("a.example.", RecordType::MX) => {
                    let exchange = "MX1.a.example.".parse().expect("name");
                    add(&mut reply, RData::MX(rdata::MX::new(10, exchange)));
                }
                ("a.example.", RecordType::A) => add(&mut reply, RData::A("192.0.2.7".parse().expect("ip"))),
                ("a.example.", RecordType::TXT) => {
                    let txt = rdata::TXT::new(vec!["v=spf1 ".into(), "-all".into()]);
                    add(&mut reply, RData::TXT(txt));
                }
                ("a.example.", _) => {}
                ("broken.example.", _) => reply.metadata.response_code = ResponseCode::ServFail,
                _ => reply.metadata.response_code = ResponseCode::NXDomain,
            }
            // Noise before the answer: it must be passed over.
            socket.send_to(b"noise", from).await.expect("send");
            socket.send_to(&reply.to_vec().expect("encode"), from).await.expect("send");
        }
    });
    (at, asked)
}

#[tokio::test]
async fn questions_are_answered_kept_and_told_apart() {
    let (at, asked) = name_server().await;
    let dns = Resolver::new(DnsSettings { servers: vec![at], rounds: 1, ..DnsSettings::default() });
    let mx = dns.mx("A.example").await.expect("mx");
    assert_eq!((mx.records[0].host.as_str(), mx.records[0].preference), ("mx1.a.example", 10));
    assert!(mx.authentic, "a resolver on this machine is believed");
    assert_eq!(dns.txt("a.example.").await.expect("txt").records, ["v=spf1 -all"]);
    assert_eq!(
        dns.ip("a.example").await.expect("ip").records,
        ["192.0.2.7".parse::<std::net::IpAddr>().expect("ip")]
    );
    assert_eq!(dns.tlsa("a.example").await, Err(DnsError::NoData));
    assert_eq!(dns.mx("none.example").await, Err(DnsError::NoName));
    assert!(
        matches!(dns.mx("broken.example").await, Err(DnsError::Failed(why)) if why.contains("broken.example"))
    );
    let before = asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!(dns.mx("a.example").await.is_ok() && dns.mx("none.example").await == Err(DnsError::NoName));
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), before, "answers are kept");
}

#[test]
fn reverse_names_are_written_as_dns_wants_them() {
    let name = |ip: &str| crate::dns::reverse_name(ip.parse().expect("ip"));
    assert_eq!(name("192.0.2.1"), "1.2.0.192.in-addr.arpa");
    assert!(
        name("2001:db8::1").starts_with("1.0.0.0.")
            && name("2001:db8::1").ends_with("8.b.d.0.1.0.0.2.ip6.arpa")
    );
}

#[test]
fn open_files_are_raised_to_what_is_allowed() {
    assert!(process::raise_open_files().expect("rlimit") >= 1024);
}
