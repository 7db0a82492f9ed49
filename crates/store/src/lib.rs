//! Bodies in segments, rows in SQL, one Batch, group commit.
