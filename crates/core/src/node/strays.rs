//! Jobs that nobody reachable keeps: whoever helps with one, or reads along, grows quiet until somebody shows up who does.

use filch_types::JobId;
use filch_types::time::Span;

use super::Node;
use crate::view::Role;

impl Node {
    /// A member of R says that it does not know the job.
    pub(super) fn unknown_there(&mut self, id: JobId) {
        let (now, t) = (self.now, &self.cfg.timing);
        let (first, most) = (t.beat.0, 6 * t.idle_beat.0);
        let Some(job) = self.jobs.get_mut(&id).filter(|j| j.role != Role::Replica && now >= j.quiet_until) else {
            return;
        };
        job.strayed = (job.strayed + 1).min(16);
        job.quiet_until = now + Span((first << job.strayed).min(most));
    }

    /// Somebody keeps it.
    pub(super) fn known_there(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.strayed = 0;
            job.unheard = 0;
            job.quiet_until = Default::default();
        }
    }
}
