//! Accepted mail for elsewhere until each recipient has an end.
