//! The throw-away servers that everything else here stands on.

use pgduet::demo::binaries::Binaries;
use pgduet::demo::cluster::{Cluster, Options, Stop};

fn start(name: &'static str) -> Cluster {
    let binaries = Binaries::find().expect("PostgreSQL");
    Cluster::start(&binaries, Options::quick(name)).expect("a server")
}

#[test]
fn a_server_that_is_killed_starts_again_with_what_was_committed() {
    let mut cluster = start("old");
    cluster.sql("app", "CREATE TABLE t AS SELECT 42 AS a").expect("a table");
    for how in [Stop::Kill, Stop::Immediate, Stop::Fast] {
        cluster.stop(how);
        assert!(cluster.sql("app", "SELECT 1").is_err(), "a stopped server answers");
        cluster.start_again().expect("the server again");
        assert_eq!(cluster.sql("app", "SELECT a FROM t").expect("the row"), "42");
    }
}

#[test]
fn two_servers_are_two_systems() {
    let identity = "SELECT system_identifier FROM pg_control_system()";
    let (old, new) = (start("old"), start("new"));
    assert_ne!(old.port(), new.port());
    assert_ne!(old.sql("app", identity).expect("old"), new.sql("app", identity).expect("new"));
}

/// Shared memory outlives processes and directories; when a machine has no more of it, no server starts there.
#[test]
fn nothing_is_left_of_a_dropped_server() {
    let before_its_end: [fn(&mut Cluster); 3] =
        [|_| (), |cluster| cluster.freeze(), |cluster| cluster.stop(Stop::Kill)];
    for act in before_its_end {
        let mut cluster = start("old");
        let directory = cluster.sql("app", "SHOW data_directory").expect("a directory");
        let file = std::fs::read_to_string(format!("{directory}/postmaster.pid")).expect("its pid file");
        let memory = file
            .lines()
            .nth(6)
            .and_then(|line| line.split_whitespace().nth(1))
            .expect("the id of its memory")
            .to_owned();
        assert!(shared_memory().contains(&memory), "{memory} is not among the machine's");
        act(&mut cluster);
        drop(cluster);
        assert!(!std::path::Path::new(&directory).exists());
        assert!(!shared_memory().contains(&memory), "{memory} is left");
    }
}

/// The ids of the machine's System V shared memory.
fn shared_memory() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/sysvipc/shm").expect("Linux");
    table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
}
