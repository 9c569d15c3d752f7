//! A snapshot of a database, as `pg_current_snapshot()` prints it: `xmin:xmax:xip,xip,...`.

use std::fmt;
use std::str::FromStr;

/// Which transactions a moment sees: all below `xmax` but those in `in_progress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub xmin: u64,
    pub xmax: u64,
    /// Ascending.
    pub in_progress: Vec<u64>,
}

impl Snapshot {
    /// Whether this one sees every transaction that `other` sees.
    pub fn covers(&self, other: &Snapshot) -> bool {
        let in_progress = |xid: &u64| other.in_progress.binary_search(xid).is_ok();
        let unseen = self.in_progress.iter().filter(|&&xid| xid < other.xmax).all(in_progress);
        // What began after this one: few, unless the other is much later, and then one of them has ended.
        unseen && (self.xmax..other.xmax).all(|xid| in_progress(&xid))
    }
}

impl FromStr for Snapshot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("\"{text}\" is no snapshot");
        let mut parts = text.splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or_else(refuse);
        let (xmin, xmax) = (number()?, number()?);
        let in_progress = match parts.next() {
            None => return Err(refuse()),
            Some("") => Vec::new(),
            Some(list) => list.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| refuse())?,
        };
        Ok(Snapshot { xmin, xmax, in_progress })
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (i, xid) in self.in_progress.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{xid}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_covers_another_if_it_sees_all_that_the_other_sees() {
        let covers =
            |this: &str, other: &str| this.parse::<Snapshot>().unwrap().covers(&other.parse::<Snapshot>().unwrap());
        for (this, other) in
            [("7:7:", "7:7:"), ("9:9:", "7:7:"), ("5:9:5", "5:7:5"), ("7:9:7,8", "7:7:"), ("7:7:", "7:9:7,8")]
        {
            assert!(covers(this, other), "{this} {other}");
        }
        for (this, other) in [("7:7:", "8:8:"), ("5:9:5", "7:7:"), ("7:7:", "7:9:7"), ("7:9:8", "9:9:")] {
            assert!(!covers(this, other), "{this} {other}");
        }
        assert!(!covers("7:7:", "7:18446744073709551615:"));
    }

    #[test]
    fn a_snapshot_reads_back_what_it_prints() {
        for text in ["7:7:", "10:20:10,14,15", "18446744073709551615:18446744073709551615:"] {
            assert_eq!(text.parse::<Snapshot>().map(|s| s.to_string()), Ok(text.to_string()));
        }
        for text in ["", "7", "7:8", "a:b:", "1:2:x"] {
            assert!(text.parse::<Snapshot>().is_err(), "{text}");
        }
    }
}
