//! What the process of a test takes.

/// Now.
pub fn resident_mib() -> u64 {
    of_status("VmRSS:")
}

/// At most, since it began.
pub fn peak_mib() -> u64 {
    of_status("VmHWM:")
}

fn of_status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}
