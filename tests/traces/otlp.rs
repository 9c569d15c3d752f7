//! Reads `ExportTraceServiceRequest`, as far as traces are looked at here.

use std::collections::BTreeMap;

/// One field of a message.
pub enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    pub fn number(&self) -> u64 {
        match self {
            Field::Number(number) => *number,
            Field::Bytes(_) => panic!("a number was expected"),
        }
    }

    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Field::Bytes(bytes) => bytes,
            Field::Number(number) => panic!("bytes were expected, not {number}"),
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("UTF-8")
    }
}

/// A message's fields with their numbers, in order.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = vec![];
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().expect("eight bytes"))),
            2 => {
                let len = varint(&mut bytes) as usize;
                Field::Bytes(take(&mut bytes, len))
            }
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, field));
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(bytes, 1) else { panic!("a byte") };
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a varint without an end")
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at_checked(len).unwrap_or_else(|| panic!("{len} bytes of {}", bytes.len()));
    *bytes = tail;
    head
}

fn all<'a>(message: &'a [u8], number: u64) -> impl Iterator<Item = Field<'a>> {
    fields(message).into_iter().filter(move |(n, _)| *n == number).map(|(_, field)| field)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    /// 1 internal, 2 server, 3 client.
    pub kind: u64,
    pub start: u64,
    pub end: u64,
    pub attributes: BTreeMap<String, String>,
    /// Trace and span.
    pub links: Vec<(String, String)>,
    /// 2: error.
    pub status: u64,
}

impl Span {
    pub fn get(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The resource's attributes and the spans of one request.
pub fn decode(request: &[u8]) -> (BTreeMap<String, String>, Vec<Span>) {
    let (mut resource, mut spans) = (BTreeMap::new(), vec![]);
    for of_resource in all(request, 1) {
        all(of_resource.bytes(), 1).for_each(|message| resource.extend(attributes(message.bytes(), 1)));
        for of_scope in all(of_resource.bytes(), 2) {
            spans.extend(all(of_scope.bytes(), 2).map(|message| span(message.bytes())));
        }
    }
    (resource, spans)
}

fn span(message: &[u8]) -> Span {
    let mut span = Span { attributes: attributes(message, 9), ..Span::default() };
    for (number, field) in fields(message) {
        match number {
            1 => span.trace = hex(field.bytes()),
            2 => span.id = hex(field.bytes()),
            4 => span.parent = hex(field.bytes()),
            5 => span.name = field.text(),
            6 => span.kind = field.number(),
            7 => span.start = field.number(),
            8 => span.end = field.number(),
            13 => span.links.push(link(field.bytes())),
            15 => span.status = all(field.bytes(), 3).map(|code| code.number()).sum(),
            _ => {}
        }
    }
    span
}

fn link(message: &[u8]) -> (String, String) {
    let id = |number| all(message, number).map(|field| hex(field.bytes())).collect();
    (id(1), id(2))
}

fn attributes(message: &[u8], number: u64) -> BTreeMap<String, String> {
    let pair = |field: Field<'_>| {
        let key = all(field.bytes(), 1).map(|key| key.text()).collect();
        let value = all(field.bytes(), 2).flat_map(|any| fields(any.bytes()));
        let value = value.map(|(number, value)| match number {
            1 => value.text(),
            3 => value.number().to_string(),
            other => panic!("a value of type {other}"),
        });
        (key, value.collect())
    };
    all(message, number).map(pair).collect()
}
