//! What is printed for people: the status on one screen, and tables.

use serde_json::Value;

use super::client::text;

/// Columns of a table: the heading, and the path of the value in a row.
pub type Columns = &'static [(&'static str, &'static str)];

/// A cell is cut at this width: a statement must not push everything else from the screen.
const WIDEST: usize = 60;

/// Lines under headings, each column as wide as it has to be. `empty`: what is said where there are no rows.
pub fn table(columns: Columns, rows: &[Value], empty: &str) -> String {
    if rows.is_empty() {
        return format!("{empty}\n");
    }
    let heads = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let cells = rows.iter().map(|row| columns.iter().map(|(_, path)| cell(row.pointer(path))).collect());
    let lines: Vec<Vec<String>> = std::iter::once(heads).chain(cells).collect();
    let width = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let padded = |line: &Vec<String>| {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    lines.iter().map(padded).collect()
}

fn cell(value: Option<&Value>) -> String {
    let said = match value {
        Some(Value::Array(items)) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Some(Value::Number(n)) if n.is_f64() => format!("{:.2}", n.as_f64().unwrap_or_default()),
        Some(value) => text(value).replace(['\n', '\t'], " "),
        None => String::new(),
    };
    match said.chars().count() > WIDEST {
        true => said.chars().take(WIDEST - 1).chain(['…']).collect(),
        false => said,
    }
}

/// An integer with its thousands apart.
fn count(value: &Value) -> String {
    let digits = value.as_i64().unwrap_or_default().to_string();
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
    let mut apart = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            apart.push(',');
        }
        apart.push(digit);
    }
    format!("{sign}{apart}")
}

fn line(name: &str, said: &str) -> String {
    format!("{name:<10} {said}\n")
}

/// `GET /api/status` on one screen.
pub fn status(status: &Value) -> String {
    let (link, reads, shadow) = (&status["link"], &status["reads"], &status["shadow"]);
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let all = number(&reads["old_total"]) + number(&reads["new_total"]);
    let share = if all == 0 {
        String::new()
    } else {
        format!(" ({:.1} %)", number(&reads["new_total"]) as f64 * 100.0 / all as f64)
    };
    let reason = match text(&link["reason"]).as_str() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    let counts = |from: &Value, names: &[(&str, &str)], join: &str| {
        names.iter().map(|(name, key)| format!("{name} {}", count(&from[*key]))).collect::<Vec<_>>().join(join)
    };
    let carried = [
        ("applied", "applied_total"),
        ("superseded", "superseded_total"),
        ("queued", "queued"),
        ("parked", "parked_total"),
        ("discarded", "discarded_total"),
    ];
    let outcomes = [
        ("matched", "matched_total"),
        ("mismatched", "mismatched_total"),
        ("raced", "raced_total"),
        ("dropped", "dropped_total"),
    ];
    let mut screen = String::new();
    screen += &line(
        "phase",
        &format!("{} (primary {}, epoch {})", text(&status["phase"]), text(&status["primary"]), status["epoch"]),
    );
    screen += &line(
        "reads",
        &format!("{} % of the keys are read from new", status["read_percent"].as_f64().unwrap_or_default()),
    );
    screen += &line(
        "",
        &format!(
            "old {}, new {}{share}, kept for freshness {}, fallen back {}",
            count(&reads["old_total"]),
            count(&reads["new_total"]),
            count(&reads["stale_total"]),
            count(&reads["fallback_total"])
        ),
    );
    screen += &line(
        "link",
        &format!(
            "{}{reason}, {} entries and {:.1} s behind, ack {}",
            text(&link["state"]),
            count(&link["lag_entries"]),
            link["lag_seconds"].as_f64().unwrap_or_default(),
            text(&status["ack"])
        ),
    );
    screen +=
        &line("touches", &format!("captured {} = {}", count(&link["captured_total"]), counts(link, &carried, " + ")));
    screen +=
        &line("shadow", &format!("compared {}: {}", count(&shadow["compared_total"]), counts(shadow, &outcomes, ", ")));
    screen += &line("clients", &count(&status["clients"]));
    let attention = attention(status);
    let said =
        if attention.is_empty() { "nothing needs a look".to_owned() } else { attention.join(&format!("\n{:11}", "")) };
    screen + &line("attention", &said)
}

/// What needs somebody.
pub fn attention(status: &Value) -> Vec<String> {
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let state = text(&status["link"]["state"]);
    let carried = ["dual_write", "new_primary"].contains(&text(&status["phase"]).as_str());
    let mut found = vec![];
    if carried && state != "running" {
        found.push(format!("the link is {state}"));
    }
    if !status["reads"]["withdrawn"].is_null() {
        found.push(format!("reads are withdrawn from the secondary: {}", text(&status["reads"]["withdrawn"])));
    }
    for (pointer, what) in [
        ("/shadow/mismatched_total", "reads were answered differently: pgduet findings"),
        ("/link/parked_total", "entries are parked: pgduet parked"),
        ("/uncaptured_total", "writes were not captured: pgduet status --output json names them"),
    ] {
        match number(pointer) {
            0 => {}
            n => found.push(format!("{n} {what}")),
        }
    }
    let bypassed = status["bypassed"].as_array().into_iter().flatten();
    found.extend(bypassed.map(|table| format!("somebody writes to {} without the proxy", text(&table["table"]))));
    let alerts = status["alerts"].as_array().into_iter().flatten();
    found.extend(
        alerts.map(|alert| format!("alert {}: {} over {}", text(&alert["name"]), alert["value"], alert["threshold"])),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_are_as_wide_as_they_have_to_be() {
        let rows = [json!({ "a": "x", "b": [1, 2] }), json!({ "a": "longer", "b": null })];
        assert_eq!(table(&[("name", "/a"), ("list", "/b")], &rows, "none"), "name    list\nx       1, 2\nlonger\n");
        assert_eq!(table(&[], &[], "none"), "none\n");
        assert_eq!(cell(Some(&json!("é".repeat(99)))).chars().count(), WIDEST);
    }

    #[test]
    fn one_screen_says_what_needs_a_look() {
        let shown = json!({
            "phase": "dual_write", "primary": "old", "epoch": 3, "read_percent": 25.0, "ack": "both", "clients": 12,
            "link": { "state": "retrying", "reason": "refused", "lag_entries": 1234567, "lag_seconds": 2.5, "captured_total": 9 },
            "reads": { "old_total": 3, "new_total": 1, "withdrawn": "down" }, "shadow": { "mismatched_total": 2 },
        });
        let screen = status(&shown);
        assert!(screen.contains("new 1 (25.0 %)") && screen.contains("1,234,567 entries and 2.5 s behind"), "{screen}");
        assert_eq!(attention(&shown).len(), 3, "{screen}");
        assert!(screen.lines().all(|line| line.len() < 120), "{screen}");
        assert_eq!(count(&json!(-1000)), "-1,000");
    }
}
