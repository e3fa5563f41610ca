//! `--array 1-1000:2`.

use filch_types::limits;

use super::PlanError;

/// An arithmetic sequence of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Array {
    pub(crate) first: i64,
    pub(crate) step: i64,
    pub(crate) count: u32,
}

impl Array {
    /// Reads `A-B`, `A-B:STEP` or `A`; `B` is included if the step meets it.
    pub(crate) fn parse(text: &str) -> Result<Self, PlanError> {
        let fail = |why| PlanError::Array { text: text.to_owned(), why };
        let number = |s: &str| s.trim().parse::<i64>().map_err(|_| fail("not a number of 64 bits"));
        let (range, step) = match text.split_once(':') {
            Some((range, step)) => (range, number(step)?),
            None => (text, 1),
        };
        if step <= 0 {
            return Err(fail("the step must be at least 1"));
        }
        // A minus in front belongs to the number.
        let cut = range.char_indices().skip(1).find(|(_, c)| *c == '-').map(|(at, _)| at);
        let (first, last) = match cut {
            Some(at) => (number(&range[..at])?, number(&range[at + 1..])?),
            None => (number(range)?, number(range)?),
        };
        if last < first {
            return Err(fail("it ends before it begins"));
        }
        let count = (i128::from(last) - i128::from(first)) / i128::from(step) + 1;
        match u32::try_from(count) {
            Ok(count) if count <= limits::MAX_TASKS => Ok(Self { first, step, count }),
            _ => Err(PlanError::TooMany { got: u64::try_from(count).unwrap_or(u64::MAX) }),
        }
    }
    /// The value of task `n`.
    pub(crate) fn value(&self, n: u32) -> i64 {
        self.first.saturating_add(self.step.saturating_mul(i64::from(n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms() {
        for (text, first, step, count) in [
            ("1-1000", 1, 1, 1000),
            ("1-1000:2", 1, 2, 500),
            ("0-9:3", 0, 3, 4),
            ("7", 7, 1, 1),
            ("-5-5:5", -5, 5, 3),
            ("-5--4", -5, 1, 2),
        ] {
            assert_eq!(Array::parse(text).unwrap(), Array { first, step, count }, "{text}");
        }
        for text in ["", "-", "1-", "a-b", "5-1", "1-5:0", "1-5:-1", "1-5:", "1-99999999999999999999"] {
            assert!(matches!(Array::parse(text), Err(PlanError::Array { .. })), "{text}");
        }
        assert!(matches!(Array::parse("1-10000001"), Err(PlanError::TooMany { got: 10_000_001 })));
        assert!(matches!(Array::parse("-9223372036854775808-9223372036854775807"), Err(PlanError::TooMany { .. })));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-0-9:, a]{0,24}") { let _ = Array::parse(&text); }
        #[test]
        fn values_stay_within(first in -1000i64..1000, len in 0i64..1000, step in 1i64..50) {
            let a = Array::parse(&format!("{first}-{}:{step}", first + len)).unwrap();
            prop_assert!(a.value(a.count - 1) <= first + len);
            prop_assert!(a.value(a.count) > first + len);
        }
    }
}
