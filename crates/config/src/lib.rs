//! One TOML for what belongs to the host; every error with file:line, caret and remedy.
