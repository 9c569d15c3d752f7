//! pgbench's TPC-B: after a barrier every table is equal, `pgbench_history.mtime` included, and no transaction is missing.

use pgduet::demo::pgbench::{Protocol, Script};

use crate::support::{Duo, seconds};

/// Runs TPC-B with each number of clients, and compares everything after each run.
fn equal_after_tpc_b(settings: &str, scale: u32, protocol: Protocol, clients: &[u32]) {
    let duo = Duo::start(settings);
    duo.pgbench_tables(scale);
    duo.dual_write();
    let mut transactions = 0;
    for &clients in clients {
        transactions += duo.run(&duo.load(clients, protocol, Script::TpcB)).transactions;
        duo.expect_equal();
        assert_eq!(duo.on_both("SELECT count(*) FROM pgbench_history"), transactions.to_string());
    }
    assert_eq!(duo.count("/uncaptured_total"), 0);
}

/// The scale of the long form is the one that figures are published for.
fn scale() -> u32 {
    if seconds() >= 30 { 10 } else { 2 }
}

#[test]
fn tpc_b_in_the_simple_protocol_leaves_equal_databases() {
    equal_after_tpc_b("", scale(), Protocol::Simple, &[1, 8, 32]);
}

#[test]
fn tpc_b_in_the_extended_protocol_leaves_equal_databases() {
    equal_after_tpc_b("", scale(), Protocol::Extended, &[1, 8, 32]);
}

#[test]
fn tpc_b_with_prepared_statements_leaves_equal_databases() {
    equal_after_tpc_b("", scale(), Protocol::Prepared, &[1, 8, 32]);
}

#[test]
fn hot_rows_leave_equal_databases() {
    for protocol in Protocol::ALL {
        equal_after_tpc_b("", 1, protocol, &[32]);
    }
}

#[test]
fn commits_that_wait_for_the_primary_alone_leave_equal_databases() {
    equal_after_tpc_b("mirror: { ack: primary }", scale(), Protocol::Prepared, &[8]);
}
