//! The calls, one short function each.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Admin;
use crate::link::LinkError;
use crate::runbook::{PolicyPatch, Refused, RouteQuestion, Trouble};

/// The longest barrier that may be asked for.
const MAX_BARRIER: Duration = Duration::from_secs(600);
const DEFAULT_BARRIER: Duration = Duration::from_secs(10);
const DEFAULT_LIMIT: i64 = 1000;

/// An error as a problem detail (RFC 9457).
pub fn problem(status: StatusCode, title: &str, detail: impl std::fmt::Display) -> Response {
    let body =
        json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail.to_string() });
    (status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

fn answer<T: Serialize>(value: Result<T, Trouble>) -> Response {
    match value {
        Ok(value) => Json(value).into_response(),
        Err(error) => problem(StatusCode::BAD_GATEWAY, "a backend did not do its part", error),
    }
}

pub async fn not_found() -> Response {
    problem(StatusCode::NOT_FOUND, "there is no such call", "see the admin port in the README")
}

/// What this port answers, for tools. Held to the handlers by a test.
pub async fn description() -> Response {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

pub async fn healthz() -> &'static str {
    "ok\n"
}

pub async fn readyz(State(admin): State<Admin>) -> Response {
    match admin.conductor.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

pub async fn metrics(State(admin): State<Admin>) -> Response {
    let text = admin.metrics.render(&admin.conductor);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

pub async fn status(State(admin): State<Admin>) -> Response {
    Json(admin.conductor.status()).into_response()
}

pub async fn policy(State(admin): State<Admin>) -> Response {
    Json(admin.conductor.view()).into_response()
}

pub async fn change_policy(State(admin): State<Admin>, body: String) -> Response {
    let patch: PolicyPatch = match serde_json::from_str(&body) {
        Ok(patch) => patch,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "the change cannot be read", error),
    };
    // A change of phase goes on to its end even if whoever asked for it hangs up.
    let conductor = std::sync::Arc::clone(&admin.conductor);
    match tokio::spawn(async move { conductor.patch(&patch).await }).await {
        Ok(Ok(view)) => Json(view).into_response(),
        Ok(Err(refused)) => refusal(&refused),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the change was broken off", error),
    }
}

fn refusal(refused: &Refused) -> Response {
    match refused {
        Refused::Gates(gates) => (StatusCode::CONFLICT, Json(json!({ "gates": gates }))).into_response(),
        Refused::StillRunning(running) => {
            let gate =
                json!({ "name": "former_transactions_ended", "holds": false, "evidence": { "open": running.count } });
            (StatusCode::CONFLICT, Json(json!({ "gates": [gate], "detail": refused.to_string() }))).into_response()
        }
        Refused::Behind(instances) => {
            let gate = json!({ "name": "instances_follow", "holds": false, "evidence": { "behind": instances } });
            (StatusCode::CONFLICT, Json(json!({ "gates": [gate], "detail": refused.to_string() }))).into_response()
        }
        Refused::Conflict => problem(StatusCode::CONFLICT, "the policy has changed meanwhile", refused),
        Refused::Rules(problem) => self::problem(StatusCode::BAD_REQUEST, "the rules cannot be taken", problem),
        Refused::Trouble(trouble) => problem(StatusCode::BAD_GATEWAY, "a backend did not do its part", trouble),
    }
}

pub async fn tables(State(admin): State<Admin>) -> Response {
    answer(admin.conductor.tables().await.map(|tables| json!({ "tables": tables })))
}

pub async fn instances(State(admin): State<Admin>) -> Response {
    answer(admin.conductor.instances().await.map(|instances| json!({ "instances": instances })))
}

pub async fn doctor(State(admin): State<Admin>) -> Response {
    Json(examine(&admin.conductor).await).into_response()
}

/// With what this instance knows of its traffic.
pub(super) async fn examine(conductor: &crate::runbook::Conductor) -> crate::doctor::Report {
    let uncaptured = conductor.context.uncaptured();
    let seen: Vec<crate::doctor::Seen> = uncaptured.into_iter().map(Into::into).collect();
    crate::doctor::examine(&conductor.context.config, &seen).await
}

pub async fn history(State(admin): State<Admin>) -> Response {
    answer(admin.conductor.history(DEFAULT_LIMIT).await.map(|history| json!({ "history": history })))
}

pub async fn findings(State(admin): State<Admin>) -> Response {
    Json(json!({ "findings": admin.conductor.findings.findings() })).into_response()
}

#[derive(Deserialize)]
pub struct SeriesQuery {
    #[serde(default)]
    since: u64,
}

/// What the dashboard draws: samples of the last quarter of an hour, after number `since`.
pub async fn series(State(admin): State<Admin>, Query(query): Query<SeriesQuery>) -> Response {
    let samples = admin.series.since(query.since);
    Json(json!({ "every_seconds": super::series::EVERY.as_secs(), "samples": samples })).into_response()
}

pub async fn route(State(admin): State<Admin>, Query(question): Query<RouteQuestion>) -> Response {
    Json(admin.conductor.route_for(&question)).into_response()
}

#[derive(Deserialize)]
pub struct BarrierQuery {
    timeout: Option<String>,
}

pub async fn barrier(State(admin): State<Admin>, Query(query): Query<BarrierQuery>) -> Response {
    let timeout = match query.timeout.as_deref().map(crate::config::parse_duration).transpose() {
        Ok(timeout) => timeout.unwrap_or(DEFAULT_BARRIER).min(MAX_BARRIER),
        Err(error) => return problem(StatusCode::BAD_REQUEST, "the timeout cannot be read", error),
    };
    match admin.conductor.link.barrier(timeout).await {
        Ok(()) => Json(json!({ "reached": true })).into_response(),
        Err(error @ LinkError::NoLink(_)) => problem(StatusCode::CONFLICT, "there is nothing to wait for", error),
        Err(error) => problem(StatusCode::GATEWAY_TIMEOUT, "the secondary does not have everything yet", error),
    }
}

/// As SIGHUP.
pub async fn reload(State(admin): State<Admin>) -> Response {
    match admin.conductor.reload() {
        Ok(reloaded) => Json(json!(reloaded)).into_response(),
        Err(error) => problem(StatusCode::CONFLICT, "the configuration was not reloaded", error),
    }
}

pub async fn order_link(State(admin): State<Admin>, Path(order): Path<String>) -> Response {
    let link = &admin.conductor.link;
    let done = match order.as_str() {
        "pause" => link.pause().await,
        "resume" => link.resume().await,
        "detach" => link.detach("by the operator").await,
        _ => return not_found().await,
    };
    match done {
        Ok(()) => Json(json!({ "link": admin.conductor.status().link })).into_response(),
        Err(error) => problem(StatusCode::CONFLICT, "the link cannot do that now", error),
    }
}

pub async fn parked(State(admin): State<Admin>) -> Response {
    answer(admin.conductor.parked(DEFAULT_LIMIT).await.map(|parked| json!({ "parked": parked })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParkedOrder {
    action: ParkedAction,
    #[serde(default)]
    ids: Vec<i64>,
    by: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ParkedAction {
    Retry,
    Discard,
}

pub async fn order_parked(State(admin): State<Admin>, body: String) -> Response {
    let order: ParkedOrder = match serde_json::from_str(&body) {
        Ok(order) => order,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "the order cannot be read", error),
    };
    let link = &admin.conductor.link;
    let done = match order.action {
        ParkedAction::Retry => link.retry_parked(&order.ids).await,
        ParkedAction::Discard => link.discard_parked(&order.ids, order.by.as_deref().unwrap_or("unknown")).await,
    };
    answer(done.map(|entries| json!({ "entries": entries })).map_err(Trouble::from))
}
