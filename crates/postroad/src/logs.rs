//! What is written down for the operator, within a budget of bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use stdx::Bytes;
use tracing_subscriber::EnvFilter;

/// Files kept: the one being written and those before it.
const FILES: u64 = 5;

/// Sends the log to standard error, or to a file that rolls over.
pub fn begin(level: &str, file: Option<&Path>, budget: Bytes) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|e| format!("\"{level}\" is no log level: {e}"))?;
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_target(true).with_ansi(false);
    let done = match file {
        Some(file) => {
            let rolling = Rolling::open(file, budget)
                .map_err(|e| format!("The log file {} cannot be written: {e}.", file.display()))?;
            format.with_writer(Mutex::new(rolling)).try_init()
        }
        // A reader who has gone is no reason to complain to him.
        None => format.with_writer(io::stderr).log_internal_errors(false).try_init(),
    };
    done.map_err(|e| format!("The log cannot be started: {e}."))
}

/// A file that is renamed once it is full; the oldest goes.
struct Rolling {
    path: PathBuf,
    file: File,
    written: u64,
    each_max: u64,
}

impl Rolling {
    fn open(path: &Path, budget: Bytes) -> io::Result<Rolling> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let written = file.metadata()?.len();
        Ok(Rolling { path: path.to_owned(), file, written, each_max: (budget.get() / FILES).max(4096) })
    }
    fn numbered(&self, n: u64) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    }
    fn roll(&mut self) -> io::Result<()> {
        for n in (1..FILES - 1).rev() {
            // The first time some of them are not there.
            let _ = std::fs::rename(self.numbered(n), self.numbered(n + 1));
        }
        std::fs::rename(&self.path, self.numbered(1))?;
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.written = 0;
        Ok(())
    }
}

impl Write for Rolling {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written > 0 && self.written + bytes.len() as u64 > self.each_max {
            self.roll()?;
        }
        // One line cannot break the budget either.
        let piece = &bytes[..bytes.len().min(self.each_max as usize)];
        self.file.write_all(piece)?;
        self.written += piece.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_log_files_together_stay_within_the_budget() {
        let folder = std::env::temp_dir().join(format!("postroad-logs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let file = folder.join("log");
        let mut rolling = Rolling::open(&file, Bytes::kib(50)).expect("open");
        for i in 0..20_000 {
            writeln!(rolling, "line {i} of the log").expect("write");
        }
        let sizes: Vec<u64> = std::fs::read_dir(&folder)
            .expect("list")
            .map(|entry| entry.expect("entry").metadata().expect("size").len())
            .collect();
        assert_eq!(sizes.len() as u64, FILES);
        assert!(sizes.iter().sum::<u64>() <= 50 << 10, "{sizes:?}");
        let last = std::fs::read_to_string(&file).expect("read");
        assert!(last.ends_with("line 19999 of the log\n"));
        std::fs::remove_dir_all(&folder).expect("clean up");
    }
}
