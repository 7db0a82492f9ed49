//! SASL mechanisms as machines, and password hashes old and new.
