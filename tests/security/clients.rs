//! Encryption between clients and the proxy, as psql sees it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};

use pgduet::demo::cluster::psql;
use pgduet::demo::proxy::Proxy;

use crate::pki::Pki;
use crate::shared;

/// A proxy with TLS towards its clients.
pub struct Encrypted {
    proxy: Proxy,
    pki: Pki,
}

const HOST: &str = "localhost";

/// `tls`: further keys of `clients.tls`, in flow style.
fn start(mode: &str, tls: &str) -> Encrypted {
    let pki = Pki::new();
    let secret = pki.file("secret", "secret\n");
    with(pki, &format!("  users: [{{ name: guarded, password_file: {secret} }}]\n"), mode, tls)
}

/// Without passwords.
pub fn start_trusting(mode: &str) -> Encrypted {
    with(Pki::new(), "  auth: trust\n", mode, "")
}

fn with(pki: Pki, clients: &str, mode: &str, tls: &str) -> Encrypted {
    let identity = pki.issue("proxy", "pgduet", &[HOST]);
    let (cert, key) = (identity.cert.display(), identity.key.display());
    let settings = format!("clients:\n{clients}  tls: {{ mode: {mode}, cert_file: {cert}, key_file: {key}{tls} }}\n");
    Encrypted { proxy: shared().proxy(&settings), pki }
}

impl Encrypted {
    /// psql's answer to `\conninfo`, or its words of refusal.
    fn connect(&self, host: &str, options: &str) -> Result<String, String> {
        let url = format!(
            "postgres://guarded:secret@{host}:{}/app?hostaddr=127.0.0.1&gssencmode=disable&{options}",
            self.proxy.port
        );
        let mut command = shared().binaries.program("psql");
        let output = command.args(["-X", "-At", "-d", &url, "-c", "\\conninfo"]).stdin(Stdio::null()).output();
        let output = output.expect("psql");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
    }

    fn is_encrypted(&self, host: &str, options: &str) -> Option<bool> {
        self.connect(host, options).ok().map(|said| said.contains("SSL connection"))
    }
}

#[test]
fn psql_is_encrypted_as_its_sslmode_and_the_proxys_mode_say() {
    let outcomes = [
        ("disable", [Some(false), Some(false), Some(false), None]),
        ("allow", [Some(false), Some(false), Some(true), Some(true)]),
        ("require", [None, Some(true), Some(true), Some(true)]),
    ];
    for (mode, expected) in outcomes {
        let proxy = start(mode, "");
        let modes = ["disable", "allow", "prefer", "require"];
        let found = modes.map(|sslmode| proxy.is_encrypted(HOST, &format!("sslmode={sslmode}")));
        assert_eq!(found, expected, "clients.tls.mode: {mode}; sslmode: {modes:?}");
    }
}

#[test]
fn psql_verifies_the_proxys_certificate() {
    let proxy = start("require", "");
    let (ours, other) = (proxy.pki.path("ca.crt"), proxy.pki.path("other.crt"));
    let connects =
        |host: &str, mode: &str, root: &str| proxy.connect(host, &format!("sslmode={mode}&sslrootcert={root}")).is_ok();
    assert!(connects(HOST, "verify-full", &ours));
    assert!(connects("elsewhere.example", "verify-ca", &ours));
    assert!(!connects("elsewhere.example", "verify-full", &ours));
    assert!(!connects(HOST, "verify-ca", &other));
    assert!(!connects(HOST, "verify-full", &other));
}

#[test]
fn a_client_in_clear_is_refused_in_postgres_words_where_tls_is_required() {
    let proxy = start("require", "");
    let said = proxy.connect(HOST, "sslmode=disable").expect_err("refused");
    let expected = "no pg_hba.conf entry for host \"127.0.0.1\", user \"guarded\", database \"app\", no encryption";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_password_is_bound_to_the_channel_where_the_client_asks_for_it() {
    let proxy = start("allow", "");
    let connect = |options: &str| proxy.connect(HOST, options);
    assert!(connect("sslmode=require&channel_binding=require").is_ok());
    assert!(connect("sslmode=require&channel_binding=disable").is_ok());
    let said = connect("sslmode=disable&channel_binding=require").expect_err("refused");
    assert!(said.contains("channel binding"), "{said}");
    let said = psql(
        &shared().binaries,
        &format!("postgres://guarded:wrong@{HOST}:{}/app?sslmode=require", proxy.proxy.port),
        "SELECT 1",
    );
    let said = said.expect_err("refused").to_string();
    assert!(said.contains("password authentication failed for user \"guarded\""), "{said}");
}

#[test]
fn a_client_certificate_is_asked_for_checked_and_compared_with_the_user() {
    let pki = Pki::new();
    let proxy =
        |need: &str| start("require", &format!(", ca_file: {}, client_certificate: {need}", pki.path("ca.crt")));
    let own = pki.issue("own", "guarded", &[]);
    let other = pki.issue("other", "somebody", &[]);
    let forged = pki.self_signed("forged", "guarded");
    let with = |proxy: &Encrypted, identity: &crate::pki::Identity| {
        let (cert, key) = (identity.cert.display(), identity.key.display());
        proxy.connect(HOST, &format!("sslmode=require&sslcert={cert}&sslkey={key}"))
    };
    let optional = proxy("optional");
    assert!(optional.connect(HOST, "sslmode=require").is_ok());
    assert!(with(&optional, &own).is_ok());
    assert!(with(&optional, &forged).is_err());
    let authority = proxy("verify-ca");
    let said = authority.connect(HOST, "sslmode=require").expect_err("refused");
    assert!(said.contains("connection requires a valid client certificate"), "{said}");
    assert!(with(&authority, &other).is_ok());
    let full = proxy("verify-full");
    assert!(with(&full, &own).is_ok());
    let said = with(&full, &other).expect_err("refused");
    assert!(said.contains("certificate authentication failed for user \"guarded\""), "{said}");
}

#[test]
fn the_least_version_is_kept_to() {
    let proxy = start("require", ", min_version: TLSv1.3");
    assert!(proxy.connect(HOST, "sslmode=require").is_ok());
    assert!(proxy.connect(HOST, "sslmode=require&ssl_max_protocol_version=TLSv1.2").is_err());
}

const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSS_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
const STARTUP: &[u8] = b"\0\0\0\x23\0\x03\0\0user\0guarded\0database\0app\0\0";

fn talk(proxy: &Encrypted, sent: &[&[u8]]) -> Vec<u8> {
    let mut socket = TcpStream::connect(("127.0.0.1", proxy.proxy.port)).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    for bytes in sent {
        socket.write_all(bytes).expect("what is sent");
    }
    socket.shutdown(std::net::Shutdown::Write).expect("an end");
    let mut answer = vec![];
    let _ = socket.read_to_end(&mut answer);
    answer
}

#[test]
fn bytes_that_come_before_the_handshake_are_refused() {
    let proxy = start("allow", "");
    for request in [SSL_REQUEST, GSS_REQUEST] {
        let answer = talk(&proxy, &[&[request, STARTUP].concat()]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(b"E") && text.contains("received unencrypted data after"), "{text:?}");
    }
}

#[test]
fn gss_encryption_is_declined_and_tls_may_be_asked_for_after_it() {
    let proxy = start("allow", "");
    let mut socket = TcpStream::connect(("127.0.0.1", proxy.proxy.port)).expect("a connection");
    let mut answer = [0];
    for (request, expected) in [(GSS_REQUEST, b'N'), (SSL_REQUEST, b'S')] {
        socket.write_all(request).expect("a request");
        socket.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer[0], expected);
    }
}

/// A client that begins with TLS at once.
pub fn direct(proxy: &Encrypted, protocols: &[&[u8]]) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(proxy.pki.path("ca.crt")).expect("a root")).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    let name = ServerName::try_from(HOST).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|e| e.to_string())?;
    let socket = TcpStream::connect(("127.0.0.1", proxy.proxy.port)).map_err(|e| e.to_string())?;
    socket.set_read_timeout(Some(Duration::from_secs(20))).map_err(|e| e.to_string())?;
    Ok(StreamOwned::new(connection, socket))
}

/// The protocol that TLS has agreed on, and the first byte that the server says to a start-up message.
fn start_directly(proxy: &Encrypted, protocols: &[&[u8]]) -> Result<(Option<Vec<u8>>, u8), String> {
    let mut stream = direct(proxy, protocols)?;
    stream.write_all(STARTUP).map_err(|e| e.to_string())?;
    let mut first = [0];
    stream.read_exact(&mut first).map_err(|e| e.to_string())?;
    Ok((stream.conn.alpn_protocol().map(<[u8]>::to_vec), first[0]))
}

#[test]
fn a_client_may_begin_with_tls_at_once_if_it_names_the_protocol() {
    let proxy = start("require", "");
    assert_eq!(start_directly(&proxy, &[b"postgresql"]), Ok((Some(b"postgresql".to_vec()), b'R')));
    assert!(start_directly(&proxy, &[]).is_err());
    assert!(start_directly(&proxy, &[b"http/1.1"]).is_err());
    assert!(start_directly(&start("disable", ""), &[b"postgresql"]).is_err());
}

#[test]
fn a_copy_passes_through_tls_whole_in_both_directions() {
    let proxy = start_trusting("require");
    let url = format!("{}?sslmode=require", proxy.proxy.url("app", "app"));
    let rows: String = (1..=100_000).map(|i| format!("{i}\t{}\n", "x".repeat(i % 100))).collect();
    let mut command = shared().binaries.program("psql");
    let script = "CREATE TEMP TABLE t (i int, v text);\nCOPY t FROM STDIN;\n";
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &url]);
    let mut psql = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql");
    let mut stdin = psql.stdin.take().expect("its input");
    let sent = format!("{script}{rows}\\.\nCOPY (SELECT * FROM t ORDER BY i) TO STDOUT;\n");
    let writer = std::thread::spawn(move || stdin.write_all(sent.as_bytes()));
    let output = psql.wait_with_output().expect("psql");
    writer.join().expect("a thread").expect("all is written");
    assert_eq!(output.stdout.len(), rows.len());
    assert!(output.stdout == rows.as_bytes(), "the rows differ");
}

#[test]
fn large_answers_and_requests_pass_through_tls_whole() {
    let proxy = start("require", "");
    let url = format!("postgres://guarded:secret@{HOST}:{}/app?sslmode=require", proxy.proxy.port);
    let text = "x".repeat(100_000);
    let sql = format!("SELECT md5(string_agg(i::text, ',')), length('{text}') FROM generate_series(1, 1000) i");
    let direct = psql(&shared().binaries, &shared().old.url("postgres", "app"), &sql).expect("an answer");
    assert_eq!(psql(&shared().binaries, &url, &sql).expect("an answer"), direct);
    let rows = psql(&shared().binaries, &url, "SELECT repeat(i::text, 100) FROM generate_series(1, 50000) i");
    let rows = rows.expect("many rows");
    assert_eq!(rows.lines().count(), 50_000);
    assert!(rows.lines().zip(1..).all(|(line, i)| line == i.to_string().repeat(100)));
}
