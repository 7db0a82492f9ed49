//! The names of a scene on a UDP socket, for a host in a process of its own.
//!
//! It answers what [`Names`] answers, and nothing at all where those are silent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, PTR, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use host::Datagrams;
use world::{Dns, DnsError};

use crate::names::Names;

/// Longest question.
const QUESTION_MAX: usize = 4096;
/// One string of a TXT record holds so much.
const STRING_MAX: usize = 255;

/// Answers for ever; spawn it. `ttl_s` is what answers live.
pub async fn serve(socket: Datagrams, names: Names, ttl_s: u32) {
    let socket = Arc::new(socket);
    let mut bytes = vec![0; QUESTION_MAX];
    loop {
        // An error is that of one peer that is gone.
        let Ok((len, from)) = socket.receive(&mut bytes).await else { continue };
        let Ok(question) = Message::from_vec(&bytes[..len]) else { continue };
        let (names, socket) = (names.clone(), socket.clone());
        tokio::spawn(async move { reply(&socket, from, (question, ttl_s), &names).await });
    }
}

async fn reply(socket: &Datagrams, to: SocketAddr, (question, ttl_s): (Message, u32), names: &Names) {
    let Some(query) = question.queries.first().cloned() else { return };
    let name = query.name().to_ascii();
    let name = name.trim_end_matches('.');
    let found = look(names, name, query.query_type()).await;
    let mut out = Message::response(question.metadata.id, question.metadata.op_code);
    out.metadata.message_type = MessageType::Response;
    out.metadata.recursion_available = true;
    out.metadata.response_code = match &found {
        Ok(_) | Err(DnsError::NoData) => ResponseCode::NoError,
        Err(DnsError::NoName) => ResponseCode::NXDomain,
        // Silence is an answer too.
        Err(DnsError::Failed(_)) => return,
    };
    out.add_query(query.clone());
    for data in found.unwrap_or_default() {
        out.add_answer(Record::from_rdata(query.name().clone(), ttl_s, data));
    }
    if let Ok(bytes) = out.to_vec() {
        let _ = socket.send(&bytes, to).await;
    }
}

async fn look(names: &Names, name: &str, kind: RecordType) -> Result<Vec<RData>, DnsError> {
    if names.deaf(name) {
        // The question counts, the answer never comes.
        names.note(name);
        return Err(DnsError::Failed("silence".into()));
    }
    let dns: &dyn Dns = names;
    let named = |text: &str| {
        Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).unwrap_or_else(|_| Name::root())
    };
    Ok(match kind {
        RecordType::A => dns.ipv4(name).await?.records.into_iter().map(|ip| RData::A(A(ip))).collect(),
        RecordType::AAAA => {
            dns.ipv6(name).await?.records.into_iter().map(|ip| RData::AAAA(AAAA(ip))).collect()
        }
        RecordType::MX => {
            let mx = |mx: world::Mx| RData::MX(MX::new(mx.preference, named(&mx.host)));
            dns.mx(name).await?.records.into_iter().map(mx).collect()
        }
        RecordType::TXT => {
            dns.txt(name).await?.records.iter().map(|text| RData::TXT(TXT::new(strings(text)))).collect()
        }
        RecordType::PTR => {
            let ip = reversed(name).ok_or(DnsError::NoName)?;
            dns.ptr(ip).await?.records.iter().map(|host| RData::PTR(PTR(named(host)))).collect()
        }
        RecordType::NS => dns.ns(name).await?.records.iter().map(|host| RData::NS(NS(named(host)))).collect(),
        RecordType::CNAME => {
            dns.cname(name).await?.records.iter().map(|to| RData::CNAME(CNAME(named(to)))).collect()
        }
        _ => return Err(DnsError::NoData),
    })
}

fn strings(text: &str) -> Vec<String> {
    let bytes: Vec<char> = text.chars().collect();
    bytes.chunks(STRING_MAX).map(|c| c.iter().collect()).collect()
}

/// `36.0.1.127.in-addr.arpa` is 127.1.0.36.
fn reversed(name: &str) -> Option<IpAddr> {
    let parts: Vec<u8> =
        name.strip_suffix(".in-addr.arpa")?.split('.').map(|p| p.parse().ok()).collect::<Option<_>>()?;
    match parts.as_slice() {
        [d, c, b, a] => Some(IpAddr::from([*a, *b, *c, *d])),
        _ => None,
    }
}
