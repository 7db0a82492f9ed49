//! The mail host: receive, keep, serve, send.
