//! Installs what the outside tests need: Debian packages and, in a virtual environment under
//! `target/`, Python packages. Nothing is started; the system's own mail servers stay off.

use std::path::Path;
use std::process::{Command, Stdio};

use super::steps::Counts;

/// Debian package and a file that is there once it is installed.
const DEBIAN: &[(&str, &str)] = &[
    // What builds SQLite, ring and jemalloc.
    ("gcc", "/usr/bin/gcc"),
    ("make", "/usr/bin/make"),
    ("swaks", "/usr/bin/swaks"),
    ("libnet-ssleay-perl", "/usr/share/doc/libnet-ssleay-perl"),
    ("libauthen-sasl-perl", "/usr/share/doc/libauthen-sasl-perl"),
    ("postfix", "/usr/sbin/smtp-source"),
    ("dovecot-core", "/usr/bin/doveadm"),
    ("dovecot-imapd", "/usr/lib/dovecot/imap"),
    ("dovecot-pop3d", "/usr/lib/dovecot/pop3"),
    ("dovecot-lmtpd", "/usr/lib/dovecot/lmtp"),
    ("dovecot-sieve", "/usr/bin/sieve-test"),
    ("isync", "/usr/bin/mbsync"),
    ("mutt", "/usr/bin/mutt"),
    ("neomutt", "/usr/bin/neomutt"),
    // What neomutt logs in with.
    ("libsasl2-modules", "/usr/share/doc/libsasl2-modules"),
    ("fetchmail", "/usr/bin/fetchmail"),
    ("getmail6", "/usr/bin/getmail"),
    ("offlineimap3", "/usr/bin/offlineimap"),
    ("msmtp", "/usr/bin/msmtp"),
    ("sieve-connect", "/usr/bin/sieve-connect"),
    ("curl", "/usr/bin/curl"),
    ("sqlite3", "/usr/bin/sqlite3"),
    ("openssl", "/usr/bin/openssl"),
    ("strace", "/usr/bin/strace"),
    // A file system of their own for the tests of full disks.
    ("e2fsprogs", "/usr/sbin/mkfs.ext4"),
    // What looks at the status site, with flags to draw.
    ("chromium", "/usr/bin/chromium"),
    ("fonts-noto-color-emoji", "/usr/share/doc/fonts-noto-color-emoji"),
    ("python3-venv", "/usr/share/doc/python3-venv"),
];
/// Python packages of the outside tests, in `target/outside-venv`.
const PYTHON: &[&str] =
    &["imapclient", "aioimaplib", "imap-tools", "dkimpy", "pynacl", "pyyaml", "icalendar", "feedparser"];

pub fn install(root: &Path) -> Counts {
    let mut counts = debian();
    counts.add(python(root));
    counts.add(node(root));
    counts
}

fn debian() -> Counts {
    let missing: Vec<&str> =
        DEBIAN.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Counts::one(true);
    }
    println!("installing Debian packages: {}", missing.join(" "));
    let apt = |args: &[&str]| {
        Command::new("apt-get")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
    };
    let updated = apt(&["update", "-qq"]).is_ok_and(|o| o.status.success());
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(&missing);
    match apt(&args) {
        Ok(o) if o.status.success() => {
            stop_system_mail();
            Counts::one(true)
        }
        Ok(o) => {
            println!("apt-get failed (update {updated}): {}", String::from_utf8_lossy(&o.stderr));
            println!("the outside tests need these packages; install them by hand, or run as root");
            Counts::one(false)
        }
        Err(e) => {
            println!("cannot run apt-get ({e}): the outside tests want a Debian machine");
            Counts::one(false)
        }
    }
}

/// Debian starts what it installs where it can; our tests want port 25 and the cores for themselves.
fn stop_system_mail() {
    for name in ["postfix", "dovecot"] {
        let stopped = Command::new("service").args([name, "stop"]).stdin(Stdio::null()).output();
        if stopped.is_err() {
            println!("(no service command: {name} was not started)");
        }
    }
}

/// Node's packages of the outside tests, in `target/outside-node`.
const NODE: &[&str] = &["imapflow@1", "nodemailer@7", "puppeteer-core@24", "axe-core@4"];

fn node(root: &Path) -> Counts {
    let dir = root.join("target/outside-node");
    let stamp = dir.join("installed.txt");
    let want = NODE.join(" ");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == want) {
        return Counts::one(true);
    }
    println!("installing Node packages: {want}");
    let run = |command: &mut Command| command.stdin(Stdio::null()).output().is_ok_and(|o| o.status.success());
    if !run(Command::new("npm").arg("--version")) {
        let apt = ["install", "-y", "-qq", "--no-install-recommends", "nodejs", "npm"];
        run(Command::new("apt-get").args(apt).env("DEBIAN_FRONTEND", "noninteractive"));
    }
    let made = std::fs::create_dir_all(&dir).is_ok()
        && std::fs::write(dir.join("package.json"), "{\"private\":true}\n").is_ok();
    let flags = ["install", "--no-audit", "--no-fund", "--silent"];
    let installed = made && run(Command::new("npm").args(flags).args(NODE).current_dir(&dir));
    let noted = installed && std::fs::write(&stamp, want).is_ok();
    if !noted {
        println!("npm failed: are nodejs, npm and the package index there?");
    }
    Counts::one(noted)
}

fn python(root: &Path) -> Counts {
    let venv = root.join("target/outside-venv");
    let stamp = venv.join("installed.txt");
    let want = PYTHON.join(" ");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == want) {
        return Counts::one(true);
    }
    println!("installing Python packages: {want}");
    let run = |command: &mut Command| command.stdin(Stdio::null()).output().is_ok_and(|o| o.status.success());
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let installed = made && run(Command::new(venv.join("bin/pip")).args(["install", "-q"]).args(PYTHON));
    let noted = installed && std::fs::write(&stamp, want).is_ok();
    if !noted {
        println!("python3 -m venv or pip failed: are python3-venv and the package index there?");
    }
    Counts::one(noted)
}
