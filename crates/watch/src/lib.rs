//! Which observations make an incident, and the words a client reads.
