//! DNS as a table.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};

use world::{Answer, Dns, DnsError, Later, Mx, Tlsa, dns::Found};

#[derive(Clone, Default)]
struct Name {
    mx: Vec<Mx>,
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    txt: Vec<String>,
    ptr: Vec<String>,
    tlsa: Vec<Tlsa>,
    ns: Vec<String>,
    cname: Vec<String>,
    caa: Vec<String>,
    soa: Vec<u32>,
    authentic: bool,
    fails: bool,
}

#[derive(Default)]
struct Table {
    names: BTreeMap<String, Name>,
    /// Where to ask for names the table does not know.
    beyond: Option<Arc<dyn Dns>>,
}

/// A table of names that can be changed while it is used. Names it does not know do not exist,
/// unless there is something [`Zones::beyond`].
#[derive(Clone, Default)]
pub struct Zones(Arc<RwLock<Table>>);

impl Zones {
    pub fn new() -> Zones {
        Zones::default()
    }
    /// Asks `dns` for what the table does not know.
    pub fn beyond(self, dns: Arc<dyn Dns>) -> Zones {
        self.0.write().unwrap_or_else(PoisonError::into_inner).beyond = Some(dns);
        self
    }
    fn change(&self, name: &str, change: impl FnOnce(&mut Name)) -> &Zones {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(table.names.entry(key(name)).or_default());
        self
    }
    pub fn mx(&self, name: &str, preference: u16, host: &str) -> &Zones {
        self.change(name, |n| n.mx.push(Mx { preference, host: key(host) }))
    }
    pub fn ip(&self, name: &str, ip: IpAddr) -> &Zones {
        self.change(name, |n| match ip {
            IpAddr::V4(ip) => n.v4.push(ip),
            IpAddr::V6(ip) => n.v6.push(ip),
        })
    }
    pub fn txt(&self, name: &str, text: &str) -> &Zones {
        self.change(name, |n| n.txt.push(text.to_owned()))
    }
    pub fn ptr(&self, ip: IpAddr, host: &str) -> &Zones {
        self.change(&ip.to_string(), |n| n.ptr.push(key(host)))
    }
    pub fn tlsa(&self, name: &str, tlsa: Tlsa) -> &Zones {
        self.change(name, |n| n.tlsa.push(tlsa))
    }
    pub fn ns(&self, name: &str, host: &str) -> &Zones {
        self.change(name, |n| n.ns.push(key(host)))
    }
    pub fn cname(&self, name: &str, to: &str) -> &Zones {
        self.change(name, |n| n.cname.push(key(to)))
    }
    pub fn caa(&self, name: &str, text: &str) -> &Zones {
        self.change(name, |n| n.caa.push(text.to_owned()))
    }
    pub fn soa_serial(&self, name: &str, serial: u32) -> &Zones {
        self.change(name, |n| n.soa = vec![serial])
    }
    /// DNSSEC proves (or no longer proves) what is said of this name.
    pub fn authentic(&self, name: &str, authentic: bool) -> &Zones {
        self.change(name, |n| n.authentic = authentic)
    }
    /// Questions about this name fail (SERVFAIL), or no longer.
    pub fn fails(&self, name: &str, fails: bool) -> &Zones {
        self.change(name, |n| n.fails = fails)
    }
    /// Forgets all about a name.
    pub fn remove(&self, name: &str) -> &Zones {
        self.0.write().unwrap_or_else(PoisonError::into_inner).names.remove(&key(name));
        self
    }

    /// `None`: ask beyond.
    fn look<T>(&self, name: &str, read: impl Fn(&Name) -> Vec<T>) -> Result<Found<T>, Arc<dyn Dns>> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut at = key(name);
        // RFC 1034 §3.6.2: an alias is followed; a chain this long is a loop.
        for _ in 0..8 {
            let Some(found) = table.names.get(&at) else {
                return match &table.beyond {
                    Some(beyond) => Err(beyond.clone()),
                    None => Ok(Err(DnsError::NoName)),
                };
            };
            if found.fails {
                return Ok(Err(DnsError::Failed(format!("{at}: the name server fails"))));
            }
            let records = read(found);
            if !records.is_empty() {
                return Ok(Ok(Answer { records, authentic: found.authentic, ttl_s: 300 }));
            }
            match found.cname.first() {
                Some(next) => at = next.clone(),
                None => return Ok(Err(DnsError::NoData)),
            }
        }
        Ok(Err(DnsError::Failed(format!("{name}: aliases go round in circles"))))
    }
}

fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

macro_rules! ask {
    ($self:ident, $name:expr, $beyond:ident, $read:expr) => {
        match $self.look($name, $read) {
            Ok(found) => Box::pin(std::future::ready(found)),
            Err(dns) => Box::pin(async move { dns.$beyond($name).await }),
        }
    };
}

impl Dns for Zones {
    fn mx<'a>(&'a self, name: &'a str) -> Later<'a, Found<Mx>> {
        ask!(self, name, mx, |n| n.mx.clone())
    }
    fn ip<'a>(&'a self, name: &'a str) -> Later<'a, Found<IpAddr>> {
        let both = |n: &Name| {
            n.v4.iter().copied().map(IpAddr::V4).chain(n.v6.iter().copied().map(IpAddr::V6)).collect()
        };
        ask!(self, name, ip, both)
    }
    fn ipv4<'a>(&'a self, name: &'a str) -> Later<'a, Found<Ipv4Addr>> {
        ask!(self, name, ipv4, |n| n.v4.clone())
    }
    fn ipv6<'a>(&'a self, name: &'a str) -> Later<'a, Found<Ipv6Addr>> {
        ask!(self, name, ipv6, |n| n.v6.clone())
    }
    fn txt<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        ask!(self, name, txt, |n| n.txt.clone())
    }
    fn ptr(&self, ip: IpAddr) -> Later<'_, Found<String>> {
        match self.look(&ip.to_string(), |n| n.ptr.clone()) {
            Ok(found) => Box::pin(std::future::ready(found)),
            Err(dns) => Box::pin(async move { dns.ptr(ip).await }),
        }
    }
    fn tlsa<'a>(&'a self, name: &'a str) -> Later<'a, Found<Tlsa>> {
        ask!(self, name, tlsa, |n| n.tlsa.clone())
    }
    fn ns<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        ask!(self, name, ns, |n| n.ns.clone())
    }
    fn cname<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        ask!(self, name, cname, |n| n.cname.clone())
    }
    fn caa<'a>(&'a self, name: &'a str) -> Later<'a, Found<String>> {
        ask!(self, name, caa, |n| n.caa.clone())
    }
    fn soa_serial<'a>(&'a self, name: &'a str) -> Later<'a, Found<u32>> {
        ask!(self, name, soa_serial, |n| n.soa.clone())
    }
}
