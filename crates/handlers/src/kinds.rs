//! The registry of divisible handlers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{DivisibleKind, Uts};

/// Divisible handlers by name.
#[derive(Clone, Default)]
pub struct Kinds(BTreeMap<String, Arc<dyn DivisibleKind>>);

impl Kinds {
    /// None at all.
    pub fn empty() -> Self {
        Self::default()
    }
    /// Those that come with filch.
    ///
    /// - `uts TREE`: counts an unbalanced tree ([`Uts`]): `T1 T3 T1L T3L T1XL`, `geo:B0,DEPTH,SEED` or `bin:B0,Q,M,SEED`.
    pub fn builtin() -> Self {
        let mut kinds = Self::empty();
        kinds.register(Uts);
        kinds
    }
    /// Adds one, or replaces the one of its name.
    pub fn register(&mut self, kind: impl DivisibleKind + 'static) -> &mut Self {
        self.0.insert(kind.name().to_owned(), Arc::new(kind));
        self
    }
    /// Takes one out; whether there was one of this name.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }
    /// Those of these names.
    pub fn only(mut self, names: &[String]) -> Self {
        self.0.retain(|name, _| names.contains(name));
        self
    }
    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn DivisibleKind>> {
        self.0.get(name)
    }
    /// Names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}
