//! Small disks, for what happens when one is full.

use std::path::{Path, PathBuf};

use super::{Heddle, report};

/// How to give a process a small disk of its own, of so many MiB, where the machine lets us. Says so
/// where it does not.
pub(crate) fn small_disk(mount_point: &Path, size: u32) -> Option<Vec<String>> {
    let script = format!(
        "mount -t tmpfs -o size={size}m heddle {} && exec \"$@\"",
        mount_point.display()
    );
    let prefix = |namespace: &str| -> Vec<String> {
        ["unshare", namespace, "sh", "-c", &script, "sh"]
            .map(str::to_owned)
            .into()
    };
    // As root, or as the root of a user namespace of our own.
    let found = ["-m", "-rm"].into_iter().map(prefix).find(|line| {
        let mut probe = std::process::Command::new(&line[0]);
        let probe = probe.args(&line[1..]).arg("true").output();
        probe.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        assert!(
            std::env::var_os("HEDDLE_REQUIRE_CONFORMANCE").is_none(),
            "no mount namespace can be made here"
        );
        report::line("not run: no mount namespace can be made here for a small disk");
    }
    found
}

/// Where a process sees what is at that place for it.
pub(crate) fn inside(heddle: &Heddle, place: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", heddle.pid(), place.display()))
}

/// Fills what is left of the disk that the process sees.
pub(crate) fn fill(inside: &Path) -> PathBuf {
    let path = inside.join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut block = vec![0_u8; 1 << 20];
    while !block.is_empty() {
        match std::io::Write::write(&mut file, &block) {
            Ok(written) if written > 0 => {}
            _ => block.truncate(block.len() / 2),
        }
    }
    path
}
