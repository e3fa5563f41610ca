//! Tables of numbered and named things. Ordered, so that whoever goes through one goes in the same order in every run.

use std::collections::BTreeMap;

/// See the module.
pub(crate) type Table<K, V> = BTreeMap<K, V>;
