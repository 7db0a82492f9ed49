//! The status site: stands when everything else is down.
