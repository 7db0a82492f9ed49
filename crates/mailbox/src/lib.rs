//! Folders, UID, UIDVALIDITY, MODSEQ, flags, quota, change feed, search.
