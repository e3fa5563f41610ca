//! Overrides of the protocol's periods, written as `1s`, `250ms`.

use std::time::Duration;

use filch_core::Timing;
use filch_types::time::Span;
use serde::Deserialize;

use super::{ConfigError, value};

macro_rules! timing {
    ($($field:ident),* $(,)?) => {
        /// Overrides of `filch_core::Timing`. Change them for the whole cluster at once.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(missing_docs)]
        pub struct TimingSettings { $(pub $field: Option<String>,)* }

        impl TimingSettings {
            /// Sets what is given and checks how the results fit together.
            pub(super) fn apply(&self, t: &mut Timing) -> Result<(), ConfigError> {
                $(if let Some(text) = &self.$field {
                    t.$field = span(stringify!($field), text)?;
                })*
                check(t)
            }
        }
    };
}

timing!(
    beat,
    idle_beat,
    dead_after,
    down_grace,
    lease,
    lease_worker,
    request,
    resend,
    anti_entropy,
    repair,
    pack_flush,
    pack_flush_attended,
    ahead,
    quiet_min,
    quiet_max,
    announce,
    batch,
    lonely_pin,
    submit,
);

fn span(key: &'static str, text: &str) -> Result<Span, ConfigError> {
    let d = duration(key, text)?;
    u64::try_from(d.as_micros()).map(Span).map_err(|_| value(key, text, "too long"))
}

/// A duration as people write it.
pub(super) fn duration(key: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let d = humantime::parse_duration(text).map_err(|e| value(key, text, format!("{e}; write it as 250ms or 2s")))?;
    if d > Duration::from_secs(7 * 86_400) {
        return Err(value(key, text, "longer than a week"));
    }
    Ok(d)
}

/// The protocol's own order of times (P8): without it leases would overlap.
fn check(t: &Timing) -> Result<(), ConfigError> {
    let text = |s: Span| format!("{}ms", s.as_millis());
    for (key, span) in [("beat", t.beat), ("lease", t.lease), ("request", t.request), ("resend", t.resend)] {
        if span.0 == 0 {
            return Err(value(key, "0s", "must be longer than nothing"));
        }
    }
    if t.lease_worker >= t.lease {
        return Err(value(
            "lease_worker",
            &text(t.lease_worker),
            format!("must be shorter than `lease`, {}", text(t.lease)),
        ));
    }
    if t.request >= t.lease {
        return Err(value("request", &text(t.request), format!("must be shorter than `lease`, {}", text(t.lease))));
    }
    if t.beat >= t.lease_worker {
        return Err(value(
            "beat",
            &text(t.beat),
            format!("must be shorter than `lease_worker`, {}", text(t.lease_worker)),
        ));
    }
    Ok(())
}
