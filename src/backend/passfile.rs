//! libpq's password file: `host:port:database:user:password` a line, `*` for any, `\` before a `:` or `\` that is meant.

use std::path::Path;

/// Whom a password is looked up for.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    pub host: &'a str,
    pub port: u16,
    pub database: &'a str,
    pub user: &'a str,
}

/// The password of the first line that matches, if any. Errors say which file could not be read, never what it holds.
pub fn look_up(path: &Path, login: Login<'_>) -> Result<Option<String>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("could not read passfile \"{}\": {}", path.display(), e.kind()))?;
    Ok(text.lines().find_map(|line| password_in(line, login)))
}

fn password_in(line: &str, login: Login<'_>) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let fields = split(line);
    let [host, port, database, user, password] = fields.as_slice() else { return None };
    let port_text = login.port.to_string();
    let wanted = [(host, login.host), (port, &port_text), (database, login.database), (user, login.user)];
    wanted.iter().all(|(field, value)| *field == "*" || *field == value).then(|| password.clone())
}

/// The first four fields end at a bare colon; the password is the rest of the line.
fn split(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let next = match c {
            '\\' => chars.next(),
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                None
            }
            c => Some(c),
        };
        if let (Some(c), Some(field)) = (next, fields.last_mut()) {
            field.push(c);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: Login<'static> = Login { host: "db", port: 5432, database: "app", user: "pgduet" };

    #[test]
    fn the_first_line_that_matches_counts() {
        let lines = ["# db:5432:app:pgduet:no", "db:5433:app:pgduet:other", "*:*:app:pgduet:right", "*:*:*:*:late"];
        let found = lines.iter().find_map(|line| password_in(line, LOGIN));
        assert_eq!(found.as_deref(), Some("right"));
    }

    #[test]
    fn colons_and_backslashes_may_be_escaped() {
        assert_eq!(password_in(r"db:5432:app:pgduet:a\:b\\c", LOGIN).as_deref(), Some(r"a:b\c"));
        assert_eq!(password_in("db:5432:app:pgduet", LOGIN), None);
    }
}
