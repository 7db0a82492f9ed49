//! Plan, copy, follow, switch, verify.
