//! How much memory the process had at most since it was last asked, where the system tells.

use std::fs;

/// Begins anew. Linux forgets the high-water mark when `5` is written there; elsewhere nothing happens.
pub(crate) fn reset() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The most resident bytes since then; `None` where the system does not tell.
pub(crate) fn peak() -> Option<u64> {
    high_water(&fs::read_to_string("/proc/self/status").ok()?)
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::high_water;

    #[test]
    fn the_high_water_mark_is_found() {
        assert_eq!(
            high_water("Name:\tkado\nVmHWM:\t   12345 kB\nVmRSS:\t1 kB\n"),
            Some(12345 * 1024)
        );
        assert_eq!(high_water("Name:\tkado\n"), None);
    }
}
