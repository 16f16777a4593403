//! Files and directories that only their owner can read; files are written in one step.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Writes a file that only its owner can read or write: a reader sees the old content or the new
/// one, also after a power cut.
///
/// # Errors
///
/// When the file system refuses.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(new, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// Makes a directory that only its owner can look into, with those above it that are missing. One
/// that is there becomes so.
///
/// # Errors
///
/// When the file system refuses.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    std::fs::set_permissions(dir, Permissions::from_mode(0o700))
}

/// Makes all files and directories below a directory their owner's alone.
///
/// # Errors
///
/// When the file system refuses.
pub fn close_dir(dir: &Path) -> io::Result<()> {
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let found = entry.metadata()?;
            let mode = match (found.is_dir(), found.is_file()) {
                (true, _) => 0o700,
                (_, true) => 0o600,
                _ => continue,
            };
            if found.permissions().mode() & 0o777 != mode {
                std::fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
            }
            if found.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(())
}
