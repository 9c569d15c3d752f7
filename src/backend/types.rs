//! What is known of PostgreSQL's base types: how a value becomes exact text, and whether its binary form may be copied.

use crate::catalog::{Carry, Exactness};

/// Types whose text depends on no setting: bool, "char", name, int8, int2, int4, text, oid, json, macaddr8, macaddr, inet,
/// cidr, varchar, time, timetz, bit, varbit, numeric, uuid, pg_lsn, jsonb, xid8.
const PLAIN: [u32; 23] = [
    16, 18, 19, 20, 21, 23, 25, 26, 114, 774, 829, 869, 650, 1043, 1083, 1266, 1560, 1562, 1700, 2950, 3220, 3802, 5069,
];

/// date, timestamp, timestamptz.
const DATED: [u32; 3] = [1082, 1114, 1184];

const BPCHAR: u32 = 1042;

/// Types whose binary form is the same on every server of the last decade: bool, bytea, "char", name, int8, int2, int4, text,
/// oid, json, cidr, float4, float8, macaddr, inet, bpchar, varchar, date, time, timestamp, timestamptz, interval, timetz, bit,
/// varbit, numeric, uuid, jsonb.
const SAME_BINARY: [u32; 28] = [
    16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 650, 700, 701, 829, 869, 1042, 1043, 1082, 1083, 1114, 1184, 1186, 1266,
    1560, 1562, 1700, 2950, 3802,
];

/// How a value of this type (a domain's base type) is written exactly. `limited`: the column has a type modifier.
pub fn exactness(base_type: u32, limited: bool, is_enum: bool) -> Exactness {
    match base_type {
        t if is_enum || PLAIN.contains(&t) => Exactness::Plain,
        t if DATED.contains(&t) => Exactness::Iso,
        // `char(n)::text` loses the padding, and the column's length brings it back; without a length nothing would.
        BPCHAR if limited => Exactness::Plain,
        _ => Exactness::Pinned,
    }
}

/// How a value of this type goes from one side to the other, provided that both have the same type.
pub fn carry(type_oid: u32, array_oid: u32) -> Carry {
    match SAME_BINARY.contains(&type_oid) && array_oid != 0 {
        true => Carry::Binary,
        false => Carry::Text,
    }
}
