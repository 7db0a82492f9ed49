//! Values that must not be printed.

/// Holds a password, token or key. It has no `Debug` and no `Display` on purpose, so that no
/// log line and no error can carry it by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub const fn new(value: T) -> Secret<T> {
        Secret(value)
    }
    /// The one way to see it; grep for `reveal` to find every use.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
    pub fn into_inner(self) -> T {
        self.0
    }
}
