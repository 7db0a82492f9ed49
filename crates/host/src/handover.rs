//! Listening sockets, and sessions, from a running host to the next version of it.
//!
//! What it is: the two ends of a short talk over a Unix socket. The old one starts the new one and
//! gives it its listening sockets; the new one says `waiting` once it has all but the store, hears
//! `go` once the store is free, and says `ready` when it serves. Connections that come meanwhile
//! wait in the sockets, which are never closed. Then sessions follow, each a parcel and a socket. What it is not: the order of things in the host
//! itself (that is the binary's). Begin with [`Successor::start`] and [`Predecessor::find`].

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// Names the socket to the new one.
const VARIABLE: &str = "POSTROAD_TAKEOVER";
/// Sockets handed over at most.
const SOCKETS_MAX: usize = 128;
/// The new one has this long until it waits for the store,
const START_MAX: Duration = Duration::from_secs(10);
/// and the old one this long until it gives it free.
const TURN_MAX: Duration = Duration::from_secs(60);
/// A line is not longer.
const LINE_MAX: usize = 4096;
/// A session's parcel is not longer.
const PARCEL_MAX: usize = 8 << 20;

/// The next version, started and waiting.
pub struct Successor {
    child: Child,
    lines: BufReader<UnixStream>,
    /// What it said of itself when it began to wait.
    pub says: String,
}

/// The next version, which serves: sessions may follow.
pub struct Served {
    stream: UnixStream,
}

/// Sessions that the version before us sends.
pub struct Sessions {
    stream: UnixStream,
}

/// The version before us.
pub struct Predecessor {
    lines: BufReader<UnixStream>,
}

fn says(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

/// One line, or why there is none.
fn line(lines: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut out = String::new();
    let read = io::Read::take(lines, LINE_MAX as u64).read_line(&mut out)?;
    if read == 0 || !out.ends_with('\n') {
        return Err(says("it ended"));
    }
    Ok(out.trim_end().to_owned())
}

impl Successor {
    /// Starts `binary` with `args` and gives it `sockets`. Until this returns nothing has changed for
    /// anybody; if it fails, the new one is gone again.
    pub fn start(
        binary: &Path,
        args: &[String],
        folder: &Path,
        sockets: &[TcpListener],
    ) -> io::Result<Successor> {
        let at = folder.join("takeover");
        let _ = std::fs::remove_file(&at);
        let ear = UnixListener::bind(&at)?;
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o600))?;
        ear.set_nonblocking(true)?;
        let mut child = Command::new(binary)
            .args(args)
            .env(VARIABLE, &at)
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .stdin(Stdio::null())
            .spawn()?;
        let met = meet(&mut child, &ear, sockets);
        let _ = std::fs::remove_file(&at);
        match met {
            Ok((lines, says)) => Ok(Successor { child, lines, says }),
            Err(e) => {
                end(&mut child);
                Err(e)
            }
        }
    }
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// Lets it have the store. Returns once it serves; if it does not within `limit`, it is gone when
    /// this returns.
    pub fn go(mut self, limit: Duration) -> io::Result<Served> {
        let run = |lines: &mut BufReader<UnixStream>| {
            lines.get_ref().set_read_timeout(Some(limit))?;
            lines.get_mut().write_all(b"go\n")?;
            match line(lines)?.as_str() {
                "ready" => Ok(()),
                other => Err(says(other)),
            }
        };
        let ready = run(&mut self.lines);
        ready.map(|()| Served { stream: self.lines.into_inner() }).map_err(|e| {
            let died = self.child.try_wait().ok().flatten();
            end(&mut self.child);
            match died {
                Some(status) => io::Error::other(format!("it ended ({status})")),
                None if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    io::Error::other(format!("it was not ready within {} s", limit.as_secs()))
                }
                None => e,
            }
        })
    }
    /// It is not wanted after all.
    pub fn dismiss(mut self) {
        end(&mut self.child);
    }
}

impl Served {
    /// Sends a session: what it is, and the socket on which it goes on.
    pub fn send(&mut self, parcel: &[u8], socket: OwnedFd) -> io::Result<()> {
        let len = u32::try_from(parcel.len()).ok().filter(|len| *len as usize <= PARCEL_MAX && *len > 0);
        let len = len.ok_or_else(|| says("a session's parcel is too long"))?;
        self.stream.set_write_timeout(Some(START_MAX))?;
        pass(&self.stream, &len.to_le_bytes(), &[socket.as_fd()])?;
        self.stream.write_all(parcel)
    }
    /// No more will come.
    pub fn done(mut self) -> io::Result<()> {
        self.stream.write_all(&0u32.to_le_bytes())
    }
}

impl Sessions {
    /// The next session; nothing once there are no more.
    pub fn take(&mut self) -> io::Result<Option<(Vec<u8>, OwnedFd)>> {
        let mut len = [0; 4];
        let (read, socket) = receive(&self.stream, &mut len)?;
        if read == 0 {
            return Ok(None);
        }
        self.stream.read_exact(&mut len[read..])?;
        let len = u32::from_le_bytes(len) as usize;
        match socket.into_iter().next() {
            _ if len == 0 => Ok(None),
            Some(socket) if len <= PARCEL_MAX => {
                let mut parcel = vec![0; len];
                self.stream.read_exact(&mut parcel)?;
                Ok(Some((parcel, socket)))
            }
            _ => Err(says("what came is no session")),
        }
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn meet(
    child: &mut Child,
    ear: &UnixListener,
    sockets: &[TcpListener],
) -> io::Result<(BufReader<UnixStream>, String)> {
    let begun = Instant::now();
    let stream = loop {
        match ear.accept() {
            Ok((stream, _)) => break stream,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("it ended at once ({status})")));
        }
        if begun.elapsed() > START_MAX {
            return Err(says("it did not ask for the ports; is it a version that can take over?"));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(START_MAX))?;
    stream.set_write_timeout(Some(START_MAX))?;
    send(&stream, sockets)?;
    let mut lines = BufReader::new(stream);
    let said =
        line(&mut lines).map_err(|e| io::Error::other(format!("it did not get as far as the store: {e}")))?;
    match said.split_once(' ') {
        Some(("waiting", rest)) => Ok((lines, rest.to_owned())),
        _ => Err(io::Error::other(format!("it said: {said}"))),
    }
}

fn send(stream: &UnixStream, sockets: &[TcpListener]) -> io::Result<()> {
    if sockets.len() > SOCKETS_MAX {
        return Err(io::Error::other(format!("more than {SOCKETS_MAX} ports cannot be handed over")));
    }
    let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    pass(stream, b".", &fds)
}

/// Sends a few octets and, with the first of them, files.
fn pass(stream: &UnixStream, octets: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    if !with.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(says("the ports do not fit into one message"));
    }
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(octets)], &mut with, SendFlags::empty())?;
    let mut stream = stream;
    stream.write_all(octets.get(sent..).unwrap_or_default())
}

/// What [`pass`] sent, as far as it came at once.
fn receive(stream: &UnixStream, octets: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(octets)];
    let got = rustix::net::recvmsg(stream, &mut parts, &mut with, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for message in with.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            files.extend(fds);
        }
    }
    Ok((got.bytes, files))
}

impl Predecessor {
    /// Whether we were started by the version before us, and the listening sockets it gave.
    pub fn find() -> io::Result<Option<(Predecessor, Vec<TcpListener>)>> {
        let Some(at) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let stream = UnixStream::connect(PathBuf::from(at))?;
        stream.set_read_timeout(Some(START_MAX))?;
        let (_, sockets) = receive(&stream, &mut [0])?;
        let sockets = sockets.into_iter().map(TcpListener::from).collect();
        stream.set_read_timeout(Some(TURN_MAX))?;
        Ok(Some((Predecessor { lines: BufReader::new(stream) }, sockets)))
    }
    /// All is there but the store; `about` tells the old one something of us. Returns once the store
    /// is free.
    pub fn wait_turn(&mut self, about: &str) -> io::Result<()> {
        self.lines.get_mut().write_all(format!("waiting {about}\n").as_bytes())?;
        match line(&mut self.lines)?.as_str() {
            "go" => Ok(()),
            other => Err(says(other)),
        }
    }
    /// We serve: the old one may go, once it has sent its sessions.
    pub fn ready(mut self) -> io::Result<Sessions> {
        self.lines.get_mut().write_all(b"ready\n")?;
        Ok(Sessions { stream: self.lines.into_inner() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_passes_to_another_process_and_serves() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let at = listener.local_addr().expect("an address");
        send(&ours, &[listener]).expect("is sent");
        let (_, got) = receive(&theirs, &mut [0]).expect("arrives");
        let got: Vec<TcpListener> = got.into_iter().map(TcpListener::from).collect();
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].local_addr().expect("an address"), at);
        let _call = std::net::TcpStream::connect(at).expect("somebody listens");
        got[0].accept().expect("a caller");
    }

    #[test]
    fn sessions_pass_with_their_sockets_in_order_and_end() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (mut served, mut sessions) = (Served { stream: ours }, Sessions { stream: theirs });
        let sending = std::thread::spawn(move || {
            let mut ends = Vec::new();
            for n in 1..300usize {
                let (mine, yours) = UnixStream::pair().expect("a pair");
                let parcel = vec![n as u8; if n == 7 { 1 << 20 } else { n }];
                served.send(&parcel, yours.into()).expect("is sent");
                ends.push(mine);
            }
            served.done().expect("is said");
            ends
        });
        let mut got = Vec::new();
        while let Some((parcel, socket)) = sessions.take().expect("comes") {
            let n = got.len() + 1;
            assert_eq!(parcel, vec![n as u8; if n == 7 { 1 << 20 } else { n }]);
            got.push(UnixStream::from(socket));
        }
        let ends = sending.join().expect("it ends");
        assert_eq!(got.len(), ends.len());
        for (mut there, mut here) in got.into_iter().zip(ends) {
            there.write_all(b"x").expect("writes");
            here.read_exact(&mut [0]).expect("reads");
        }
    }

    #[test]
    fn a_version_that_sends_no_sessions_just_ends() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        drop(ours);
        assert!(Sessions { stream: theirs }.take().expect("an end").is_none());
    }

    #[test]
    fn a_program_that_never_asks_for_the_ports_changes_nothing() {
        let folder = std::env::temp_dir().join(format!("postroad-takeover-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("makes a folder");
        let failed = Successor::start(Path::new("/bin/false"), &[], &folder, &[]).err().expect("fails");
        assert!(failed.to_string().contains("ended at once"), "{failed}");
        let _ = std::fs::remove_dir_all(&folder);
    }
}
