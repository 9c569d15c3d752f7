//! The configuration as it counts: the reference's defaults with the file's values over them, key by key, and no secret.

use serde_json::{Map, Value};

/// Every key with its default.
const REFERENCE: &str = include_str!("../../proxy.yaml");
const HIDDEN: &str = "***";

/// Each key's path and value, in the reference's order. `source`: the file's text, as it stands: what `${NAME}` means is not looked up.
pub fn effective(source: &str) -> Vec<(String, String)> {
    let read = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap_or(Value::Null);
    let mut value = read(REFERENCE);
    lay_over(&mut value, read(source));
    let mut lines = vec![];
    flatten("", &value, &mut lines);
    lines
}

fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (_, Value::Null) => {}
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, lines);
            }
        }
        value => {
            let key = path.rsplit('.').next().unwrap_or_default();
            lines.push((path.to_owned(), text(&hidden(key, value.clone()))));
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Passwords in URLs, verifiers, and what goes to a webhook are not for showing.
fn hidden(key: &str, value: Value) -> Value {
    match value {
        Value::String(_) if matches!(key, "verifier" | "password" | "token" | "secret") => HIDDEN.into(),
        Value::String(url) if url.contains("://") => without_password(&url).into(),
        Value::Array(items) => items.into_iter().map(|item| hidden(key, item)).collect(),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(key, value)| (key.clone(), hidden(&key, value))).collect::<Map<_, _>>(),
        ),
        other => other,
    }
}

fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((login, host)) if login.contains(':') => {
            format!("{}:{HIDDEN}@{host}", login.split(':').next().unwrap_or_default())
        }
        _ => authority.to_owned(),
    };
    let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
    let shown = |pair: &str| match pair.split_once('=') {
        Some((name @ ("password" | "sslpassword"), _)) => format!("{name}={HIDDEN}"),
        _ => pair.to_owned(),
    };
    let query = query.map(|q| format!("?{}", q.split('&').map(shown).collect::<Vec<_>>().join("&")));
    format!("{scheme}://{authority}{path}{}", query.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(lines: &'a [(String, String)], key: &str) -> &'a str {
        lines.iter().find(|(path, _)| path == key).map_or("absent", |(_, value)| value.as_str())
    }

    #[test]
    fn the_files_values_stand_over_the_defaults() {
        let lines = effective("mirror: { ack: primary }\nreads: { key: [comment] }");
        assert_eq!(value(&lines, "mirror.ack"), "primary");
        assert_eq!(value(&lines, "mirror.ack_timeout"), "5s");
        assert_eq!(value(&lines, "reads.key"), "[\"comment\"]");
        assert_eq!(value(&lines, "admin.listen"), "127.0.0.1:6441");
        assert!(lines.len() > 40, "{} keys", lines.len());
    }

    #[test]
    fn no_secret_is_shown() {
        let lines = effective(
            "backends: { old: { url: \"postgres://u:geheim@h:1/app?password=geheim&sslmode=require\" } }\n\
             clients: { users: [{ name: app, verifier: \"SCRAM-geheim\" }, { name: b, password_file: /run/b }] }",
        );
        assert_eq!(value(&lines, "backends.old.url"), "postgres://u:***@h:1/app?password=***&sslmode=require");
        let users = value(&lines, "clients.users");
        assert!(users.contains("/run/b") && users.contains("***"), "{users}");
        assert!(!format!("{lines:?}").contains("geheim"));
    }
}
