//! Encryption and logins between the proxy and the databases: libpq's sslmode, against real servers.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use pgduet::backend::control::{Connection, Purpose};
use pgduet::backend::login::{self, Address, Credentials, LoginError, Secret};
use pgduet::config;
use pgduet::demo::binaries::Binaries;
use pgduet::demo::cluster::{Cluster, Options, psql};
use pgduet::demo::proxy::Proxy;
use pgduet::side::Side;

use crate::pki::{Identity, Pki};
use crate::shared;
use crate::support::client::block_on;
use crate::support::{BARRIER, PROGRAM, fail};

const HBA: &str = "\
local     all all                    trust
hostssl   all tls_only  127.0.0.1/32 trust
hostnossl all clear_only 127.0.0.1/32 trust
hostssl   all clear_only 127.0.0.1/32 reject
hostssl   all certified 127.0.0.1/32 cert
host      all guarded   127.0.0.1/32 scram-sha-256
host      all by_md5    127.0.0.1/32 md5
host      all in_clear  127.0.0.1/32 password
hostssl   all all       127.0.0.1/32 trust
hostnossl all postgres  127.0.0.1/32 trust
";

const ROLES: &str = "CREATE ROLE tls_only LOGIN; CREATE ROLE clear_only LOGIN; CREATE ROLE certified LOGIN; \
    SET password_encryption = 'md5'; CREATE ROLE by_md5 LOGIN PASSWORD 'secret'; \
    SET password_encryption = 'scram-sha-256'; CREATE ROLE in_clear LOGIN PASSWORD 'secret'";

/// A server that speaks TLS, as `localhost`, and asks for everything that pg_hba.conf can ask for.
fn tls_server(name: &'static str, pki: &Pki, identity: &Identity) -> Cluster {
    let binaries = Binaries::find().unwrap_or_else(fail("PostgreSQL"));
    let mut options = Options::quick(name);
    options.settings = identity.of_server(&binaries);
    options.settings.push(format!("ssl_ca_file={}", pki.path("ca.crt")));
    options.settings.push(format!("hba_file={}", pki.file("pg_hba.conf", HBA)));
    let cluster = Cluster::start(&binaries, options).unwrap_or_else(fail("a server with TLS"));
    cluster.sql("app", ROLES).unwrap_or_else(fail("the roles"));
    cluster
}

pub fn encrypted() -> &'static (Cluster, Pki) {
    static SERVER: OnceLock<(Cluster, Pki)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let pki = Pki::new();
        let identity = pki.issue("server", "a database", &["localhost"]);
        (tls_server("tls", &pki, &identity), pki)
    })
}

fn url(cluster: &Cluster, user: &str, host: &str, query: &str) -> String {
    format!("postgres://{user}@{host}:{}/app?hostaddr=127.0.0.1&{query}", cluster.port())
}

fn code(error: &LoginError) -> String {
    match error {
        LoginError::Refused(frame) => {
            let code = pgduet::wire::error_field(frame, b'C').unwrap_or_default();
            String::from_utf8_lossy(code).into_owned()
        }
        other => other.to_string(),
    }
}

/// Logs in as a session does. Whether the server says that the connection is encrypted, or why there is none.
fn log_in(cluster: &Cluster, secret: Secret, user: &str, url: &str) -> Result<bool, String> {
    let address = Address::from_url(Side::Old, url).map_err(|e| e.to_string())?;
    let credentials = Credentials { user: user.into(), secret };
    block_on(async {
        let backend = login::login(&address, &credentials, &[], Duration::from_secs(20)).await.map_err(|e| code(&e))?;
        let sql = format!("SELECT ssl FROM pg_stat_ssl WHERE pid = {}", backend.key.0);
        Ok(cluster.sql("app", &sql).expect("pg_stat_ssl") == "t")
    })
}

/// The same for pgduet's own connections.
fn control(url: &str) -> Result<bool, String> {
    block_on(async {
        let backend = config::Backend { url: url.into() };
        let timeouts = config::Config::default().timeouts;
        let opened = Connection::open(Side::Old, &backend, Purpose::Control, &timeouts).await;
        let connection = opened.map_err(|e| e.to_string())?;
        let row = connection.query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await;
        Ok(row.expect("pg_stat_ssl").get(0))
    })
}

/// Both kinds of connection, which must agree but for the words of a refusal.
fn both(cluster: &Cluster, user: &str, host: &str, query: &str) -> Option<bool> {
    let url = url(cluster, user, host, query);
    let found = log_in(cluster, Secret::None, user, &url);
    let own = control(&url);
    assert_eq!(found.clone().ok(), own.clone().ok(), "{url}: {found:?}, {own:?}");
    found.ok()
}

#[test]
fn each_sslmode_gets_the_connection_that_libpq_would_get() {
    let (server, _) = encrypted();
    let plain = &shared().old;
    let expected = [
        // tls_only, clear_only, either, a server without TLS
        ("disable", [None, Some(false), Some(false), Some(false)]),
        ("allow", [Some(true), Some(false), Some(false), Some(false)]),
        ("prefer", [Some(true), Some(false), Some(true), Some(false)]),
        ("require", [Some(true), None, Some(true), None]),
    ];
    for (mode, expected) in expected {
        let query = format!("sslmode={mode}");
        let of = |cluster, user| both(cluster, user, "localhost", &query);
        let found = [of(server, "tls_only"), of(server, "clear_only"), of(server, "postgres"), of(plain, "postgres")];
        assert_eq!(found, expected, "sslmode={mode}");
        // The judge: psql, with the same URL.
        for (cluster, user, found) in [(server, "tls_only", found[0]), (server, "clear_only", found[1])] {
            let url = url(cluster, user, "localhost", &format!("{query}&gssencmode=disable"));
            let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let judged = psql(cluster.binaries(), &url, sql).ok().map(|said| said == "t");
            assert_eq!(found, judged, "psql and sslmode={mode} as {user}");
        }
    }
}

#[test]
fn a_certificate_is_verified_as_far_as_the_mode_says() {
    let (server, pki) = encrypted();
    let reach = |host: &str, mode: &str, root: &str| {
        both(server, "tls_only", host, &format!("sslmode={mode}&sslrootcert={}", pki.path(root)))
    };
    assert_eq!(reach("localhost", "verify-full", "ca.crt"), Some(true));
    assert_eq!(reach("elsewhere.example", "verify-ca", "ca.crt"), Some(true));
    assert_eq!(reach("elsewhere.example", "verify-full", "ca.crt"), None);
    assert_eq!(reach("localhost", "verify-ca", "other.crt"), None);
    // As libpq: a root that is named is used by `require`, too.
    assert_eq!(reach("localhost", "require", "other.crt"), None);
    let said = log_in(
        server,
        Secret::None,
        "tls_only",
        &url(
            server,
            "tls_only",
            "elsewhere.example",
            &format!("sslmode=verify-full&sslrootcert={}", pki.path("ca.crt")),
        ),
    );
    let said = said.expect_err("refused");
    assert!(said.contains("server certificate for \"localhost\""), "{said}");
    assert!(said.contains("does not match host name \"elsewhere.example\""), "{said}");
}

#[test]
fn certificates_that_signed_themselves_and_those_with_a_common_name_alone_are_taken_as_libpq_takes_them() {
    let pki = Pki::new();
    for (file, root, identity) in [
        ("own", "own.crt", pki.self_signed("own", "localhost")),
        ("named", "ca.crt", pki.issue("named", "localhost", &[])),
    ] {
        let server = tls_server(if file == "own" { "old" } else { "new" }, &pki, &identity);
        let query = |mode: &str| format!("sslmode={mode}&sslrootcert={}", pki.path(root));
        assert_eq!(both(&server, "tls_only", "localhost", &query("verify-full")), Some(true), "{file}");
        assert_eq!(both(&server, "tls_only", "elsewhere.example", &query("verify-full")), None, "{file}");
        assert_eq!(both(&server, "tls_only", "elsewhere.example", &query("verify-ca")), Some(true), "{file}");
        let psql = psql(server.binaries(), &url(&server, "tls_only", "localhost", &query("verify-full")), "SELECT 1");
        assert!(psql.is_ok(), "{file}: psql does not take it");
    }
}

#[test]
fn a_certificate_of_our_own_opens_a_server_that_asks_for_one() {
    let (server, pki) = encrypted();
    let own = pki.issue("certified", "certified", &[]);
    let with = |identity: &Identity| {
        let (cert, key) = (identity.cert.display(), identity.key.display());
        both(server, "certified", "localhost", &format!("sslmode=require&sslcert={cert}&sslkey={key}"))
    };
    assert_eq!(with(&own), Some(true));
    assert_eq!(with(&pki.issue("somebody", "somebody", &[])), None);
    assert_eq!(both(server, "certified", "localhost", "sslmode=require"), None);
}

#[test]
fn a_password_is_bound_to_the_server_that_it_is_meant_for() {
    let (server, _) = encrypted();
    let password = || Secret::Password("secret".into());
    let reach = |query: &str| log_in(server, password(), "guarded", &url(server, "guarded", "localhost", query));
    assert_eq!(reach("sslmode=require&channel_binding=require"), Ok(true));
    assert_eq!(reach("sslmode=require&channel_binding=disable"), Ok(true));
    let said = reach("sslmode=disable&channel_binding=require").expect_err("refused");
    assert!(said.contains("channel binding"), "{said}");
    let with = |query: &str| format!("postgres://guarded:secret@localhost:{}/app?{query}", server.port());
    assert_eq!(control(&with("sslmode=require&channel_binding=require")), Ok(true));
    assert!(control(&with("sslmode=disable&channel_binding=require")).is_err());
}

#[test]
fn passwords_are_proved_in_each_way_that_a_server_may_ask_for() {
    let (server, _) = encrypted();
    for user in ["guarded", "by_md5", "in_clear"] {
        for mode in ["disable", "require"] {
            let url = url(server, user, "localhost", &format!("sslmode={mode}"));
            let with = |password: &str| log_in(server, Secret::Password(password.into()), user, &url);
            assert_eq!(with("secret"), Ok(mode == "require"), "{user}");
            assert_eq!(with("wrong"), Err("28P01".into()), "{user}");
            assert!(log_in(server, Secret::None, user, &url).expect_err("no password").contains("password"), "{user}");
        }
    }
}

#[test]
fn a_unix_socket_is_reached_whatever_the_sslmode() {
    let (server, _) = encrypted();
    let directory = server.sql("app", "SHOW unix_socket_directories").expect("a directory");
    for mode in ["disable", "prefer", "require"] {
        let url = format!("postgres://postgres@/app?host={directory}&port={}&sslmode={mode}", server.port());
        assert_eq!(log_in(server, Secret::None, "postgres", &url), Ok(false));
        assert_eq!(control(&url), Ok(false));
    }
}

#[test]
fn everything_that_goes_to_the_databases_is_encrypted_where_the_url_says_so() {
    let pki = Pki::new();
    let [old, new] = ["old", "new"].map(|name| tls_server(name, &pki, &pki.issue(name, "a database", &["localhost"])));
    let query = format!("sslmode=verify-full&sslrootcert={}", pki.path("ca.crt"));
    let schema = "CREATE TABLE t (id int PRIMARY KEY, v text)";
    for cluster in [&old, &new] {
        cluster.sql("app", &format!("{schema}; GRANT ALL ON t TO tls_only")).expect("a table");
    }
    let mut proxy = Proxy::prepare(Path::new(PROGRAM)).expect("a proxy");
    let [a, b] = [&old, &new].map(|cluster| url(cluster, "pgduet", "localhost", &query));
    let settings = format!(
        "{}backends: {{ old: {{ url: \"{a}\" }}, new: {{ url: \"{b}\" }} }}\nclients: {{ auth: trust }}\nshadow: {{ sample_percent: 100 }}\n",
        proxy.listening()
    );
    proxy.configure(&settings).expect("a configuration");
    proxy.start_again().unwrap_or_else(fail("the proxy"));
    let sql = |sql: &str| psql(old.binaries(), &proxy.url("tls_only", "app"), sql).unwrap_or_else(fail("SQL"));
    proxy.admin.phase("dual_write").unwrap_or_else(fail("the phase"));
    proxy.admin.read_percent(100.0).unwrap_or_else(fail("the percentage"));
    sql("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 1000) i");
    proxy.admin.barrier(BARRIER).unwrap_or_else(fail("a barrier"));
    assert_eq!(sql("SELECT count(*), sum(length(v)) FROM t"), "1000|1000000");
    let inspect = "SELECT count(*) FILTER (WHERE ssl) > 0, count(*) FILTER (WHERE NOT ssl) FROM pg_stat_ssl \
        JOIN pg_stat_activity USING (pid) WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    for cluster in [&old, &new] {
        assert_eq!(cluster.sql("app", inspect).expect("pg_stat_ssl"), "t|0");
    }
}
