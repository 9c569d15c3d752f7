//! The document at `/api/openapi.json` is what the handlers do: every call that it names is made, and each answer held against its schema; and
//! every route of the router is in it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::Duo;

/// Calls with which each documented operation answers with one of its documented answers. `{}`: no body.
fn calls() -> Vec<(&'static str, &'static str, &'static str, Value, u16)> {
    vec![
        ("get", "/healthz", "", json!(null), 200),
        ("get", "/readyz", "", json!(null), 200),
        ("get", "/metrics", "", json!(null), 200),
        ("get", "/api/openapi.json", "", json!(null), 200),
        ("get", "/api/status", "", json!(null), 200),
        ("get", "/api/policy", "", json!(null), 200),
        ("patch", "/api/policy", "", json!({ "read_percent": 5 }), 409),
        ("patch", "/api/policy", "", json!({ "read_percent": "many" }), 400),
        ("patch", "/api/policy", "", json!({ "unknown": 1 }), 400),
        ("patch", "/api/policy", "", json!({ "phase": "dual_write", "dry_run": true }), 200),
        ("post", "/api/barrier", "?timeout=1s", json!(null), 409),
        ("patch", "/api/policy", "", json!({ "phase": "dual_write", "by": "a test" }), 200),
        ("patch", "/api/policy", "", json!({ "phase": "new_only" }), 409),
        ("post", "/api/barrier", "?timeout=10s", json!(null), 200),
        ("post", "/api/barrier", "?timeout=soon", json!(null), 400),
        ("get", "/api/tables", "", json!(null), 200),
        ("get", "/api/doctor", "", json!(null), 200),
        ("get", "/api/instances", "", json!(null), 200),
        ("get", "/api/history", "", json!(null), 200),
        ("get", "/api/findings", "", json!(null), 200),
        ("get", "/api/statements", "?sort=p99&limit=10", json!(null), 200),
        ("get", "/api/series", "?since=0", json!(null), 200),
        ("get", "/api/route", "?sql=SELECT%201&key=42", json!(null), 200),
        ("post", "/api/reload", "", json!(null), 200),
        ("post", "/api/link/pause", "", json!(null), 200),
        ("post", "/api/barrier", "?timeout=100ms", json!(null), 504),
        ("post", "/api/link/resume", "", json!(null), 200),
        ("post", "/api/link/sing", "", json!(null), 404),
        ("get", "/api/parked", "", json!(null), 200),
        ("post", "/api/parked", "", json!({ "action": "retry" }), 200),
        ("post", "/api/parked", "", json!({ "action": "sing" }), 400),
    ]
}

#[test]
fn every_documented_call_answers_as_documented() {
    let duo =
        Duo::start_with("CREATE TABLE note (id integer PRIMARY KEY, body text)", "shadow: { sample_percent: 100 }");
    let document = duo.admin().get("/api/openapi.json").expect("the document");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut made = BTreeSet::new();
    for (method, path, query, body, expected) in calls() {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = duo.admin().call(&method.to_uppercase(), &format!("{path}{query}"), &body).expect(path);
        assert_eq!(answer.status, expected, "{method} {path}{query} {body}: {}", answer.body);
        let template = if path.starts_with("/api/link/") { "/api/link/{order}" } else { path };
        made.insert(format!("{method} {template}"));
        let documented = &document["paths"][template][method]["responses"][expected.to_string()];
        assert!(documented.is_object(), "{method} {template} answers {expected}, which is not documented");
        conforms(&document, documented, &answer.body, &format!("{method} {path} {expected}"));
        if (method, path, expected) == ("get", "/api/tables", 200) {
            // Something for the calls that follow to show.
            duo.sql("INSERT INTO note VALUES (1, 'x'); SELECT * FROM note");
        }
    }
    assert_eq!(made, operations(&document), "every documented operation is called by this test");
}

fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().expect("paths");
    let each = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().expect("methods").keys().map(move |method| format!("{method} {path}"))
    });
    each.collect()
}

/// The body is as one of the documented content types has it.
fn conforms(document: &Value, response: &Value, body: &str, call: &str) {
    let content = response["content"].as_object().expect("content");
    let schemas: Vec<&Value> = content.values().map(|c| &c["schema"]).collect();
    let value = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
    let problems: Vec<Vec<String>> = schemas.iter().map(|schema| faults(document, schema, &value, "$")).collect();
    assert!(problems.iter().any(Vec::is_empty), "{call}: {problems:#?}\n{body}");
}

/// As much of JSON Schema as the document uses. Fields that are not documented are faults too.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        return faults(document, document.pointer(name.trim_start_matches('#')).expect(name), value, at);
    }
    let mut found = vec![];
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(some) => some.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    if !types.is_empty() && !types.iter().any(|kind| is_of(value, kind)) {
        found.push(format!("{at} is {value}, not {types:?}"));
    }
    if let Some(valid) = schema["enum"].as_array()
        && !valid.contains(value)
    {
        found.push(format!("{at} is {value}, none of {valid:?}"));
    }
    if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
        found.extend(items.iter().flat_map(|item| faults(document, schema, item, &format!("{at}[]"))));
    }
    if let (Some(fields), Some(properties)) = (value.as_object(), schema["properties"].as_object()) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                found.push(format!("{at}.{name} is missing"));
            }
        }
        for (name, field) in fields {
            match properties.get(name) {
                Some(schema) => found.extend(faults(document, schema, field, &format!("{at}.{name}"))),
                None => found.push(format!("{at}.{name} is not documented")),
            }
        }
    }
    found
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("the document uses the type {other}"),
    }
}

/// The page's own files are no calls.
const PAGE: [&str; 4] = ["get /", "get /app.css", "get /app.js", "get /icon.svg"];

#[test]
fn every_route_is_documented() {
    let document: Value = serde_json::from_str(include_str!("../../src/admin/openapi.json")).expect("the document");
    let router = include_str!("../../src/admin/mod.rs");
    let routes: BTreeSet<String> = router.split(".route(").skip(1).flat_map(methods).collect();
    let documented: BTreeSet<String> = operations(&document).into_iter().chain(PAGE.map(str::to_owned)).collect();
    assert_eq!(routes, documented);
}

/// Out of `"/api/policy", patch(api::change_policy).get(api::policy))`.
fn methods(route: &str) -> Vec<String> {
    let route = route.split("\n").next().unwrap_or_default();
    let path = route.split('"').nth(1).unwrap_or_default();
    let known = ["get", "post", "patch", "delete", "put"];
    known.iter().filter(|m| route.contains(&format!("{m}("))).map(|method| format!("{method} {path}")).collect()
}
