use super::*;

const CHEAP: Cost = Cost { memory_kib: 64, passes: 1 };

#[test]
fn a_new_hash_fits_its_password_and_needs_no_upgrade() {
    let stored = make("correct horse", &[7; 16], CHEAP);
    assert_eq!(verify(&stored, "correct horse", CHEAP), Fit::Yes { upgrade: false });
    assert_eq!(verify(&stored, "correct hors", CHEAP), Fit::No);
    assert_eq!(verify(&stored, "correct horse", Cost::default()), Fit::Yes { upgrade: true });
    assert_eq!(verify_nobody("x", CHEAP), Fit::No);
}

/// Every stored text here was made by Dovecot 2.3.19's `doveadm pw` for the password "secret".
const BY_DOVECOT: &[&str] = &[
    "{SHA512-CRYPT}$6$U7rEOJ9uZkt.dg7E$NP7Nw/wZ6ev0t7Ljsktd8dc84DPrHbxaUlz6AaZlb/tOOjYsjrqPSpJRUJHdsplcgVAyRbwgi79vQlqs.ANiC1",
    "$6$U7rEOJ9uZkt.dg7E$NP7Nw/wZ6ev0t7Ljsktd8dc84DPrHbxaUlz6AaZlb/tOOjYsjrqPSpJRUJHdsplcgVAyRbwgi79vQlqs.ANiC1",
    "{SHA256-CRYPT}$5$9d9ho323h1MsmPQz$dK0Tl34KZlr.uFZlOlNxzwWpXYkYOnodf./KCajTk35",
    "{BLF-CRYPT}$2y$05$1WCOcToYTHBvVrpefeAE7eMl0DtoNRJLG69tlv4iAnXONHq1.3mYK",
    "{BCRYPT}$2y$05$1WCOcToYTHBvVrpefeAE7eMl0DtoNRJLG69tlv4iAnXONHq1.3mYK",
    "{CRYPT}$2y$05$v08fx3WpWKICkaCQGMcPIuqtI4rLaQe5RGBS3ReTfxqHLoS9TygfG",
    "{PBKDF2}$1$2qpllqcOaTODqD35$5000$d4098a8d98456bbc1392358da0b01878472855be",
    "{MD5-CRYPT}$1$4DhQ1ltH$5WXbRSBSNa0ktRgEmTckt0",
    "{CRYPT}$1$4DhQ1ltH$5WXbRSBSNa0ktRgEmTckt0",
    "{SSHA}1BCuLXUPrPftn+3bX3uejoEW4smSCI6z",
    "{SSHA256}+4WG1PKJrYPvpb6ag6wfwfQYHNWpeene/dkjvyWJ2HRt7Opp",
    "{SSHA512}Bmo0KSeFVMB3GLNCMpxijoBXm73X2nHcEQXjUcbjGwahSK3cUAE2aOsy7BEhIls9pHIrTc5n8wIeDkAHs75J5bgFg70=",
    "{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69",
    "{LDAP-MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
    "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
    "{SHA512}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
    "{SHA512.B64}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
    "{SMD5}SmVzTu6vAoP0O1JOaIY52HcO0sY=",
    "{ssha256.hex}7503ce2705e04c34515a4a6d8623e7ed5cc6aa70122871d7b0a515619e9c097699f5ab72",
    "{PLAIN}secret",
    "{PLAIN.B64}c2VjcmV0",
    "{SCRAM-SHA-1}4096,k+PdFjqq57vy1K0+nbhwZw==,SFeu9MRL7oaPczvPUYYEVauA05Y=,SQA4W7wFWTj19iyFqgiKdb2X8Vg=",
    "{SCRAM-SHA-256}4096,2fjWa9YGcTHWgzWkfN1Wng==,BL8+aVSPs4xzZPp0J++oWfsWeHLHxdlxBhvEvjvPcDs=,z0uqJdhqxHmdyoCviJ8b0r1fbqrONknRt6KjOZSGZ94=",
    "{DES-CRYPT}AMXe6yXje9q.6",
    "{CRYPT}AMXe6yXje9q.6",
];

#[test]
fn what_dovecot_stored_is_verified_and_marked_for_upgrade() {
    for stored in BY_DOVECOT {
        assert_eq!(verify(stored, "secret", CHEAP), Fit::Yes { upgrade: true }, "{stored}");
        assert_eq!(verify(stored, "Secret", CHEAP), Fit::No, "{stored}");
        assert_eq!(verify(stored, "", CHEAP), Fit::No, "{stored}");
    }
}

#[test]
fn broken_and_ruinous_hashes_are_unusable() {
    for stored in [
        "",
        "secret",
        "{SSHA}",
        "{SSHA}AAAA",
        "{NTLM}5ebe2294ecd0e0f08eab7690d2a6ee69",
        "{SHA512-CRYPT}$6$rounds=999999999$salt$x",
        "{BLF-CRYPT}$2y$31$1WCOcToYTHBvVrpefeAE7eMl0DtoNRJLG69tlv4iAnXONHq1.3mYK",
        "{ARGON2ID}$argon2id$v=19$m=4194304,t=3,p=1$4gh7sC9/h5kCKV7YwzggGw$C+FEFEZUIwUn6HbGYaR9RSCVVd2QO0H2lxhj6gSGj2A",
        "{PBKDF2}$1$x$99999999$d4098a8d98456bbc1392358da0b01878472855be",
        "{CRYPT}x",
        "{PLAIN-MD5}zz",
        "$9$x$y",
    ] {
        assert!(matches!(verify(stored, "secret", CHEAP), Fit::Unusable(_)), "{stored}");
    }
}

#[test]
fn a_new_password_is_stored_in_every_form_we_offer() {
    for all in [make_all("pw", &[1; 16], b"a salt", CHEAP), make_all_random("pw", &[1; 16], b"a salt")] {
        assert_eq!(all.len(), 3);
        for stored in &all {
            assert!(matches!(verify(stored, "pw", CHEAP), Fit::Yes { .. }), "{stored}");
            assert_eq!(verify(stored, "pW", CHEAP), Fit::No, "{stored}");
        }
        assert_eq!(scram_keys(&all[1], Hash::Sha256).expect("keys").salt, b"a salt");
        assert!(scram_keys(&all[1], Hash::Sha1).is_none() && scram_keys(&all[0], Hash::Sha1).is_none());
    }
}
