//! Readiness: a list of parts, each of which says whether it is ready and, if not, why.

use std::fmt::Write as _;
use std::sync::Arc;

/// Tells whether one part of the process is ready, or why it is not.
pub type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// All parts that have to be ready.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Arc<Vec<(&'static str, Check)>>,
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.checks.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Readiness {
    /// The parts, by name.
    #[must_use]
    pub fn new(checks: Vec<(&'static str, Check)>) -> Self {
        Self {
            checks: Arc::new(checks),
        }
    }

    /// Whether all parts are ready, and one line for each: `[+] log ok` or `[-] log: why`.
    #[must_use]
    pub fn report(&self) -> (bool, String) {
        let mut ready = true;
        let mut report = String::new();
        for (name, check) in self.checks.iter() {
            let line = match check() {
                Ok(()) => writeln!(report, "[+] {name} ok"),
                Err(reason) => {
                    ready = false;
                    writeln!(report, "[-] {name}: {reason}")
                }
            };
            debug_assert!(line.is_ok(), "writing to a string does not fail");
        }
        (ready, report)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::Readiness;

    #[test]
    fn one_part_that_is_not_ready_makes_the_whole_not_ready() {
        let readiness = Readiness::new(vec![
            ("api", Box::new(|| Ok(()))),
            ("log", Box::new(|| Err("the disk is full".to_owned()))),
        ]);
        let (ready, report) = readiness.report();
        assert!(!ready);
        assert_eq!(report, "[+] api ok\n[-] log: the disk is full\n");
    }
}
