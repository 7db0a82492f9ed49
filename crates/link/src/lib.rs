//! The hosts' own talk: signed, idempotent facts.
