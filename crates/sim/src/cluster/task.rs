//! What a handler is given, and what it gives back.

use std::sync::Arc;
use std::time::Duration;

use crate::fault::us;

/// One call of a handler.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    index: u32,
    attempt: u64,
    place: (usize, u16),
    own: Option<&'a [u8]>,
    files: &'a [(&'a str, Arc<[u8]>)],
}

impl<'a> Task<'a> {
    pub(crate) fn new(
        index: u32,
        attempt: u64,
        place: (usize, u16),
        own: Option<&'a [u8]>,
        files: &'a [(&'a str, Arc<[u8]>)],
    ) -> Self {
        Self { index, attempt, place, own, files }
    }
    /// Its index in the job, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }
    /// Differs between attempts at the task.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }
    /// The node that it runs on, from 0.
    pub fn node(&self) -> usize {
        self.place.0
    }
    /// The slot there, from 0.
    pub fn slot(&self) -> u16 {
        self.place.1
    }
    /// Its own bytes ([`Job::map`](super::Job::map)); empty in an array.
    pub fn input(&self) -> &'a [u8] {
        self.own.unwrap_or_default()
    }
    /// A file that all tasks of the job share ([`Job::file`](super::Job::file)).
    pub fn file(&self, name: &str) -> Option<&'a [u8]> {
        self.files.iter().find(|(n, _)| *n == name).map(|(_, bytes)| &**bytes)
    }
}

/// What a handler returns: bytes, and how long it took in virtual time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    bytes: Vec<u8>,
    us: Option<u64>,
}

impl Done {
    /// These bytes, at most 64 MiB.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), us: None }
    }
    /// It took so long; what the job says otherwise.
    pub fn takes(mut self, time: Duration) -> Self {
        self.us = Some(us(time));
        self
    }
    pub(crate) fn into_parts(self) -> (Vec<u8>, Option<u64>) {
        (self.bytes, self.us)
    }
}

impl<T: Into<Vec<u8>>> From<T> for Done {
    fn from(bytes: T) -> Self {
        Self::new(bytes)
    }
}
