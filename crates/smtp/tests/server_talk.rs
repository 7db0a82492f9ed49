//! Dialogue scripts for the server machine, played whole, byte by byte and at every split.

mod voice;

use stdx::Span;
use talk::play;
use voice::{Ours, settings, submission};

const HELLO: &str = "
? opened
! yes
S: 220 mx.example ESMTP Postroad s=7
C: EHLO a.example
? ehlo a.example
! yes
S: 250-mx.example
S: 250-PIPELINING
S: 250-SIZE 52428800
S: 250-8BITMIME
S: 250-ENHANCEDSTATUSCODES
S: 250-CHUNKING
S: 250-SMTPUTF8
S: 250-DSN
S: 250-LIMITS RCPTMAX=1000 MAILMAX=1000
S: 250 STARTTLS
";

const MAIL: &str = "
C: MAIL FROM:<a@a.example>
? mail <a@a.example> SevenBit size=None
! yes
S: 250 2.1.0 Sender taken
C: RCPT TO:<b@mx.example>
? rcpt <b@mx.example>
! yes
S: 250 2.1.5 Recipient taken
";

fn check(script: &str) {
    play(&Ours(settings()), &format!("{HELLO}{script}"));
}

// RFC 5321 §3.3, appendix D.1.
#[test]
fn a_message_is_taken_and_its_250_carries_its_id() {
    check(&format!(
        "{MAIL}
C: DATA
? data
! yes
S: 354 Go on; end with CR LF . CR LF
C: Subject: x
C:
C: ..dot
C: .
? commit Subject: x\\r\\n\\r\\n.dot\\r\\n
! saved 33
S: 250 2.0.0 m=11 taken and on disk
C: QUIT
? confirmed m=11
! yes
S: 221 2.0.0 Goodbye
= close
"
    ));
}

// RFC 2920 §3.1: replies come in the order of the commands, whatever the answers.
#[test]
fn a_pipelined_envelope_is_answered_in_order() {
    check(
        "
C: MAIL FROM:<> SIZE=10 BODY=8BITMIME
C: RCPT TO:<no@mx.example>
C: RCPT TO:<yes@mx.example>
C: DATA
? mail <> EightBitMime size=Some(10)
! yes
S: 250 2.1.0 Sender taken
? rcpt <no@mx.example>
! 550 Nobody
S: 550 Nobody s=7
? rcpt <yes@mx.example>
! yes
S: 250 2.1.5 Recipient taken
? data
! yes
S: 354 Go on; end with CR LF . CR LF
C: .
? commit
! 451 Later
S: 451 Later s=7
C: NOOP
S: 250 2.0.0 Yes
",
    );
}

// RFC 3030 §2.
#[test]
fn a_message_by_chunks_needs_no_dots() {
    check(&format!(
        "{MAIL}
C: BDAT 6
C-: .ab‹0d 0a›.
? data
! yes
S: 250 2.0.0 6 octets so far
C: DATA
S: 503 5.5.1 The text has begun with BDAT s=7
C: BDAT 2 LAST
C-: ‹0d 0a›
? commit .ab\\r\\n.\\r\\n
! saved 1
S: 250 2.0.0 m=1 taken and on disk
"
    ));
}

#[test]
fn a_chunk_out_of_turn_is_read_and_refused() {
    check(
        "
C: BDAT 10 LAST
C-: RSET‹0d 0a›RSET
S: 503 5.5.1 Say MAIL and RCPT first s=7
C: RSET
S: 250 2.0.0 Forgotten
",
    );
}

// RFC 3207 §4.2 and §6: what came in the clear behind STARTTLS is not read.
#[test]
fn what_is_put_behind_starttls_is_dropped() {
    let script = format!(
        "{HELLO}
C: STARTTLS
S: 220 2.0.0 Begin TLS
= starttls
? tls TLSv1.3
! yes
C: MAIL FROM:<a@a.example>
S: 503 5.5.1 Say EHLO first s=7
"
    );
    play(&Ours(settings()), &script);
}

#[test]
fn log_in_needs_tls_and_mail_needs_log_in() {
    let script = "
? opened
! yes
S: 220 …
C: EHLO a
? ehlo a
! yes
S: 250-mx.example
S: 250-PIPELINING
S: 250-SIZE 52428800
S: 250-8BITMIME
S: 250-ENHANCEDSTATUSCODES
S: 250-CHUNKING
S: 250-SMTPUTF8
S: 250-DSN
S: 250-LIMITS RCPTMAX=1000 MAILMAX=1000
S: 250 STARTTLS
C: AUTH PLAIN AGEAYg==
? unencrypted PLAIN a
! weak
S: 538 5.7.11 This log-in needs an encrypted connection: switch on TLS s=7
C: MAIL FROM:<a@a.example>
S: 530 5.7.0 Say STARTTLS first s=7
";
    play(&Ours(submission()), script);
}

const UNDER_TLS: &str = "
~ tls
? opened tls
! yes
S: 220 …
C: EHLO a
? ehlo a
! yes
S: 250-mx.example
S: 250-PIPELINING
S: 250-SIZE 52428800
S: 250-8BITMIME
S: 250-ENHANCEDSTATUSCODES
S: 250-CHUNKING
S: 250-SMTPUTF8
S: 250-DSN
S: 250-LIMITS RCPTMAX=1000 MAILMAX=1000
S: 250-AUTH PLAIN LOGIN
S: 250 REQUIRETLS
";

// RFC 4954 §4, §6.
#[test]
fn passwords_are_asked_about_and_counted() {
    let script = format!(
        "{UNDER_TLS}
C: MAIL FROM:<a@a.example>
S: 530 5.7.0 Log in first (AUTH) s=7
C: AUTH PLAIN AGEAYg==
? password a b PLAIN
! wrong
S: 535 5.7.8 User name or password is wrong s=7
C: AUTH LOGIN
S: 334 VXNlcm5hbWU6
C: *
S: 501 5.7.0 … s=7
C: AUTH CRAM-MD5
? not offered CRAM-MD5 -
! not-offered
S: 504 5.5.4 CRAM-MD5 is not offered here: choose \"normal password\" and TLS in your mail program s=7
C: AUTH PLAIN
S: 334\u{20}
C: AGEAYg==
? password a b PLAIN
! granted
S: 235 2.7.0 Logged in
C: AUTH PLAIN AGEAYg==
S: 503 5.5.1 … s=7
C: MAIL FROM:<a@a.example> REQUIRETLS
? mail <a@a.example> SevenBit size=None
! yes
S: 250 2.1.0 Sender taken
"
    );
    play(&Ours(submission()), &script);
}

#[test]
fn five_failed_log_ins_end_the_session() {
    let mut script = UNDER_TLS.to_owned();
    for _ in 0..5 {
        script.push_str("C: AUTH PLAIN AGEAYg==\n? password a b PLAIN\n! wrong\nS: 535 …\n");
    }
    script.push_str("S: 421 4.7.0 Too many failed log-ins s=7\n= close\n");
    play(&Ours(submission()), &script);
}

#[test]
fn commands_out_of_order_have_their_replies() {
    check(
        "
C: RCPT TO:<b@mx.example>
S: 503 5.5.1 Say MAIL first s=7
C: DATA
S: 503 5.5.1 Say MAIL and RCPT first s=7
C: MAIL FROM:<a@a.example> BODY=BINARYMIME
S: 555 5.5.4 BINARYMIME is not offered here s=7
C: MAIL FROM:<a@a.example> SIZE=99999999999
S: 552 5.3.4 The message is larger than 52428800 octets s=7
C: VRFY b
S: 252 2.5.2 …
C: EXPN b
S: 502 5.5.1 … s=7
C: HELP
S: 214 2.0.0 …
C: FOO
S: 500 5.5.1 The command is not known here s=7
C-: NOOP‹0a›
S: 500 5.5.2 End every line with CR LF, not with LF alone s=7
C: MAIL FROM:<a@a.example>
? mail <a@a.example> SevenBit size=None
! yes
S: 250 2.1.0 Sender taken
C: MAIL FROM:<a@a.example>
S: 503 5.5.1 A transaction is open; finish it or say RSET s=7
C: DATA
S: 554 5.5.1 There is no recipient to take it to s=7
C: RSET
? reset
! yes
S: 250 2.0.0 Forgotten
",
    );
}

#[test]
fn a_browser_is_sent_away() {
    play(
        &Ours(settings()),
        "? opened\n! yes\nS: 220 …\nC: GET / HTTP/1.1\nS: 421 4.7.0 This is a mail server, no web server s=7\n= close\n",
    );
}

#[test]
fn errors_end_the_session_at_their_limit() {
    let mut settings = settings();
    settings.limits.errors = 2;
    let script = format!("{HELLO}C: X\nS: 500 …\nC: X\nS: 500 …\nC: X\nS: 421 4.7.0 …\n= close\n");
    play(&Ours(settings), &script);
}

#[test]
fn an_endless_line_is_dropped_and_refused() {
    check("C*900: NOOP NOOP \nC:\nS: 500 5.5.6 The line is too long s=7\nC: NOOP\nS: 250 2.0.0 Yes\n");
}

// RFC 5321 §4.5.3.2.7.
#[test]
fn silence_ends_the_session_after_five_minutes() {
    check("@ 299 s\nC: NOOP\nS: 250 2.0.0 Yes\n@ 299 s\n= quiet\n@ 2 s\nS: 421 4.4.2 … s=7\n= close\n");
}

#[test]
fn one_letter_a_minute_does_not_keep_a_session_alive() {
    let script =
        "@ 1 min\nC-: N\n@ 1 min\nC-: O\n@ 1 min\nC-: O\n@ 1 min\nC-: P\n@ 1 min\nS: 421 4.4.2 …\n= close\n";
    check(script);
}

#[test]
fn a_text_that_drips_is_cut() {
    let mut settings = settings();
    settings.limits.text_grace = Span::mins(2);
    let script = format!(
        "{HELLO}{MAIL}C: DATA\n? data\n! yes\nS: 354 …\n@ 1 min\nC-: a\n@ 50 s\nC-: b\n@ 15 s\nS: 421 4.4.2 …\n= close\n"
    );
    play(&Ours(settings), &script);
}

#[test]
fn a_text_that_is_too_large_is_read_and_refused() {
    let mut settings = settings();
    settings.limits.message_octets = 10;
    let hello = HELLO.replace("52428800", "10");
    let script = format!(
        "{hello}{MAIL}C: DATA\n? data\n! yes\nS: 354 …\nC: 0123456789\nC: .\n? reset\n! yes\nS: 552 5.3.4 The message is larger than 10 octets s=7\nC: NOOP\nS: 250 2.0.0 Yes\n"
    );
    play(&Ours(settings), &script);
}

#[test]
fn the_server_says_goodbye_but_finishes_a_text_first() {
    check("~ shutdown\nS: 421 4.3.2 … s=7\n= close\n");
    check(&format!(
        "{MAIL}C: DATA\n? data\n! yes\nS: 354 …\nC: a\n~ shutdown\nC: .\n? commit a\\r\\n\n! saved 5\nS: 250 2.0.0 m=5 taken and on disk\nS: 421 4.3.2 … s=7\n= close\n"
    ));
}

#[test]
fn who_speaks_before_the_greeting_is_no_mail_server() {
    let mut settings = settings();
    settings.limits.greet_pause = Span::secs(2);
    play(
        &Ours(settings.clone()),
        "? opened\n! yes\n= quiet\n@ 2 s\nS: 220 mx.example ESMTP Postroad s=7\nC: NOOP\nS: 250 2.0.0 Yes\n",
    );
    let early = "? opened\n! yes\n= quiet\nC: E\nS: 554 5.5.1 You spoke before the greeting s=7\n= close\n";
    assert_eq!(talk::play_once(&Ours(settings), early, talk::Way::Whole), Ok(()));
}
