//! The command line, against a running proxy: what it prints, what it changes, and what it exits with.

use std::process::{Command, Output, Stdio};

use pgduet::demo::process::wait_for;
use serde_json::Value;

use crate::support::{Duo, PROGRAM};

fn pgduet(duo: &Duo, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("PGDUET_ADMIN", format!("http://{}", duo.admin().address)).env("USER", "ada");
    said(&command.stdin(Stdio::null()).output().expect("pgduet"))
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn well(duo: &Duo, arguments: &[&str]) -> String {
    let (code, shown, complaints) = pgduet(duo, arguments);
    assert_eq!((code, complaints.as_str()), (0, ""), "{arguments:?}");
    shown
}

#[test]
fn a_migration_is_watched_and_moved_from_the_shell() {
    let duo = Duo::start_with("CREATE TABLE note (id integer PRIMARY KEY)", "shadow: { sample_percent: 100 }");
    assert!(well(&duo, &["status"]).contains("phase      old_only (primary old, epoch 0)"));
    let (code, _, complaints) = pgduet(&duo, &["ramp", "--to", "5", "--every", "0s"]);
    assert!(code == 1 && complaints.contains("the link is stopped"), "{complaints}");
    let dry = well(&duo, &["phase", "dual_write", "--dry-run"]);
    assert!(dry.contains("backends_prepared") && duo.status()["phase"] == "old_only", "{dry}");
    assert!(well(&duo, &["phase", "dual_write"]).contains("dual_write"));
    let (code, _, complaints) = pgduet(&duo, &["phase", "new_only"]);
    assert!(code == 1 && complaints.contains("a gate does not hold\n  phase_order"), "{complaints}");
    let shown = well(&duo, &["ramp", "--to", "12", "--step", "5", "--every", "0s"]);
    let expected = "set: 5 % of the keys are read from new\nset: 10 % of the keys are read from new\n\
                    set: 12 % of the keys are read from new\nreached: 12 % of the keys are read from new\n";
    assert_eq!(shown, expected);
    let status = well(&duo, &["status"]);
    assert!(status.contains("12 % of the keys") && status.contains("nothing needs a look"), "{status}");
    assert!(well(&duo, &["history"]).contains("ada (ramp to 12 %)"));
    assert!(well(&duo, &["tables"]).contains("assumed"));
    assert_eq!(well(&duo, &["findings"]), "no read was answered differently\n");
    assert_eq!(well(&duo, &["parked"]), "nothing is parked\n");
    assert_eq!(well(&duo, &["parked", "retry"]), "0 entries put back into the journal\n");
    assert!(well(&duo, &["route", "SELECT * FROM note", "--key", "42"]).contains("bucket"));
    assert!(well(&duo, &["link", "pause"]).contains("state"));
    duo.eventually("the link is held", std::time::Duration::from_secs(10), || well(&duo, &["link"]).contains("paused"));
    let (code, _, complaints) = pgduet(&duo, &["ramp", "--to", "50", "--every", "0s", "--back-on-stop"]);
    assert!(code == 1 && complaints.contains("the link is paused"), "{complaints}");
    assert_eq!(duo.status()["read_percent"], 0.0, "it was to go back where it is stopped");
    well(&duo, &["link", "resume"]);
    for arguments in [["status"], ["findings"], ["tables"], ["link"], ["parked"], ["history"], ["phase"]] {
        let shown = well(&duo, &[arguments[0], "--output", "json"]);
        assert!(serde_json::from_str::<Value>(&shown).is_ok(), "{arguments:?}: {shown}");
    }
}

#[test]
fn a_ramp_stops_where_reads_are_answered_differently() {
    let schema = "CREATE TABLE note (id integer PRIMARY KEY, n integer); INSERT INTO note VALUES (1, 1)";
    let duo = Duo::start_with(schema, "shadow: { sample_percent: 100 }");
    duo.dual_write();
    duo.new.sql("app", "UPDATE note SET n = 2").expect("an update");
    let mut ramp = Command::new(PROGRAM);
    ramp.args(["ramp", "--to", "100", "--step", "1", "--every", "2s"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut ramp = ramp.env("PGDUET_ADMIN", format!("http://{}", duo.admin().address)).spawn().expect("pgduet");
    duo.eventually("the ramp has begun", std::time::Duration::from_secs(20), || duo.status()["read_percent"] != 0.0);
    duo.sql("SELECT n FROM note WHERE id = 1");
    let ended = wait_for(std::time::Duration::from_secs(20), || ramp.try_wait().ok().flatten());
    let (code, _, complaints) = said(&ramp.wait_with_output().expect("its words"));
    assert!(ended.is_some() && code == 1 && complaints.contains("answered differently"), "{complaints}");
    assert!(duo.status()["read_percent"].as_f64().is_some_and(|percent| percent < 20.0));
}

#[test]
fn what_is_not_there_is_an_exit_code_and_a_sentence() {
    let run = |arguments: &[&str]| said(&Command::new(PROGRAM).args(arguments).output().expect("pgduet"));
    let (code, _, complaints) = run(&["status", "--admin", "http://127.0.0.1:1"]);
    assert!(code == 1 && complaints.contains("is the proxy running?"), "{complaints}");
    let (code, _, _) = run(&["phase", "nowhere"]);
    assert_eq!(code, 2);
    let (code, _, complaints) = run(&["serve", "--config", "/nowhere/proxy.yaml"]);
    assert!(code == 2 && complaints.contains("/nowhere/proxy.yaml"), "{complaints}");
    let (code, help, _) = run(&["--help"]);
    assert!(code == 0 && help.contains("Exit codes:"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        let (code, completions, _) = run(&["completions", shell]);
        assert!(code == 0 && completions.contains("pgduet") && completions.contains("ramp"), "{shell}");
    }
    let (code, page, _) = run(&["man"]);
    assert!(code == 0 && page.contains(".TH pgduet 1"), "{page}");
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(run(&["man", "--directory", &directory.path().display().to_string()]).0, 0);
    assert!(directory.path().join("pgduet-ramp.1").is_file());
}

#[test]
fn the_configuration_is_shown_without_secrets() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let yaml = "backends: { old: { url: \"postgres://u:geheim@h/app\" } }\nmirror: { ack: primary }\n";
    std::io::Write::write_all(&mut file, yaml.as_bytes()).expect("a configuration");
    let path = file.path().display().to_string();
    let (code, shown, _) = said(&Command::new(PROGRAM).args(["config", "--config", &path]).output().expect("pgduet"));
    assert_eq!(code, 0);
    assert!(
        shown.contains("mirror.ack: primary\n") && shown.contains("backends.old.url: postgres://u:***@h/app\n"),
        "{shown}"
    );
    assert!(!shown.contains("geheim"));
}
