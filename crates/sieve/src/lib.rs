//! Sieve and ManageSieve: grammar, evaluation, server machine.
