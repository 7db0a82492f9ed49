use std::sync::Arc;

use talk::Voice;
use words::SessionId;

use super::super::{Answer, Ask, Refusal, Settings};
use super::Server;

struct Client;

impl Voice for Client {
    type M = Server;
    fn machine(&self) -> Server {
        Server::new(Arc::new(Settings::default()), SessionId(7))
    }
    fn show(&self, ask: &Ask) -> String {
        match ask {
            Ask::Sasl(sasl::Question::Password { user, password, via, .. }) => {
                format!("password {user} {} {via}", password.reveal())
            }
            Ask::Sasl(sasl::Question::Unencrypted { via, .. }) => format!("unencrypted {via}"),
            Ask::Sasl(_) => "sasl".into(),
            Ask::Enter => "enter".into(),
            Ask::Forget => "forget".into(),
            Ask::HaveSpace { name, size } => format!("space {name} {size}"),
            Ask::Put { name, script } => format!("put {name} {script:?}"),
            Ask::List => "list".into(),
            Ask::SetActive { name } => format!("active {name:?}"),
            Ask::Get { name } => format!("get {name}"),
            Ask::Delete { name } => format!("delete {name}"),
            Ask::Rename { from, to } => format!("rename {from} {to}"),
        }
    }
    fn answer(&self, _ask: &str, text: &str) -> Answer {
        match text {
            "granted" => Answer::Sasl(sasl::Answer::Granted),
            "wrong" => Answer::Sasl(sasl::Answer::Refused(sasl::Failure::Wrong)),
            "weak" => Answer::Sasl(sasl::Answer::Refused(sasl::Failure::TooWeak)),
            "done" => Answer::Done,
            "scripts" => Answer::Scripts(vec![("summer \"24\"".into(), false), ("main".into(), true)]),
            "script" => Answer::Script("keep;\r\n".into()),
            "none" => Answer::Refused(Refusal::NonExistent),
            "in use" => Answer::Refused(Refusal::Active),
            "full" => Answer::Refused(Refusal::TooMany),
            _ => panic!("no such answer: {text}"),
        }
    }
}

const GREETING: &str = "
~ tls
S: \"IMPLEMENTATION\" \"Postroad\"
S: \"SASL\" \"SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN\"
S: \"SIEVE\" \"fileinto …
S: \"MAXREDIRECTS\" \"4\"
S: \"UNAUTHENTICATE\"
S: \"VERSION\" \"1.0\"
S: OK \"Postroad ManageSieve ready (s=7)\"
";

fn after_login(script: &str) {
    let login = "C: AUTHENTICATE \"PLAIN\" \"AGJvYgB4\"\n? password bob x PLAIN\n! granted\n? enter\n! done\nS: OK \"Logged in.\"\n";
    talk::play(&Client, &format!("{GREETING}{login}{script}"));
}

#[test]
fn scripts_are_kept_listed_fetched_and_removed() {
    after_login(
        "C: PUTSCRIPT \"main\" {7+}
C: keep;
C:
? put main \"keep;\\r\\n\"
! done
S: OK \"Done.\"
C: LISTSCRIPTS
? list
! scripts
S: \"summer \\\"24\\\"\"
S: \"main\" ACTIVE
S: OK \"That is all.\"
C: GETSCRIPT \"main\"
? get main
! script
S: {7}
S: keep;
S:
S: OK \"That is it.\"
C: SETACTIVE \"\"
? active None
! done
S: OK \"Done.\"
C: DELETESCRIPT \"main\"
? delete main
! in use
S: NO (ACTIVE) \"The active script cannot be deleted; make another one active first.\"
C: RENAMESCRIPT \"a\" \"b\"
? rename a b
! none
S: NO (NONEXISTENT) \"There is no script of that name.\"
C: HAVESPACE \"x\" 99999999
S: NO (QUOTA/MAXSIZE) \"A script of that size is too large.\"
C: HAVESPACE \"x\" 99
? space x 99
! full
S: NO (QUOTA/MAXSCRIPTS) \"There are too many scripts; delete one first.\"
C: LOGOUT
S: OK \"Goodbye.\"
= close
",
    );
}

#[test]
fn scripts_with_faults_are_not_kept() {
    after_login(
        "C: PUTSCRIPT \"bad\" \"keep; fileinto \\\"x\\\";\"
S: NO \"line 1, column 7: the command fileinto needs: require \\\"fileinto\\\";\"
C: CHECKSCRIPT \"if true { keep; }\"
S: OK \"The script has no faults.\"
C: PUTSCRIPT \"a/b\" \"keep;\"
S: NO \"That cannot be a script's name: use 1 to 128 characters, no / and no controls.\"
C: UNAUTHENTICATE
? forget
! done
S: OK \"Done.\"
C: LISTSCRIPTS
S: NO \"Log in first: AUTHENTICATE.\"
",
    );
}

#[test]
fn log_ins_need_tls_and_wrong_ones_are_counted() {
    talk::play(
        &Client,
        "S: \"IMPLEMENTATION\" \"Postroad\"
S: \"SASL\" \"\"
S: \"SIEVE\" \"fileinto …
S: \"MAXREDIRECTS\" \"4\"
S: \"UNAUTHENTICATE\"
S: \"VERSION\" \"1.0\"
S: \"STARTTLS\"
S: OK \"Postroad ManageSieve ready (s=7)\"
C: AUTHENTICATE \"PLAIN\" \"AGJvYgB4\"
? unencrypted PLAIN
! weak
S: NO (ENCRYPT-NEEDED) \"this log-in needs an encrypted connection: switch on TLS (s=7)\"
C: NOOP \"a tag\"
S: OK (TAG \"a tag\") \"Still here.\"
C: STARTTLS
S: OK \"Begin TLS now.\"
= starttls
S: \"IMPLEMENTATION\" \"Postroad\"
S: \"SASL\" \"SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN\"
S: \"SIEVE\" \"fileinto …
S: \"MAXREDIRECTS\" \"4\"
S: \"UNAUTHENTICATE\"
S: \"VERSION\" \"1.0\"
S: OK \"TLS is on.\"
C: AUTHENTICATE \"PLAIN\"
S: \"\"
C: \"AGJvYgB4\"
? password bob x PLAIN
! wrong
S: NO \"user name or password is wrong (s=7)\"
",
    );
}

#[test]
fn strings_that_are_too_large_are_thrown_away() {
    talk::play(
        &Client,
        &format!(
            "{GREETING}C: AUTHENTICATE \"PLAIN\" {{13000+}}\nS: NO (QUOTA/MAXSIZE) …\nC*13000: x\nC:\nC: NOOP\nS: OK \"Still here.\"\n"
        ),
    );
}
