//! Tests with code assembled by hand.

/// No mapping of this process may be written and executed at once.
pub(crate) fn assert_no_writable_code() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps.lines() {
        let access = line.split(' ').nth(1).unwrap();
        assert!(!(access.contains('w') && access.contains('x')), "{line}");
    }
}
