//! RSET, NOOP, VRFY, EXPN, HELP, QUIT: commands that move no mail.

use words::Reply;

use super::Server;
use crate::command::Command;

/// Counts a command that moves no mail; ends the session of who says nothing else.
pub(super) fn may_idle(server: &mut Server) -> bool {
    server.tally.idle += 1;
    if server.tally.idle > server.limits().idle_commands {
        server.say(Reply::new(421, (4, 7, 0), "Too many commands without mail"));
        return false;
    }
    true
}

pub(super) fn proceed(server: &mut Server, command: &Command) {
    if matches!(command, Command::Quit) {
        server.say(Reply::new(221, (2, 0, 0), "Goodbye"));
        return server.hang_up();
    }
    if !may_idle(server) {
        return;
    }
    match command {
        Command::Rset => server.drop_mail(Reply::new(250, (2, 0, 0), "Forgotten")),
        Command::Noop => server.say(Reply::new(250, (2, 0, 0), "Yes")),
        // RFC 5321 §3.5.3: 252 tells nobody which names exist.
        Command::Vrfy => {
            server.say(Reply::new(252, (2, 5, 2), "Send mail and see; names are not confirmed here"))
        }
        Command::Expn => server.say(Reply::new(502, (5, 5, 1), "Lists are not shown here")),
        _ => {
            let text = "EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT STARTTLS AUTH; see RFC 5321";
            server.say(Reply::new(214, (2, 0, 0), text));
        }
    }
}
