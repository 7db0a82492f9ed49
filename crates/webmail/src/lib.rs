//! Webmail pages.
