//! What must hold of an event before a filter can want it, as far as an index can look it up.
//!
//! A [`Condition`] is a disjunction of [`Branch`]es, each a conjunction of [`Predicate`]s on single
//! attributes. It is *necessary*: where it does not hold, the filter does not want the event.
//! Nothing says that the filter wants the event where it does, so weakening a condition (dropping
//! a predicate, adding a branch) is always sound, and is how every bound here is kept.

use std::borrow::Cow;
use std::fmt;

use super::width::MAX_WIDTH;

/// The most branches of a condition: each takes a place.
pub(super) const MAX_BRANCHES: usize = MAX_WIDTH;
/// The most branches that two conditions are multiplied out to.
const MAX_PRODUCT: usize = 32;
/// The most predicates of a branch.
pub(super) const MAX_PREDICATES: usize = 8;
/// How many values a message shows.
const SHOWN: usize = 3;

/// A value that an attribute may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted<'f> {
    /// Its text, or the canonical text of its value.
    Text(Cow<'f, str>),
    /// Its value, cast to an Integer as CESQL does.
    Number(i32),
    /// Its value, cast to a Boolean as CESQL does.
    Truth(bool),
}

/// What one attribute must be like. It must be there in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test<'f> {
    /// It is there.
    Present,
    /// It has one of the values; at least one.
    OneOf(Vec<Wanted<'f>>),
    /// It can be cast to an Integer from the first to the last, both included.
    Range(i32, i32),
    /// Its text begins so. Not empty.
    Prefix(Cow<'f, str>),
    /// Its text ends so. Not empty.
    Suffix(Cow<'f, str>),
}

/// A test of the attribute of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Predicate<'f> {
    pub(super) name: &'f str,
    pub(super) test: Test<'f>,
}

/// Predicates that must all hold. No predicate, no constraint.
pub(super) type Branch<'f> = Vec<Predicate<'f>>;

/// Branches of which one must hold. No branch, no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition<'f> {
    branches: Vec<Branch<'f>>,
}

impl Predicate<'_> {
    /// Whether every event passes it.
    pub(super) fn is_given(&self) -> bool {
        self.test == Test::Present && matches!(self.name, "id" | "source" | "type" | "specversion")
    }

    /// How many events pass it, as a guess: small for few. Used to prefer one predicate to another,
    /// so that only the order counts.
    pub(super) fn weight(&self) -> usize {
        if self.name == "specversion" {
            return 64;
        }
        match &self.test {
            Test::Present => 24,
            Test::OneOf(values) => {
                let truth = values.iter().any(|v| matches!(v, Wanted::Truth(_)));
                if truth { 16 } else { 1 + values.len() / 32 }
            }
            Test::Range(from, to) => {
                let bits = u32::BITS - to.abs_diff(*from).leading_zeros();
                1 + bits as usize / 4
            }
            Test::Prefix(text) | Test::Suffix(text) if text.len() < 4 => 4,
            Test::Prefix(_) | Test::Suffix(_) => 2,
        }
    }
}

impl<'f> Condition<'f> {
    /// Nothing is known: every event must be looked at.
    pub(super) fn always() -> Self {
        Self::branch(Vec::new())
    }

    /// No event can be wanted.
    pub(super) fn never() -> Self {
        Self {
            branches: Vec::new(),
        }
    }

    /// One predicate.
    pub(super) fn test(name: &'f str, test: Test<'f>) -> Self {
        let test = match test {
            Test::Prefix(text) | Test::Suffix(text) if text.is_empty() => Test::Present,
            Test::Range(from, to) if from > to => return Self::never(),
            test => test,
        };
        let mut predicate = Predicate { name, test };
        if matches!(&predicate.test, Test::OneOf(values) if values.len() > MAX_WIDTH) {
            predicate.weaken(1);
        }
        if predicate.is_given() {
            return Self::always();
        }
        Self::branch(vec![predicate])
    }

    /// One branch.
    pub(super) fn branch(branch: Branch<'f>) -> Self {
        Self {
            branches: vec![branch],
        }
    }

    pub(super) fn branches(&self) -> &[Branch<'f>] {
        &self.branches
    }

    pub(super) fn into_branches(self) -> impl Iterator<Item = Branch<'f>> {
        self.branches.into_iter()
    }

    fn is_always(&self) -> bool {
        self.branches.iter().any(Vec::is_empty)
    }

    /// Both hold. Where that would have too many branches, only the one with fewer is kept.
    pub(super) fn and(self, other: Self) -> Self {
        if self.is_always() {
            return other;
        }
        if other.is_always() {
            return self;
        }
        let (fewer, more) = if self.branches.len() <= other.branches.len() {
            (&self, &other)
        } else {
            (&other, &self)
        };
        // What has one branch only narrows the other's branches down.
        if fewer.branches.len() > 1 && fewer.branches.len() * more.branches.len() > MAX_PRODUCT {
            return fewer.clone();
        }
        let mut both = Self::never();
        for one in &self.branches {
            for two in &other.branches {
                let mut branch = one.clone();
                if two.iter().all(|predicate| require(&mut branch, predicate)) {
                    both.admit(branch);
                }
            }
        }
        both
    }

    /// At least one holds. Where that would have too many branches, each is reduced to its rarest
    /// predicate, which often makes them values of one attribute; where not, nothing is known.
    pub(super) fn or(mut self, other: Self) -> Self {
        if self.is_always() || other.is_always() {
            return Self::always();
        }
        for branch in other.branches {
            self.admit(branch);
        }
        if self.branches.len() > MAX_BRANCHES {
            self = self.reduced();
        }
        if self.branches.len() > MAX_BRANCHES {
            return Self::always();
        }
        self
    }

    fn reduced(self) -> Self {
        let mut all = Self::never();
        for branch in self.branches {
            all.admit(
                branch
                    .into_iter()
                    .min_by_key(Predicate::weight)
                    .into_iter()
                    .collect(),
            );
        }
        all
    }

    /// Adds a branch. Values of one attribute become one set of values.
    fn admit(&mut self, branch: Branch<'f>) {
        if let [
            Predicate {
                name,
                test: Test::OneOf(values),
            },
        ] = &*branch
        {
            for known in &mut self.branches {
                if let [
                    Predicate {
                        name: known,
                        test: Test::OneOf(all),
                    },
                ] = &mut **known
                    && known == name
                    && all.len() + values.len() <= MAX_WIDTH
                {
                    all.extend_from_slice(values);
                    return;
                }
            }
        }
        if !self.branches.contains(&branch) {
            self.branches.push(branch);
        }
    }
}

impl Wanted<'_> {
    fn is_in(&self, from: i32, to: i32) -> bool {
        matches!(self, Self::Number(number) if (from..=to).contains(number))
    }
}

fn numbers(values: &[Wanted<'_>]) -> bool {
    values.iter().all(|value| value.is_in(i32::MIN, i32::MAX))
}

/// Adds a predicate to a branch. False where no event can pass all of them.
fn require<'f>(branch: &mut Branch<'f>, predicate: &Predicate<'f>) -> bool {
    for known in branch.iter_mut().filter(|p| p.name == predicate.name) {
        match (&mut known.test, &predicate.test) {
            // The others ask for presence too.
            (_, Test::Present) => return true,
            (known @ Test::Present, test) => {
                *known = test.clone();
                return true;
            }
            (Test::Range(from, to), Test::Range(least, most)) => {
                (*from, *to) = ((*from).max(*least), (*to).min(*most));
                return from <= to;
            }
            (Test::OneOf(values), Test::Range(from, to)) if numbers(values) => {
                values.retain(|value| value.is_in(*from, *to));
                return !values.is_empty();
            }
            (known @ Test::Range(..), Test::OneOf(values)) if numbers(values) => {
                if let Test::Range(from, to) = *known {
                    let within = values.iter().filter(|value| value.is_in(from, to));
                    *known = Test::OneOf(within.cloned().collect());
                }
                return *known != Test::OneOf(Vec::new());
            }
            // Texts cannot be told apart like this: one attribute may have two (see `facts`).
            (Test::OneOf(values), Test::OneOf(others)) if numbers(values) && numbers(others) => {
                values.retain(|value| others.contains(value));
                return !values.is_empty();
            }
            (known, test) if known == test => return true,
            _ => {}
        }
    }
    if branch.len() < MAX_PREDICATES {
        branch.push(predicate.clone());
    } else if let Some(widest) = branch.iter_mut().max_by_key(|known| known.weight())
        && widest.weight() > predicate.weight()
    {
        *widest = predicate.clone();
    }
    true
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Number(number) => number.fmt(f),
            Self::Truth(flag) => flag.fmt(f),
        }
    }
}

/// `type = 'com.example.created'`, in words that resemble CESQL.
impl fmt::Display for Predicate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        match &self.test {
            Test::Present => write!(f, "EXISTS {name}"),
            Test::OneOf(values) => match &**values {
                [value] => write!(f, "{name} = {value}"),
                values => {
                    let shown: Vec<_> =
                        values.iter().take(SHOWN).map(ToString::to_string).collect();
                    write!(f, "{name} IN ({}", shown.join(", "))?;
                    match values.len().saturating_sub(SHOWN) {
                        0 => f.write_str(")"),
                        more => write!(f, " and {more} more)"),
                    }
                }
            },
            Test::Range(from, to) if from == to => write!(f, "{name} = {from}"),
            Test::Range(i32::MIN, i32::MAX) => write!(f, "IS_INT({name})"),
            Test::Range(i32::MIN, to) => write!(f, "{name} <= {to}"),
            Test::Range(from, i32::MAX) => write!(f, "{name} >= {from}"),
            Test::Range(from, to) => write!(f, "{from} <= {name} <= {to}"),
            Test::Prefix(text) => write!(f, "{name} begins with '{text}'"),
            Test::Suffix(text) => write!(f, "{name} ends with '{text}'"),
        }
    }
}
