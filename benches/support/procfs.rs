//! What the kernel says about a process.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;

use super::Result;
use super::stats::spread;

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// All that is resident, the program's own pages and mapped files included.
    pub(crate) resident: f64,
    /// Heap and stacks only.
    pub(crate) anonymous: f64,
    /// The most that was ever resident.
    pub(crate) peak: f64,
}

/// Reads `/proc/<pid>/status`.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<f64> {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(value
            .context("a field that /proc does not have")?
            .parse::<f64>()?
            / 1024.0)
    };
    Ok(Memory {
        resident: field("VmRSS:")?,
        anonymous: field("RssAnon:")?,
        peak: field("VmHWM:")?,
    })
}

/// Reads memory ten times a second until it is told to stop.
pub(crate) fn sampler(pid: u32, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<Vec<Memory>> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut samples = Vec::new();
        while !stop.load(Relaxed) {
            samples.extend(memory(pid));
            std::thread::sleep(Duration::from_millis(100));
        }
        samples
    })
}

/// The medians of ten equal parts of a series, as a line.
pub(crate) fn tenths(samples: &[Memory]) -> String {
    let size = samples.len().div_ceil(10).max(1);
    let part = |part: &[Memory]| {
        let resident: Vec<f64> = part.iter().map(|memory| memory.resident).collect();
        format!("{:.0}", spread(&resident).median)
    };
    samples.chunks(size).map(part).collect::<Vec<_>>().join(" ")
}

/// The CPU time of all threads of a process so far, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let mut total = 0.0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let spent = text
            .split_whitespace()
            .next()
            .and_then(|ns| ns.parse::<f64>().ok());
        total += spent.unwrap_or_default() / 1e9;
    }
    Ok(total)
}

/// The bytes that a directory takes on its disk.
pub(crate) fn disk_bytes(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        total += if meta.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            meta.blocks() * 512
        };
    }
    Ok(total)
}

/// The machine, in one line: cores, model, memory, kernel, and how busy it was just before.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split_once(": "))
        .map_or("unknown CPU", |(_, m)| m);
    let cores = cpu
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory = read("/proc/meminfo");
    let gib = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<f64>().ok());
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{cores} x {model}, {:.0} GiB, Linux {}, load average before: {}",
        gib.unwrap_or_default() / 1_048_576.0,
        kernel.trim(),
        load.split_whitespace().next().unwrap_or("unknown")
    )
}
