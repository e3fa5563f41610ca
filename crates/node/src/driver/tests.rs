use std::sync::mpsc;

use super::*;
use filch_types::sign::Ed25519;
use filch_types::{MachineId, StoreId};

struct Nothing;
impl Outlet for Nothing {
    fn dispatch(&mut self, _: Output) {}
}

fn start() -> (DriverHandle, std::thread::JoinHandle<()>) {
    let config = filch_core::Config {
        store: StoreId([1; 16]),
        machine: MachineId([1; 16]),
        boot: 1,
        name: "n".into(),
        slots: 1,
        offers: vec![],
        result_copies: 1,
        timing: filch_core::Timing::default(),
        mutant: None,
    };
    let keys = Box::new(Ed25519::from_secret(&[7; 32]));
    let node = Node::new(config, keys, [0; 32], Clock.now());
    let inbox = Arc::new(Inbox::default());
    let driver = Driver::new(node, inbox.clone(), Clock, Nothing);
    (DriverHandle::new(inbox), std::thread::spawn(move || driver.run()))
}

#[tokio::test]
async fn reads_see_the_core_and_stop_ends_it() {
    let (handle, thread) = start();
    let id = handle.read(|n| n.id()).await.unwrap();
    assert_eq!(id, filch_types::sign::Keyring::id(&Ed25519::from_secret(&[7; 32])));
    handle.inbox().stop();
    thread.join().unwrap();
    assert!(handle.read(|n| n.id()).await.is_err(), "nobody waits for a driver that is gone");
}

#[tokio::test]
async fn what_waits_behind_a_stop_is_answered_too() {
    let (handle, thread) = start();
    let (entered_tx, entered) = mpsc::channel();
    let (go_tx, go) = mpsc::channel::<()>();
    let busy = handle.clone();
    let first = tokio::spawn(async move {
        busy.read(move |_| {
            let _ = entered_tx.send(());
            let _ = go.recv();
        })
        .await
    });
    tokio::task::spawn_blocking(move || entered.recv()).await.unwrap().unwrap();
    handle.inbox().stop();
    let late = handle.read(|n| n.id());
    go_tx.send(()).unwrap();
    assert!(late.await.is_err());
    first.await.unwrap().unwrap();
    thread.join().unwrap();
}
