//! Words to whoever runs us: answers on standard output, everything beside them on standard error.
//!
//! The reader may have gone before the end (`postroad queue list | head`). Then the verb ends quietly
//! with the code a shell knows a broken pipe by; it has done its work by then, for verbs speak last.
//! Nothing else in this crate may print. Begin with [`line`].

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// 128 and the number of SIGPIPE.
const NOBODY_READS: i32 = 141;

/// An answer, as one line or more, with the last line's end.
pub fn line(text: impl Display) {
    write(format_args!("{text}\n")).unwrap_or_else(|why| end(&why));
}

/// An answer that has its line ends.
pub fn text(text: impl Display) {
    write(format_args!("{text}")).unwrap_or_else(|why| end(&why));
}

/// For what goes on serving, whether anybody reads it or not.
pub fn announce(text: impl Display) {
    // Who listens is no condition of the service.
    let _ = write(format_args!("{text}\n"));
}

/// A complaint, a remark or progress. If nobody reads those either, there is nobody to tell.
pub fn aside(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn write(words: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_fmt(words)?;
    out.flush()
}

/// The end of a verb whose answer cannot be written.
pub fn end(why: &io::Error) -> ! {
    if why.kind() == ErrorKind::BrokenPipe {
        std::process::exit(NOBODY_READS);
    }
    aside(format_args!("The answer cannot be written: {why}."));
    std::process::exit(1)
}
