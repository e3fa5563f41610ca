//! One bag, from its beginning to its end.

use std::time::{Duration, Instant};

use filch_handlers::{Divisible, DivisibleKind, ENDS_SOON_US, Progress};
use filch_types::manifest::Reduce;
use filch_types::{Content, limits};

use super::pace::Pace;
use crate::control::Control;
use crate::executor::{Fault, Verdict};
use crate::host::Host;

const ENDS_SOON: Duration = Duration::from_micros(ENDS_SOON_US);

/// Ends that are none of the handler's wishes.
pub(super) enum End {
    /// The handler's error.
    Failed(String),
    /// Its time limit passed.
    Late,
    /// Not its fault.
    Fault(Fault),
}

/// See the module.
pub(super) struct Work<'a> {
    kind: &'a dyn DivisibleKind,
    reduce: &'a [Reduce],
    host: &'a dyn Host,
    bag: Box<dyn Divisible>,
    /// What was split off and could not be kept (disk full, too long): done here, after the bag. As long as there is such a part
    /// nothing more is split off, so there is never more than one.
    returned: Option<Box<dyn Divisible>>,
    /// Joined tallies of bags that are done.
    counted: Vec<u64>,
    pace: Pace,
    /// The rest could not be kept: no use in trying at every step.
    stays: bool,
    /// It was said that little is left.
    soon: bool,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        bag: Box<dyn Divisible>,
        kind: &'a dyn DivisibleKind,
        reduce: &'a [Reduce],
        host: &'a dyn Host,
    ) -> Self {
        let counted = reduce.iter().map(|r| r.identity()).collect();
        Self { kind, reduce, host, bag, returned: None, counted, pace: Pace::new(), stays: false, soon: false }
    }

    pub(super) fn run(mut self, control: &Control<'_>) -> Result<Verdict, End> {
        loop {
            if control.is_stopped() {
                return Err(End::Fault(Fault::once("stopped")));
            }
            if control.is_late() {
                return Err(End::Late);
            }
            while let Some(ask) = control.ask() {
                let bag = self.give(ask.least)?;
                control.answer(ask, bag);
            }
            if control.is_checkpoint()
                && let Some(rest) = self.rest()
            {
                return Ok(Verdict::Counted { tally: self.tally()?, rest: Some(rest) });
            }
            if !self.step()? {
                if !self.soon && self.returned.is_none() && self.bag.left() <= self.pace.units(ENDS_SOON) {
                    self.soon = true;
                    control.ends_soon();
                }
                continue;
            }
            self.counted = self.tally()?;
            match self.returned.take() {
                Some(next) => self.bag = next,
                None => return Ok(Verdict::Counted { tally: self.counted, rest: None }),
            }
        }
    }

    /// Whether the bag is empty.
    fn step(&mut self) -> Result<bool, End> {
        let began = Instant::now();
        let progress = self.bag.process(self.pace.budget()).map_err(End::Failed)?;
        match progress {
            Progress::Done(_) => Ok(true),
            // It would stay in this slot for ever.
            Progress::More(0) => Err(End::Failed(format!("{}: made no progress, and is not done", self.kind.name()))),
            Progress::More(units) => {
                self.pace.learn(units, began.elapsed());
                Ok(false)
            }
        }
    }

    /// Splits something off that is worth so much time.
    fn give(&mut self, least: Duration) -> Result<Option<Content>, End> {
        if self.returned.is_some() {
            return Ok(None);
        }
        let Some(bytes) = self.bag.split(self.pace.units(least)) else { return Ok(None) };
        if let Some(kept) = self.keep(&bytes) {
            return Ok(Some(kept));
        }
        self.returned = Some(self.kind.unpack(&bytes).map_err(End::Failed)?);
        Ok(None)
    }

    /// What is left, if it can be kept as one bag.
    fn rest(&mut self) -> Option<Content> {
        if self.stays || self.returned.is_some() || self.bag.left() == 0 {
            return None;
        }
        let kept = self.keep(&self.bag.pack());
        self.stays = kept.is_none();
        kept
    }

    fn keep(&self, bytes: &[u8]) -> Option<Content> {
        if bytes.len() > limits::MAX_BAG {
            tracing::warn!(handler = self.kind.name(), bytes = bytes.len(), "a part is too long to be given away");
            return None;
        }
        let kept = self.host.keep_bytes(bytes.to_vec(), limits::INLINE_OUTPUT);
        kept.inspect_err(|e| tracing::warn!(%e, "a part of a task cannot be given away")).ok()
    }

    /// Everything that was counted here so far.
    fn tally(&self) -> Result<Vec<u64>, End> {
        let new = self.bag.tally();
        if new.len() != self.reduce.len() {
            let (got, want) = (new.len(), self.reduce.len());
            return Err(End::Failed(format!("{}: counted {got} numbers instead of {want}", self.kind.name())));
        }
        Ok(self.reduce.iter().zip(&self.counted).zip(new).map(|((r, a), b)| r.join(*a, b)).collect())
    }
}
