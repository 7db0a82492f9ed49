//! Sessions' sockets on their way between two processes.
//!
//! What it is: the bare socket beneath a stream, a stream over a socket that came from elsewhere, and
//! pairs of which one end stays. What it is not: how they are passed on ([`crate::handover`]).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Plain;

use rustix::net::AddressFamily;
use tokio::net::{TcpStream, UnixStream};
use world::Stream;

/// What lies beneath a stream.
pub enum Beneath {
    /// Nothing but a socket: whoever has it has the whole stream.
    Socket(OwnedFd),
    /// TLS, DEFLATE, octets that were read ahead: the stream must stay where it is.
    More(Box<dyn Stream>),
}

/// Takes a stream down to its socket, if there is nothing else to it.
pub fn beneath(stream: Box<dyn Stream>) -> io::Result<Beneath> {
    let kind = (*stream).as_any();
    if kind.is::<TcpStream>() {
        if let Ok(socket) = stream.into_any().downcast::<TcpStream>() {
            return Ok(Beneath::Socket(socket.into_std()?.into()));
        }
    } else if kind.is::<UnixStream>() {
        if let Ok(socket) = stream.into_any().downcast::<UnixStream>() {
            return Ok(Beneath::Socket(socket.into_std()?.into()));
        }
    } else {
        return Ok(Beneath::More(stream));
    }
    Err(io::Error::other("never: a stream is not what it said"))
}

/// A stream over a socket that another process opened. Call it where a runtime is.
pub fn stream(socket: OwnedFd) -> io::Result<Box<dyn Stream>> {
    match rustix::net::sockopt::socket_domain(&socket)? {
        AddressFamily::UNIX => {
            let socket = Plain::from(socket);
            socket.set_nonblocking(true)?;
            Ok(Box::new(UnixStream::from_std(socket)?))
        }
        _ => {
            let socket = std::net::TcpStream::from(socket);
            socket.set_nonblocking(true)?;
            Ok(Box::new(TcpStream::from_std(socket)?))
        }
    }
}

/// Two ends: a stream that stays, and a socket for another process. Call it where a runtime is.
pub fn pair() -> io::Result<(Box<dyn Stream>, OwnedFd)> {
    let (ours, theirs) = Plain::pair()?;
    Ok((stream(ours.into())?, theirs.into()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn speaks(a: &mut Box<dyn Stream>, b: &mut Box<dyn Stream>) {
        a.write_all(b"hello").await.expect("writes");
        let mut heard = [0; 5];
        b.read_exact(&mut heard).await.expect("reads");
        assert_eq!(&heard, b"hello");
    }

    #[tokio::test]
    async fn a_bare_socket_is_taken_out_of_its_stream_and_put_into_another() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let at = listener.local_addr().expect("an address");
        let mut near: Box<dyn Stream> = Box::new(TcpStream::connect(at).await.expect("connects"));
        let far: Box<dyn Stream> = Box::new(listener.accept().await.expect("accepts").0);
        let Ok(Beneath::Socket(socket)) = beneath(far) else { panic!("it is a socket") };
        let mut far = stream(socket).expect("a stream");
        speaks(&mut near, &mut far).await;
        speaks(&mut far, &mut near).await;
        let (mut ours, theirs) = pair().expect("a pair");
        let theirs = stream(theirs).expect("a stream");
        let Ok(Beneath::Socket(socket)) = beneath(theirs) else { panic!("it is a socket") };
        let mut theirs = stream(socket).expect("a stream");
        speaks(&mut ours, &mut theirs).await;
        speaks(&mut theirs, &mut ours).await;
    }

    #[tokio::test]
    async fn what_is_more_than_a_socket_stays_as_it_is() {
        let (near, far) = tokio::io::duplex(64);
        let (mut near, far): (Box<dyn Stream>, Box<dyn Stream>) = (Box::new(near), Box::new(far));
        let Ok(Beneath::More(mut far)) = beneath(far) else { panic!("it is no socket") };
        speaks(&mut near, &mut far).await;
    }
}
