//! The real world: sockets, rustls, files, OS clock.
