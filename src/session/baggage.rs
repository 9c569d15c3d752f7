//! What a session has on the primary beyond its login, and how much of that the secondary has.
//!
//! A setting may change by many ways: SET and its rollback, RESET, `set_config` in a function, an UPDATE of pg_settings, statements that passed
//! unread before capture began. Following each would be a second server. So nothing is followed: a statement that may have changed
//! something makes the baggage [`Here::Unknown`], and before the next read that would move, the primary is asked what the session has
//! ([`Baggage::question`]). Settings are carried to the secondary; what cannot be carried pins the session for as long as it is there.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::routing::{Reading, Why};
use crate::side::Side;
use crate::wire::{HEADER, cstr};

/// Names of settings of the user's own that are asked for; a session with more than these is pinned.
const MAX_CUSTOM: usize = 64;
/// A name in an answer ends with this; no identifier holds it that anybody types.
const SEPARATOR: char = '\u{1}';
/// The schemas in use. `current_schemas` makes the session's temporary schema where the search_path names one that is not there yet; a
/// transaction that did so could not be prepared, and this one may be the client's first.
const PATH: &str = "CASE WHEN pg_catalog.pg_my_temp_schema() = 0 AND pg_catalog.current_setting('search_path') LIKE '%pg_temp%' \
     THEN (SELECT pg_catalog.string_agg(n.nspname, pg_catalog.chr(1) ORDER BY p.place) \
     FROM pg_catalog.unnest(pg_catalog.string_to_array(pg_catalog.current_setting('search_path'), ',')) WITH ORDINALITY p (name, place) \
     JOIN pg_catalog.pg_namespace n ON n.nspname = CASE pg_catalog.btrim(p.name) WHEN '\"$user\"' THEN CURRENT_USER \
     ELSE (pg_catalog.parse_ident(p.name))[1] END AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')) \
     ELSE pg_catalog.array_to_string(pg_catalog.current_schemas(false), pg_catalog.chr(1)) END";

/// What the session has on the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Here {
    /// No more than its login.
    Light,
    /// Something may have changed since it was last asked.
    Unknown,
    /// Settings: the expressions that make them.
    Settings(Rc<str>),
    /// What has no way to the other side.
    Fixed(Why),
}

/// Statements of pgduet's own that a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// The primary is asked what the session has.
    Asking,
    /// The secondary is given it.
    Carrying,
    /// The primary is asked what it has told of a statement: see `told`.
    Describing,
}

/// See the module's text.
#[derive(Debug)]
pub struct Baggage {
    here: Here,
    /// What the secondary was given last; empty: its login.
    there: Rc<str>,
    /// What the secondary has refused.
    refused: Option<Rc<str>>,
    /// The settings of the user's own (`app.tenant`) that were seen: pg_settings does not list them.
    custom: BTreeSet<String>,
    pub errand: Option<(Side, Errand)>,
    /// The answer that an errand has had so far.
    answer: Option<Answer>,
    failed: bool,
    /// As the primary has reported it.
    pub heard: Reading,
}

/// What the primary said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    settings: String,
    role: String,
    pub temporary: Vec<String>,
    /// The schemas that unqualified names are looked up in.
    pub path: Vec<String>,
    /// A word for what has no way: see [`Baggage::question`].
    fixed: String,
}

/// What a read that would move has to wait for.
#[derive(Debug, PartialEq, Eq)]
pub enum Missing {
    Nothing,
    /// The secondary has to be given this first.
    Script(String),
}

impl Baggage {
    pub fn new(heard: Reading) -> Self {
        let there = Rc::from("");
        Baggage {
            here: Here::Light,
            there,
            refused: None,
            custom: BTreeSet::new(),
            errand: None,
            answer: None,
            failed: false,
            heard,
        }
    }

    /// A statement was sent that may change what the session has.
    pub fn unsettle(&mut self) {
        self.here = Here::Unknown;
    }

    /// A setting of this name was set, perhaps: one of the user's own has to be asked for by name.
    pub fn note_custom(&mut self, name: &str) {
        if name.contains('.') && !name.starts_with("pgduet.") && self.custom.len() <= MAX_CUSTOM {
            self.custom.insert(name.to_lowercase());
        }
    }

    pub fn is_unknown(&self) -> bool {
        self.here == Here::Unknown
    }

    pub fn is_light(&self) -> bool {
        self.here == Here::Light
    }

    /// Something pins the session that a statement may take away.
    pub fn is_fixed(&self) -> bool {
        matches!(self.here, Here::Fixed(_))
    }

    /// Whether, and why, its reads have to stay on the primary.
    pub fn pin(&self) -> Option<Why> {
        match &self.here {
            Here::Light => None,
            Here::Unknown => Some(Why::SessionState),
            Here::Fixed(why) => Some(*why),
            Here::Settings(settings) => self.refused.as_ref().filter(|r| *r == settings).map(|_| Why::NotCarried),
        }
    }

    /// Whether a BEGIN may mean another isolation than usual.
    pub fn sets_isolation(&self) -> bool {
        matches!(&self.here, Here::Settings(settings) if settings.contains("'default_transaction_isolation'"))
    }

    /// Whether unqualified names may mean other tables than usual.
    pub fn sets_search_path(&self) -> bool {
        match &self.here {
            Here::Light => false,
            Here::Settings(settings) => settings.contains("'search_path'"),
            Here::Unknown | Here::Fixed(_) => true,
        }
    }

    /// The secondary's connection is gone; a new one has its login only.
    pub fn lost_there(&mut self) {
        self.there = Rc::from("");
        self.errand = self.errand.filter(|(_, errand)| *errand != Errand::Carrying);
    }

    pub fn missing(&self) -> Missing {
        let wanted: &str = match &self.here {
            Here::Settings(settings) => settings,
            Here::Light => "",
            Here::Unknown | Here::Fixed(_) => return Missing::Nothing,
        };
        match wanted {
            _ if *self.there == *wanted => Missing::Nothing,
            "" => Missing::Script("RESET ALL; RESET ROLE".into()),
            _ => Missing::Script(format!("RESET ALL; SELECT {wanted}")),
        }
    }

    /// One row: the settings, the role, the names of temporary relations, a word for what else there is, and the schemas in use.
    pub fn question(&self) -> String {
        let custom: String = self
            .custom
            .iter()
            .filter(|name| is_plain(name))
            .map(|name| format!(" UNION SELECT '{name}', pg_catalog.current_setting('{name}', true)"))
            .collect();
        format!(
            "SELECT (SELECT pg_catalog.string_agg(pg_catalog.format('pg_catalog.set_config(%L, %L, false)', name, setting), ', ' ORDER BY name) \
             FROM (SELECT name, setting FROM pg_catalog.pg_settings \
             WHERE source = 'session' AND name NOT LIKE 'transaction%'{custom}) s WHERE setting IS NOT NULL), \
             pg_catalog.format('pg_catalog.set_config(%L, %L, false)', 'role', pg_catalog.current_setting('role')), \
             (SELECT pg_catalog.string_agg(relname, pg_catalog.chr(1) ORDER BY relname) FROM pg_catalog.pg_class \
             WHERE relnamespace = pg_catalog.pg_my_temp_schema() AND relkind IN ('r', 'p', 'v', 'S')), \
             CASE WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a \
             JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid WHERE r.rolname = session_user) THEN 'user' \
             WHEN EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) THEN 'cursor' \
             WHEN EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()) \
             THEN 'lock' END, \
             {PATH}"
        )
    }

    /// Takes a frame of an errand's answer.
    pub fn take(&mut self, frame: &[u8]) {
        match frame.first() {
            Some(b'E') => self.failed = true,
            Some(b'D') => self.answer = Answer::read(frame).or(self.answer.take()),
            _ => {}
        }
    }

    /// The errand has come back. Returns what the primary said, where that was the question.
    pub fn back(&mut self) -> Option<Answer> {
        let (_, errand) = self.errand.take()?;
        let (answer, failed) = (self.answer.take(), std::mem::take(&mut self.failed));
        match (errand, answer, &self.here) {
            (Errand::Asking, Some(answer), _) if !failed => {
                self.here = answer.here(self.custom.len() > MAX_CUSTOM || !self.custom.iter().all(|n| is_plain(n)));
                return Some(answer);
            }
            (Errand::Asking, ..) => self.here = Here::Fixed(Why::NotCarried),
            (Errand::Carrying, _, Here::Settings(settings)) if failed => self.refused = Some(Rc::clone(settings)),
            (Errand::Carrying, _, Here::Settings(settings)) => self.there = Rc::clone(settings),
            (Errand::Carrying, ..) if failed => self.here = Here::Fixed(Why::NotCarried),
            (Errand::Carrying, ..) => self.there = Rc::from(""),
            (Errand::Describing, ..) => {}
        }
        None
    }
}

impl Answer {
    fn read(frame: &[u8]) -> Option<Answer> {
        let mut rest = frame.get(HEADER + 2..)?;
        let mut column = || {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                rest = tail;
                return Some(String::new());
            };
            let (value, tail) = tail.split_at_checked(length)?;
            rest = tail;
            // Under another encoding a value may be no UTF-8: then it has no way.
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let names = |list: String| list.split(SEPARATOR).filter(|n| !n.is_empty()).map(str::to_owned).collect();
        Some(Answer {
            settings: column()?,
            role: column()?,
            temporary: names(column()?),
            fixed: column()?,
            path: names(column()?),
        })
    }

    fn here(&self, too_much: bool) -> Here {
        let settings = match self.settings.as_str() {
            "" => self.role.clone(),
            settings => format!("{settings}, {}", self.role),
        };
        match self.fixed.as_str() {
            _ if !self.temporary.is_empty() => Here::Fixed(Why::TemporaryTable),
            "cursor" => Here::Fixed(Why::HeldCursor),
            "lock" => Here::Fixed(Why::AdvisoryLock),
            "" if too_much || !settings.is_ascii() => Here::Fixed(Why::NotCarried),
            "" if self.settings.is_empty() && self.role.contains("'none'") => Here::Light,
            "" => Here::Settings(settings.into()),
            _ => Here::Fixed(Why::NotCarried),
        }
    }
}

/// It can stand in quotes as it is.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$'))
}

/// The name and value of a ParameterStatus frame.
pub fn parameter_status(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = cstr(frame.get(HEADER..)?)?;
    Some((name, cstr(rest)?.0))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::wire::Writer;

    const NO_ROLE: &str = "pg_catalog.set_config('role', 'none', false)";

    fn row(values: &[&str]) -> BytesMut {
        let mut out = BytesMut::new();
        let mut writer = Writer::begin(&mut out, b'D');
        writer.u16(values.len() as u16 + 1);
        for value in values {
            writer.u32(value.len() as u32).bytes(value.as_bytes());
        }
        writer.u32(6).bytes(b"public");
        writer.end();
        out
    }

    fn asked(baggage: &mut Baggage, values: [&str; 4]) {
        baggage.unsettle();
        baggage.errand = Some((Side::Old, Errand::Asking));
        baggage.take(&row(&values));
        baggage.back();
    }

    fn carried(baggage: &mut Baggage, failed: bool) {
        baggage.errand = Some((Side::New, Errand::Carrying));
        if failed {
            baggage.take(b"E");
        }
        baggage.back();
    }

    #[test]
    fn settings_are_carried_once_and_taken_back_once() {
        let mut baggage = Baggage::new(Reading::default());
        assert_eq!((baggage.pin(), baggage.missing()), (None, Missing::Nothing));
        asked(&mut baggage, ["pg_catalog.set_config('DateStyle', 'German', false)", NO_ROLE, "", ""]);
        let Missing::Script(script) = baggage.missing() else { panic!("nothing to carry") };
        assert_eq!(script, format!("RESET ALL; SELECT pg_catalog.set_config('DateStyle', 'German', false), {NO_ROLE}"));
        carried(&mut baggage, false);
        assert_eq!((baggage.pin(), baggage.missing()), (None, Missing::Nothing));
        asked(&mut baggage, ["", NO_ROLE, "", ""]);
        assert_eq!(baggage.missing(), Missing::Script("RESET ALL; RESET ROLE".into()));
        carried(&mut baggage, false);
        assert_eq!(baggage.missing(), Missing::Nothing);
    }

    #[test]
    fn a_new_connection_has_to_be_given_all_again() {
        let mut baggage = Baggage::new(Reading::default());
        asked(&mut baggage, ["x", NO_ROLE, "", ""]);
        carried(&mut baggage, false);
        baggage.lost_there();
        assert!(matches!(baggage.missing(), Missing::Script(_)));
    }

    #[test]
    fn what_has_no_way_pins_the_session_until_it_is_gone() {
        let mut baggage = Baggage::new(Reading::default());
        for (values, why) in [
            (["", NO_ROLE, "a\u{1}b", ""], Why::TemporaryTable),
            (["", NO_ROLE, "", "cursor"], Why::HeldCursor),
            (["", NO_ROLE, "", "lock"], Why::AdvisoryLock),
            (["", NO_ROLE, "", "user"], Why::NotCarried),
        ] {
            asked(&mut baggage, values);
            assert_eq!(baggage.pin(), Some(why));
        }
        baggage.unsettle();
        assert_eq!(baggage.pin(), Some(Why::SessionState));
        asked(&mut baggage, ["", NO_ROLE, "", ""]);
        assert_eq!(baggage.pin(), None);
    }

    #[test]
    fn what_the_secondary_refuses_is_not_offered_again() {
        let mut baggage = Baggage::new(Reading::default());
        asked(&mut baggage, ["x", NO_ROLE, "", ""]);
        carried(&mut baggage, true);
        assert_eq!(baggage.pin(), Some(Why::NotCarried));
        asked(&mut baggage, ["y", NO_ROLE, "", ""]);
        assert_eq!(baggage.pin(), None);
    }

    #[test]
    fn settings_of_the_users_own_are_asked_for_by_name() {
        let mut baggage = Baggage::new(Reading::default());
        baggage.note_custom("App.Tenant");
        baggage.note_custom("datestyle");
        assert!(baggage.question().contains("SELECT 'app.tenant', pg_catalog.current_setting('app.tenant', true)"));
        assert!(!baggage.question().contains("datestyle"));
        baggage.note_custom("a'b.c");
        asked(&mut baggage, ["", NO_ROLE, "", ""]);
        assert_eq!(baggage.pin(), Some(Why::NotCarried));
    }
}
