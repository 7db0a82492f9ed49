//! POP3: grammar, server machine.
