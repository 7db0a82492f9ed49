//! Facts, append-only, bounded: attempts, replies, logins, counters.
