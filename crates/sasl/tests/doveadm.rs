//! Dovecot as the judge: what `doveadm pw` makes we verify, what we make `doveadm pw -t` verifies.
//! Needs Debian's dovecot-core; without it the tests say so and pass nothing off as checked.

use std::process::{Command, Stdio};

use sasl::password::{Cost, Fit, make, verify};
use sasl::{Hash, Keys};

const SCHEMES: &[&str] = &[
    "SHA512-CRYPT",
    "SHA256-CRYPT",
    "BLF-CRYPT",
    "ARGON2ID",
    "ARGON2I",
    "PBKDF2",
    "MD5-CRYPT",
    "CRYPT",
    "SSHA",
    "SSHA256",
    "SSHA512",
    "PLAIN-MD5",
    "LDAP-MD5",
    "SMD5",
    "SHA",
    "SHA1",
    "SHA256",
    "SHA512",
    "PLAIN",
    "CLEARTEXT",
    "SCRAM-SHA-1",
    "SCRAM-SHA-256",
    "DES-CRYPT",
    "SHA512.b64",
    "SSHA256.hex",
    "SSHA512.b64",
    "SSHA.hex",
    "PLAIN-MD5.b64",
    "SHA256.hex",
    "PLAIN.b64",
    "PLAIN.hex",
    "MD5-CRYPT.b64",
    "SHA512-CRYPT.hex",
];
const PASSWORDS: &[&str] = &[
    "x",
    "secret",
    "pässwörd",
    "with blank and \"quotes\"",
    "{SSHA}",
    "exactly sixteen!",
    "a password of more than sixty-four characters, for the sake of the block sizes",
    "one of more than seventy-two characters, which is where bcrypt stops to listen to us .....",
];

fn doveadm(arguments: &[&str]) -> Option<String> {
    let out = Command::new("doveadm").arg("pw").args(arguments).stdin(Stdio::null()).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim_end_matches('\n').to_owned())
}

fn absent() -> bool {
    let absent = doveadm(&["-l"]).is_none();
    if absent {
        eprintln!("SKIPPED: doveadm is not installed (apt-get install dovecot-core); nothing was checked");
    }
    absent
}

#[test]
fn what_doveadm_makes_we_verify() {
    if absent() {
        return;
    }
    let mut checked = 0;
    for scheme in SCHEMES {
        for password in PASSWORDS {
            let Some(stored) = doveadm(&["-s", scheme, "-p", password]) else {
                panic!("doveadm makes no {scheme}");
            };
            let fit = verify(&stored, password, Cost::default());
            assert!(matches!(fit, Fit::Yes { .. }), "{scheme}: {stored} for {password:?}: {fit:?}");
            assert_eq!(verify(&stored, "another", Cost::default()), Fit::No, "{stored}");
            checked += 1;
        }
    }
    for rounds in ["1000", "12345"] {
        for scheme in ["SHA512-CRYPT", "SHA256-CRYPT", "PBKDF2"] {
            let stored = doveadm(&["-s", scheme, "-r", rounds, "-p", "secret"]).expect("doveadm takes -r");
            assert!(
                stored.contains(rounds)
                    && matches!(verify(&stored, "secret", Cost::default()), Fit::Yes { .. }),
                "{stored}"
            );
            checked += 1;
        }
    }
    assert_eq!(checked, SCHEMES.len() * PASSWORDS.len() + 6);
}

#[test]
fn what_we_make_doveadm_verifies() {
    if absent() {
        return;
    }
    for password in PASSWORDS {
        for stored in [
            make(password, b"sixteen bytes ok", Cost::default()),
            format!(
                "{{SCRAM-SHA-256}}{}",
                Keys::derive(Hash::Sha256, password, b"some salt", 20_000).print()
            ),
            format!("{{SCRAM-SHA-1}}{}", Keys::derive(Hash::Sha1, password, b"some salt", 20_000).print()),
        ] {
            let said = doveadm(&["-t", &stored, "-p", password]);
            assert!(said.is_some_and(|s| s.contains("(verified)")), "{stored} for {password:?}");
            assert!(doveadm(&["-t", &stored, "-p", "another"]).is_none(), "{stored}");
        }
    }
}
