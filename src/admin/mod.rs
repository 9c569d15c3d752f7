//! The admin port: HTTP and JSON for operators and their tools, and the metrics.

mod api;
pub mod console;
mod guard;
mod listen;
mod metrics;
mod page;
mod series;
mod statements;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, patch, post};
use tokio::net::TcpListener;

use crate::runbook::Conductor;
use guard::Guard;
use metrics::Metrics;
use series::Series;

/// What every handler works with.
#[derive(Clone)]
pub struct Admin {
    conductor: Arc<Conductor>,
    metrics: Arc<Metrics>,
    guard: Arc<Guard>,
    series: Arc<Series>,
}

/// A bound admin port, not yet served.
pub struct Bound {
    listener: std::net::TcpListener,
    pub address: SocketAddr,
    admin: Admin,
}

/// Binds the port and reads the token. Errors name the key at fault.
pub fn bind(conductor: Arc<Conductor>) -> Result<Bound, String> {
    let config = &conductor.context.config.admin;
    let failed = |e: io::Error| format!("admin.listen: {}: {e}", config.listen);
    let listener = std::net::TcpListener::bind(config.listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let guard = Arc::new(Guard::new(config)?);
    let metrics = Arc::new(Metrics::new());
    let admin = Admin { conductor, metrics, guard, series: Arc::default() };
    Ok(Bound { listener, address, admin })
}

impl Bound {
    /// Serves until the process ends.
    pub async fn serve(self) -> io::Result<()> {
        let config = self.admin.conductor.context.config.clone();
        let (series, conductor) = (Arc::clone(&self.admin.series), Arc::clone(&self.admin.conductor));
        let (metrics, measured) = (Arc::clone(&self.admin.metrics), Arc::clone(&conductor));
        tokio::spawn(async move { series.follow(&conductor).await });
        tokio::spawn(async move { metrics.measure(&measured).await });
        listen::serve(TcpListener::from_std(self.listener)?, router(self.admin), config).await;
        Ok(())
    }
}

fn router(admin: Admin) -> Router {
    let open = Router::new()
        .route("/healthz", get(api::healthz))
        .route("/readyz", get(api::readyz))
        .route("/", get(page::index))
        .route("/app.css", get(page::style))
        .route("/app.js", get(page::script))
        .route("/icon.svg", get(page::icon))
        .route("/api/openapi.json", get(api::description));
    let guarded = Router::new()
        .route("/metrics", get(api::metrics))
        .route("/api/status", get(api::status))
        .route("/api/policy", patch(api::change_policy).get(api::policy))
        .route("/api/tables", get(api::tables))
        .route("/api/doctor", get(api::doctor))
        .route("/api/instances", get(api::instances))
        .route("/api/history", get(api::history))
        .route("/api/findings", get(api::findings))
        .route("/api/statements", get(statements::statements))
        .route("/api/series", get(api::series))
        .route("/api/route", get(api::route))
        .route("/api/barrier", post(api::barrier))
        .route("/api/reload", post(api::reload))
        .route("/api/link/{order}", post(api::order_link))
        .route("/api/parked", get(api::parked).post(api::order_parked))
        // The last is the first: nobody's body is read who has not got past the guard.
        .layer(axum::middleware::from_fn_with_state(admin.clone(), listen::whole))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&admin.guard), guard::check));
    open.merge(guarded).fallback(api::not_found).with_state(admin)
}
