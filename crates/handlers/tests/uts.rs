//! Exact counts, however a tree is split; and bags that are none.

use filch_handlers::{Divisible, DivisibleKind, Kinds, Progress, Uts};
use filch_types::limits;
use proptest::prelude::*;

fn start(tree: &str) -> Box<dyn Divisible> {
    Uts.start(&[tree.to_owned()]).unwrap()
}

fn alone(tree: &str) -> Vec<u64> {
    let mut task = start(tree);
    while let Progress::More(_) = task.process(10_000).unwrap() {}
    assert_eq!(task.left(), 0);
    task.tally()
}

fn join(all: &mut [u64], part: &[u64]) {
    assert_eq!(all.len(), part.len());
    for ((a, b), how) in all.iter_mut().zip(part).zip(Uts.reduce()) {
        *a = how.join(*a, *b);
    }
}

/// Works a tree off in many parts, as a schedule says: which bag goes on, how far, and what then.
fn scheduled(tree: &str, schedule: &[(usize, u64, u8)]) -> Vec<u64> {
    let mut all: Vec<u64> = Uts.reduce().iter().map(|how| how.identity()).collect();
    let mut bags = vec![start(tree)];
    let mut steps = schedule.iter().cycle();
    while !bags.is_empty() {
        let Some((which, budget, then)) = steps.next() else { unreachable!() };
        let which = which % bags.len();
        let progress = bags[which].process(*budget).unwrap();
        if let Progress::Done(_) = progress {
            join(&mut all, &bags.swap_remove(which).tally());
            continue;
        }
        assert!(bags[which].left() > 0);
        if then % 3 == 0 && bags.len() < 40 {
            if let Some(gift) = bags[which].split(u64::from(*then)) {
                let gift = Uts.unpack(&gift).unwrap();
                assert!(gift.left() >= u64::from(*then), "a crumb");
                bags.push(gift);
            }
        } else if then % 3 == 1 {
            // A checkpoint: what was counted is reported, the rest goes on from its packed form.
            let rest = bags[which].pack();
            assert!(rest.len() <= limits::MAX_BAG);
            join(&mut all, &bags[which].tally());
            bags[which] = Uts.unpack(&rest).unwrap();
        }
        if bags[which].left() == 0 {
            join(&mut all, &bags.swap_remove(which).tally());
        }
    }
    all
}

#[test]
fn t1_and_t3_have_their_published_counts() {
    assert_eq!(alone("T1"), [4_130_071, 3_305_118, 10]);
    assert_eq!(alone("T3"), [4_112_897, 3_599_034, 1572]);
}

#[test]
fn a_half_is_about_a_half() {
    let mut task = start("T1L");
    let Progress::More(_) = task.process(50_000).unwrap() else { panic!() };
    let before = task.left();
    let gift = Uts.unpack(&task.split(1).unwrap()).unwrap();
    let (kept, given) = (task.left(), gift.left());
    assert!(before.abs_diff(kept + given) <= 2, "{before} = {kept} + {given}");
    assert!(kept / 3 < given && given / 3 < kept, "{kept} kept, {given} given");
}

#[test]
fn no_crumbs_are_given() {
    let mut task = start("geo:4,3,1");
    assert_eq!(task.split(1_000_000), None);
    let before = task.pack();
    assert_eq!(task.split(1_000_000), None);
    assert_eq!(task.pack(), before, "a refusal changes nothing");
}

#[test]
fn a_single_child_is_not_given_away() {
    // One entry with one child: the gift would be empty, and is none.
    let mut task = start("bin:1,0,0,1");
    assert_eq!(task.left(), 1);
    assert_eq!(task.split(0), None);
    assert_eq!(task.process(9).unwrap(), Progress::Done(1));
    assert_eq!(task.tally(), [2, 1, 1]);
    assert_eq!(task.process(9).unwrap(), Progress::Done(0), "nothing is left to do");
}

#[test]
fn an_infinite_tree_ends_with_a_reason() {
    let mut task = start("bin:1,1,2,1");
    let end = loop {
        match task.process(10_000) {
            Ok(Progress::More(_)) => assert!(task.pack().len() <= limits::MAX_BAG),
            other => break other,
        }
    };
    assert!(end.unwrap_err().contains("infinite"));
}

#[test]
fn arguments_are_checked() {
    for args in [&[][..], &["T1", "T3"], &["T9"], &["geo:4,1e9,1"]] {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        assert!(Uts.start(&args).is_err(), "{args:?}");
    }
}

#[test]
fn the_registry_has_it() {
    let kinds = Kinds::builtin();
    assert_eq!(kinds.names().collect::<Vec<_>>(), ["uts"]);
    assert!(kinds.get("uts").is_some_and(|k| k.reduce().len() <= limits::MAX_TALLY));
    assert!(kinds.only(&[]).get("uts").is_none());
}

fn tree() -> impl Strategy<Value = String> {
    prop_oneof![
        (1.0..4.0f64, 0..8u32, any::<u32>()).prop_map(|(b0, depth, seed)| format!("geo:{b0},{depth},{seed}")),
        (0..300u32, 0.0..0.19f64, 0..=5u32, any::<u32>())
            .prop_map(|(b0, q, m, seed)| format!("bin:{b0},{q},{m},{seed}")),
    ]
}

proptest! {
    #[test]
    fn however_it_is_split_the_counts_are_the_same(
        tree in tree(),
        schedule in prop::collection::vec((any::<usize>(), 1..400u64, any::<u8>()), 1..50),
    ) {
        prop_assert_eq!(scheduled(&tree, &schedule), alone(&tree));
    }

    #[test]
    fn arbitrary_bytes_are_no_bag(mut bytes in prop::collection::vec(any::<u8>(), 0..200), tree in tree()) {
        let _ = Uts.unpack(&bytes);
        // Damage to a real one, in all that follows the version.
        let mut bag = start(&tree).pack();
        bytes.truncate(bag.len().saturating_sub(1));
        bag[1..=bytes.len()].copy_from_slice(&bytes);
        if let Ok(mut other) = Uts.unpack(&bag) {
            let _ = other.process(1000);
            let _ = other.split(1);
            let _ = (other.left(), other.pack());
        }
    }

    #[test]
    fn a_flipped_bit_never_panics(tree in tree(), steps in 0..2000u64, at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut task = start(&tree);
        let _ = task.process(steps);
        let mut bag = task.pack();
        let at = at.index(bag.len());
        bag[at] ^= 1 << bit;
        if let Ok(mut other) = Uts.unpack(&bag) {
            let _ = other.process(1000);
            let _ = other.split(1);
            prop_assert!(other.left() == 0 || !other.pack().is_empty());
        }
    }
}
