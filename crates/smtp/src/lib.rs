//! SMTP: grammar, server machine, client machine.
