//! DNS: a stub that asks the configured resolvers, over UDP and, where the answer is too long,
//! TCP. It asks for DNSSEC's verdict (the AD bit) and believes it only from resolvers on this
//! machine or ones the operator vouches for: the way to others could be anybody's.
//! It does not validate by itself and does not follow delegations.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use stdx::Span;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use world::{Answer, Clock, Dns, DnsError, Later, Mx, Random, Tlsa, dns::Found};

use crate::cache::Cache;
use crate::{SystemClock, SystemRandom};

/// Answers longer than this come over TCP; it fits any path without fragments.
const UDP_MAX: u16 = 1232;
/// How long "no such name" and "no such record" are kept at most (RFC 2308 §5 allows more).
const NEGATIVE_MAX: Span = Span::mins(5);
/// How long a failure is kept, so that one dead zone is not asked for by every session.
const FAILURE_KEPT: Span = Span::secs(5);

#[derive(Clone, Debug)]
pub struct DnsSettings {
    /// Empty: those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// The operator vouches for the way to these servers: their AD bit counts.
    pub trust_ad: bool,
    /// One try at one server.
    pub try_limit: Span,
    /// Rounds over all servers.
    pub rounds: u32,
}

impl Default for DnsSettings {
    fn default() -> DnsSettings {
        DnsSettings { servers: Vec::new(), trust_ad: false, try_limit: Span::secs(4), rounds: 2 }
    }
}

/// The resolvers `/etc/resolv.conf` names; the local one if it names none.
pub fn system_servers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse::<IpAddr>().ok())
        .map(|ip| SocketAddr::new(ip, 53))
        .collect();
    if servers.is_empty() { vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53)] } else { servers }
}

/// What a question found, before it is read as one kind of record.
#[derive(Clone)]
struct Raw {
    data: Vec<RData>,
    authentic: bool,
    ttl_s: u32,
}

pub struct Resolver {
    settings: DnsSettings,
    cache: Mutex<Cache<Result<Raw, DnsError>>>,
}

impl Resolver {
    pub fn new(mut settings: DnsSettings) -> Resolver {
        if settings.servers.is_empty() {
            settings.servers = system_servers();
        }
        Resolver { settings, cache: Mutex::new(Cache::new()) }
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Raw, DnsError> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let code = u16::from(kind);
        let now = SystemClock.now();
        let kept = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(&name, code, now);
        if let Some((found, left)) = kept {
            return found.map(|raw| Raw { ttl_s: left, ..raw });
        }
        let (found, keep) = self.ask_servers(&name, kind).await;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put(&name, code, found.clone(), (now, keep));
        found
    }

    async fn ask_servers(&self, name: &str, kind: RecordType) -> (Result<Raw, DnsError>, Span) {
        let mut dotted = name.to_owned();
        dotted.push('.');
        let Ok(wanted) = Name::from_ascii(&dotted) else {
            // What cannot be asked for does not exist.
            return (Err(DnsError::NoName), NEGATIVE_MAX);
        };
        let mut why = String::from("no resolver is configured");
        for round in 0..self.settings.rounds {
            for server in &self.settings.servers {
                let limit = Span(self.settings.try_limit.0 << round.min(3));
                match tokio::time::timeout(limit.to_std(), exchange(*server, &wanted, kind)).await {
                    Ok(Ok(reply)) => match self.read(&reply, kind, *server) {
                        Ok(done) => return done,
                        Err(refused) => why = format!("{server}: {refused}"),
                    },
                    Ok(Err(e)) => why = format!("{server}: {e}"),
                    Err(_) => why = format!("{server} did not answer within {limit}"),
                }
            }
        }
        (Err(DnsError::Failed(format!("{kind} of {name}: {why}"))), FAILURE_KEPT)
    }

    /// `Err`: this server cannot say; ask the next.
    fn read(
        &self,
        reply: &Message,
        kind: RecordType,
        server: SocketAddr,
    ) -> Result<(Result<Raw, DnsError>, Span), ResponseCode> {
        let authentic =
            reply.metadata.authentic_data && (self.settings.trust_ad || server.ip().is_loopback());
        // RFC 2308 §5: a negative answer lives as long as the SOA's TTL and minimum say.
        let negative = reply.authorities.iter().find_map(|r| match &r.data {
            RData::SOA(soa) => Some(Span::secs(u64::from(soa.minimum.min(r.ttl)))),
            _ => None,
        });
        let negative = negative.unwrap_or(Span::secs(30)).min(NEGATIVE_MAX);
        match reply.metadata.response_code {
            ResponseCode::NXDomain => Ok((Err(DnsError::NoName), negative)),
            ResponseCode::NoError => {
                let fits = reply.answers.iter().filter(|r| r.record_type() == kind);
                let (mut data, mut ttl_s) = (Vec::new(), u32::MAX);
                for record in fits {
                    ttl_s = ttl_s.min(record.ttl);
                    data.push(record.data.clone());
                }
                if data.is_empty() {
                    return Ok((Err(DnsError::NoData), negative));
                }
                // The aliases on the way count too.
                ttl_s = reply.answers.iter().map(|r| r.ttl).min().unwrap_or(0).min(ttl_s);
                Ok((Ok(Raw { data, authentic, ttl_s }), Span::secs(u64::from(ttl_s))))
            }
            other => Err(other),
        }
    }

    async fn found<T>(&self, name: &str, kind: RecordType, read: impl Fn(&RData) -> Option<T>) -> Found<T> {
        let raw = self.ask(name, kind).await?;
        let records: Vec<T> = raw.data.iter().filter_map(read).collect();
        if records.is_empty() {
            return Err(DnsError::NoData);
        }
        Ok(Answer { records, authentic: raw.authentic, ttl_s: raw.ttl_s })
    }
}

/// One question to one server.
async fn exchange(server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Message> {
    let mut query = Message::query();
    // The id and the socket's port are both chosen by the system's randomness: who does not see
    // the question cannot answer it.
    query.metadata.id = SystemRandom.next_u64() as u16;
    query.metadata.recursion_desired = true;
    // RFC 6840 §5.7: the AD bit in a question asks for the verdict in the answer.
    query.metadata.authentic_data = true;
    query.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_MAX);
    query.set_edns(edns);
    let bytes = query.to_vec().map_err(io::Error::other)?;
    let reply = over_udp(server, &bytes, &query).await?;
    if reply.metadata.truncation { over_tcp(server, &bytes, &query).await } else { Ok(reply) }
}

async fn over_udp(server: SocketAddr, bytes: &[u8], query: &Message) -> io::Result<Message> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buf = [0; 4096];
    loop {
        let n = socket.recv(&mut buf).await?;
        // What does not fit the question is somebody else's; keep waiting for ours.
        if let Ok(reply) = Message::from_vec(&buf[..n])
            && is_reply(&reply, query)
        {
            return Ok(reply);
        }
    }
}

async fn over_tcp(server: SocketAddr, bytes: &[u8], query: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    stream.write_all(&framed).await?;
    let len = stream.read_u16().await?;
    let mut buf = vec![0; usize::from(len)];
    stream.read_exact(&mut buf).await?;
    let reply = Message::from_vec(&buf).map_err(io::Error::other)?;
    if is_reply(&reply, query) {
        Ok(reply)
    } else {
        Err(io::Error::other("the answer is to another question"))
    }
}

fn is_reply(reply: &Message, query: &Message) -> bool {
    let same = |(a, b): (&Query, &Query)| {
        a.query_type() == b.query_type() && a.name().to_ascii().eq_ignore_ascii_case(&b.name().to_ascii())
    };
    reply.metadata.message_type == MessageType::Response
        && reply.metadata.id == query.metadata.id
        && reply.queries.len() == query.queries.len()
        && reply.queries.iter().zip(&query.queries).all(same)
}

/// A name as the product writes it.
fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

/// `1.2.0.192.in-addr.arpa`, `….ip6.arpa`.
pub(crate) fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|b| [b & 15, b >> 4]);
            let dotted: String = nibbles.map(|n| format!("{n:x}.")).collect();
            format!("{dotted}ip6.arpa")
        }
    }
}

impl Dns for Resolver {
    fn mx<'a>(&'a self, name: &'a str) -> Later<'a, Found<Mx>> {
        Box::pin(self.found(name, RecordType::MX, |data| match data {
            RData::MX(mx) => Some(Mx { preference: mx.preference, host: plain(&mx.exchange) }),
            _ => None,
        }))
    }
    fn ip<'a>(&'a self, name: &'a str) -> Later<'a, Found<IpAddr>> {
        Box::pin(async move {
            let (v4, v6) = tokio::join!(self.ipv4(name), self.ipv6(name));
            world_ip(v4, v6)
        })
    }
    fn ipv4<'a>(&'a self, name: &'a str) -> Later<'a, Found<Ipv4Addr>> {
        Box::pin(self.found(name, RecordType::A, |data| match data {
            RData::A(a) => Some(a.0),
            _ => None,
        }))
    }
    fn ipv6<'a>(&'a self, name: &'a str) -> Later<'a, Found<Ipv6Addr>> {
        Box::pin(self.found(name, RecordType::AAAA, |data| match data {
            RData::AAAA(a) => Some(a.0),
            _ => None,
        }))
    }
    fn txt<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        Box::pin(self.found(name, RecordType::TXT, |data| match data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        }))
    }
    fn ptr(&self, ip: IpAddr) -> Later<'_, Found<String>> {
        Box::pin(async move {
            self.found(&reverse_name(ip), RecordType::PTR, |data| match data {
                RData::PTR(name) => Some(plain(&name.0)),
                _ => None,
            })
            .await
        })
    }
    fn tlsa<'a>(&'a self, name: &'a str) -> Later<'a, Found<Tlsa>> {
        Box::pin(self.found(name, RecordType::TLSA, |data| match data {
            RData::TLSA(t) => Some(Tlsa {
                usage: t.cert_usage.into(),
                selector: t.selector.into(),
                matching: t.matching.into(),
                data: t.cert_data.clone(),
            }),
            _ => None,
        }))
    }
    fn ns<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        Box::pin(self.found(name, RecordType::NS, |data| match data {
            RData::NS(name) => Some(plain(&name.0)),
            _ => None,
        }))
    }
    fn cname<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        Box::pin(self.found(name, RecordType::CNAME, |data| match data {
            RData::CNAME(name) => Some(plain(&name.0)),
            _ => None,
        }))
    }
    fn caa<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        Box::pin(self.found(name, RecordType::CAA, |data| match data {
            RData::CAA(caa) => {
                let critical = if caa.issuer_critical { 128 } else { 0 };
                Some(format!("{critical} {} \"{}\"", caa.tag, String::from_utf8_lossy(&caa.value)))
            }
            _ => None,
        }))
    }
    fn soa_serial<'a>(&'a self, name: &'a str) -> Later<'a, Found<u32>> {
        Box::pin(self.found(name, RecordType::SOA, |data| match data {
            RData::SOA(soa) => Some(soa.serial),
            _ => None,
        }))
    }
}

/// Both families as one answer, IPv4 first: more of the world's mail hosts judge it by habit
/// than by suspicion.
fn world_ip(v4: Found<Ipv4Addr>, v6: Found<Ipv6Addr>) -> Found<IpAddr> {
    match (v4, v6) {
        (Ok(a), Ok(b)) => Ok(Answer {
            records: a
                .records
                .into_iter()
                .map(IpAddr::V4)
                .chain(b.records.into_iter().map(IpAddr::V6))
                .collect(),
            authentic: a.authentic && b.authentic,
            ttl_s: a.ttl_s.min(b.ttl_s),
        }),
        (Ok(a), Err(_)) => Ok(Answer {
            records: a.records.into_iter().map(IpAddr::V4).collect(),
            authentic: a.authentic,
            ttl_s: a.ttl_s,
        }),
        (Err(_), Ok(b)) => Ok(Answer {
            records: b.records.into_iter().map(IpAddr::V6).collect(),
            authentic: b.authentic,
            ttl_s: b.ttl_s,
        }),
        // A failure on one side leaves open whether the name has addresses.
        (Err(DnsError::Failed(why)), _) | (_, Err(DnsError::Failed(why))) => Err(DnsError::Failed(why)),
        (Err(e), Err(_)) => Err(e),
    }
}
