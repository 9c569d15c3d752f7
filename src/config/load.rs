//! Reading the configuration file: every complaint names the file, the line and the key.

use std::net::SocketAddr;
use std::path::Path;

use super::{ClientAuth, ClientCertificate, Clients, Config, KeySource, Phase, TlsMode, TlsNeed, User};

/// Why there is no configuration. Its text is all that an operator needs to mend it.
#[derive(Debug, thiserror::Error)]
#[error("{file}{}: {problem}", .line.map(|l| format!(":{l}")).unwrap_or_default())]
pub struct ConfigError {
    pub file: String,
    pub line: Option<u64>,
    pub problem: String,
}

impl Config {
    /// # Errors
    /// When the file cannot be read, or [`Config::parse`] refuses it.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Config::parse(&text, &file).map(|config| Config { source: text, ..config }),
            Err(error) => Err(ConfigError { file, line: None, problem: format!("cannot be read: {error}") }),
        }
    }

    /// `${NAME}` is taken from the environment. Unknown keys and bad values are errors.
    ///
    /// # Errors
    /// Names the line, the key and what would be valid.
    pub fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
        let error = |line: Option<u64>, problem: String| ConfigError { file: file.to_owned(), line, problem };
        let text =
            expand(text, |name| std::env::var(name).ok()).map_err(|(line, problem)| error(Some(line), problem))?;
        let config: Config = match text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
            true => Config::default(),
            false => serde_saphyr::from_str(&text).map_err(|e| {
                let line = e.location().map(|l| l.line());
                let path = line.map(|l| key_path(&text, l)).filter(|p| !p.is_empty());
                let problem = short(&e.to_string());
                error(line, path.map_or(problem.clone(), |path| format!("{path}: {problem}")))
            })?,
        };
        match config.check() {
            None => Ok(config),
            Some((path, problem)) => Err(error(line_of(&text, path), format!("{path}: {problem}"))),
        }
    }

    /// What no single value shows: the key, and what is wrong.
    fn check(&self) -> Option<(&'static str, String)> {
        let beyond = |address: SocketAddr| !address.ip().is_loopback();
        let urls = [("backends.old.url", &self.backends.old.url), ("backends.new.url", &self.backends.new.url)];
        let checks = [
            (beyond(self.listen) && self.clients.auth == ClientAuth::Trust).then(|| {
                ("clients.auth", "trust is for loopback only; use scram-sha-256, or listen on 127.0.0.1".to_owned())
            }),
            (beyond(self.admin.listen) && self.admin.token_file.is_none())
                .then(|| ("admin.token_file", "required where admin.listen is not loopback".to_owned())),
            (self.listen == self.admin.listen && self.listen.port() != 0)
                .then(|| ("admin.listen", "the same address as listen".to_owned())),
            (self.admin.max_connections == 0).then(|| ("admin.max_connections", "at least 1".to_owned())),
            self.admin.request_timeout.is_zero().then(|| ("admin.request_timeout", "must be more than 0s".to_owned())),
            (self.workers == 0).then(|| ("workers", "at least 1".to_owned())),
            (self.clients.max_connections == 0).then(|| ("clients.max_connections", "at least 1".to_owned())),
            (self.clients.reserved_connections >= self.clients.max_connections)
                .then(|| ("clients.reserved_connections", "must be less than clients.max_connections".to_owned())),
            (!self.tcp.keepalive.is_zero() && (self.tcp.keepalive_interval.is_zero() || self.tcp.keepalive_count == 0))
                .then(|| {
                    ("tcp.keepalive", "needs a keepalive_interval and a keepalive_count of more than 0".to_owned())
                }),
            self.timeouts.connect.is_zero().then(|| ("timeouts.connect", "must be more than 0s".to_owned())),
            self.timeouts.startup.is_zero().then(|| ("timeouts.startup", "must be more than 0s".to_owned())),
            self.mirror.ack_timeout.is_zero().then(|| ("mirror.ack_timeout", "must be more than 0s".to_owned())),
            (self.link.chunk == 0).then(|| ("link.chunk", "at least 1".to_owned())),
            (!matches!(self.phase, Phase::OldOnly | Phase::DualWrite))
                .then(|| ("phase", "a first start is in old_only or dual_write".to_owned())),
            (self.reads.key.is_empty()).then(|| ("reads.key", "names no source of keys".to_owned())),
            (self.reads.key.contains(&KeySource::Column) && self.reads.columns.is_empty())
                .then(|| ("reads.key", "column asks for reads.columns".to_owned())),
            self.reads.rules().problem().map(|problem| ("reads.segments", problem)),
        ];
        let bad_url =
            urls.into_iter().find_map(|(path, url)| url.parse::<UrlShape>().err().map(|problem| (path, problem)));
        checks.into_iter().flatten().next().or(bad_url).or_else(|| self.clients.check()).or_else(|| self.traces.check())
    }
}

impl Clients {
    fn check(&self) -> Option<(&'static str, String)> {
        let secrets = |u: &User| {
            [u.password_file.is_some(), u.verifier.is_some(), u.verifier_file.is_some()].iter().filter(|b| **b).count()
        };
        let scram = self.auth == ClientAuth::ScramSha256;
        let (tls, on) = (&self.tls, self.tls.mode != TlsMode::Disable);
        let checks = [
            (scram && self.users.iter().any(|u| secrets(u) == 0)).then_some((
                "clients.users",
                "each user needs a password_file, a verifier or a verifier_file with scram-sha-256",
            )),
            (self.users.iter().any(|u| secrets(u) > 1))
                .then_some(("clients.users", "a user has one of password_file, verifier and verifier_file")),
            (on && tls.cert_file.is_none())
                .then_some(("clients.tls.cert_file", "required where clients.tls.mode is not disable")),
            (on && tls.key_file.is_none())
                .then_some(("clients.tls.key_file", "required where clients.tls.mode is not disable")),
            (tls.client_certificate != ClientCertificate::Optional && (!on || tls.ca_file.is_none())).then_some((
                "clients.tls.client_certificate",
                "verify-ca and verify-full need clients.tls.ca_file, and a mode that is not disable",
            )),
            (!on && self.allow.iter().any(|line| line.tls == TlsNeed::Required))
                .then_some(("clients.allow", "tls: required admits nobody while clients.tls.mode is disable")),
        ];
        checks.into_iter().flatten().next().map(|(path, problem)| (path, problem.to_owned()))
    }
}

/// As much of a URL as the configuration can judge without opening it.
struct UrlShape;

impl std::str::FromStr for UrlShape {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let rest = rest.ok_or("not a Postgres URL; valid: postgres://user@host:port/database")?;
        let path = rest.split_once('/').map(|(_, path)| path.split('?').next().unwrap_or(""));
        match path {
            Some(database) if !database.is_empty() => Ok(UrlShape),
            _ => Err("the URL names no database; valid: postgres://user@host:port/database".into()),
        }
    }
}

/// The message without the excerpt of the file that comes with it: the excerpt may hold a secret.
fn short(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let without_kind = first.strip_prefix("error: ").unwrap_or(first);
    match without_kind.split_once(": ") {
        Some((place, problem)) if place.starts_with("line ") => problem.to_owned(),
        _ => without_kind.to_owned(),
    }
}

/// Puts the environment's values in place of `${NAME}`. Comments are left alone.
fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, (u64, String)> {
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_start().starts_with('#') {
            out.push_str(line);
            continue;
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("${") {
            let line = number as u64 + 1;
            let (name, tail) = after.split_once('}').ok_or((line, "\"${\" without \"}\"".to_owned()))?;
            let value = variable(name).ok_or_else(|| (line, format!("the environment has no variable {name}")))?;
            out.push_str(before);
            out.push_str(&value);
            rest = tail;
        }
        out.push_str(rest);
    }
    Ok(out)
}

/// The key that a line of block-style YAML belongs to, `reads.percent`.
fn key_path(text: &str, line: u64) -> String {
    let lines: Vec<&str> = text.lines().take(line as usize).collect();
    let mut path: Vec<&str> = Vec::new();
    let mut below = usize::MAX;
    for line in lines.iter().rev() {
        let indent = line.len() - line.trim_start().len();
        let Some((key, _)) = line.trim_start().split_once(':') else { continue };
        if indent < below && !key.starts_with('#') {
            path.push(key.trim_start_matches("- ").trim());
            below = indent;
        }
        if below == 0 {
            break;
        }
    }
    path.reverse();
    path.join(".")
}

/// The line of a key in block style, as near as it can be found.
fn line_of(text: &str, path: &str) -> Option<u64> {
    let starts =
        |line: &str, key: &str| line.trim_start().strip_prefix(key).is_some_and(|r| r.trim_start().starts_with(':'));
    let mut found = None;
    let mut from = 0;
    for key in path.split('.') {
        let at = text.lines().enumerate().skip(from).find(|(_, line)| starts(line, key)).map(|(at, _)| at);
        let Some(at) = at else { break };
        found = Some(at as u64 + 1);
        from = at;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Config::parse(text, "proxy.yaml").unwrap_err().to_string()
    }

    #[test]
    fn complaints_name_line_key_and_what_is_valid() {
        assert_eq!(
            refused("reads:\n  percent: 120\n"),
            "proxy.yaml:2: reads.percent: 120 is no percentage; valid: 0 to 100 with at most two decimals"
        );
        assert!(refused("reads:\n  kye: []\n").starts_with("proxy.yaml:2: reads.kye: unknown field `kye`"));
        assert!(
            refused("mirror:\n  ack_timeout: 5\n")
                .starts_with("proxy.yaml:2: mirror.ack_timeout: \"5\" is no duration")
        );
        assert!(
            refused("clients: { auth: trust }\nlisten: 0.0.0.0:1\n")
                .starts_with("proxy.yaml:1: clients.auth: trust is for loopback")
        );
        assert!(
            refused("backends:\n  old: { url: \"${PGDUET_NO_SUCH}\" }\n")
                .contains("proxy.yaml:2: the environment has no variable")
        );
    }

    #[test]
    fn the_reference_file_says_exactly_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy.yaml");
        let loaded = Config::load(&path).unwrap();
        assert!(loaded.source.starts_with("# pgduet"));
        assert_eq!(Config { source: String::new(), ..loaded }, Config::default());
        assert_eq!(Config::parse("", "empty").unwrap(), Config::default());
    }
}
