//! How the store is to behave; the defaults suit one machine of any size.

use stdx::Bytes;

#[derive(Clone, Debug)]
pub struct Settings {
    /// A segment is closed once it has grown past this.
    pub segment_max: Bytes,
    /// A body longer than this goes to disk while it arrives, outside the committer.
    pub small_max: Bytes,
    /// New mail is refused below this much free space; `None` is the greater of 64 MiB and 2 %.
    pub reserve: Option<Bytes>,
    /// Bodies just delivered stay in memory up to this much in all.
    pub cache: Bytes,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            segment_max: Bytes::mib(256),
            small_max: Bytes::kib(256),
            reserve: None,
            cache: Bytes::mib(8),
        }
    }
}
