//! This node and its members.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use filch_api::node::NodeCounters;
use filch_api::{DownAnswer, DownRequest, Member, MemberList, NodeInfo};

use super::problem::Fail;
use super::{SharedApp, input};

/// `GET /v1/node`.
pub async fn node(State(app): State<SharedApp>) -> Result<Json<NodeInfo>, Fail> {
    let (counters, peers) =
        app.driver.read(|n| (n.counters(), n.peers().iter().filter(|p| p.alive).count() as u64)).await?;
    let facts = &app.facts;
    let usage = app.store.usage();
    Ok(Json(NodeInfo {
        id: facts.id,
        name: facts.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_ms: u64::try_from(facts.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        data_dir: facts.data_dir.display().to_string(),
        socket: facts.socket.display().to_string(),
        addresses: app.net.addresses(),
        mdns: facts.mdns,
        slots: facts.slots,
        running: app.exec.running().len() as u64,
        offers: facts.offers.clone(),
        peers,
        draining: app.down.asked(),
        store: facts.store,
        machine: facts.machine,
        store_bytes: usage.bytes,
        store_blobs: usage.blobs,
        disk_free: usage.free,
        counters: NodeCounters {
            launched: counters.launched,
            finished: counters.finished,
            stolen: counters.stolen,
            steal_requests: counters.steal_requests,
            given: counters.given,
            granted: counters.granted,
            reclaimed: counters.reclaimed,
            bytes_fetched: app.stats.bytes_fetched.get(),
            bytes_served: app.stats.bytes_served.get(),
            scrub_bytes: app.stats.scrub_bytes.get(),
            scrub_damaged: app.stats.scrub_damaged.get(),
        },
    }))
}

/// `GET /v1/nodes`.
pub async fn nodes(State(app): State<SharedApp>) -> Result<Json<MemberList>, Fail> {
    let (peers, queued) = app.driver.read(|n| (n.peers(), n.queued())).await?;
    let mut others: Vec<Member> = peers
        .into_iter()
        .map(|p| Member {
            id: p.id,
            name: p.name,
            this: false,
            alive: p.alive,
            draining: p.draining,
            slots: p.slots,
            queued: p.queued,
            rtt_us: p.rtt_us,
            machine: p.machine,
            store: p.store,
        })
        .collect();
    others.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    let facts = &app.facts;
    let me = Member {
        id: facts.id,
        name: facts.name.clone(),
        this: true,
        alive: true,
        draining: app.down.asked(),
        slots: facts.slots,
        queued,
        rtt_us: 0,
        machine: facts.machine,
        store: facts.store,
    };
    others.insert(0, me);
    Ok(Json(MemberList { nodes: others }))
}

/// `POST /v1/down`.
pub async fn down(State(app): State<SharedApp>, body: Body) -> Result<(StatusCode, Json<DownAnswer>), Fail> {
    let bytes = axum::body::to_bytes(body, 4096).await.unwrap_or_default();
    let request: DownRequest =
        if bytes.is_empty() { DownRequest::default() } else { input::json(Body::from(bytes)).await? };
    let answer = DownAnswer { node: app.facts.id, pid: std::process::id(), running: app.exec.running().len() as u64 };
    app.down.ask(request.grace_ms.map(std::time::Duration::from_millis));
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// `GET /v1/openapi.json`.
pub async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(filch_api::openapi::openapi())
}
