//! What a process holds in memory.

/// Resident bytes of a process, from `/proc`; `None` where there is no such file (another system, or it has ended).
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    resident_pages(&statm)?.checked_mul(rustix::param::page_size() as u64)
}

/// The second number of `statm` (proc(5)).
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_field_counts() {
        assert_eq!(resident_pages("4096 1234 300 1 0 200 0\n"), Some(1234));
        assert_eq!(resident_pages(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_holds_something_and_a_missing_one_nothing() {
        assert!(resident_bytes(std::process::id()) > Some(1_000_000));
        assert_eq!(resident_bytes(u32::MAX), None);
    }
}
