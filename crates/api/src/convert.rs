//! Between the API's spec and the exact one.

use filch_types::manifest::{
    Edge, EdgeKind, Generator, Group, InFile, JobSpec as Exact, ManifestError, Program, Reduce, TaskLimits,
};
use filch_types::template::{Template, TemplateError};

use crate::spec::{EdgeSpec, GroupSpec, InputSpec, JobSpec, ProgramSpec, ReduceSpec, TasksSpec};
use crate::template::to_text;

/// Why a spec is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A template cannot be used.
    #[error("group `{group}`: {error}")]
    Template {
        /// The group's name.
        group: String,
        /// Why.
        error: TemplateError,
    },
    /// It breaks a rule.
    #[error(transparent)]
    Rule(#[from] ManifestError),
}

impl TryFrom<JobSpec> for Exact {
    type Error = SpecError;
    /// Reads the templates and applies `JobSpec::check`. Placeholders are checked against the group's declared outputs; how
    /// many values and inputs its items have is the client's to check, as the list is a blob.
    fn try_from(spec: JobSpec) -> Result<Self, SpecError> {
        let exact = Exact {
            name: spec.name,
            priority: spec.priority,
            attended: spec.attended,
            groups: spec.groups.into_iter().map(group).collect::<Result<_, _>>()?,
            closure_bytes: spec.closure_bytes,
            closure_blobs: spec.closure_blobs,
        };
        exact.check()?;
        Ok(exact)
    }
}

fn group(g: GroupSpec) -> Result<Group, SpecError> {
    let fail = |error| SpecError::Template { group: g.name.clone(), error };
    let outputs = g.outputs.len();
    let read = |texts: &[String], outputs: usize| -> Result<Vec<Template>, SpecError> {
        texts
            .iter()
            .map(|text| {
                let template = Template::parse(text)?;
                template.check(usize::MAX, usize::MAX, outputs)?;
                Ok(template)
            })
            .collect::<Result<_, TemplateError>>()
            .map_err(fail)
    };
    let program = match &g.program {
        ProgramSpec::Command(argv) => Program::Command { argv: read(argv, outputs)? },
        ProgramSpec::Handler { name, args } => Program::Handler { name: name.clone(), args: read(args, outputs)? },
        ProgramSpec::Divisible { name, args, reduce } => Program::Divisible {
            name: name.clone(),
            args: read(args, outputs)?,
            reduce: reduce.iter().map(|r| Reduce::from(*r)).collect(),
        },
    };
    let outputs = read(&g.outputs, 0)?;
    Ok(Group {
        name: g.name,
        tasks: match g.tasks {
            TasksSpec::Once => Generator::Once,
            TasksSpec::Array { first, step, count } => Generator::Array { first, step, count },
            TasksSpec::Items { list, len, count } => Generator::Items { list, len, count },
        },
        program,
        env: g.env,
        inputs: g
            .inputs
            .into_iter()
            .map(|f| InFile { path: f.path, blob: f.blob, len: f.len, executable: f.executable })
            .collect(),
        outputs,
        limits: TaskLimits { timeout_ms: g.timeout_ms, grace_ms: g.grace_ms, speculate: g.speculate },
        retries: g.retries,
        needs: g
            .needs
            .into_iter()
            .map(|e| Edge { group: e.group, kind: if e.elementwise { EdgeKind::Elementwise } else { EdgeKind::All } })
            .collect(),
        resources: g.resources,
    })
}

impl From<&Exact> for JobSpec {
    fn from(spec: &Exact) -> Self {
        Self {
            name: spec.name.clone(),
            priority: spec.priority,
            attended: spec.attended,
            groups: spec.groups.iter().map(group_text).collect(),
            closure_bytes: spec.closure_bytes,
            closure_blobs: spec.closure_blobs,
        }
    }
}

fn group_text(g: &Group) -> GroupSpec {
    let texts = |templates: &[Template]| templates.iter().map(to_text).collect();
    GroupSpec {
        name: g.name.clone(),
        tasks: match g.tasks {
            Generator::Once => TasksSpec::Once,
            Generator::Array { first, step, count } => TasksSpec::Array { first, step, count },
            Generator::Items { list, len, count } => TasksSpec::Items { list, len, count },
        },
        program: match &g.program {
            Program::Command { argv } => ProgramSpec::Command(texts(argv)),
            Program::Handler { name, args } => ProgramSpec::Handler { name: name.clone(), args: texts(args) },
            Program::Divisible { name, args, reduce } => ProgramSpec::Divisible {
                name: name.clone(),
                args: texts(args),
                reduce: reduce.iter().map(|r| ReduceSpec::from(*r)).collect(),
            },
        },
        env: g.env.clone(),
        inputs: g
            .inputs
            .iter()
            .map(|f| InputSpec { path: f.path.clone(), blob: f.blob, len: f.len, executable: f.executable })
            .collect(),
        outputs: texts(&g.outputs),
        timeout_ms: g.limits.timeout_ms,
        grace_ms: g.limits.grace_ms,
        speculate: g.limits.speculate,
        retries: g.retries,
        needs: g
            .needs
            .iter()
            .map(|e| EdgeSpec { group: e.group, elementwise: e.kind == EdgeKind::Elementwise })
            .collect(),
        resources: g.resources.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"{"name":"demo","groups":[
        {"name":"a","tasks":{"array":{"first":1,"step":2,"count":3}},"program":{"command":["echo","{}","{{x}"]},"outputs":["{}.txt"]},
        {"name":"b","program":{"handler":{"name":"noop"}},"needs":[{"group":0}],"timeout_ms":50,"speculate":false},
        {"name":"c","program":{"divisible":{"name":"uts","args":["T1"],"reduce":["sum","max"]}}}]}"#;

    #[test]
    fn json_to_exact_and_back() {
        let spec: JobSpec = serde_json::from_str(SPEC).unwrap();
        let exact = Exact::try_from(spec.clone()).unwrap();
        assert_eq!(exact.total(), 5);
        assert_eq!(exact.groups[2].reduce(), Some(&[Reduce::Sum, Reduce::Max][..]));
        assert_eq!(exact.groups[1].limits, TaskLimits { timeout_ms: Some(50), grace_ms: 5000, speculate: false });
        assert_eq!(JobSpec::from(&exact), spec);
        assert_eq!(Exact::try_from(JobSpec::from(&exact)), Ok(exact));
    }

    #[test]
    fn rules_and_templates_are_checked() {
        let with = |from: &str, to: &str| {
            Exact::try_from(serde_json::from_str::<JobSpec>(&SPEC.replace(from, to)).unwrap()).unwrap_err()
        };
        assert!(matches!(with("\"echo\"", "\"{nope}\""), SpecError::Template { .. }));
        assert!(matches!(with("\"echo\"", "\"{out2}\""), SpecError::Template { .. }));
        assert!(matches!(with("{\"group\":0}", "{\"group\":1}"), SpecError::Rule(_)));
        assert!(matches!(with("\"count\":3", "\"count\":0"), SpecError::Rule(_)));
        assert!(matches!(with("\"sum\",\"max\"", ""), SpecError::Rule(_)));
        assert!(serde_json::from_str::<JobSpec>(&SPEC.replace("timeout_ms", "timeout")).is_err());
    }
}
