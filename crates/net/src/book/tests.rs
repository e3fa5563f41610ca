use super::*;

fn peer(n: u8) -> PeerId {
    libp2p::identity::Keypair::ed25519_from_bytes([n; 32]).unwrap().public().to_peer_id()
}

fn addr(n: u16) -> Multiaddr {
    format!("/ip4/10.0.0.1/tcp/{n}").parse().unwrap()
}

fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Own id and others in order of their ids: `own` is the smallest.
fn ids() -> (PeerId, Vec<PeerId>) {
    let mut all: Vec<PeerId> = (1..=9).map(peer).collect();
    all.sort();
    (all.remove(0), all)
}

fn book(own: PeerId) -> Book {
    Book::new(own, 8, 4, 6, 1)
}

#[test]
fn learned_nodes_are_dialled_once_and_the_smaller_id_goes_first() {
    let (small, others) = ids();
    let large = others[7];
    let t = Instant::now();
    let mut a = book(small);
    assert!(a.learn(large, &[addr(1)], Source::Lan, t));
    assert_eq!(a.due(t), vec![(Target::Peer(large), vec![addr(1)])]);
    assert!(a.due(t + second(100)).is_empty(), "it is being dialled");

    let mut b = book(large);
    b.learn(small, &[addr(1)], Source::Lan, t);
    assert!(b.due(t).is_empty());
    assert_eq!(b.deadline(), Some(t + COURTESY));
    assert_eq!(b.due(t + COURTESY).len(), 1);
}

#[test]
fn back_off_doubles_to_a_minute_and_ends_with_a_new_address() {
    let (own, others) = ids();
    let mut now = Instant::now();
    let mut book = book(own);
    book.learn(others[0], &[addr(1)], Source::Hearsay, now);
    let target = Target::Peer(others[0]);
    for round in 0..12u32 {
        assert_eq!(book.due(now).len(), 1, "round {round}");
        book.failed(&target, Failure::Unreachable, now);
        let wait = book.deadline().unwrap() - now;
        let full = RETRY_MAX.min(second(1 << round.min(10)));
        assert!(wait >= full / 2 && wait <= full, "round {round}: {wait:?}");
        now = book.deadline().unwrap();
    }
    book.due(now);
    book.failed(&target, Failure::Unreachable, now);
    assert!(book.learn(others[0], &[addr(2)], Source::Lan, now));
    assert_eq!(book.due(now), vec![(target, vec![addr(1), addr(2)])]);
}

#[test]
fn who_was_refused_is_left_alone_for_long() {
    let (own, others) = ids();
    let now = Instant::now();
    let mut book = book(own);
    book.learn(others[0], &[addr(1)], Source::Lan, now);
    book.due(now);
    book.failed(&Target::Peer(others[0]), Failure::Refused, now);
    assert!(book.deadline().unwrap() - now >= REFUSED_MIN / 2);
    // Neither a new address nor hearsay changes that.
    book.learn(others[0], &[addr(2)], Source::Lan, now);
    book.learn(others[0], &[addr(2)], Source::Hearsay, now);
    assert!(book.deadline().unwrap() - now >= REFUSED_MIN / 2);
}

#[test]
fn a_lost_node_is_redialled_at_once() {
    let (own, others) = ids();
    let now = Instant::now();
    let mut book = book(own);
    book.connected(others[0], Some(&addr(1)), now);
    assert_eq!(book.deadline(), None);
    assert_eq!(book.members().collect::<Vec<_>>(), vec![(&others[0], [addr(1)].as_slice())]);
    book.disconnected(others[0], now);
    assert_eq!(book.due(now + second(1)), vec![(Target::Peer(others[0]), vec![addr(1)])]);
}

#[test]
fn a_seed_is_dialled_until_somebody_answers() {
    let (own, others) = ids();
    let now = Instant::now();
    let mut book = book(own);
    book.seed(addr(1), now);
    assert_eq!(book.due(now), vec![(Target::Seed(addr(1)), vec![addr(1)])]);
    book.failed(&Target::Seed(addr(1)), Failure::Unreachable, now);
    assert_eq!(book.due(now + second(1)).len(), 1);
    book.connected(others[0], Some(&addr(1)), now);
    assert_eq!(book.deadline(), None);
    // The node's own entry is in charge now.
    book.disconnected(others[0], now);
    assert_eq!(book.due(now + second(1)), vec![(Target::Peer(others[0]), vec![addr(1)])]);
    // Another node at the same address.
    book.moved_in(Some(others[0]), others[1], &addr(1), now);
    assert_eq!(book.addresses(&others[0]), &[] as &[Multiaddr]);
    assert_eq!(book.addresses(&others[1]), &[addr(1)]);
}

#[test]
fn dials_nodes_and_seeds_are_bounded() {
    let (own, others) = ids();
    let now = Instant::now();
    let mut book = book(own);
    for (i, other) in others.iter().enumerate() {
        book.learn(*other, &[addr(i as u16)], Source::Hearsay, now);
    }
    assert_eq!(book.due(now).len(), 4);
    assert_eq!(book.deadline(), None, "the limit of dials is reached");
    // A full book forgets only nodes that are neither connected nor being dialled.
    assert!(book.learn(peer(100), &[addr(1)], Source::Lan, now));
    assert_eq!(book.entries.len(), 8);
    for n in 0..200 {
        book.seed(addr(n), now);
    }
    assert_eq!(book.seeds.len(), MAX_SEEDS);
    // Addresses of one node.
    let many: Vec<Multiaddr> = (0..100).map(addr).collect();
    book.learn(others[0], &many, Source::Own, now);
    assert_eq!(book.addresses(&others[0]).len(), limits::MAX_ADDRS);
}

#[test]
fn a_full_mesh_dials_nobody_but_seeds() {
    let (own, others) = ids();
    let now = Instant::now();
    let mut book = book(own);
    for other in others.iter().take(6) {
        book.connected(*other, Some(&addr(1)), now);
    }
    book.learn(others[7], &[addr(9)], Source::Hearsay, now);
    assert!(book.due(now + second(1)).is_empty());
    assert_eq!(book.deadline(), None);
    book.seed(addr(5), now);
    assert_eq!(book.due(now).len(), 1);
}

#[test]
fn this_node_is_never_dialled_twice() {
    let (own, _) = ids();
    let now = Instant::now();
    let mut book = book(own);
    assert!(!book.learn(own, &[addr(1)], Source::Hearsay, now));
    book.seed(addr(1), now);
    book.due(now);
    book.failed(&Target::Seed(addr(1)), Failure::Self_, now);
    assert_eq!(book.deadline(), None);
}
