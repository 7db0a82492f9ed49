//! What a daemon owes its system: open files, privileges, word that it is ready.

use std::io;
use std::os::unix::net::UnixDatagram;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, User, setgid, setgroups, setuid};
use stdx::Bytes;

/// Lets this process open as many files and sockets as the system allows it. Says how many.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// What is used and what there is of the disk under a folder. What only root may use counts as
/// used: mail cannot lie there.
pub fn disk(folder: &std::path::Path) -> io::Result<(Bytes, Bytes)> {
    let found = rustix::fs::statvfs(folder)?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let used = found.f_blocks.saturating_sub(found.f_bfree).saturating_mul(found.f_frsize);
    Ok((Bytes(used), Bytes(used.saturating_add(free))))
}

/// Files that there are and that there could be on the disk under a folder; `None` where the file
/// system makes as many as it likes.
pub fn inodes(folder: &std::path::Path) -> io::Result<Option<(u64, u64)>> {
    let found = rustix::fs::statvfs(folder)?;
    let used = found.f_files.saturating_sub(found.f_ffree);
    Ok((found.f_files > 0).then(|| (used, used.saturating_add(found.f_favail))))
}

/// Octets of memory this process holds, as the system counts them.
pub fn memory() -> io::Result<Bytes> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    Ok(Bytes(kib * 1024))
}

/// Whether we may do anything on this machine.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Becomes `user` for good, with that user's group and no others. Call it after binding.
pub fn become_user(user: &str) -> io::Result<()> {
    let found = User::from_name(user)?.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no user \"{user}\"; make one (useradd --system {user}) or name another"),
        )
    })?;
    setgroups(&[found.gid])?;
    setgid(found.gid)?;
    setuid(found.uid)?;
    // A process that can become root again has not given up anything.
    if !found.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other("privileges came back after they were dropped"));
    }
    Ok(())
}

/// Gives a folder and what is in it to `user`, so that it can be written after
/// [`become_user`]. One level deep: the store makes the rest itself.
pub fn give_folder(folder: &std::path::Path, user: &str) -> io::Result<()> {
    let Some(found) = User::from_name(user)? else { return Ok(()) };
    nix::unistd::chown(folder, Some(found.uid), Some(found.gid))?;
    for entry in std::fs::read_dir(folder)? {
        nix::unistd::chown(&entry?.path(), Some(found.uid), Some(found.gid))?;
    }
    Ok(())
}

/// Tells the service manager something (`READY=1`, `RELOADING=1`, `STOPPING=1`), if there is one.
pub fn notify(state: &str) {
    let Some(to) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    // A service manager that does not listen is no reason to stop.
    let _ = match to.to_str().and_then(|t| t.strip_prefix('@')) {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            match std::os::unix::net::SocketAddr::from_abstract_name(name) {
                Ok(at) => socket.send_to_addr(state.as_bytes(), &at),
                Err(e) => Err(e),
            }
        }
        None => socket.send_to(state.as_bytes(), to),
    };
}

/// Most memory a process has used so far, in octets; `None` where the system does not say.
pub fn memory_peak(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
}
