//! A seeded city of peers with manners, in virtual time.
