//! The local API over a Unix socket. What the routes mean is written in `filch_api::openapi`.

mod divide;
mod events;
mod fetch;
mod files;
mod input;
mod jobs;
mod logs;
mod metrics;
mod ndjson;
mod node;
mod problem;
mod results;
pub mod socket;
mod submit;
mod tallies;
mod tasks;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use filch_api::{Code, Problem, routes};
use filch_blobs::BlobStore;
use filch_exec::{Exec, Handlers};
use filch_net::Net;
use filch_types::{MachineId, NodeId, StoreId};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::delivery::Deliveries;
use crate::down::Down;
use crate::driver::DriverHandle;
use crate::events::Events;
use crate::names::Names;
use crate::packs::Packs;
use crate::pump::Copying;
use crate::stats::Stats;
use crate::transfer::{Fetcher, Lists};

/// Streams that may be open.
pub const STREAMS: usize = 256;

/// What is fixed about this node.
pub struct Facts {
    /// Its public key.
    pub id: NodeId,
    /// For people.
    pub name: String,
    /// Its store.
    pub store: StoreId,
    /// Its machine.
    pub machine: MachineId,
    /// Where everything is.
    pub data_dir: PathBuf,
    /// Bodies on their way into the store; on the store's file system.
    pub incoming: PathBuf,
    /// The API.
    pub socket: PathBuf,
    /// Whether it looks for others on the LAN.
    pub mdns: bool,
    /// Tasks at once.
    pub slots: u16,
    /// What it can run.
    pub offers: Vec<String>,
    /// When it started.
    pub started: Instant,
}

/// What the routes work with.
pub struct App {
    /// About this node.
    pub facts: Facts,
    /// The core.
    pub driver: DriverHandle,
    /// Who watches.
    pub events: Events,
    /// Names of nodes.
    pub names: Arc<Names>,
    /// Results.
    pub packs: Arc<Packs>,
    /// Bytes.
    pub store: BlobStore,
    /// Bytes of others.
    pub fetcher: Arc<Fetcher>,
    /// Output files.
    pub deliveries: Arc<Deliveries>,
    /// Running tasks.
    pub exec: Arc<Exec>,
    /// Handlers of this program, whether tasks may name them here or not.
    pub registry: Handlers,
    /// Item lists.
    pub lists: Arc<Lists>,
    /// The network.
    pub net: Net,
    /// Copies in the making.
    pub copying: Arc<Copying>,
    /// Counters.
    pub stats: Arc<Stats>,
    /// The way to end the node.
    pub down: Down,
    /// The node ends: streams too.
    pub ending: CancellationToken,
    /// Places for streams.
    pub streams: Arc<Semaphore>,
}

/// As the routes get it.
pub type SharedApp = Arc<App>;

/// All routes.
pub fn router(app: SharedApp) -> Router {
    Router::new()
        .route(routes::NODE, get(node::node))
        .route(routes::NODES, get(node::nodes))
        .route(routes::DOWN, post(node::down))
        .route(routes::OPENAPI, get(node::openapi))
        .route(routes::METRICS, get(metrics::metrics))
        .route(routes::EVENTS, get(events::events))
        .route(routes::FILES, post(files::files))
        .route(routes::BLOBS, put(files::put_blob))
        .route(routes::BLOB, get(files::get_blob))
        .route(routes::JOBS, post(submit::submit).get(jobs::list))
        .route(routes::JOB, get(jobs::detail).delete(jobs::delete))
        .route(routes::CANCEL, post(jobs::cancel))
        .route(routes::TASKS, get(tasks::tasks))
        .route(routes::RESULTS, get(results::results))
        .route(routes::LOGS, get(logs::logs))
        .route(routes::FETCH, post(fetch::fetch))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn_with_state(app.clone(), count))
        .with_state(app)
}

async fn count(
    State(app): State<SharedApp>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    app.stats.requests.add(1);
    next.run(request).await
}

async fn no_route(uri: axum::http::Uri) -> impl IntoResponse {
    problem::Fail(Problem::new(Code::NoSuchRoute).detail(uri.path()).hint(format!("see {}", routes::OPENAPI)))
}

async fn no_method(method: axum::http::Method, uri: axum::http::Uri) -> impl IntoResponse {
    problem::Fail(Problem::new(Code::MethodNotAllowed).detail(format_args!("{method} {}", uri.path())))
}
