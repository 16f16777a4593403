//! From the log to the subscriber and back: cursors, retries, dead letters and replies
