//! Which egress, when, and what did that reply teach us?
