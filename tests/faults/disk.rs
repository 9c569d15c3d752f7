//! `new` takes no more: its disk is full, or it refuses rows.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::rig::Rig;

#[test]
fn rows_that_new_refuses_are_parked_and_come_by_a_retry() {
    let mut rig = Rig::start("");
    let load_rows = "INSERT INTO tickets (id, note) SELECT i, CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END FROM generate_series(1, 10) i";
    rig.duo.new.sql("app", "ALTER TABLE tickets ADD CONSTRAINT no_evens CHECK (note <> 'even')").expect("a constraint");
    rig.duo.sql(load_rows);
    rig.duo.barrier();
    assert_eq!(rig.duo.count("/link/parked_total"), 5);
    assert_eq!(rig.duo.new.sql("app", "SELECT count(*) FROM tickets").expect("a count"), "5", "the others went on");
    rig.duo.new.sql("app", "ALTER TABLE tickets DROP CONSTRAINT no_evens").expect("no constraint");
    rig.duo.admin().policy(serde_json::json!({ "ack": "primary" })).expect("the policy");
    let answer = rig.duo.admin().call("POST", "/api/parked", r#"{"action": "retry"}"#).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    rig.duo.expect_equal();
    rig.duo.eventually("nothing is parked", Duration::from_secs(10), || rig.duo.count("/link/parked_total") == 0);
    rig.faults += 1;
}

/// A file system of a few megabytes holds the table on `new`. Needs the right to mount one; says so where it is missing.
#[test]
fn a_full_disk_on_new_delays_and_loses_nothing() {
    let mut rig = Rig::start("");
    let Some(small) = SmallDisk::mount(&rig) else {
        println!("skipped: this user may not mount a small file system");
        return;
    };
    rig.duo.new.sql("app", &format!("CREATE TABLESPACE small LOCATION '{}'", small.path)).expect("a tablespace");
    rig.duo
        .new
        .sql("app", "ALTER TABLE events SET TABLESPACE small; ALTER TABLE tickets SET TABLESPACE small")
        .expect("moved");
    rig.round("the disk of new is full", |rig, load| {
        small.fill();
        rig.duo.eventually("new is out of space", Duration::from_secs(60), || {
            rig.duo.new.log_tail().contains("No space left on device")
        });
        rig.progress(load, 100);
        small.free();
    });
}

/// A mounted file system of six megabytes, with a directory in it that belongs to the servers' user.
struct SmallDisk {
    home: tempfile::TempDir,
    path: String,
}

impl SmallDisk {
    fn mount(rig: &Rig) -> Option<SmallDisk> {
        let home = tempfile::tempdir().ok()?;
        let mounted = shell(home.path(), r#"chmod 755 "$1" && mount -t tmpfs -o size=6m,mode=0755 none "$1""#);
        let path = home.path().join("space");
        let disk = mounted.then(|| SmallDisk { home, path: path.to_string_lossy().into_owned() })?;
        std::fs::create_dir(&disk.path).ok()?;
        rig.duo.binaries.give(Path::new(&disk.path)).ok()?;
        Some(disk)
    }

    /// Leaves nothing for the server.
    fn fill(&self) {
        shell(self.home.path(), r#"cat /dev/zero > "$1/ballast""#);
    }

    fn free(&self) {
        assert!(shell(self.home.path(), r#"rm "$1/ballast""#), "the ballast goes");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        shell(self.home.path(), r#"umount -l "$1""#);
    }
}

/// Runs a command with the directory as `$1`.
fn shell(directory: &Path, command: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).arg("sh").arg(directory).stdin(Stdio::null()).stderr(Stdio::null());
    shell.status().is_ok_and(|status| status.success())
}
