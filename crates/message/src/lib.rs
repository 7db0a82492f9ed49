//! Reading mail without ever failing, header edits, DSN, ARF, Authentication-Results.
