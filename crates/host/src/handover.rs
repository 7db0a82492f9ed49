//! Listening sockets from a running host to the next version of it.
//!
//! What it is: the two ends of a short talk over a Unix socket. The old one starts the new one and
//! gives it its listening sockets; the new one says `waiting` once it has all but the store, hears
//! `go` once the store is free, and says `ready` when it serves. Connections that come meanwhile
//! wait in the sockets, which are never closed. What it is not: the order of things in the host
//! itself (that is the binary's). Begin with [`Successor::start`] and [`Predecessor::find`].

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
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

/// The next version, started and waiting.
pub struct Successor {
    child: Child,
    lines: BufReader<UnixStream>,
    /// What it said of itself when it began to wait.
    pub says: String,
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
    pub fn go(mut self, limit: Duration) -> io::Result<()> {
        let run = |lines: &mut BufReader<UnixStream>| {
            lines.get_ref().set_read_timeout(Some(limit))?;
            lines.get_mut().write_all(b"go\n")?;
            match line(lines)?.as_str() {
                "ready" => Ok(()),
                other => Err(says(other)),
            }
        };
        run(&mut self.lines).map_err(|e| {
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
    let said = line(&mut lines).map_err(|e| io::Error::other(format!("it did not get as far as the store: {e}")))?;
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
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    if !with.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(says("the ports do not fit into one message"));
    }
    rustix::net::sendmsg(stream, &[IoSlice::new(b".")], &mut with, SendFlags::empty())?;
    Ok(())
}

impl Predecessor {
    /// Whether we were started by the version before us, and the listening sockets it gave.
    pub fn find() -> io::Result<Option<(Predecessor, Vec<TcpListener>)>> {
        let Some(at) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let stream = UnixStream::connect(PathBuf::from(at))?;
        stream.set_read_timeout(Some(START_MAX))?;
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut with = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut parts = [IoSliceMut::new(&mut byte)];
        rustix::net::recvmsg(&stream, &mut parts, &mut with, RecvFlags::CMSG_CLOEXEC)?;
        let mut sockets = Vec::new();
        for message in with.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                sockets.extend(fds.map(|fd: OwnedFd| TcpListener::from(fd)));
            }
        }
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
    /// We serve: the old one may go.
    pub fn ready(mut self) -> io::Result<()> {
        self.lines.get_mut().write_all(b"ready\n")
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
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut with = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        rustix::net::recvmsg(&theirs, &mut [IoSliceMut::new(&mut byte)], &mut with, RecvFlags::CMSG_CLOEXEC)
            .expect("arrives");
        let mut got = Vec::new();
        for message in with.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                got.extend(fds.map(TcpListener::from));
            }
        }
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].local_addr().expect("an address"), at);
        let _call = std::net::TcpStream::connect(at).expect("somebody listens");
        got[0].accept().expect("a caller");
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
