//! The dashboard, driven by a browser against a live load: what an operator does in a night, seen and clicked.

use std::io::Write;
use std::time::Duration;

use pgduet::demo::pgbench::{Load, Protocol, Script};
use pgduet::demo::process::{Signal, signal, tree};
use serde_json::Value;

use crate::browser::{self, Browser};
use crate::support::Duo;

const SOON: Duration = Duration::from_secs(20);

/// Reads with a key of their own each, so that the share of new is the percentage; and some writes.
const SCRIPT: &str = "\\set aid random(1, 100000)\n\
     SELECT abalance FROM pgbench_accounts WHERE aid = :aid /* pgduet_key=':aid' */;\n\
     SELECT abalance, filler FROM pgbench_accounts WHERE aid = :aid + 1 /* pgduet_key='b:aid' */;\n\
     SELECT bbalance FROM pgbench_branches WHERE bid = 1 /* pgduet_key='c:aid' */;\n\
     UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\n";

#[test]
fn an_operator_sees_what_happens_and_changes_it_from_the_page() {
    let Some(browser) = browser::open() else { return };
    // With `freshness: session` a client that has just written reads on the primary until new has it: on a busy machine the share would
    // stay below the percentage, rightly. Here it is to follow the buckets alone.
    let duo = Duo::start("mirror: { ack: primary }\nreads: { freshness: any }\nshadow: { sample_percent: 20 }");
    duo.pgbench_tables(1);
    browser.go(&format!("http://{}/", duo.admin().address));
    browser.until("#live-text", "live figures", |text| text == "live");
    assert_eq!(browser.text("#phases li[aria-current] b"), "old_only");

    enters_dual_write(&browser, &duo);
    // Not before: what is written in old_only is on old alone, and reads of it would differ in truth.
    let load = Background::start(&duo);
    moves_the_percentage_and_sees_the_share_follow(&browser, &duo);
    sees_a_planted_mismatch_arrive(&browser, &duo);
    sees_the_lag_grow_and_shrink(&browser, &duo);
    browser.picture("light");
    looks_right_in_the_dark_and_on_a_telephone(&browser);
    goes_back_to_0_with_one_click(&browser, &duo);
    says_which_gates_fail(&browser, &duo);
    is_readable_without_eyes(&browser);
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|c| c.contains("409")), "the page complained: {complaints:#?}");
    drop(load);
}

fn enters_dual_write(browser: &Browser, duo: &Duo) {
    browser.click("#phase-steps button");
    browser.until("dialog[open]", "the gates of a dry run", |text| text.contains("backends prepared"));
    assert_eq!(duo.status()["phase"], "old_only", "asking is not doing");
    browser.picture("dry-run");
    browser.click("dialog[open] button[value=go]");
    browser.until("#phases li[aria-current] b", "dual_write", |text| text == "dual_write");
    assert_eq!(duo.status()["phase"], "dual_write");
    browser.until("#history", "the change, with who made it", |text| text.contains("dashboard"));
}

fn moves_the_percentage_and_sees_the_share_follow(browser: &Browser, duo: &Duo) {
    for (at, percent) in [(4, 25.0), (6, 75.0)] {
        browser.click(&format!("#percent-steps button:nth-child({})", at));
        browser.click("#percent-set");
        duo.eventually("the percentage is in force", SOON, || duo.status()["read_percent"] == percent);
        browser.until("#split-says", "the share that was asked for", |text| {
            share(text).is_some_and(|share| (share - percent).abs() <= 6.0)
        });
    }
}

/// Out of "Of 300 reads a second, 25.1 % are answered by new".
fn share(text: &str) -> Option<f64> {
    text.split(", ").nth(1)?.split(' ').next()?.parse().ok()
}

fn sees_a_planted_mismatch_arrive(browser: &Browser, duo: &Duo) {
    let findings = duo.admin().get("/api/findings").expect("findings");
    assert_eq!(duo.count("/shadow/mismatched_total"), 0, "before anything was planted: {findings}");
    duo.new.sql("app", "UPDATE pgbench_branches SET bbalance = 4711 WHERE bid = 1").expect("an update");
    browser.until("#statements tr.bad", "the statement that differs", |text| text.contains("pgbench_branches"));
    browser.until("#questions", "that reads are answered differently", |text| text.contains("answered differently"));
    browser.until("#way-back", "that the answers differ", |text| {
        text.contains("answered differently") && !text.contains("No table is known to differ")
    });
    assert!(!browser.text("body").contains("4711"), "the page shows a row's value");
    duo.old.sql("app", "UPDATE pgbench_branches SET bbalance = 4711 WHERE bid = 1").expect("an update");
}

fn sees_the_lag_grow_and_shrink(browser: &Browser, duo: &Duo) {
    duo.new.freeze();
    browser.until("#link-lag", "that new falls behind", |text| {
        text.split([' ', ',']).next().and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n >= 100)
    });
    browser.until("#questions", "that reads are withdrawn", |text| text.contains("withdrawn"));
    browser.picture("behind");
    duo.new.thaw();
    browser.until("#link-lag", "that new has caught up", |text| {
        text.starts_with("nothing")
            || text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| n < 20)
    });
    browser.until("#split-says", "that reads return to new", |text| share(text).is_some_and(|share| share > 60.0));
}

fn looks_right_in_the_dark_and_on_a_telephone(browser: &Browser) {
    browser.run("localStorage.setItem('pgduet-theme', 'dark'); location.reload()");
    browser.until("#live-text", "live figures", |text| text == "live");
    // The quarter of an hour before comes with the first answer.
    browser.until("#split-says", "reads of before", |text| share(text).is_some());
    browser.picture("dark");
    browser.resize(500, 900);
    browser.run("return new Promise((done) => setTimeout(done, 1500))");
    let wider = browser.run("return document.documentElement.scrollWidth - innerWidth");
    assert!(wider.as_f64().unwrap_or(1.0) <= 0.0, "the page is wider than a narrow screen by {wider}");
    browser.picture("narrow");
    browser.resize(1280, 1000);
    browser.run("localStorage.setItem('pgduet-theme', 'light'); location.reload()");
    browser.until("#live-text", "live figures", |text| text == "live");
}

fn goes_back_to_0_with_one_click(browser: &Browser, duo: &Duo) {
    browser.until("#back", "the way back", |text| text.contains("0 %"));
    browser.click("#back");
    duo.eventually("no read goes to new", SOON, || duo.status()["read_percent"] == 0.0);
    browser.until("#percent", "0 %", |text| text == "0 %");
}

fn says_which_gates_fail(browser: &Browser, duo: &Duo) {
    browser.click("#link-orders button");
    browser.until("#link-state", "that the link is held", |text| text == "paused");
    browser.click("#percent-steps button:nth-child(2)");
    browser.click("#percent-set");
    browser.until("#reads-refused", "the gate and its evidence", |text| {
        text.contains("link follows") && text.contains("paused")
    });
    assert_eq!(duo.status()["read_percent"], 0.0);
    browser.picture("refused");
    browser.click("#link-orders button");
    browser.until("#link-state", "that the link goes on", |text| text == "running");
}

/// Every control has a name, every plot says its figures, every table its headings.
fn is_readable_without_eyes(browser: &Browser) {
    let nameless = browser.run(
        "return [...document.querySelectorAll('button, input, [role=img], table, section')].filter((node) => node.checkVisibility() && !(
            node.innerText?.trim() || node.ariaLabel || node.getAttribute('aria-labelledby') || node.labels?.length || node.caption))
            .map((node) => node.outerHTML.slice(0, 120))",
    );
    assert_eq!(nameless, Value::Array(vec![]), "these have no name");
    let spoken = browser.run("return document.querySelector('#plot-share svg').ariaLabel").to_string();
    assert!(spoken.contains("asked for 0 %"), "{spoken}");
    let twice = browser.run(
        "const ids = [...document.querySelectorAll('[id]')].map((n) => n.id); return ids.filter((id, at) => ids.indexOf(id) !== at)",
    );
    assert_eq!(twice, Value::Array(vec![]), "ids that are there twice");
}

/// A load that runs until it is dropped.
struct Background {
    pid: u32,
    waiting: Option<std::thread::JoinHandle<()>>,
    _script: tempfile::NamedTempFile,
}

impl Background {
    fn start(duo: &Duo) -> Background {
        let mut script = tempfile::NamedTempFile::new().expect("a file");
        script.write_all(SCRIPT.as_bytes()).expect("a script");
        let extra = vec!["--rate=90".into()];
        let file = Script::File(script.path().to_owned());
        let load =
            Load { port: duo.proxy.port, clients: 4, seconds: 600, protocol: Protocol::Simple, script: file, extra };
        let running = duo.start_load(&load);
        let pid = running.pid();
        let waiting = std::thread::spawn(move || drop(running.finish()));
        Background { pid, waiting: Some(waiting), _script: script }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        signal(&tree(self.pid), Signal::Term);
        if let Some(waiting) = self.waiting.take() {
            let _ = waiting.join();
        }
    }
}
