//! The admin port under hostile input: refused, bounded, and the data path none the worse for it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use pgduet::demo::admin::Admin;

use crate::rig;
use crate::support::Duo;

const TOKEN: &str = "a-token-of-this-test";

/// What the port answers to these bytes: its status, or 0 where it closed without a word.
fn raw(admin: Admin, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin.address).expect("the admin port");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    // It may have answered and closed before everything was sent.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), answer)
}

fn request(admin: Admin, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", admin.address) };
    let text = format!(
        "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    raw(admin, &text)
}

#[test]
fn without_the_token_nothing_is_told_and_nothing_is_changed() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{TOKEN}\n")).expect("the token");
    let duo = rig::with_admin(&format!("token_file: \"{}\"", file.path().display()));
    let admin = duo.admin();
    let change = r#"{"phase": "dual_write"}"#;
    let wrong = [
        "",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer wrong\r\n",
        &format!("Authorization: Bearer {TOKEN}x\r\n"),
        &format!("Authorization: Basic {TOKEN}\r\n"),
        &format!("Authorization: {TOKEN}\r\n"),
        &format!("Cookie: token={TOKEN}\r\n"),
    ];
    for headers in wrong {
        for (method, path, body) in
            [("PATCH", "/api/policy", change), ("GET", "/api/status", ""), ("GET", "/metrics", "")]
        {
            let (status, answer) = request(admin, method, path, headers, body);
            assert_eq!(status, 401, "{method} {path} {headers}");
            assert!(answer.contains("application/problem+json") && !answer.contains("old_only"), "{answer}");
        }
    }
    let (status, _) = request(admin, "GET", &format!("/api/status?token={TOKEN}"), "", "");
    assert_eq!(status, 401, "a token in an address would be in every log");
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    let (status, answer) = request(admin, "GET", "/api/status", &right, "");
    assert!(status == 200 && answer.contains("\"phase\":\"old_only\""), "{answer}");
    // The page itself holds no secret and has to be there to ask for one; so have the probes.
    for path in ["/", "/app.js", "/app.css", "/healthz", "/readyz", "/api/openapi.json"] {
        assert_eq!(request(admin, "GET", path, "", "").0, 200, "{path}");
    }
}

#[test]
fn another_sites_page_changes_nothing_and_reads_nothing() {
    let duo = Duo::start("");
    let admin = duo.admin();
    let change = r#"{"phase": "dual_write"}"#;
    let own = format!("Origin: http://{}\r\n", admin.address);
    let json = "Content-Type: application/json\r\n";
    let foreign = [
        (format!("Origin: http://evil.example\r\n{json}"), 403),
        ("Origin: http://evil.example\r\nContent-Type: text/plain\r\n".to_owned(), 403),
        (format!("Origin: null\r\n{json}"), 403),
        (format!("Sec-Fetch-Site: cross-site\r\n{json}"), 403),
        (format!("Sec-Fetch-Site: same-site\r\n{own}{json}"), 403),
        (format!("{own}Content-Type: text/plain\r\n"), 415),
        ("User-Agent: Mozilla/5.0\r\nContent-Type: application/x-www-form-urlencoded\r\n".to_owned(), 415),
        (format!("Host: evil.example:6441\r\nOrigin: http://evil.example:6441\r\n{json}"), 421),
    ];
    for (headers, expected) in foreign {
        for (method, path) in [("PATCH", "/api/policy"), ("POST", "/api/link/detach"), ("POST", "/api/parked")] {
            assert_eq!(request(admin, method, path, &headers, change).0, expected, "{method} {path} {headers}");
        }
    }
    assert_eq!(request(admin, "GET", "/api/statements", "Host: evil.example\r\n", "").0, 421);
    assert_eq!(duo.status()["phase"], "old_only");
    let (_, page) = request(admin, "GET", "/", "", "");
    let page = page.to_lowercase();
    for header in
        ["content-security-policy: default-src 'none'", "x-frame-options: deny", "nosniff", "frame-ancestors 'none'"]
    {
        assert!(page.contains(header), "{header}: {page}");
    }
    assert!(!page.contains("unsafe-inline") && !page.contains("access-control-allow-origin"), "{page}");
}

#[test]
fn what_is_no_request_or_too_long_is_refused() {
    let duo = Duo::start("");
    let admin = duo.admin();
    let long = "x".repeat(70 << 10);
    assert_eq!(request(admin, "PATCH", "/api/policy", "", &format!("{{\"by\": \"{long}\"}}")).0, 413);
    // Announced, and never sent.
    let host = admin.address;
    let huge = format!("PATCH /api/policy HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99999999999\r\n\r\n{{");
    assert!([400, 413].contains(&raw(admin, &huge).0));
    let head = format!("GET /api/status HTTP/1.1\r\nHost: {host}\r\nX: {long}\r\n\r\n");
    assert!([0, 400, 431].contains(&raw(admin, &head).0), "a head has a bound");
    for rubbish in ["\r\n\r\n", "\0\0\0\0", "GET\r\n\r\n", "PATCH /api/policy HTTP/1.1\r\nContent-Length: -1\r\n\r\n"] {
        assert!([0, 400].contains(&raw(admin, rubbish).0), "{rubbish:?}");
    }
    for (method, path) in
        [("DELETE", "/api/policy"), ("POST", "/api/status"), ("GET", "/api/../etc/passwd"), ("GET", "/api/x")]
    {
        assert!([404, 405].contains(&request(admin, method, path, "", "").0), "{method} {path}");
    }
    for body in [
        "",
        "null",
        "[]",
        "{\"read_percent\": 1e999}",
        "{\"read_percent\": -1}",
        "{\"phase\": {}}",
        "{\"read_percent\": 5",
    ] {
        assert_eq!(request(admin, "PATCH", "/api/policy", "", body).0, 400, "{body}");
    }
    assert_eq!(duo.sql("SELECT 1"), "1");
}

#[test]
fn a_thousand_slow_connections_keep_neither_the_operator_nor_a_client_out() {
    let duo = Duo::start("");
    let admin = duo.admin();
    let mut slow = vec![];
    for n in 0..1000 {
        let mut stream = TcpStream::connect(admin.address).expect("a connection");
        // Some say nothing, some the half of a head, some a head without its body.
        let said = match n % 3 {
            0 => String::new(),
            1 => format!("GET /api/status HTTP/1.1\r\nHost: {}\r\nX-Slow:", admin.address),
            _ => format!("PATCH /api/policy HTTP/1.1\r\nHost: {}\r\nContent-Length: 10\r\n\r\n{{", admin.address),
        };
        let _ = stream.write_all(said.as_bytes());
        slow.push(stream);
        if n % 100 == 0 {
            assert_eq!(duo.status()["phase"], "old_only", "after {n} slow connections");
            assert_eq!(duo.sql("SELECT 1"), "1");
        }
    }
    assert_eq!(duo.sql("SELECT 1"), "1");
    assert_eq!(duo.status()["phase"], "old_only");
    let open = open_descriptors(duo.proxy.pid().expect("a process"));
    assert!(open < 400, "{open} descriptors are open");
    duo.dual_write();
    assert_eq!(duo.status()["phase"], "dual_write", "changes pass, too");
}

fn open_descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").count()
}
