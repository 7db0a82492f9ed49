//! A DNS made of a table, for tests: every answer is there at once.

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::task::{Context, Poll, Waker};

use world::Later;
use world::dns::{Answer, Dns, DnsError, Found, Mx, Tlsa};

/// One record. Not every user of the table needs every kind.
#[allow(dead_code)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Mx(u16, String),
    Txt(String),
    Ptr(String),
    Cname(String),
    /// Questions of this type (`A`, `TXT`, …; empty for all) get no answer.
    Timeout(String),
}

/// Records by name, lower case.
#[derive(Clone, Debug, Default)]
pub struct Zone(pub BTreeMap<String, Vec<Record>>);

impl Zone {
    #[allow(dead_code)]
    pub fn with(mut self, name: &str, record: Record) -> Zone {
        self.0.entry(name.to_ascii_lowercase()).or_default().push(record);
        self
    }
    #[allow(dead_code)]
    pub fn txt(self, name: &str, text: &str) -> Zone {
        self.with(name, Record::Txt(text.into()))
    }

    fn find<T>(&self, name: &str, kind: &str, pick: impl Fn(&Record) -> Option<T>) -> Found<T> {
        let mut name = name.to_ascii_lowercase();
        for _ in 0..8 {
            let Some(records) = self.0.get(&name) else {
                return Err(if name.starts_with("error.") {
                    DnsError::Failed("time-out".into())
                } else {
                    DnsError::NoName
                });
            };
            let found: Vec<T> = records.iter().filter_map(&pick).collect();
            if !found.is_empty() {
                return Ok(Answer { records: found, authentic: false, ttl_s: 60 });
            }
            if records.iter().any(|r| matches!(r, Record::Timeout(k) if k.is_empty() || k == kind)) {
                return Err(DnsError::Failed("time-out".into()));
            }
            match records.iter().find_map(|r| if let Record::Cname(to) = r { Some(to) } else { None }) {
                Some(to) => name = to.to_ascii_lowercase(),
                None => return Err(DnsError::NoData),
            }
        }
        Err(DnsError::NoData)
    }
}

/// The name under which an address's names stand.
pub fn reverse(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibbles: Vec<String> =
                format!("{:032x}", v6.to_bits()).chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", nibbles.join("."))
        }
    }
}

fn none<'a, T: Send + 'a>() -> Later<'a, Found<T>> {
    Box::pin(ready(Err(DnsError::NoData)))
}

impl Dns for Zone {
    fn mx<'a>(&'a self, name: &'a str) -> Later<'a, Found<Mx>> {
        Box::pin(ready(self.find(name, "MX", |r| match r {
            Record::Mx(preference, host) => Some(Mx { preference: *preference, host: host.clone() }),
            _ => None,
        })))
    }
    fn ip<'a>(&'a self, name: &'a str) -> Later<'a, Found<IpAddr>> {
        Box::pin(ready(self.find(name, "A", |r| match r {
            Record::A(a) => Some(IpAddr::V4(*a)),
            Record::Aaaa(a) => Some(IpAddr::V6(*a)),
            _ => None,
        })))
    }
    fn ipv4<'a>(&'a self, name: &'a str) -> Later<'a, Found<Ipv4Addr>> {
        Box::pin(ready(self.find(name, "A", |r| if let Record::A(a) = r { Some(*a) } else { None })))
    }
    fn ipv6<'a>(&'a self, name: &'a str) -> Later<'a, Found<Ipv6Addr>> {
        Box::pin(ready(self.find(name, "AAAA", |r| if let Record::Aaaa(a) = r { Some(*a) } else { None })))
    }
    fn txt<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        Box::pin(ready(self.find(
            name,
            "TXT",
            |r| if let Record::Txt(t) = r { Some(t.clone()) } else { None },
        )))
    }
    fn ptr(&self, ip: IpAddr) -> Later<'_, Found<String>> {
        let name = reverse(ip);
        Box::pin(ready(self.find(
            &name,
            "PTR",
            |r| if let Record::Ptr(t) = r { Some(t.clone()) } else { None },
        )))
    }
    fn tlsa<'a>(&'a self, _: &'a str) -> Later<'a, Found<Tlsa>> {
        none()
    }
    fn ns<'a>(&'a self, _: &'a str) -> Later<'a, Found<String>> {
        none()
    }
    fn cname<'a>(&'a self, _: &'a str) -> Later<'a, Found<String>> {
        none()
    }
    fn caa<'a>(&'a self, _: &'a str) -> Later<'a, Found<String>> {
        none()
    }
    fn soa_serial<'a>(&'a self, _: &'a str) -> Later<'a, Found<u32>> {
        none()
    }
}

/// Runs a future that never has to wait.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a table never lets anyone wait"),
    }
}
