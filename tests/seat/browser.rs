//! A headless browser, driven by WebDriver: Debian's packages chromium and chromium-driver.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use pgduet::demo::Guard;
use pgduet::demo::process::wait_for;
use serde_json::{Value, json};

/// Everything else that a browser does on its own account is switched off.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
];
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Browser {
    driver: Child,
    // The driver's process group is killed however this process ends.
    _guard: Guard,
    wire: Wire,
    session: String,
    _profile: tempfile::TempDir,
}

/// `None`, said aloud, where there is no browser: install chromium and chromium-driver. `PGDUET_REQUIRE_BROWSER=1` makes that a failure.
pub fn open() -> Option<Browser> {
    let [browser, driver] = [["chromium", "chromium-browser", "google-chrome"].as_slice(), &["chromedriver"]].map(find);
    match (browser, driver) {
        (Some(browser), Some(driver)) => Some(Browser::start(&browser, &driver)),
        _ if std::env::var_os("PGDUET_REQUIRE_BROWSER").is_some() => panic!("there is no chromium with chromedriver"),
        _ => {
            eprintln!(
                "SKIPPED: there is no chromium with chromedriver; on Debian: apt-get install chromium chromium-driver"
            );
            None
        }
    }
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).flat_map(|directory| names.iter().map(move |name| directory.join(name)));
    all.into_iter().find(|candidate| candidate.is_file())
}

/// The driver's port. It speaks nothing older than HTTP/1.1, and the browser that it starts inherits the connection: only an answer's
/// length says where it ends.
struct Wire(SocketAddr);

impl Wire {
    /// The status, and the body as JSON.
    fn call(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
        let (host, length) = (self.0, body.len());
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(4 * PATIENCE))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes())?;
        let mut reader = BufReader::new(stream);
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end().to_lowercase();
            match line.split_once([':', ' ']) {
                Some(("http/1.1", rest)) => status = rest.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(0),
                Some(("content-length", rest)) => length = rest.trim().parse().unwrap_or(0),
                None if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}

impl Browser {
    fn start(browser: &Path, driver: &Path) -> Browser {
        let profile = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(driver);
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut driver = command.spawn().expect("chromedriver");
        let guard = Guard::new("kill -KILL -- \"-$1\"", &[&driver.id().to_string()]).expect("a guard");
        let output = driver.stdout.take().expect("its output");
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        // Its first line may say the port that was asked for: 0.
        let port = |line: String| line.split("on port ").nth(1)?.trim_end_matches('.').parse::<u16>().ok();
        let said = lines.by_ref().filter_map(port).find(|&port| port != 0);
        std::thread::spawn(move || lines.for_each(drop));
        let address = SocketAddr::from(([127, 0, 0, 1], said.expect("the driver's port")));
        let mut args: Vec<String> = FLAGS.iter().map(|&flag| flag.to_owned()).collect();
        args.push(format!("--user-data-dir={}", profile.path().display()));
        let options = json!({ "binary": browser, "args": args });
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let wire = Wire(address);
        let mut browser = Browser { driver, _guard: guard, wire, session: String::new(), _profile: profile };
        let answer = browser.post("/session", json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = format!("/session/{}", answer["sessionId"].as_str().expect("a session"));
        browser.resize(1280, 900);
        browser
    }

    fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.wire.call("POST", path, &body.to_string()).expect("the driver");
        assert_eq!(status, 200, "{path} {body}: {answer}");
        answer["value"].clone()
    }

    pub fn go(&self, url: &str) {
        self.post(&format!("{}/url", self.session), json!({ "url": url }));
    }

    pub fn resize(&self, width: u32, height: u32) {
        self.post(&format!("{}/window/rect", self.session), json!({ "width": width, "height": height }));
    }

    /// Runs a function's body in the page.
    pub fn run(&self, script: &str) -> Value {
        self.post(&format!("{}/execute/sync", self.session), json!({ "script": script, "args": [] }))
    }

    pub fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({})?.innerText ?? ''", json!(selector));
        self.run(&script).as_str().unwrap_or_default().to_owned()
    }

    /// Clicks as a hand does: scrolled into view, and only where nothing covers it.
    pub fn click(&self, selector: &str) {
        let found =
            self.post(&format!("{}/element", self.session), json!({ "using": "css selector", "value": selector }));
        let element = found.as_object().and_then(|o| o.values().next()).and_then(Value::as_str).expect("an element");
        self.post(&format!("{}/element/{element}/click", self.session), json!({}));
    }

    /// Waits until the text of what is selected is as `ready` wants it.
    pub fn until(&self, selector: &str, what: &str, mut ready: impl FnMut(&str) -> bool) {
        let mut last = String::new();
        let seen = wait_for(PATIENCE, || {
            last = self.text(selector);
            ready(&last).then_some(())
        });
        assert!(seen.is_some(), "{selector} never showed {what}; in the end it said: {last}");
    }

    /// The whole page, into the directory of artefacts. Returns the file.
    pub fn picture(&self, name: &str) -> PathBuf {
        let (width, before) = (self.number("return innerWidth"), self.number("return innerHeight"));
        self.resize(width, self.number("return document.documentElement.scrollHeight") + 160);
        let (_, answer) = self.wire.call("GET", &format!("{}/screenshot", self.session), "").expect("the driver");
        let picture = answer["value"].as_str().map(|text| base64::engine::general_purpose::STANDARD.decode(text));
        let file = artefacts().join(format!("{name}.png"));
        std::fs::write(&file, picture.expect("a picture").expect("base64")).expect("a file");
        self.resize(width, before + 130);
        file
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pixels")]
    fn number(&self, script: &str) -> u32 {
        self.run(script).as_f64().unwrap_or_default() as u32
    }

    /// What the page complained of since the last time: errors, refused assets, violations of its policy.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.post(&format!("{}/se/log", self.session), json!({ "type": "browser" }));
        let severe = entries.as_array().into_iter().flatten().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.wire.call("DELETE", &self.session, "");
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Pictures are kept here after the tests, under the build's directory.
pub fn artefacts() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seat");
    std::fs::create_dir_all(&directory).expect("a directory");
    directory
}
