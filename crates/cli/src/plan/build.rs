//! The plan of a job.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use filch_types::items::{BLOCK, Item, Reader, Writer};
use filch_types::limits;
use filch_types::manifest::{Generator, Group, JobSpec, ManifestError, Program, TaskLimits};
use filch_types::paths::normalise;
use filch_types::template::{Context, Form, Part, Template};

use super::files::place;
use super::outputs::{Collision, Outputs};
use super::sources::product;
use super::target::Target;
use super::{Array, Files, PlanError, Source, Sources};

/// What the command line asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Program and arguments, or a handler's arguments.
    pub(crate) words: Vec<String>,
    /// A handler instead of a program.
    pub(crate) handler: Option<String>,
    /// What makes the tasks.
    pub(crate) sources: Sources,
    /// `-i`.
    pub(crate) inputs: Vec<String>,
    /// `-o`.
    pub(crate) outputs: Vec<String>,
    /// Where output files will appear.
    pub(crate) output_dir: PathBuf,
    /// `--env`.
    pub(crate) env: Vec<String>,
    pub(crate) name: Option<String>,
    pub(crate) retries: u16,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) speculate: bool,
    pub(crate) priority: i16,
    pub(crate) attended: bool,
}

/// The tasks of a plan.
#[derive(Debug)]
pub(crate) enum Tasks {
    Once,
    Array(Array),
    /// The packed values, without input files.
    List(Reader<Bytes>, Bytes),
}

/// A checked job that lacks nothing but what its input files contain.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) priority: i16,
    pub(crate) attended: bool,
    /// Complete but for `tasks` and `inputs`.
    pub(crate) group: Group,
    pub(crate) tasks: Tasks,
    /// `-i`.
    pub(crate) inputs: Vec<Template>,
    pub(crate) files: Files,
}

/// Looks at a task, given its number and values; `false` is enough.
pub(crate) type Look<'a> = dyn FnMut(&Plan, u32, &[String]) -> Result<bool, PlanError> + 'a;

/// One task's own data, for a closer look.
pub(crate) struct TaskView<'a> {
    pub(crate) values: &'a [String],
    /// As given, and where they go.
    pub(crate) inputs: Vec<(String, String)>,
    pub(crate) outputs: Vec<String>,
    pub(crate) argv: Vec<String>,
}

impl Plan {
    /// Checks everything that can be checked here.
    pub(crate) fn new(request: &Request) -> Result<Self, PlanError> {
        let sources = match &request.sources {
            Sources::Once => 0,
            Sources::Array(_) => 1,
            Sources::Product(sources) => sources.len(),
        };
        check_limits(request)?;
        let inputs = parse(&request.inputs)?;
        let outputs = parse(&request.outputs)?;
        check_inputs(request, &inputs, sources)?;
        check_outputs(request, &outputs, sources, inputs.len())?;
        let group = Group {
            name: "main".into(),
            tasks: Generator::Once,
            program: program(request, sources, inputs.len(), outputs.len())?,
            env: request.env.iter().map(|e| variable(e)).collect::<Result<_, _>>()?,
            inputs: Vec::new(),
            outputs,
            limits: TaskLimits {
                timeout_ms: request.timeout_ms,
                speculate: request.speculate,
                ..TaskLimits::default()
            },
            retries: request.retries,
            needs: Vec::new(),
            resources: Vec::new(),
        };
        let mut plan = Self {
            name: name(request),
            priority: request.priority,
            attended: request.attended,
            group,
            tasks: Tasks::Once,
            inputs,
            files: Files::default(),
        };
        plan.tasks = match &request.sources {
            Sources::Once => Tasks::Once,
            Sources::Array(array) => Tasks::Array(*array),
            Sources::Product(sources) => plan.pack(sources)?,
        };
        plan.check_tasks(&request.output_dir)?;
        plan.check_description()?;
        Ok(plan)
    }

    /// Tasks.
    pub(crate) fn count(&self) -> u32 {
        match &self.tasks {
            Tasks::Once => 1,
            Tasks::Array(array) => array.count,
            Tasks::List(list, _) => list.count(),
        }
    }

    /// Whether tasks differ in their input files, or all have the same.
    pub(crate) fn own_inputs(&self) -> bool {
        self.inputs.iter().any(varies)
    }

    fn pack(&self, sources: &[Source]) -> Result<Tasks, PlanError> {
        let mut writer = Writer::default();
        let mut item = Item::default();
        product(sources, &mut |values| {
            let task = u64::from(writer.count());
            if task >= u64::from(limits::MAX_TASKS) {
                return Err(PlanError::TooMany { got: task + 1 });
            }
            if values.iter().any(|v| v.len() > limits::MAX_TEXT) {
                return Err(PlanError::LongValue { task });
            }
            item.values.resize(values.len(), String::new());
            for (to, from) in item.values.iter_mut().zip(values) {
                to.clone_from(from);
            }
            writer.push(&item).map_err(|e| PlanError::List(e.to_string()))
        })?;
        let bytes = Bytes::from(writer.finish());
        let list = Reader::new(bytes.clone()).map_err(|e| PlanError::List(e.to_string()))?;
        Ok(Tasks::List(list, bytes))
    }

    /// Looks at the files and output paths of every task, if they have any.
    fn check_tasks(&mut self, dir: &Path) -> Result<(), PlanError> {
        if self.inputs.is_empty() && self.group.outputs.is_empty() {
            return Ok(());
        }
        let mut files = Files::default();
        let mut outputs = Outputs::default();
        let mut target = Target::new(dir);
        let alike = !self.own_inputs() && self.group.outputs.is_empty();
        self.each(&mut |plan, task, values| {
            let known = (plan.count() > 1).then_some(task);
            let mut places = Vec::with_capacity(plan.inputs.len());
            for path in plan.input_paths(task, values) {
                let bad = |why| PlanError::Input { task: known, path: path.clone(), why };
                files.find(&path).map_err(bad)?;
                places.push((place(&path).map_err(bad)?, path));
            }
            distinct(&places, known)?;
            let places: Vec<String> = places.into_iter().map(|(place, _)| place).collect();
            let mut bytes = 0;
            for path in plan.output_paths(task, values, &places) {
                let path = normalise(&path).map_err(|why| PlanError::Output { task: known, why })?;
                bytes += path.len();
                target.check(&path).map_err(|obstacle| PlanError::OutputBlocked {
                    task: known,
                    path: path.clone(),
                    part: obstacle.part,
                    is: obstacle.is,
                    dir: dir.to_owned(),
                })?;
                outputs.add(task, &path);
            }
            if bytes > limits::INLINE_RESULT {
                return Err(PlanError::LongOutputs { task: known });
            }
            Ok(!alike)
        })?;
        self.files = files;
        match outputs.check() {
            None => Ok(()),
            Some(collision) => Err(self.collision(&collision, &outputs)),
        }
    }

    /// Names the paths, of which only hashes were kept.
    fn collision(&self, collision: &Collision, outputs: &Outputs) -> PlanError {
        let of = |task: u32| -> Vec<String> {
            let mut found = Vec::new();
            // The error of a closure that stops early is not possible here.
            let _ = self.one(task, &mut |view| found = view.outputs.clone());
            found
        };
        match *collision {
            Collision::Same(a, b) => {
                let (first, second) = (of(a), of(b));
                if a == b {
                    let twice = first.iter().enumerate().find(|(i, p)| first[..*i].contains(p)).map(|(_, p)| p.clone());
                    return PlanError::TwiceOutput { task: a, path: twice.unwrap_or_default() };
                }
                let path = first.into_iter().find(|p| second.contains(p)).unwrap_or_default();
                PlanError::SameOutput { a, b, path }
            }
            Collision::IsDir(task) => {
                let path = of(task).into_iter().find(|path| outputs.is_dir(path)).unwrap_or_default();
                PlanError::OutputIsDir { task, path }
            }
        }
    }

    /// The rules of a manifest, and its length with some room for what the node adds.
    fn check_description(&mut self) -> Result<(), PlanError> {
        let counted = Generator::Array { first: 0, step: 0, count: self.count() };
        self.group.tasks = counted;
        let spec = JobSpec {
            name: self.name.clone(),
            priority: self.priority,
            attended: self.attended,
            groups: vec![self.group.clone()],
            closure_bytes: 0,
            closure_blobs: 0,
        };
        spec.check()?;
        let encoded = filch_types::codec::encode(&spec, usize::MAX).map_or(usize::MAX, |b| b.len());
        let inputs = if self.own_inputs() { 0 } else { self.input_paths(0, &[]).map(|p| p.len() + 48).sum() };
        if encoded.saturating_add(inputs) > limits::MAX_MANIFEST - 2048 { Err(PlanError::Description) } else { Ok(()) }
    }

    /// Calls `look` for every task with its number and values, until it says `false`.
    pub(crate) fn each(&self, look: &mut Look<'_>) -> Result<(), PlanError> {
        match &self.tasks {
            Tasks::Once => {
                look(self, 0, &[])?;
            }
            Tasks::Array(array) => {
                for n in 0..array.count {
                    if !look(self, n, &[array.value(n).to_string()])? {
                        break;
                    }
                }
            }
            Tasks::List(list, _) => {
                for block in 0..list.count().div_ceil(BLOCK) {
                    let items = list.block(block).map_err(|e| PlanError::List(e.to_string()))?;
                    for (n, item) in (block * BLOCK..).zip(&items) {
                        if !look(self, n, &item.values)? {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks at one task.
    pub(crate) fn one(&self, task: u32, look: &mut dyn FnMut(TaskView<'_>)) -> Result<(), PlanError> {
        match &self.tasks {
            Tasks::Once => look(self.view(task, &[])),
            Tasks::Array(array) => look(self.view(task, &[array.value(task).to_string()])),
            Tasks::List(list, _) => {
                let item = list.get(task).map_err(|e| PlanError::List(e.to_string()))?;
                look(self.view(task, &item.values));
            }
        }
        Ok(())
    }

    /// A task as it will run.
    pub(crate) fn view<'a>(&self, task: u32, values: &'a [String]) -> TaskView<'a> {
        let inputs: Vec<(String, String)> = self
            .input_paths(task, values)
            .map(|path| {
                let place = place(&path).unwrap_or_default();
                (path, place)
            })
            .collect();
        let places: Vec<String> = inputs.iter().map(|(_, place)| place.clone()).collect();
        let outputs: Vec<String> =
            self.output_paths(task, values, &places).map(|p| normalise(&p).unwrap_or(p)).collect();
        let cx = Context { values, inputs: &places, outputs: &outputs, index: task, slot: 0 };
        let argv = match &self.group.program {
            Program::Command { argv } => argv.iter().map(|t| t.expand(&cx)).collect(),
            Program::Handler { name, args } => {
                std::iter::once(format!("handler:{name}")).chain(args.iter().map(|t| t.expand(&cx))).collect()
            }
            Program::Divisible { name, args, .. } => {
                std::iter::once(format!("divisible:{name}")).chain(args.iter().map(|t| t.expand(&cx))).collect()
            }
        };
        TaskView { values, inputs, outputs, argv }
    }

    /// The input paths of a task, as they were given.
    pub(super) fn input_paths<'a>(&'a self, task: u32, values: &'a [String]) -> impl Iterator<Item = String> + 'a {
        let cx = Context { values, index: task, ..Context::default() };
        self.inputs.iter().map(move |t| t.expand(&cx))
    }

    fn output_paths<'a>(
        &'a self,
        task: u32,
        values: &'a [String],
        inputs: &'a [String],
    ) -> impl Iterator<Item = String> + 'a {
        let cx = Context { values, inputs, index: task, ..Context::default() };
        self.group.outputs.iter().map(move |t| t.expand(&cx))
    }
}

/// What a manifest limits, in the words of the command line.
fn check_limits(request: &Request) -> Result<(), PlanError> {
    if request.retries > limits::MAX_RETRIES {
        return Err(PlanError::Retries(request.retries));
    }
    if request.words.len() > limits::MAX_ARGV {
        return Err(PlanError::Words(request.words.len()));
    }
    for (option, name) in [("--name", &request.name), ("--handler", &request.handler)] {
        if let Some(name) = name.as_ref().filter(|n| n.len() > limits::MAX_NAME) {
            return Err(PlanError::Name(option, name.len()));
        }
    }
    if request.handler.as_ref().is_some_and(String::is_empty) { Err(PlanError::NoHandler) } else { Ok(()) }
}

fn parse(texts: &[String]) -> Result<Vec<Template>, PlanError> {
    Ok(texts.iter().map(|t| Template::parse(t)).collect::<Result<_, _>>()?)
}

/// Whether tasks differ in what it expands to.
fn varies(t: &Template) -> bool {
    t.0.iter().any(|p| !matches!(p, Part::Text(_)))
}

fn check_inputs(request: &Request, inputs: &[Template], sources: usize) -> Result<(), PlanError> {
    if inputs.len() > limits::MAX_FILES {
        return Err(ManifestError::Rule("more than 4096 inputs").into());
    }
    for (t, text) in inputs.iter().zip(&request.inputs) {
        let misplaced = |placeholder, why| PlanError::Misplaced { placeholder, option: "-i", text: text.clone(), why };
        for part in &t.0 {
            match part {
                Part::Slot => return Err(misplaced("{%}", "the slot is known only when the task starts")),
                Part::In(_) => return Err(misplaced("{in}", "it stands for what -i says")),
                Part::Out(_) => return Err(misplaced("{out}", "a task's own output is not there before it starts")),
                Part::Value { .. } if sources == 0 => return Err(misplaced("{}", "there are no values")),
                _ => {}
            }
        }
        t.check(sources, 0, 0)?;
    }
    Ok(())
}

fn check_outputs(request: &Request, outputs: &[Template], sources: usize, inputs: usize) -> Result<(), PlanError> {
    for (t, text) in outputs.iter().zip(&request.outputs) {
        let misplaced = |placeholder, why| PlanError::Misplaced { placeholder, option: "-o", text: text.clone(), why };
        for part in &t.0 {
            match part {
                Part::Slot => return Err(misplaced("{%}", "two tasks may run in the same slot; use {#}")),
                Part::Out(_) => return Err(misplaced("{out}", "it stands for what -o says")),
                Part::Value { .. } if sources == 0 => return Err(misplaced("{}", "there are no values")),
                _ => {}
            }
        }
        t.check(sources, inputs, 0)?;
    }
    Ok(())
}

/// The program with its placeholders. Without files and values (`run`, `submit`) words are taken as they are.
fn program(request: &Request, sources: usize, inputs: usize, outputs: usize) -> Result<Program, PlanError> {
    let plain = sources == 0 && inputs == 0 && outputs == 0;
    let mut argv: Vec<Template> =
        if plain { request.words.iter().map(Template::literal).collect() } else { parse(&request.words)? };
    for t in &argv {
        t.check(sources, inputs, outputs)?;
        if sources == 0 && t.uses_value() {
            let text = filch_api::template::to_text(t);
            let why = "there are no values; `filch map` has them, and a literal brace is written `{{`";
            return Err(PlanError::Misplaced { placeholder: "{}", option: "the command", text, why });
        }
    }
    if request.handler.is_none() && argv.is_empty() {
        return Err(PlanError::NoCommand);
    }
    // As in GNU parallel. Declared inputs stand for the values: only they exist where the task runs.
    if matches!(request.sources, Sources::Product(_)) && !argv.iter().any(varies) {
        let part = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        if inputs > 0 {
            argv.extend((0..inputs).map(|n| Template(vec![Part::In(part(n))])));
        } else {
            let value = |n| Part::Value { source: Some(part(n)), form: Form::Whole };
            argv.extend((0..sources).map(|n| Template(vec![value(n)])));
        }
    }
    Ok(match &request.handler {
        Some(name) => Program::Handler { name: name.clone(), args: argv },
        None => Program::Command { argv },
    })
}

fn variable(text: &str) -> Result<(String, String), PlanError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => Ok((name.to_owned(), value.to_owned())),
        _ => Err(PlanError::Env(text.to_owned())),
    }
}

fn name(request: &Request) -> String {
    let given = request.name.as_deref().or(request.handler.as_deref());
    let first = || request.words.first().map_or("", |w| w.rsplit('/').next().unwrap_or(w));
    let mut name = given.unwrap_or_else(first).to_owned();
    // A name that was made up is cut; one that was given is refused by the rules if it is too long.
    if request.name.is_none() {
        let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= 60).last();
        name.truncate(end.unwrap_or(0));
    }
    name
}

/// No two inputs of a task at one place, none below another. One file named twice is one input.
fn distinct(places: &[(String, String)], task: Option<u32>) -> Result<(), PlanError> {
    if places.len() < 2 {
        return Ok(());
    }
    let mut sorted: Vec<&(String, String)> = places.iter().collect();
    sorted.sort();
    let mut seen: std::collections::HashMap<&str, &str> = std::collections::HashMap::new();
    for (place, path) in sorted {
        let above = place.match_indices('/').map(|(at, _)| &place[..at]).chain([place.as_str()]);
        // Sorted, the same file comes in a row: it is the one that is there already.
        if seen.get(place.as_str()) == Some(&path.as_str()) {
            continue;
        }
        if let Some((first, _)) = above.filter_map(|p| seen.get(p).map(|f| (*f, p))).next() {
            let (first, second) = (first.to_owned(), path.clone());
            return Err(PlanError::InputPlace { task, first, second, place: place.clone() });
        }
        seen.insert(place, path);
    }
    Ok(())
}
