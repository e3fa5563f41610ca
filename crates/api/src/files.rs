//! Files and bytes into the local store.

use filch_types::BlobId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Problem;

/// A blob and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlobRef {
    /// BLAKE3 of its bytes.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub blob: BlobId,
    /// Their number.
    pub len: u64,
}

/// The body of `POST /v1/files`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesRequest {
    /// Absolute paths of plain files, symbolic links followed; at most `routes::MAX_FILES`.
    pub paths: Vec<String>,
}

/// A file as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IngestedFile {
    /// Which of the request's paths, from 0.
    pub index: u32,
    /// BLAKE3 of its bytes.
    #[serde(with = "crate::hex")]
    #[schema(value_type = String)]
    pub blob: BlobId,
    /// Their number.
    pub len: u64,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// A line of the answer to `POST /v1/files`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileLine {
    /// One of the files is in the store.
    File(IngestedFile),
    /// A large file is on its way.
    Progress {
        /// Which of the request's paths.
        index: u32,
        /// Bytes read of it.
        bytes: u64,
    },
    /// The stream ends here, for this reason. What was read stays usable.
    Problem(Problem),
}
