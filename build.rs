//! How the linker lays the program out, which decides how much of it an idle process has in memory.
//! docs/performance.md ("Start, size and memory") has the figures. In a release build:
//!
//! - The functions that run at start and in an idle process lie side by side. The kernel maps a file
//!   in pieces of 64 KiB or more around what is touched; where these functions lie among all others,
//!   as the compiler leaves them, most of the program is mapped though a sixth of it runs. Which they
//!   are says `layout/start.ld`, which `tests/scripts/start-order.py` writes. A name in it that is
//!   not there is no error, and what it does not name lies where it would have.
//! - What the compiler holds to be unlikely, as panics are, lies apart from the rest.
//! - The table of relative relocations has its short form (`DT_RELR`), since all of it is read at
//!   start: 2 MiB in the long form, 25 KiB in the short one. glibc before 2.36 refuses programs
//!   that have it.
//!
//! All of this is asked for only where it is known to work: of the linker that Rust brings along, on
//! the target of the machine that builds. Elsewhere the program takes more memory, and is no
//! different else.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The target for which Rust brings its own linker and uses it by default.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The first glibc whose loader reads the short form.
const SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=layout/start.ld");
    println!("cargo:rerun-if-env-changed=RUSTC_LINKER");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    if !is("PROFILE", "release") || !is("TARGET", TARGET) || !is("HOST", TARGET) || own_linker() {
        return;
    }
    if let Some(order) = order() {
        println!("cargo:rustc-link-arg-bins=-T{order}");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-z,keep-text-section-prefix");
    if glibc().is_some_and(|version| version >= SINCE) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Where the linker finds the order: in a copy beside what is built. Cargo keeps what this prints for as
/// long as nothing here changes, even for another checkout that builds into the same directory, where
/// the path of this one may be gone.
fn order() -> Option<String> {
    let copy = Path::new(&env::var_os("OUT_DIR")?).join("start.ld");
    fs::copy("layout/start.ld", &copy).ok()?;
    copy.to_str().map(str::to_owned)
}

/// Whether whoever builds has chosen a linker, or tells it something that we do not know.
fn own_linker() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    env::var_os("RUSTC_LINKER").is_some() || flags.contains("link")
}

/// The version of this machine's C library, if it is glibc and says so.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    let mut parts = text.trim().strip_prefix("glibc ")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
