//! What the documents say is so: blocks marked `console` are run, and print what stands there; commands that are named exist; the configuration's
//! reference is made from the file that the code is held to; links lead somewhere.
//!
//! `PGDUET_BLESS=1` writes what was printed, and the reference, into the documents. Then read the difference.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Duo, PROGRAM};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn bless() -> bool {
    std::env::var_os("PGDUET_BLESS").is_some()
}

/// README.md and every page of docs/.
fn pages() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md"), root().join("docker/README.md"), root().join("bench/README.md")];
    let mut directories = vec![root().join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("docs").flatten().map(|entry| entry.path()) {
            match entry.is_dir() {
                true => directories.push(entry),
                false if entry.extension().is_some_and(|e| e == "md") => found.push(entry),
                false => {}
            }
        }
    }
    found.sort();
    found
}

fn read(page: &Path) -> String {
    std::fs::read_to_string(page).unwrap_or_else(|e| panic!("{}: {e}", page.display()))
}

const SCHEMA: &str = "CREATE TABLE account (id bigint PRIMARY KEY, owner text NOT NULL, balance numeric NOT NULL); \
    INSERT INTO account SELECT g, 'owner ' || g, 100 FROM generate_series(1, 100) g; \
    CREATE TABLE visit (at timestamptz DEFAULT now(), page text)";

#[test]
fn every_console_block_prints_what_it_says() {
    for page in pages() {
        let text = read(&page);
        if text.contains("```console") {
            let duo = Duo::start_with(SCHEMA, "shadow: { sample_percent: 100 }");
            let printed = run_blocks(&text, &duo);
            if bless() {
                std::fs::write(&page, printed).expect("the page");
            } else {
                let (printed, expected) = (normal(&printed), normal(&text));
                let differing: Vec<_> = printed.lines().zip(expected.lines()).filter(|(p, e)| p != e).take(5).collect();
                assert!(printed == expected, "{}: {differing:#?}", page.display());
            }
        }
    }
}

/// The page, with what its commands print now.
fn run_blocks(text: &str, duo: &Duo) -> String {
    let mut out = String::new();
    let mut inside = false;
    for line in text.lines() {
        match (inside, line) {
            (false, _) => {
                inside = line == "```console";
                let _ = writeln!(out, "{line}");
            }
            (true, "```") => {
                inside = false;
                let _ = writeln!(out, "{line}");
            }
            (true, _) => {
                if let Some(command) = line.strip_prefix("$ ") {
                    let _ = write!(out, "{line}\n{}", run(command, duo));
                }
            }
        }
    }
    out
}

fn run(command: &str, duo: &Duo) -> String {
    let directory = Path::new(PROGRAM).parent().expect("a directory").display().to_string();
    let psql = duo.binaries.program("psql").get_program().to_owned();
    let tools = Path::new(&psql).parent().map(|p| p.display().to_string()).unwrap_or_default();
    let mut shell = Command::new("sh");
    // What the page's reader has in his configuration.
    let proxy = format!("postgres://app@127.0.0.1:{}", duo.proxy.port);
    let command = command
        .replace("postgres://app@127.0.0.1:6440", &proxy)
        .replace("localhost:6441", &duo.admin().address.to_string());
    shell.args(["-c", &format!("{command} 2>&1")]).stdin(Stdio::null());
    shell.env("PATH", format!("{directory}:{tools}:{}", std::env::var("PATH").unwrap_or_default()));
    shell.env("PGDUET_ADMIN", format!("http://{}", duo.admin().address)).env("USER", "ada").env("PSQLRC", "/dev/null");
    let output = shell.output().expect("sh");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim_end().lines().fold(String::new(), |all, line| all + line.trim_end() + "\n")
}

/// Without what differs from run to run: times of day, and how far behind in seconds.
fn normal(text: &str) -> String {
    let words =
        |line: &str| line.split(' ').map(normal_word).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    text.lines().map(|line| words(line).replace("--", "-") + "\n").map(|line| line.replace("--", "-")).collect()
}

fn normal_word(word: &str) -> String {
    let is_time =
        word.len() > 18 && word.contains('T') && word.contains("-") && word.ends_with('Z') && word.starts_with("20");
    match () {
        () if is_time => "TIME".into(),
        () if is_version(word) => "VERSION".into(),
        // Rules of psql's tables are as wide as their widest value.
        () if !word.is_empty() && word.chars().all(|c| c == '-' || c == '+') => {
            word.chars().filter(|&c| c == '+').collect()
        }
        () => word.to_owned(),
    }
}

/// A server's, as the doctor says it: `15.18,`.
fn is_version(word: &str) -> bool {
    let parts = word.strip_suffix(',').and_then(|word| word.split_once('.'));
    parts.is_some_and(|(major, minor)| [major, minor].iter().all(|part| part.parse::<u32>().is_ok()))
}

#[test]
fn every_command_that_is_named_exists() {
    let known = Command::new(PROGRAM).arg("--help").output().expect("pgduet");
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    let known: BTreeSet<&str> = known.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    for page in pages() {
        let text = read(&page);
        // Only the text of a block of code begins a line with a command: in prose it is the subject of a sentence.
        let blocks: String = text.split("```").skip(1).step_by(2).collect();
        for named in text
            .split("`pgduet ")
            .skip(1)
            .chain(blocks.split("\npgduet ").skip(1))
            .chain(text.split("$ pgduet ").skip(1))
        {
            let word: String = named.chars().take_while(|c| c.is_ascii_lowercase()).collect();
            let to_come = ["backfill", "verify", "repair"].contains(&word.as_str()) && page.ends_with("limits.md");
            assert!(word.is_empty() || known.contains(word.as_str()) || to_come, "{}: pgduet {word}", page.display());
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let mut dead = vec![];
    for page in pages() {
        let text = read(&page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.contains(' ') {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { page.clone() } else { page.parent().expect("a directory").join(file) };
            let has_anchor = || anchor.is_none_or(|anchor| read(&target).lines().any(|line| slug(line) == anchor));
            if !target.exists() || !has_anchor() {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

/// A heading's anchor.
fn slug(line: &str) -> String {
    let Some(title) = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()) else {
        return String::new();
    };
    let kept = title.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || ['-', '_'].contains(c)).collect()
}

const BEGIN: &str = "<!-- made from proxy.yaml -->\n";

#[test]
fn the_configurations_reference_is_the_one_the_code_is_held_to() {
    let page = root().join("docs/configuration.md");
    let text = read(&page);
    let (head, _) = text.split_once(BEGIN).expect("the mark");
    let made = format!("{head}{BEGIN}{}", reference(&read(&root().join("proxy.yaml"))));
    if bless() {
        std::fs::write(&page, &made).expect("the page");
    }
    assert!(bless() || text == made, "docs/configuration.md is not what proxy.yaml says; run with PGDUET_BLESS=1");
    let keys = pgduet::config::effective("");
    let missing: Vec<_> = keys.iter().filter(|(key, _)| !made.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// One table for each section; a key's comment is what stands above it.
fn reference(yaml: &str) -> String {
    let mut out = String::new();
    let mut path: Vec<String> = vec![];
    let mut comment: Vec<&str> = vec![];
    let mut in_table = false;
    for line in yaml.lines() {
        let (indent, bare) = (line.len() - line.trim_start().len(), line.trim());
        if bare.is_empty() {
            comment.clear();
        } else if let Some(said) = bare.strip_prefix('#') {
            comment.push(said.trim());
        } else if let Some((key, value)) = bare.split_once(':') {
            path.truncate(indent / 2);
            path.push(key.to_owned());
            let value = value.trim();
            let said = comment.join(" ").replace('|', "\\|");
            comment.clear();
            if value.is_empty() {
                let _ = writeln!(out, "\n## {}\n", path.join("."));
                let _ = write!(
                    out,
                    "{}| key | default | meaning |\n| --- | --- | --- |\n",
                    if said.is_empty() { said } else { said + "\n\n" }
                );
                in_table = true;
                continue;
            }
            if !in_table
                || (indent == 0
                    && !out.ends_with("| --- | --- | --- |\n")
                    && path.len() == 1
                    && !out.contains("\n## general"))
            {
                let _ = write!(out, "\n## general\n\n| key | default | meaning |\n| --- | --- | --- |\n");
                in_table = true;
            }
            entries(&mut out, &path.join("."), value, &said);
        }
    }
    out
}

/// A key, or the keys of `{ ... }`.
fn entries(out: &mut String, path: &str, value: &str, said: &str) {
    let inner = value.strip_prefix("{ ").and_then(|rest| rest.strip_suffix(" }"));
    match inner {
        Some(inner) => inner.split(", ").filter_map(|pair| pair.split_once(": ")).for_each(|(key, value)| {
            let _ = writeln!(out, "| `{path}.{key}` | `{value}` | {said} |");
        }),
        None => drop(writeln!(out, "| `{path}` | `{value}` | {said} |")),
    }
}

#[test]
fn every_sqlstate_of_our_own_is_in_the_index() {
    let index = read(&root().join("docs/errors.md"));
    let mut directories = vec![root().join("src")];
    let mut missing = BTreeSet::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("sources").flatten().map(|entry| entry.path()) {
            if entry.is_dir() {
                directories.push(entry);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                let text = read(&entry);
                let text = text.split("#[cfg(test)]").next().unwrap_or_default();
                let code = |rest: &str| rest.trim_start().strip_prefix('"')?.get(..5).map(str::to_owned);
                let calls = ["Notice::error(", "Notice::fatal(", "Notice::warning("]
                    .into_iter()
                    .flat_map(|call| text.split(call).skip(1));
                missing.extend(calls.filter_map(code).filter(|code| !index.contains(&format!("| {code} "))));
            }
        }
    }
    assert!(missing.is_empty(), "docs/errors.md lacks {missing:?}");
}
