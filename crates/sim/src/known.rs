//! What the world knows and no node is asked for: every manifest and fact that ever existed, decoded once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use filch_types::manifest::{Generator, SignedManifest};
use filch_types::sign::Simulated;
use filch_types::{BlobId, Fact, FactBody, FactId, JobId, Manifest, NodeId, Nonce, Outcome, SignedFact};
use filch_types::{codec, limits};

use crate::digest::Digest;

/// A job that exists.
#[derive(Clone, Debug)]
pub struct JobInfo {
    /// Decoded.
    pub manifest: Arc<Manifest>,
    /// Its whole input closure: item lists, the inputs that they name, group inputs.
    pub closure: Vec<(BlobId, u64)>,
    /// Which planned job it is.
    pub plan: Option<usize>,
    /// Tasks.
    pub total: u32,
}

/// A fact that exists.
#[derive(Clone, Debug)]
pub struct FactInfo {
    /// Decoded.
    pub fact: Fact,
    /// Blobs that it names.
    pub closure: Vec<BlobId>,
}

/// The registry.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// By id.
    pub jobs: BTreeMap<JobId, Arc<JobInfo>>,
    /// By id.
    pub facts: BTreeMap<FactId, Arc<FactInfo>>,
    /// Members that `AddReplica` facts name.
    pub added: BTreeMap<JobId, BTreeSet<NodeId>>,
    /// Inputs that item lists name.
    pub lists: BTreeMap<BlobId, Vec<(BlobId, u64)>>,
    /// Bytes of parts that travel as blobs.
    pub bags: BTreeMap<BlobId, Vec<u8>>,
    /// Planned jobs by nonce.
    pub plans: BTreeMap<Nonce, usize>,
}

impl Known {
    /// Learns a manifest; `None` if it is not properly signed.
    pub fn job(&mut self, job: JobId, signed: &SignedManifest) -> Option<Arc<JobInfo>> {
        if let Some(info) = self.jobs.get(&job) {
            return Some(info.clone());
        }
        if signed.job() != job {
            return None;
        }
        let manifest = Arc::new(signed.open(&Simulated(NodeId::default())).ok()?);
        Some(self.insert(job, manifest))
    }
    fn insert(&mut self, job: JobId, manifest: Arc<Manifest>) -> Arc<JobInfo> {
        let info = Arc::new(JobInfo {
            closure: self.closure(&manifest),
            plan: self.plans.get(&manifest.nonce).copied(),
            total: manifest.spec.total(),
            manifest,
        });
        self.jobs.insert(job, info.clone());
        info
    }
    /// Learns a manifest that a node acts on; `None` if it is not the job's.
    pub fn decoded(&mut self, job: JobId, manifest: &Arc<Manifest>) -> Option<Arc<JobInfo>> {
        if let Some(info) = self.jobs.get(&job) {
            return Some(info.clone());
        }
        let bytes = codec::encode(&**manifest, limits::MAX_MANIFEST).ok()?;
        (JobId::of(&bytes) == job).then(|| self.insert(job, manifest.clone()))
    }
    /// Learns a fact; `None` if it is not properly signed.
    pub fn fact(&mut self, id: FactId, signed: &SignedFact) -> Option<Arc<FactInfo>> {
        if let Some(info) = self.facts.get(&id) {
            return Some(info.clone());
        }
        if signed.id() != id {
            return None;
        }
        let fact = signed.open(&Simulated(NodeId::default())).ok()?;
        if let FactBody::AddReplica(node) = fact.body {
            self.added.entry(fact.job).or_default().insert(node);
        }
        let closure = fact.closure().map(|(b, _)| b).collect();
        let info = Arc::new(FactInfo { fact, closure });
        self.facts.insert(id, info.clone());
        Some(info)
    }
    fn closure(&self, manifest: &Manifest) -> Vec<(BlobId, u64)> {
        let mut out = BTreeMap::new();
        for group in &manifest.spec.groups {
            out.extend(group.inputs.iter().map(|f| (f.blob, f.len)));
            if let Generator::Items { list, len, .. } = &group.tasks {
                out.insert(*list, *len);
                out.extend(self.lists.get(list).into_iter().flatten().copied());
            }
        }
        out.into_iter().collect()
    }
}

/// A name for an outcome's value, equal exactly for equal values.
pub fn value_of(outcome: &Outcome) -> u64 {
    let mut d = Digest::default();
    d.mix_debug(outcome);
    d.value()
}
