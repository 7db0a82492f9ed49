//! Panel pages.
