//! A module imports only what stands above it in `src/lib.rs`; some may not even do that.

use std::path::{Path, PathBuf};

/// The layers of docs/architecture.md, and the modules in their build order.
const LAYERS: &[(&str, &[&str])] = &[
    ("ground", &["side", "phase", "shutdown", "failpoint", "config"]),
    ("pure", &["wire", "catalog", "rows", "sql", "routing"]),
    ("sockets", &["net", "auth", "trace"]),
    ("databases", &["backend", "store"]),
    ("engines", &["link", "shadow"]),
    ("data plane", &["session", "server"]),
    ("control plane", &["runbook", "doctor", "admin"]),
    ("assembly", &["app", "demo", "cli"]),
];

/// Who may not import whom, although it stands above: the data plane runs with the control plane and its storage down, the
/// engines meet only in what stands above them, and the throw-away servers are no part of the product.
const FORBIDDEN: &[(&str, &[&str])] =
    &[("session", &["store", "runbook", "admin"]), ("server", &["store", "runbook", "admin"]), ("shadow", &["link"])];

#[test]
fn the_table_is_the_list_of_modules() {
    let lib = std::fs::read_to_string(source().join("lib.rs")).expect("src/lib.rs");
    let declared: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(declared, order());
}

#[test]
fn a_module_imports_only_what_stands_above_it() {
    let order = order();
    let place = |module: &str| order.iter().position(|m| *m == module);
    let mut wrong = vec![];
    for file in files(&source()) {
        let Some(module) = module_of(&file) else { continue };
        let own = place(&module).unwrap_or_else(|| panic!("{module} is not in the table"));
        for imported in imports(&file) {
            match place(&imported) {
                Some(other) if other > own => wrong.push(format!("{}: {module} imports {imported}", file.display())),
                Some(_) if is_forbidden(&module, &imported) => {
                    wrong.push(format!("{}: {module} may not import {imported}", file.display()));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn order() -> Vec<&'static str> {
    LAYERS.iter().flat_map(|(_, modules)| modules.iter().copied()).collect()
}

fn is_forbidden(module: &str, imported: &str) -> bool {
    FORBIDDEN.iter().any(|(who, whom)| *who == module && whom.contains(&imported))
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a source directory").flatten().map(|entry| entry.path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let nested = directories.iter().flat_map(|d| self::files(d));
    files.into_iter().filter(|file| file.extension().is_some_and(|e| e == "rs")).chain(nested).collect()
}

/// The top-level module that a file belongs to; `lib.rs` and `main.rs` name everything.
fn module_of(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(source()).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!["lib", "main"].contains(&name)).then(|| name.to_owned())
}

/// The top-level modules that a file names after `crate::`, grouped imports included.
fn imports(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("a source file");
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    code.match_indices("crate::").flat_map(|(at, word)| heads(&code[at + word.len()..])).collect()
}

/// What can follow `crate::`: one name, or names in braces at their first level.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                parts.last_mut().expect("one part").push(c);
            }
        }
    }
    parts.iter().map(|part| name(part)).filter(|part| !part.is_empty()).collect()
}

#[test]
fn imports_are_read_from_lines_and_groups() {
    assert_eq!(heads("wire::Frame;"), ["wire"]);
    assert_eq!(heads("{side::{Role, Side}, link};"), ["side", "link"]);
}
