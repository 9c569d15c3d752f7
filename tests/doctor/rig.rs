//! Two servers without a proxy, and the doctor's answers.

use std::path::Path;
use std::process::Command;

use pgduet::demo::binaries::Binaries;
use pgduet::demo::cluster::{Cluster, Options};
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use crate::support::{Duo, PROGRAM, fail};

pub struct Patients {
    pub old: Cluster,
    pub new: Cluster,
    config: tempfile::NamedTempFile,
}

/// What it answered, and with what exit code.
pub struct Said {
    pub code: i32,
    pub report: Value,
}

/// Asks with `--output json`.
pub fn doctor(config: &Path, more: &[&str]) -> Said {
    let mut command = Command::new(PROGRAM);
    command.args(["doctor", "--output", "json", "--config"]).arg(config).args(more);
    said(&mut command)
}

/// Asks the proxy.
pub fn doctor_of(duo: &Duo) -> Said {
    let admin = format!("http://{}", duo.admin().address);
    said(Command::new(PROGRAM).args(["doctor", "--output", "json", "--admin", &admin]))
}

fn said(command: &mut Command) -> Said {
    let output = command.output().expect("pgduet");
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    Said { code: output.status.code().unwrap_or(-1), report }
}

impl Patients {
    pub fn start(settings: &str) -> Patients {
        Patients::start_as("pgduet", settings)
    }

    /// `role`: pgduet's own. Nothing happens on the servers of its own accord.
    pub fn start_as(role: &str, settings: &str) -> Patients {
        let binaries = Binaries::find().unwrap_or_else(fail("PostgreSQL"));
        let start = |name, connections: &str| {
            let more = ["autovacuum=off", "wal_level=logical", "max_prepared_transactions=5", connections];
            let options = Options { settings: more.map(str::to_owned).to_vec(), ..Options::quick(name) };
            Cluster::start(&binaries, options).unwrap_or_else(fail("a server"))
        };
        // The one test that looks for it plants it by the server's start.
        let few = if settings.is_empty() { "max_connections=300" } else { "max_connections=90" };
        let old = start("old", "max_connections=300");
        let new = start("new", few);
        if !settings.is_empty() {
            old.sql("app", "ALTER DATABASE app SET idle_session_timeout = '1h'").expect("a setting");
        }
        let config = tempfile::NamedTempFile::new().expect("a file");
        let url = |cluster: &Cluster| cluster.url(role, "app");
        let yaml = format!(
            "backends:\n  old: {{ url: \"{}\" }}\n  new: {{ url: \"{}\" }}\nclients: {{ auth: trust }}\n{settings}\n",
            url(&old),
            url(&new)
        );
        std::fs::write(config.path(), yaml).expect("a configuration");
        Patients { old, new, config }
    }

    pub fn ask(&self) -> Said {
        doctor(self.config.path(), &[])
    }

    pub fn text(&self) -> (i32, String) {
        let output = Command::new(PROGRAM).args(["doctor", "--config"]).arg(self.config.path()).output();
        let output = output.expect("pgduet");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub fn leave_a_prepared_transaction(&self) {
        let sql = "BEGIN; INSERT INTO nokey VALUES (1); PREPARE TRANSACTION 'left over'";
        self.old.sql("app", sql).expect("a prepared transaction");
    }

    /// A session that has a transaction open for as long as it is kept.
    pub async fn sleep_in_a_transaction(&self) -> Client {
        let (client, connection) =
            tokio_postgres::connect(&self.old.url("app", "app"), NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client.batch_execute("BEGIN; SELECT 1").await.expect("a transaction");
        client
    }
}

impl Said {
    fn remarks(&self) -> impl Iterator<Item = &Value> {
        let sections = self.report["sections"].as_array().into_iter().flatten();
        sections.flat_map(|section| section["remarks"].as_array().into_iter().flatten())
    }

    /// How much the remark weighs whose object begins so.
    pub fn severity(&self, name: &str, object: &str) -> Option<String> {
        let is_it = |r: &&Value| r["name"] == name && r["object"].as_str().is_some_and(|o| o.starts_with(object));
        self.remarks().find(is_it).and_then(|r| r["severity"].as_str()).map(str::to_owned)
    }

    /// How a table is captured, and what is captured of it.
    pub fn table(&self, name: &str) -> (String, String) {
        let line = self.report["tables"].as_array().into_iter().flatten().find(|line| line["table"] == name);
        let line = line.unwrap_or_else(|| panic!("{name} is not in {}", self.report["tables"]));
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        (text("capture"), text("how"))
    }

    /// Name, object, side and statement of all that has one.
    pub fn with_sql(&self) -> Vec<(String, String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = self.remarks().filter(|r| r["sql"].is_string());
        all.map(|r| (text(&r["name"]), text(&r["object"]), text(&r["side"]), text(&r["sql"]))).collect()
    }
}
