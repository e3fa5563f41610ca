//! Which trees there are, and how many children a node has.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Children of a node of a geometric tree, at most.
const MAX_CHILDREN: usize = 100;
/// Children of a binomial tree's root, at most.
const MAX_ROOT: u32 = 1_000_000;
/// Levels of a geometric tree, at most.
const MAX_DEPTH: u32 = 1000;
/// Nodes that an entry is believed to be worth at most: beyond it the estimate is a guess anyway.
const MAX_WORTH: f64 = 1e12;
/// Random numbers have 31 bits.
const SCALE: f64 = 2_147_483_648.0;

/// How trees are written.
pub(super) const FORMS: &str = "T1, T3, T1L, T3L, T1XL, geo:B0,DEPTH,SEED (e.g. geo:4,10,19) or bin:B0,Q,M,SEED (e.g. \
                                bin:2000,0.124875,8,42)";

/// A tree of the UTS benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Tree {
    /// Geometric, of fixed shape: nodes above `depth` have about `b0` children, those at `depth` none.
    Geometric {
        /// Mean number of children, 0 to 100.
        b0: f64,
        /// Levels below the root, at most 1,000.
        depth: u32,
        /// Chooses the tree.
        seed: u32,
    },
    /// Binomial: the root has `b0` children, every other node `m` with probability `q`, else none.
    Binomial {
        /// Children of the root, at most a million.
        b0: u32,
        /// Probability of having children, 0 to 1.
        q: f64,
        /// How many then, at most 100.
        m: u32,
        /// Chooses the tree.
        seed: u32,
    },
}

/// Why there is no such tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Not a name, not parameters.
    #[error("`{0}` is no tree; known are {FORMS}")]
    Unknown(String),
    /// Parameters that are out of range.
    #[error("{0} of a tree must be {1}")]
    Range(&'static str, &'static str),
}

impl Tree {
    /// Whether its parameters are in range.
    pub(super) fn check(self) -> Result<Self, TreeError> {
        let rule = |ok: bool, what, want| if ok { Ok(()) } else { Err(TreeError::Range(what, want)) };
        match self {
            Tree::Geometric { b0, depth, .. } => {
                rule((0.0..=100.0).contains(&b0), "B0", "0 to 100")?;
                rule(depth <= MAX_DEPTH, "DEPTH", "at most 1000")?;
            }
            Tree::Binomial { b0, q, m, .. } => {
                rule(b0 <= MAX_ROOT, "B0", "at most 1000000")?;
                rule((0.0..=1.0).contains(&q), "Q", "0 to 1")?;
                rule(m as usize <= MAX_CHILDREN, "M", "at most 100")?;
            }
        }
        Ok(self)
    }
    /// Its seed.
    pub(super) fn seed(&self) -> u32 {
        match self {
            Tree::Geometric { seed, .. } | Tree::Binomial { seed, .. } => *seed,
        }
    }
}

impl FromStr for Tree {
    type Err = TreeError;
    fn from_str(text: &str) -> Result<Self, TreeError> {
        let geometric = |depth, seed| Tree::Geometric { b0: 4.0, depth, seed };
        let binomial = |q, m, seed| Tree::Binomial { b0: 2000, q, m, seed };
        let tree = match text {
            "T1" => geometric(10, 19),
            "T1L" => geometric(13, 29),
            "T1XL" => geometric(15, 29),
            "T3" => binomial(0.124_875, 8, 42),
            "T3L" => binomial(0.200_014, 5, 7),
            _ => parameters(text).ok_or_else(|| TreeError::Unknown(text.chars().take(80).collect()))?,
        };
        tree.check()
    }
}

fn parameters(text: &str) -> Option<Tree> {
    let (shape, rest) = text.split_once(':')?;
    let parts: Vec<&str> = rest.split(',').collect();
    match (shape, parts.as_slice()) {
        ("geo", [b0, depth, seed]) => {
            Some(Tree::Geometric { b0: b0.parse().ok()?, depth: depth.parse().ok()?, seed: seed.parse().ok()? })
        }
        ("bin", [b0, q, m, seed]) => Some(Tree::Binomial {
            b0: b0.parse().ok()?,
            q: q.parse().ok()?,
            m: m.parse().ok()?,
            seed: seed.parse().ok()?,
        }),
        _ => None,
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tree::Geometric { b0, depth, seed } => write!(f, "geo:{b0},{depth},{seed}"),
            Tree::Binomial { b0, q, m, seed } => write!(f, "bin:{b0},{q},{m},{seed}"),
        }
    }
}

/// How many children a node has, from its random number; worked out once per bag.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// A node above `depth` has as many children as there are bounds at most its number.
    Geometric { bounds: Vec<u32>, depth: u32, worth: Vec<f64> },
    /// A node below the root whose number is less than `below` has `m` children.
    Binomial { below: u32, m: u32, worth: f64 },
}

impl Shape {
    pub(super) fn new(tree: &Tree) -> Self {
        match *tree {
            // The definition, floor(ln(1 - u) / ln(q)) with q = b0 / (1 + b0), is at least k where 1 - u <= q^k. Products
            // are the same on every machine, logarithms are not.
            Tree::Geometric { b0, depth, .. } => {
                let q = b0 / (1.0 + b0);
                let powers = std::iter::successors(Some(q), |p| Some(p * q)).take(MAX_CHILDREN);
                let bounds = powers.map(|p| ((1.0 - p) * SCALE).ceil() as u32).take_while(|b| f64::from(*b) < SCALE);
                let mut worth = vec![1.0];
                for level in 0..depth as usize {
                    worth.push((1.0 + b0 * worth[level]).min(MAX_WORTH));
                }
                worth.reverse();
                Shape::Geometric { bounds: bounds.collect(), depth, worth }
            }
            Tree::Binomial { q, m, .. } => {
                let below = (q * SCALE).ceil() as u32;
                // Just above one child per node, a tree that ends is as large as one that is as far below.
                let worth = 1.0 / (1.0 - q * f64::from(m)).abs().max(1e-6);
                Shape::Binomial { below, m, worth: worth.max(1.0) }
            }
        }
    }

    /// Children of a node at this depth with this number of 31 bits; the root's are another matter.
    #[inline]
    pub(super) fn children(&self, depth: u32, number: u32) -> u32 {
        match self {
            Shape::Geometric { bounds, depth: last, .. } => {
                if depth >= *last {
                    return 0;
                }
                bounds.iter().take_while(|b| number >= **b).count() as u32
            }
            Shape::Binomial { below, m, .. } => {
                if number < *below {
                    *m
                } else {
                    0
                }
            }
        }
    }

    /// Nodes to be expected in the tree below and with a node at this depth.
    pub(super) fn worth(&self, depth: u32) -> f64 {
        match self {
            Shape::Geometric { worth, .. } => worth.get(depth as usize).copied().unwrap_or(1.0),
            Shape::Binomial { worth, .. } => *worth,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_parameters() {
        assert_eq!("T1".parse(), "geo:4,10,19".parse::<Tree>());
        assert_eq!("T3L".parse(), "bin:2000,0.200014,5,7".parse::<Tree>());
        for name in ["T1", "T3", "T1L", "T3L", "T1XL"] {
            let Ok(tree) = name.parse::<Tree>() else { panic!("{name}") };
            assert_eq!(tree.to_string().parse(), Ok(tree));
        }
        for bad in ["", "T2", "geo:4,10", "geo:4,10,19,1", "geo:x,1,1", "bin:1,2,3", "geo:4,10,-1", "uts:1,2,3"] {
            assert_eq!(bad.parse::<Tree>(), Err(TreeError::Unknown(bad.to_owned())));
        }
        for bad in ["geo:101,1,1", "geo:NaN,1,1", "geo:-1,1,1", "geo:4,1001,1", "bin:1,1.5,1,1", "bin:1,1,101,1"] {
            assert!(matches!(bad.parse::<Tree>(), Err(TreeError::Range(..))), "{bad}");
        }
    }

    #[test]
    fn geometric_children_are_the_logarithms() {
        let shape = Shape::new(&Tree::Geometric { b0: 4.0, depth: 10, seed: 0 });
        for n in 0..20_000u32 {
            let number = n * 107_374;
            let u = f64::from(number) / SCALE;
            let want = ((1.0 - u).ln() / 0.8f64.ln()).floor().min(100.0) as u32;
            assert_eq!(shape.children(3, number), want, "{number}");
            assert_eq!(shape.children(10, number), 0);
        }
        assert_eq!(shape.children(0, (1 << 31) - 1), 96);
    }
}
