//! The HTTP kit.
