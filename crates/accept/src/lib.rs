//! May this peer, sender, recipient, message come in?
