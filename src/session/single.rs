//! One read among the messages up to a Sync.

use std::rc::Rc;

use bytes::BytesMut;

use super::Session;
use super::resolved::SingleRead;
use super::statements::Prepared;
use crate::catalog::shape::Shape;
use crate::catalog::twins::FIRST_OWN_OID;
use crate::routing::{Policy, Why};
use crate::wire::{Bind, HEADER, Header, Parse, Writer, front};

impl Session {
    /// If the messages run one statement, once, and it is a read: that one.
    pub(super) fn single_read(&self, policy: &Policy, whole: &[u8]) -> Option<Single> {
        let mut parsed: Option<Rc<Prepared>> = None;
        let mut single: Option<Single> = None;
        let mut executed = false;
        let mut rest = whole;
        while let Ok(Some(header)) = Header::peek(rest, usize::MAX) {
            let (frame, tail) = rest.split_at_checked(header.len)?;
            rest = tail;
            match header.tag {
                front::PARSE => {
                    let parse = Parse::read(frame)?;
                    // The name is taken: the primary says so, the secondary may not know it.
                    if !parse.name.is_empty() && self.statements.get(parse.name).is_some() {
                        return None;
                    }
                    parsed = Some(Rc::new(Prepared::new(parse.name, parse.sql, parse.types)));
                }
                front::BIND if single.is_none() => {
                    let bind = Bind::read(frame)?;
                    let statement = match parsed.take_if(|p| p.name == bind.statement) {
                        Some(parsed) => parsed,
                        None => Rc::clone(self.statements.get(bind.statement)?),
                    };
                    let resolved = statement.resolved(policy.generation, |sql| self.resolve(policy, sql));
                    let mut read = resolved.read.clone()?;
                    read.lasting = !bind.portal.is_empty();
                    read.stays = stays(policy, &statement, &bind);
                    read.binary = bind.result_formats.iter().any(|&byte| byte != 0);
                    read.bind(&bind);
                    let (parameters, formats) = (bind.parameters.to_vec(), bind.result_formats.to_vec());
                    single = Some(Single { statement, read, parameters, formats });
                }
                front::EXECUTE if !executed => {
                    executed = true;
                    let (_, max_rows) = crate::wire::cstr(frame.get(HEADER..)?)?;
                    single.as_mut()?.read.lasting |= max_rows != [0; 4];
                }
                front::DESCRIBE | front::FLUSH | front::SYNC => {}
                _ => return None,
            }
        }
        single.filter(|_| executed)
    }
}

/// Why the statement's answer has to come from the primary, whatever the percentage is.
fn stays(policy: &Policy, statement: &Prepared, bind: &Bind<'_>) -> Option<Why> {
    let misread = |told: &Shape| {
        let twins = policy.catalog.get(policy.primary()).twins();
        told.is_misread(bind.result_formats, twins).then_some(Why::BinaryTypes)
    };
    statement.stays(policy.generation).or_else(|| statement.told().and_then(misread))
}

/// Messages that run one read, once.
pub(super) struct Single {
    pub statement: Rc<Prepared>,
    pub read: SingleRead,
    parameters: Vec<u8>,
    formats: Vec<u8>,
}

impl Single {
    /// A parameter's type is given by an oid that the two sides may use for different types.
    pub fn names_own_types(&self) -> bool {
        let oids = self.statement.types.get(2..).unwrap_or_default().chunks_exact(4);
        oids.filter_map(|oid| oid.try_into().ok().map(u32::from_be_bytes)).any(|oid| oid >= FIRST_OWN_OID)
    }

    /// The same read with an unnamed statement, for whoever asks again.
    pub fn request(&self, whole: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::with_capacity(whole.len() + self.statement.sql.len() + 32);
        Writer::parse(&mut out, b"", &self.statement.sql, &self.statement.types);
        Writer::begin(&mut out, front::BIND)
            .cstr(b"")
            .cstr(b"")
            .bytes(&self.parameters)
            .u16((self.formats.len() / 2) as u16)
            .bytes(&self.formats)
            .end();
        Writer::begin(&mut out, front::DESCRIBE).u8(b'P').cstr(b"").end();
        Writer::execute(&mut out, b"", 0);
        Writer::empty(&mut out, front::SYNC);
        out.to_vec()
    }
}
