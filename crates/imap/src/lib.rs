//! IMAP: grammar, server machine.
