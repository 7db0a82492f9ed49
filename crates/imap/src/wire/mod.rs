//! The wire: reading commands with their literals, writing responses, modified UTF-7.

pub mod read;
pub mod utf7;
pub mod write;
