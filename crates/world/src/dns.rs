//! DNS questions as mail asks them. Names are ASCII (A-labels), lower case, without final dot.

use std::net::IpAddr;

use crate::Later;

/// An answer that exists, with how sure we may be of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    pub records: Vec<T>,
    /// The validating resolver set AD: DNSSEC proved this answer.
    pub authentic: bool,
    /// The smallest TTL seen, in seconds.
    pub ttl_s: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// The name does not exist (NXDOMAIN).
    NoName,
    /// The name exists, but has no record of this type (NODATA).
    NoData,
    /// No usable answer now: time-out, SERVFAIL, refused. Try later.
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mx {
    pub preference: u16,
    /// Empty for a null MX (RFC 7505).
    pub host: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlsa {
    pub usage: u8,
    pub selector: u8,
    pub matching: u8,
    pub data: Vec<u8>,
}

pub type Found<T> = Result<Answer<T>, DnsError>;

/// Asks the resolver.
pub trait Dns: Send + Sync {
    fn mx<'a>(&'a self, name: &'a str) -> Later<'a, Found<Mx>>;
    /// A and AAAA together, in the order to try. `NoData` if there is neither.
    fn ip<'a>(&'a self, name: &'a str) -> Later<'a, Found<IpAddr>>;
    /// Only A records (DNSBL answers, SPF `a` over IPv4).
    fn ipv4<'a>(&'a self, name: &'a str) -> Later<'a, Found<std::net::Ipv4Addr>>;
    fn ipv6<'a>(&'a self, name: &'a str) -> Later<'a, Found<std::net::Ipv6Addr>>;
    /// Each record's strings joined.
    fn txt<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>>;
    fn ptr(&self, ip: IpAddr) -> Later<'_, Found<String>>;
    /// `_25._tcp.mx.example.org`.
    fn tlsa<'a>(&'a self, name: &'a str) -> Later<'a, Found<Tlsa>>;
    fn ns<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>>;
    fn cname<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>>;
    /// CAA property and value, and SOA serials, as text: `0 issue "letsencrypt.org"`.
    fn caa<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>>;
    fn soa_serial<'a>(&'a self, name: &'a str) -> Later<'a, Found<u32>>;
}
