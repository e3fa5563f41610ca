//! How a cluster is made.

use std::collections::BTreeSet;
use std::time::Duration;

use filch_types::limits;

use super::{BuildError, Cluster, Done, Task};
use crate::options::{Options, Profile};
use crate::programs::Handler;
use crate::sim::Sim;

type Change = Box<dyn FnOnce(&mut Options)>;

/// Builds a [`Cluster`].
pub struct Builder {
    nodes: usize,
    slots: u16,
    seed: u64,
    patience: Duration,
    change: Vec<Change>,
    handlers: Vec<(String, Option<BTreeSet<usize>>, Handler)>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            nodes: 3,
            slots: 2,
            seed: 0,
            patience: Duration::from_secs(3600),
            change: Vec::new(),
            handlers: Vec::new(),
        }
    }
}

impl Builder {
    /// Nodes; default 3.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }
    /// Tasks that each node runs at once; default 2.
    pub fn slots(mut self, slots: u16) -> Self {
        self.slots = slots;
        self
    }
    /// All randomness of the world; default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
    /// Virtual time after which waiting for a job is given up; default an hour.
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }
    /// A function that jobs can call, on all nodes: its value is the task's result, its error fails the task. It is called once
    /// for each execution, when the execution begins. The run can only be repeated if the function does the same every time; a
    /// panic in it is the test's.
    pub fn handler<F, T>(self, name: impl Into<String>, handler: F) -> Self
    where
        F: FnMut(&Task<'_>) -> Result<T, String> + 'static,
        T: Into<Done>,
    {
        self.register(name.into(), None, handler)
    }
    /// The same on some nodes only.
    pub fn handler_at<F, T>(self, nodes: impl IntoIterator<Item = usize>, name: impl Into<String>, handler: F) -> Self
    where
        F: FnMut(&Task<'_>) -> Result<T, String> + 'static,
        T: Into<Done>,
    {
        self.register(name.into(), Some(nodes.into_iter().collect()), handler)
    }
    fn register<F, T>(mut self, name: String, at: Option<BTreeSet<usize>>, mut handler: F) -> Self
    where
        F: FnMut(&Task<'_>) -> Result<T, String> + 'static,
        T: Into<Done>,
    {
        self.handlers.push((name, at, Box::new(move |task| handler(task).map(Into::into))));
        self
    }
    /// Changes details of the world, after nodes, slots and seed were set: links, disks, clocks, periods of the protocol.
    ///
    /// ```
    /// use filch_sim::Cluster;
    ///
    /// let far = Cluster::builder().nodes(4).options(|o| o.link.far_us = 40_000).build();
    /// assert!(far.is_ok());
    /// ```
    pub fn options(mut self, change: impl FnOnce(&mut Options) + 'static) -> Self {
        self.change.push(Box::new(change));
        self
    }

    /// The cluster, as soon as its nodes have met (after two seconds at the latest).
    pub fn build(self) -> Result<Cluster, BuildError> {
        if self.nodes == 0 {
            return Err(BuildError::NoNodes);
        }
        let mut options = Options::calm(self.seed, self.nodes, self.slots);
        self.change.into_iter().for_each(|change| change(&mut options));
        options.check().map_err(BuildError::Options)?;
        let (l, d) = (&options.link, options.bounce_ppm);
        if options.profile == Profile::FaultFree && l.loss_ppm + l.dup_ppm + l.unreachable_ppm + d > 0 {
            // Exact counts are promised for calm networks only.
            options.profile = Profile::Swarm;
        }
        let nodes = options.nodes.len();
        let mut sim = Sim::new(options);
        for (name, at, call) in self.handlers {
            let wrong = |why: &str| Err(BuildError::Handler { name: name.clone(), why: why.to_owned() });
            if name.is_empty() || name.len() > limits::MAX_NAME {
                return wrong("a name has 1 to 200 bytes");
            }
            if name == crate::load::HANDLER {
                return wrong("the name of the simulator's own work");
            }
            if sim.world.programs.has(&name) {
                return wrong("registered twice");
            }
            match &at {
                Some(at) if at.is_empty() => return wrong("registered at no node"),
                Some(at) if at.last().is_some_and(|n| *n >= nodes) => {
                    return wrong(&format!("registered at a node that does not exist; the last is {}", nodes - 1));
                }
                _ => {}
            }
            sim.world.programs.register(name, at, call);
        }
        Cluster::new(sim, self.patience)
    }
}
