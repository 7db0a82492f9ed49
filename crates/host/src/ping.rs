//! ICMP echo without privileges: the kernel's ping sockets (`net.ipv4.ping_group_range` must allow
//! our group, as most distributions do).

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use stdx::Span;

/// RFC 792 and RFC 4443 §4: echo request and its reply.
const V4: (u8, u8) = (8, 0);
const V6: (u8, u8) = (128, 129);

pub async fn ping(to: IpAddr, limit: Span) -> io::Result<Span> {
    let (family, proto, (request, reply)) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, V4),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, V6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(family, SocketType::DGRAM, flags, Some(proto)).map_err(|e| {
        let why = "this machine lets us send no pings; see net.ipv4.ping_group_range";
        io::Error::new(io::Error::from(e).kind(), format!("{why} ({e})"))
    })?;
    let socket = tokio::net::UdpSocket::from_std(UdpSocket::from(fd))?;
    socket.connect(SocketAddr::new(to, 0)).await?;
    // The kernel fills in checksum and identifier.
    let mut packet = [0; 32];
    packet[0] = request;
    packet[7] = 1;
    packet[8..16].copy_from_slice(b"postroad");
    let began = tokio::time::Instant::now();
    socket.send(&packet).await?;
    let echo = async {
        let mut got = [0; 128];
        loop {
            let n = socket.recv(&mut got).await?;
            if n >= 16 && got[0] == reply && &got[8..16] == b"postroad" {
                return Ok(Span(began.elapsed().as_millis() as u64));
            }
        }
    };
    match tokio::time::timeout(limit.to_std(), echo).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no echo from {to} within {limit}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_answers_itself_if_it_lets_us_ask() {
        for to in ["127.0.0.1", "::1"] {
            let to: IpAddr = to.parse().expect("an address");
            match ping(to, Span::secs(5)).await {
                Ok(took) => assert!(took < Span::secs(5)),
                // Neither ping sockets nor IPv6 are everywhere; then it must say so.
                Err(e) => assert!(e.kind() != io::ErrorKind::TimedOut, "{to}: {e}"),
            }
        }
    }
}
