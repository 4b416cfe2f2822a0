//! Runs a model and says what was seen: how many states, whether all of them, and what broke.
//!
//! The search is breadth first, so that a schedule that is found is a shortest one. Not here: any
//! judgement; a run that met its limit is reported as such and proves nothing.

use core::{fmt, hash::Hash, time::Duration};
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};

/// What bounds a run, besides the bounds of its model.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Transitions after which a run stops.
    pub transitions: usize,
    /// Time after which a run stops.
    pub time: Duration,
    /// Threads that search.
    pub threads: usize,
}

impl Limits {
    /// For tests: one thread, and far more than what a test should need.
    pub const TEST: Self =
        Self { transitions: 200_000_000, time: Duration::from_secs(300), threads: 1 };
}

/// What a run saw.
#[derive(Clone, Debug)]
pub struct Report {
    /// Distinct states.
    pub states: usize,
    /// Transitions, those to a known state included.
    pub transitions: usize,
    /// The longest of the shortest ways to a state, in steps.
    pub depth: usize,
    /// Whether every state within the bounds was seen.
    pub exhausted: bool,
    /// How long it took.
    pub time: Duration,
    /// What broke first, if anything did.
    pub broken: Option<Counterexample>,
    /// What was to be seen at least once and was: a model in which nothing happens holds too.
    pub reached: Vec<&'static str>,
}

/// A property that does not hold, and the schedule that shows it.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The name of the property.
    pub property: &'static str,
    /// One line a step.
    pub schedule: Vec<String>,
}

/// Searches a model until a property is broken, every state was seen, or a limit is met.
#[expect(clippy::disallowed_methods, reason = "measures how long the search takes")]
pub fn check<M>(model: M, limits: Limits) -> Report
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + PartialEq + Hash + Send + Sync + fmt::Debug + 'static,
    M::Action: Clone + PartialEq + Send + Sync + fmt::Debug + 'static,
{
    let begin = Instant::now();
    let checker = model
        .checker()
        .threads(limits.threads)
        .target_state_count(limits.transitions)
        .timeout(limits.time)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let time = begin.elapsed();
    let mut reached = Vec::new();
    let mut broken = None;
    for (property, path) in checker.discoveries() {
        if matches!(checker.model().property(property).expectation, Expectation::Sometimes) {
            reached.push(property);
        } else {
            let schedule = path.into_actions().iter().map(|step| format!("{step:?}")).collect();
            broken = Some(Counterexample { property, schedule });
        }
    }
    reached.sort_unstable();
    let transitions = checker.state_count();
    Report {
        states: checker.unique_state_count(),
        transitions,
        depth: checker.max_depth().saturating_sub(1),
        exhausted: broken.is_none() && transitions < limits.transitions && time < limits.time,
        time,
        broken,
        reached,
    }
}

/// The properties that are looked at: all of them, or the one of this name.
pub(crate) fn chosen<M: Model>(
    all: Vec<Property<M>>,
    only: Option<&'static str>,
) -> Vec<Property<M>> {
    all.into_iter().filter(|property| only.is_none_or(|only| property.name == only)).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, transitions, depth, time, .. } = self;
        match &self.broken {
            Some(found) => write!(f, "{} broken in {} steps", found.property, found.schedule.len()),
            None if self.exhausted => write!(f, "holds, exhausted"),
            None => write!(f, "none found, NOT exhausted"),
        }?;
        let seconds = time.as_secs_f32();
        write!(f, "; {states} states, {transitions} transitions, depth {depth}, {seconds:.1} s")
    }
}
