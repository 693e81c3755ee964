//! What the system says of the test's own process.

/// A line of `/proc/self/status` that is a size (`VmRSS:`), in bytes.
///
/// # Panics
/// There is no such line.
pub fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let value = status.lines().find_map(|text| text.strip_prefix(line)).expect("the line is there");
    value.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().expect("a number of KiB") << 10
}
