//! The monitor: looks at the mail host from outside.
