//! Counters and gauges, OpenMetrics text.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use filch_types::wire::JobState;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::SharedApp;
use super::problem::{Fail, internal};

const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
}

/// `GET /metrics`.
pub async fn metrics(State(app): State<SharedApp>) -> Result<Response, Fail> {
    let (counters, peers, active, queued, tables) = app
        .driver
        .read(|n| {
            let peers = n.peers().iter().filter(|p| p.alive).count() as u64;
            let active = n.jobs().iter().filter(|j| j.state == JobState::Active).count() as u64;
            (n.counters(), peers, active, n.queued(), n.table_sizes())
        })
        .await?;
    let mut registry = Registry::with_prefix("filch");
    for (name, help, value) in [
        ("tasks_launched", "Tasks handed to the executor", counters.launched),
        ("tasks_finished", "Tasks that came back with a result", counters.finished),
        ("tasks_stolen", "Tasks stolen by this node", counters.stolen),
        ("tasks_given", "Tasks given to thieves", counters.given),
        ("tasks_granted", "Tasks granted as steward", counters.granted),
        ("tasks_reclaimed", "Tasks taken back as steward", counters.reclaimed),
        ("steal_requests", "Steal requests sent", counters.steal_requests),
        ("packs", "Packs of results made", counters.packs),
        ("facts", "Facts stored", counters.facts),
        ("rejected", "Inputs refused for breaking a rule", counters.rejected),
    ] {
        registry.register(name, help, ConstCounter::new(value));
    }
    for (name, help, value) in app.stats.all() {
        registry.register(name, help, ConstCounter::new(value));
    }
    let usage = app.store.usage();
    gauge(&mut registry, "peers_alive", "Other members believed alive", peers);
    gauge(&mut registry, "jobs_active", "Jobs with tasks left", active);
    gauge(&mut registry, "tasks_queued", "Tasks queued here and not started", queued);
    gauge(&mut registry, "tasks_running", "Tasks that run here now", app.exec.running().len() as u64);
    gauge(&mut registry, "inbox", "Inputs that wait for the driver", app.driver.inbox().waiting() as u64);
    gauge(&mut registry, "store_bytes", "Bytes of blobs", usage.bytes);
    gauge(&mut registry, "store_blobs", "Blobs", usage.blobs);
    gauge(&mut registry, "store_free_bytes", "Free bytes of the store's file system", usage.free);
    for (name, size) in tables {
        gauge(
            &mut registry,
            &format!("table_{}", name.replace(' ', "_")),
            "Entries of a table of the core",
            size as u64,
        );
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).map_err(|e| Fail(internal(e)))?;
    Ok(([(header::CONTENT_TYPE, TYPE)], text).into_response())
}
