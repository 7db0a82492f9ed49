//! The relay: another egress on another host.
