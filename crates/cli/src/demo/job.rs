//! The demo's job, submitted like any other: files into the store, a packed list, a spec.

use std::path::Path;

use filch_api::files::IngestedFile;
use filch_api::spec::{GroupSpec, InputSpec, JobSpec, ProgramSpec, TasksSpec};
use filch_api::{NodeRef, SubmitRequest};
use filch_client::Client;
use filch_types::items::{Item, Writer};
use filch_types::manifest::{InFile, TaskLimits};
use filch_types::{BlobId, JobId};

use super::DemoError;
use super::files::Pick;
use super::task;

/// A submitted job that enough nodes hold.
pub(super) struct Accepted {
    pub job: JobId,
    pub holders: Vec<NodeRef>,
}

/// Submits one task per file; returns once the job is accepted.
pub(super) async fn submit(
    client: &Client,
    files: &[Pick],
    script: &Path,
    samples: u32,
    results: &Path,
) -> Result<Accepted, DemoError> {
    let mut paths = vec![script.to_string_lossy().into_owned()];
    paths.extend(files.iter().map(|f| f.path.to_string_lossy().into_owned()));
    let mut stored = Vec::with_capacity(paths.len());
    let mut ingest = client.ingest(&paths);
    while let Some(file) = ingest.next().await? {
        stored.push(file);
    }
    drop(ingest);
    let (spec, list) = spec(files, &stored, samples)?;
    client.put_blob(list).await?;
    let deliver_to = Some(results.to_string_lossy().into_owned());
    let request = SubmitRequest { nonce: filch_client::nonce()?, spec, deliver_to, copies: None };
    let submission = client.submit(&request).await?;
    let job = submission.job;
    Ok(Accepted { job, holders: submission.accepted().await? })
}

/// The spec and its item list. `stored` is the script, then the files.
fn spec(files: &[Pick], stored: &[IngestedFile], samples: u32) -> Result<(JobSpec, Vec<u8>), DemoError> {
    let lost = || DemoError::Job("the node has not read all files".into());
    let (script, stored) = stored.split_first().ok_or_else(lost)?;
    if stored.len() != files.len() {
        return Err(lost());
    }
    let mut writer = Writer::default();
    for (file, is) in files.iter().zip(stored) {
        let input = InFile { path: "input".into(), blob: is.blob, len: is.len, executable: false };
        let item = Item { values: vec![file.name.clone()], inputs: vec![input] };
        writer.push(&item).map_err(|e| DemoError::Job(e.to_string()))?;
    }
    let count = writer.count();
    let list = writer.finish();
    let argv = ["sh", "{in}", "{in2}", "{out}", "{out2}", "{}"].map(str::to_owned);
    let samples = samples.to_string();
    let group = GroupSpec {
        name: "analyse".into(),
        tasks: TasksSpec::Items { list: BlobId::of(&list), len: list.len() as u64, count },
        program: ProgramSpec::Command(argv.into_iter().chain([samples]).collect()),
        env: Vec::new(),
        inputs: vec![InputSpec {
            path: task::SCRIPT_NAME.into(),
            blob: script.blob,
            len: script.len,
            executable: false,
        }],
        outputs: task::LEAVES.iter().map(|ext| format!("{{}}{ext}")).collect(),
        timeout_ms: Some(30_000),
        grace_ms: TaskLimits::default().grace_ms,
        speculate: true,
        retries: 0,
        needs: Vec::new(),
        resources: Vec::new(),
    };
    let bytes = script.len + list.len() as u64 + stored.iter().map(|f| f.len).sum::<u64>();
    let blobs = u32::try_from(stored.len()).unwrap_or(u32::MAX).saturating_add(2);
    let spec = JobSpec {
        name: "demo".into(),
        priority: 0,
        attended: true,
        groups: vec![group],
        closure_bytes: bytes,
        closure_blobs: blobs,
    };
    Ok((spec, list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use filch_types::items::Reader;

    #[test]
    fn every_file_is_a_task_of_a_valid_job() {
        let files: Vec<Pick> = ["a", "d/b {1}"]
            .iter()
            .map(|n| Pick { name: (*n).into(), path: format!("/x/{n}").into(), len: 3 })
            .collect();
        let stored: Vec<IngestedFile> =
            (0..3).map(|n| IngestedFile { index: n, blob: BlobId([n as u8; 32]), len: 3, executable: false }).collect();
        let (spec, list) = spec(&files, &stored, 7).unwrap();
        let exact = filch_types::JobSpec::try_from(spec).unwrap();
        assert_eq!(exact.total(), 2);
        assert_eq!((exact.closure_blobs, exact.closure_bytes), (4, 9 + list.len() as u64));
        let second = Reader::new(&list).unwrap().get(1).unwrap();
        assert_eq!((second.values[0].as_str(), second.inputs[0].blob), ("d/b {1}", BlobId([2; 32])));
        assert!(super::spec(&files, &stored[..2], 7).is_err());
    }
}
