//! Leaves out of a schedule what has the value that it would have anyway, so that a person sees what matters.

use serde::Serialize;
use serde_json::Value;

use crate::options::{GroupPlan, JobPlan, NodeOptions, Options};

/// Leaves out of options what is as in [`Options::default`].
pub(super) fn options(of: &mut Value) {
    each(of, "nodes", |node| differences(node, &NodeOptions::default()));
    each(of, "jobs", |job| {
        each(job, "groups", |group| differences(group, &GroupPlan::default()));
        differences(job, &JobPlan::default());
    });
    differences(of, &Options::default());
}

fn each(of: &mut Value, list: &str, change: impl Fn(&mut Value)) {
    let list = of.get_mut(list).and_then(Value::as_array_mut);
    list.into_iter().flatten().for_each(change);
}

fn differences(of: &mut Value, default: &impl Serialize) {
    if let Ok(default) = serde_json::to_value(default) {
        remove_equal(of, &default);
    }
}

fn remove_equal(of: &mut Value, default: &Value) {
    let (Some(of), Some(default)) = (of.as_object_mut(), default.as_object()) else { return };
    of.retain(|key, value| default.get(key) != Some(value));
    for (key, value) in of {
        if let Some(default) = default.get(key) {
            remove_equal(value, default);
        }
    }
}
