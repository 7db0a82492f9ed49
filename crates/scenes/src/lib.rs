//! Whole-farm replays.
