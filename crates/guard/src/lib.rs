//! Does this account behave like itself?
