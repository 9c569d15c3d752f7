//! Which rule a read falls under: the first segment that its client and key fit, the first pin that its tables or fingerprint fit.

use std::net::IpAddr;

use crate::catalog::Table;
use crate::config::{Pin, Rules, Segment};
use crate::phase::Percent;
use crate::side::Side;
use crate::sql::Fingerprint;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    pub user: &'a str,
    pub application: &'a str,
    pub address: Option<IpAddr>,
    /// The routing key, where it is one of the application's own.
    pub key: Option<&'a str>,
}

/// What a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Percent(Percent),
    Pin(Side),
}

/// The segment that counts for this client and key.
pub fn segment<'a>(rules: &'a Rules, who: &Who<'_>) -> Option<(&'a Segment, Share)> {
    let found = rules.segments.iter().find(|segment| fits(segment, who))?;
    let share = match (found.pin, found.percent) {
        (Some(side), _) => Share::Pin(side),
        (None, percent) => Share::Percent(percent?),
    };
    Some((found, share))
}

fn fits(segment: &Segment, who: &Who<'_>) -> bool {
    let any = |list: &[crate::config::Pattern], text: Option<&str>| {
        list.is_empty() || text.is_some_and(|text| list.iter().any(|pattern| pattern.fits(text)))
    };
    let near = || who.address.is_some_and(|address| segment.networks.iter().any(|n| n.contains(address)));
    any(&segment.users, Some(who.user))
        && any(&segment.applications, Some(who.application))
        && (segment.networks.is_empty() || near())
        && any(&segment.keys, who.key)
}

/// The side that a read of these tables is pinned to.
pub fn pin<'a>(
    rules: &Rules,
    fingerprint: Fingerprint,
    tables: impl Iterator<Item = &'a Table> + Clone,
) -> Option<Side> {
    let shown = fingerprint.to_string();
    let fits = |pin: &&Pin| match (&pin.table, &pin.fingerprint) {
        (Some(pattern), _) => tables.clone().any(|table| pattern.fits(&table.display_name())),
        (None, Some(wanted)) => *wanted == shown,
        (None, None) => false,
    };
    rules.pins.iter().find(fits).map(|pin| pin.side)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Rules {
        serde_json::from_str(json).unwrap()
    }

    const WHO: Who<'static> = Who { user: "app", application: "web-3", address: None, key: Some("42") };

    #[test]
    fn the_first_segment_that_fits_in_every_respect_counts() {
        let rules = rules(
            r#"{"segments": [
                {"name": "staff", "users": ["ada", "bob"], "pin": "new"},
                {"name": "web beta", "applications": ["web-*"], "keys": ["4*"], "percent": 50},
                {"name": "inside", "networks": ["10.0.0.0/8"], "pin": "old"},
                {"name": "everybody", "percent": 1.5}]}"#,
        );
        let found = |who: Who<'_>| segment(&rules, &who).map(|(s, share)| (s.name.clone(), share)).unwrap();
        assert_eq!(found(Who { user: "bob", ..WHO }), ("staff".into(), Share::Pin(Side::New)));
        let half = Share::Percent(Percent::from_hundredths(5_000));
        assert_eq!(found(WHO), ("web beta".into(), half));
        let inside = Some(IpAddr::from([10, 1, 2, 3]));
        assert_eq!(found(Who { key: None, address: inside, ..WHO }), ("inside".into(), Share::Pin(Side::Old)));
        assert_eq!(found(Who { key: Some("5"), ..WHO }).0, "everybody");
        assert_eq!(segment(&Rules::default(), &WHO), None);
    }
}
