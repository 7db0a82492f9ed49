//! The one async loop for any machine on any stream.
