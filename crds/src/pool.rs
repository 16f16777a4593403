//! Values that many objects have alike, each held once.
//!
//! A pool is bounded: it holds at most [`MOST`] values, and whatever finds no place is held by who
//! asked for it alone. Values that nobody uses any more make room for new ones.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Values that a pool holds.
const MOST: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pool<T: ?Sized>(Mutex<HashSet<Arc<T>>>);

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: ?Sized + Eq + Hash> Pool<T> {
    /// The value as all hold it; made by `make` where it is new.
    pub(crate) fn share(&self, value: &T, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let mut held = self.0.lock();
        if let Some(known) = held.get(value) {
            return Arc::clone(known);
        }
        if held.len() >= MOST {
            held.retain(|value| Arc::strong_count(value) > 1);
            // When half of them are in use, a search for free ones for each new one would be dear.
            if held.len() > MOST / 2 {
                held.clear();
            }
        }
        let value = make();
        held.insert(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_bounded_and_gives_the_same_for_the_same() {
        let pool = Pool::<str>::default();
        let share = |text: &str| pool.share(text, || text.into());
        let kept = share("kept");
        for number in 0..MOST * 3 {
            share(&number.to_string());
            assert!(pool.0.lock().len() <= MOST);
        }
        assert!(Arc::ptr_eq(&kept, &share("kept")), "it is in use");
        let used: Vec<_> = (0..MOST * 3).map(|n| share(&format!("used {n}"))).collect();
        assert!(pool.0.lock().len() <= MOST);
        assert_eq!(&*used[0], "used 0");
    }
}
