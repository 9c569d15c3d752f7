//! The table of statements.

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use crate::shadow::Sort;

/// Rows of an answer, unless the caller asks for another number.
const DEFAULT_LIMIT: usize = 1000;

#[derive(Deserialize)]
#[serde(default)]
pub struct StatementsQuery {
    sort: Sort,
    limit: usize,
}

impl Default for StatementsQuery {
    fn default() -> Self {
        StatementsQuery { sort: Sort::default(), limit: DEFAULT_LIMIT }
    }
}

pub async fn statements(State(admin): State<Admin>, Query(query): Query<StatementsQuery>) -> Response {
    let statements = admin.conductor.findings.statements(query.sort, query.limit);
    Json(json!({ "statements": statements })).into_response()
}
