//! The command line, and the checked configuration it becomes.

use std::path::PathBuf;

use crate::{Address, CacheError, Clock, system_clock};

const MIB: u64 = 1024 * 1024;

/// Flags of `kado cache`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to listen: `unix:PATH` (a path under 100 bytes) or `IP:PORT`.
    #[arg(long, value_name = "unix:PATH|IP:PORT")]
    pub listen: Address,
    /// Directory of the disk tier. Created when missing; one process at a time.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Size of the memory tier, in bytes of stored responses.
    #[arg(long, value_name = "N", default_value_t = 256 * MIB)]
    pub memory_bytes: u64,
    /// Size of the disk tier in bytes, at least nine times `--max-object-bytes`.
    #[arg(long, value_name = "N", default_value_t = 4096 * MIB)]
    pub disk_bytes: u64,
    /// Largest response that is stored, body and headers together, in bytes.
    #[arg(long, value_name = "N", default_value_t = 32 * MIB)]
    pub max_object_bytes: u64,
    /// Let the disk tier's files grow as they are written instead of taking their space at the start.
    #[arg(long)]
    pub sparse_disk: bool,
}

/// What the service runs with.
#[derive(Clone)]
pub struct Config {
    /// Directory of the disk tier.
    pub dir: PathBuf,
    /// Bytes of the memory tier.
    pub memory_bytes: usize,
    /// Bytes of the disk tier.
    pub disk_bytes: usize,
    /// Bytes of the largest stored response.
    pub max_object_bytes: usize,
    /// Whether the disk tier's space is taken at the start, so that a disk filled by others cannot hurt it later.
    pub reserve_disk: bool,
    /// The time.
    pub clock: Clock,
}

/// Stored form beyond headers and body: lengths, times, key, foyer's own header and index page.
pub(crate) const ENTRY_OVERHEAD: usize = 64 * 1024;

/// foyer addresses the inside of a block with 32 bits.
const MAX_OBJECT_LIMIT: u64 = 1024 * MIB;

impl Config {
    /// Checks the sizes against each other.
    ///
    /// # Errors
    /// [`CacheError::Config`] names the flag and what would be right.
    pub fn from_args(args: &Args) -> Result<Self, CacheError> {
        let refuse = |flag, problem| Err(CacheError::Config { flag, problem });
        if args.max_object_bytes < 1024 || args.max_object_bytes > MAX_OBJECT_LIMIT {
            return refuse(
                "--max-object-bytes",
                format!("{} is outside 1024..={MAX_OBJECT_LIMIT}", args.max_object_bytes),
            );
        }
        if args.memory_bytes < MIB {
            return refuse("--memory-bytes", format!("{} is less than {MIB}", args.memory_bytes));
        }
        let (Ok(memory_bytes), Ok(disk_bytes), Ok(max_object_bytes)) = (
            usize::try_from(args.memory_bytes),
            usize::try_from(args.disk_bytes),
            usize::try_from(args.max_object_bytes),
        ) else {
            return refuse("--disk-bytes", "larger than this machine can address".to_owned());
        };
        let config = Self {
            dir: args.dir.clone(),
            memory_bytes,
            disk_bytes,
            max_object_bytes,
            reserve_disk: !args.sparse_disk,
            clock: system_clock(),
        };
        let least = config.block_bytes().saturating_mul(MIN_BLOCKS);
        if disk_bytes < least {
            return refuse(
                "--disk-bytes",
                format!("{disk_bytes} is too small for objects of {max_object_bytes} bytes: at least {least}"),
            );
        }
        Ok(config)
    }

    /// The disk tier evicts by block, and an entry lies in one block. Blocks grow with the disk so that there are
    /// never more than a thousand files.
    pub(crate) fn block_bytes(&self) -> usize {
        const PAGE: usize = 4096;
        let least = (self.max_object_bytes + ENTRY_OVERHEAD)
            .max(self.disk_bytes / 1000)
            .max(256 * 1024);
        least.div_ceil(PAGE) * PAGE
    }

    /// How many whole blocks fit on the disk tier.
    pub(crate) fn blocks(&self) -> usize {
        self.disk_bytes / self.block_bytes()
    }
}

/// Below this, one block being written and one being reclaimed would be most of the cache.
const MIN_BLOCKS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn args(memory: u64, disk: u64, object: u64) -> Args {
        Args {
            listen: Address::Tcp("127.0.0.1:0".parse().unwrap()),
            dir: PathBuf::from("x"),
            memory_bytes: memory,
            disk_bytes: disk,
            max_object_bytes: object,
            sparse_disk: false,
        }
    }

    #[test]
    fn the_defaults_fit_together() {
        let config = Config::from_args(&args(256 * MIB, 4096 * MIB, 32 * MIB)).unwrap();
        assert!(config.blocks() >= 100);
        assert!(config.block_bytes() > config.max_object_bytes);
    }

    #[test]
    fn a_disk_too_small_for_its_objects_is_refused_with_the_size_that_would_do() {
        let error = Config::from_args(&args(16 * MIB, 64 * MIB, 32 * MIB))
            .map(|_| ())
            .unwrap_err();
        assert!(error.is_usage());
        let text = error.to_string();
        assert!(
            text.contains("--disk-bytes") && text.contains("at least 268959744"),
            "{text}"
        );
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        assert!(Config::from_args(&args(1, 4096 * MIB, 32 * MIB)).is_err());
        assert!(Config::from_args(&args(16 * MIB, 4096 * MIB, 0)).is_err());
        assert!(Config::from_args(&args(16 * MIB, u64::MAX, 2 * MAX_OBJECT_LIMIT)).is_err());
    }

    #[test]
    fn a_large_disk_has_few_files() {
        let config = Config::from_args(&args(16 * MIB, 1 << 40, 32 * MIB)).unwrap();
        assert!(config.blocks() <= 1000);
        assert!(u32::try_from(config.block_bytes()).is_ok());
    }
}
