//! The search itself: the world as a stateright model.

use std::num::NonZeroUsize;

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::world::{Deviation, Setting, World};

/// All runs within the limits of a setting.
#[derive(Clone, Copy, Debug)]
pub struct Leases(pub Setting);

impl Model for Leases {
    type State = World;
    type Action = Deviation;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.0)]
    }
    fn actions(&self, state: &World, actions: &mut Vec<Deviation>) {
        state.choices(actions);
    }
    fn next_state(&self, state: &World, action: Deviation) -> Option<World> {
        let mut next = state.clone();
        next.step(action);
        Some(next)
    }
    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(HOLDS, |_, w: &World| w.broken.is_none()),
            Property::sometimes("a run ends", |_, w: &World| w.ended),
            Property::sometimes("a task is stolen", |_, w: &World| w.ended && w.stolen > 0),
            Property::sometimes("a stolen task is stolen again", |_, w: &World| w.ended && w.stolen > 1),
            Property::sometimes("tasks are lost on their way, and run", |_, w: &World| w.ended && w.lost_grant),
            Property::sometimes("somebody else becomes the steward", |_, w: &World| w.ended && w.took_over),
            Property::sometimes("a task runs twice", |_, w: &World| w.ended && w.repeated() > 0),
        ]
    }
}

const HOLDS: &str = "S5, S11, S13 and L1 hold";

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Different states.
    pub states: usize,
    /// Steps of the longest run; what follows the last deviation is one step.
    pub depth: usize,
    /// Whether all were seen; none was left out for a bound or after a broken rule.
    pub whole: bool,
    /// How a rule breaks: which, and the deviations that lead there.
    pub broken: Option<Broken>,
    /// What happened in some run.
    pub reached: Reached,
}

/// A run in which a rule breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which rule, and how.
    pub why: String,
    /// The deviations that lead there.
    pub by: Vec<Deviation>,
    /// All that happened, a line each.
    pub story: Vec<String>,
}

/// Names of what happened in some run.
pub type Reached = Vec<&'static str>;

/// Follows all runs, at most `most` states; ends early at the first broken rule.
pub fn search(setting: Setting, most: usize) -> Outcome {
    let checker = Leases(setting).checker();
    let checker = match NonZeroUsize::new(most) {
        Some(n) => checker.target_state_count(n.get()),
        None => checker,
    };
    let done = checker.finish_when(HasDiscoveries::AnyFailures).threads(1).spawn_dfs().join();
    let mut reached: Reached = done.discoveries().into_keys().filter(|name| *name != HOLDS).collect();
    reached.sort_unstable();
    let broken = done.discovery(HOLDS).map(|path| {
        let why = path.last_state().broken.clone().unwrap_or_default();
        let steps = path.into_actions();
        let story = World::story(setting, &steps);
        Broken { why, by: steps.into_iter().filter(|a| *a != Deviation::Go).collect(), story }
    });
    let states = done.unique_state_count();
    Outcome { states, depth: done.max_depth(), whole: states < most && broken.is_none(), broken, reached }
}
