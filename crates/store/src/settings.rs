//! How the store is to behave; the defaults suit one machine of any size.

use std::sync::Arc;

use stdx::Bytes;

use crate::Progress;

/// Whom to tell how far a long work is. Cheap to clone; tells nobody by default.
#[derive(Clone, Default)]
pub struct Tell(Option<Arc<dyn Fn(Progress) + Send + Sync>>);

impl Tell {
    pub fn to(f: impl Fn(Progress) + Send + Sync + 'static) -> Tell {
        Tell(Some(Arc::new(f)))
    }
    pub fn tell(&self, progress: Progress) {
        if let Some(f) = &self.0 {
            f(progress);
        }
    }
}

impl std::fmt::Debug for Tell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Tell(somebody)" } else { "Tell(nobody)" })
    }
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// A segment is closed once it has grown past this.
    pub segment_max: Bytes,
    /// A body longer than this goes to disk while it arrives, outside the committer.
    pub small_max: Bytes,
    /// New mail is refused below this much free space; `None` is the greater of 64 MiB and 5 % (8 GiB
    /// at most).
    pub reserve: Option<Bytes>,
    /// Bodies just delivered stay in memory up to this much in all.
    pub cache: Bytes,
    /// Hears how far a replay of the log is, at open.
    pub tell: Tell,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            segment_max: Bytes::mib(256),
            small_max: Bytes::kib(256),
            reserve: None,
            cache: Bytes::mib(4),
            tell: Tell::default(),
        }
    }
}
