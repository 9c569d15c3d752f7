//! What a client sends, from its text form.
//!
//! | text | message |
//! | --- | --- |
//! | `Query SELECT 1` | Query; `$long(n)` in it stands for n times `x` |
//! | `Parse name [23,25] SELECT $1` | Parse; `-` is the empty name, the oids may be left out |
//! | `Bind portal name ('a', NULL, x'0001') in=0,1 out=1` | Bind; formats may be left out |
//! | `Describe S name`, `Close P name` | |
//! | `Execute portal 10` | Execute; no number: no limit |
//! | `CopyData a\tb\n`, `CopyDone`, `CopyFail why` | escapes: `\n` `\t` `\\` `\xNN` |
//! | `FunctionCall 177 ('1', '2') in=0 out=0` | |
//! | `Sync`, `Flush`, `Terminate` | |
//! | `Raw 51 00000004` | bytes in hexadecimal |

pub fn encode(text: &str) -> Vec<u8> {
    let (name, rest) = match text.find([' ', '\n']) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    };
    match name {
        "Query" => frame(b'Q', &cstr(&long(rest))),
        "Parse" => parse(rest),
        "Bind" => bind(rest),
        "Describe" => frame(b'D', &kind_and_name(rest)),
        "Close" => frame(b'C', &kind_and_name(rest)),
        "Execute" => {
            let (portal, max) = rest.split_once(' ').unwrap_or((rest, "0"));
            let max: u32 = max.parse().expect("a row limit");
            frame(b'E', &[cstr(named(portal)), max.to_be_bytes().to_vec()].concat())
        }
        "CopyData" => frame(b'd', &unescape(rest)),
        "CopyDone" => frame(b'c', b""),
        "CopyFail" => frame(b'f', &cstr(rest)),
        "FunctionCall" => function_call(rest),
        "Sync" => frame(b'S', b""),
        "Flush" => frame(b'H', b""),
        "Terminate" => frame(b'X', b""),
        "Raw" => hex(rest),
        other => panic!("no message is called {other}"),
    }
}

/// `version`: major and minor.
pub fn startup(version: (u16, u16), parameters: &[(String, String)]) -> Vec<u8> {
    let mut body = [version.0.to_be_bytes(), version.1.to_be_bytes()].concat();
    for (name, value) in parameters {
        body.extend(cstr(name));
        body.extend(cstr(value));
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).expect("a short start-up");
    [length.to_be_bytes().to_vec(), body].concat()
}

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a frame's length");
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

fn cstr(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

fn named(word: &str) -> &str {
    if word == "-" { "" } else { word }
}

fn kind_and_name(rest: &str) -> Vec<u8> {
    let (kind, name) = rest.split_once(' ').unwrap_or((rest, "-"));
    [kind.as_bytes().to_vec(), cstr(named(name))].concat()
}

fn parse(rest: &str) -> Vec<u8> {
    let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (types, sql) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        Some((types, sql)) => (types, sql.strip_prefix(' ').unwrap_or(sql)),
        None => ("", rest),
    };
    let types: Vec<u32> = types.split(',').filter(|t| !t.is_empty()).map(|t| t.parse().expect("an oid")).collect();
    let mut body = [cstr(named(name)), cstr(&long(sql))].concat();
    body.extend(count(types.len()));
    types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    frame(b'P', &body)
}

fn bind(rest: &str) -> Vec<u8> {
    let mut words = rest.splitn(3, ' ');
    let (portal, statement) = (words.next().unwrap_or("-"), words.next().unwrap_or("-"));
    let (values, parameters, results) = values_and_formats(words.next().unwrap_or(""));
    let body = [cstr(named(portal)), cstr(named(statement)), parameters, values, results].concat();
    frame(b'B', &body)
}

fn function_call(rest: &str) -> Vec<u8> {
    let (oid, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let oid: u32 = oid.parse().expect("a function's oid");
    let (values, parameters, results) = values_and_formats(rest);
    // One format for the result, without a count.
    let result = results.get(2..4).unwrap_or(&[0, 0]).to_vec();
    frame(b'F', &[oid.to_be_bytes().to_vec(), parameters, values, result].concat())
}

/// `('a', NULL) in=0 out=1`: values, parameter formats and result formats, each with its count.
fn values_and_formats(text: &str) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let (values, rest) = match text.strip_prefix('(') {
        Some(inner) => {
            let end = inner.rfind(')').expect("a closing bracket");
            (values(&inner[..end]), &inner[end + 1..])
        }
        None => (vec![], text),
    };
    let formats = |name: &str| {
        let found = rest.split_whitespace().find_map(|word| word.strip_prefix(name));
        let codes: Vec<u16> =
            found.unwrap_or("").split(',').filter(|c| !c.is_empty()).map(|c| c.parse().expect("a format")).collect();
        let bytes: Vec<u8> = codes.iter().flat_map(|c| c.to_be_bytes()).collect();
        [count(codes.len()), bytes].concat()
    };
    let mut body = count(values.len());
    for value in values {
        match value {
            Some(bytes) => {
                body.extend(u32::try_from(bytes.len()).expect("a short value").to_be_bytes());
                body.extend(bytes);
            }
            None => body.extend([0xff; 4]),
        }
    }
    (body, formats("in="), formats("out="))
}

fn values(text: &str) -> Vec<Option<Vec<u8>>> {
    text.split(", ").filter(|item| !item.is_empty()).map(value).collect()
}

fn value(item: &str) -> Option<Vec<u8>> {
    let quoted = |text: &str| text.strip_suffix('\'').expect("a closing quote").to_owned();
    match item {
        "NULL" => None,
        _ if item.starts_with("x'") => Some(hex(&quoted(&item[2..]))),
        _ => Some(unescape(&quoted(item.strip_prefix('\'').expect("a quoted value")))),
    }
}

fn count(items: usize) -> Vec<u8> {
    u16::try_from(items).expect("a short list").to_be_bytes().to_vec()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// `$long(n)` is n times `x`.
fn long(sql: &str) -> String {
    let Some((before, rest)) = sql.split_once("$long(") else { return sql.to_owned() };
    let (n, after) = rest.split_once(')').expect("a length");
    format!("{before}{}{after}", "x".repeat(n.parse().expect("a length")))
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = vec![];
    let mut chars = long(text).into_bytes().into_iter();
    while let Some(c) = chars.next() {
        match (c, c == b'\\') {
            (_, true) => match chars.next() {
                Some(b'n') => out.push(b'\n'),
                Some(b't') => out.push(b'\t'),
                Some(b'0') => out.push(0),
                Some(b'x') => {
                    let digits = [chars.next().unwrap_or(b'0'), chars.next().unwrap_or(b'0')];
                    out.extend(hex(&String::from_utf8_lossy(&digits)));
                }
                other => out.extend(other),
            },
            _ => out.push(c),
        }
    }
    out
}
