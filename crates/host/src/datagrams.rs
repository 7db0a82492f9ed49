//! Datagrams, for a name server that plays one on this machine.

use std::io;
use std::net::SocketAddr;

use tokio::net::UdpSocket;

/// A UDP socket.
pub struct Datagrams(UdpSocket);

impl Datagrams {
    pub async fn bind(at: SocketAddr) -> io::Result<Datagrams> {
        UdpSocket::bind(at).await.map(Datagrams)
    }
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
    pub async fn receive(&self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.recv_from(into).await
    }
    pub async fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.0.send_to(bytes, to).await
    }
}
