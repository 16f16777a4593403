//! Figures of a test, shown whether it passes or fails.

use std::io::Write;

/// Writes one line to the error stream, past the capture of the test harness: the figures of a
/// torture test (its seed, its duplicates) belong into the log of every run.
pub(crate) fn line(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // A closed stream is no reason to fail.
    let _ = writeln!(stderr, "    {text}");
}
