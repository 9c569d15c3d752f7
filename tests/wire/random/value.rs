//! Values for parameters and literals: few of each type, the odd ones among them.

use super::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Int,
    Id,
    Text,
    Num,
    Array,
    Bool,
}

/// As text and in binary form, in hexadecimal. Nothing: NULL.
#[derive(Clone, Debug)]
pub struct Value(Option<(&'static str, &'static str)>);

type Known = &'static [(&'static str, &'static str)];

const INTS: Known = &[
    ("0", "00000000"),
    ("1", "00000001"),
    ("-1", "ffffffff"),
    ("3", "00000003"),
    ("7", "00000007"),
    ("666", "0000029a"),
    ("2147483647", "7fffffff"),
];
const IDS: Known = &[
    ("1", "00000001"),
    ("2", "00000002"),
    ("3", "00000003"),
    ("4", "00000004"),
    ("6", "00000006"),
    ("9", "00000009"),
    ("11", "0000000b"),
];
const TEXTS: Known = &[
    ("x", "78"),
    ("", ""),
    ("ä\\\\ö", "c3a45cc3b6"),
    ("two words", "74776f20776f726473"),
    ("NULL", "4e554c4c"),
    ("12", "3132"),
    ("sad", "736164"),
];
const NUMS: Known = &[
    ("1.5", "000200000000000100011388"),
    ("0", "0000000000000000"),
    ("-2", "00010000400000000002"),
    ("NaN", "00000000c0000000"),
];
const ARRAYS: Known = &[
    ("{}", "000000000000000000000017"),
    ("{1,NULL}", "0000000100000001000000170000000200000001000000040000000100000000ffffffff"),
    ("{7}", "00000001000000000000001700000001000000010000000400000007"),
];
const BOOLS: Known = &[("t", "01"), ("f", "00")];

impl Type {
    pub fn named(name: &str) -> Type {
        match name {
            "int" => Type::Int,
            "id" => Type::Id,
            "text" => Type::Text,
            "num" => Type::Num,
            "arr" => Type::Array,
            "bool" => Type::Bool,
            other => panic!("there are no values of {other}"),
        }
    }

    pub fn oid(self) -> u32 {
        match self {
            Type::Int | Type::Id => 23,
            Type::Text => 25,
            Type::Num => 1700,
            Type::Array => 1007,
            Type::Bool => 16,
        }
    }

    fn known(self) -> Known {
        match self {
            Type::Int => INTS,
            Type::Id => IDS,
            Type::Text => TEXTS,
            Type::Num => NUMS,
            Type::Array => ARRAYS,
            Type::Bool => BOOLS,
        }
    }
}

pub fn of(kind: Type, dice: &mut Dice) -> Value {
    Value((!dice.percent(6)).then(|| *dice.of(kind.known())))
}

/// As it stands in a statement.
pub fn literal(kind: Type, dice: &mut Dice) -> String {
    match (of(kind, dice).0, kind) {
        (None, _) => "NULL".to_owned(),
        (Some((text, _)), Type::Int | Type::Id) => text.to_owned(),
        (Some((text, _)), Type::Num) if text != "NaN" => text.to_owned(),
        (Some((text, _)), _) => format!("'{}'", text.replace("\\\\", "\\")),
    }
}

impl Value {
    /// As it stands in a Bind.
    pub fn bound(&self, binary: bool) -> String {
        match self.0 {
            None => "NULL".to_owned(),
            Some((_, bytes)) if binary => format!("x'{bytes}'"),
            Some((text, _)) => format!("'{text}'"),
        }
    }
}
