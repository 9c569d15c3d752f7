//! What is put into the client's text, and what the server's positions in the result are in the client's own.
//!
//! The result is never kept: a text may be as long as a message, and there is the client's own to make it from again.

/// One piece of text that is put into the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insertion {
    /// Where, in bytes of the client's text.
    pub at: usize,
    pub text: Box<str>,
    /// Characters of the client's text in front of it, as the server counts them.
    before: usize,
}

/// What makes the client's text another one: in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    pub insertions: Box<[Insertion]>,
}

/// Where a position of the rewritten text is.
enum Place {
    Client(usize),
    /// In what was put into a statement of the client's, there.
    Insertion {
        at: usize,
    },
    /// In a statement that was put in front of the client's or behind it.
    Statement,
}

/// Puts all insertions of one text into it, those of several statements at once. Offsets beyond the text count as its end.
pub fn rewrite(text: &[u8], mut insertions: Vec<(usize, String)>) -> Rewritten {
    insertions.sort_by_key(|(at, _)| *at);
    let utf8 = std::str::from_utf8(text).is_ok();
    let (mut counted, mut before) = (0, 0);
    let insertion = |(at, inserted): (usize, String)| {
        let at = at.min(text.len());
        before += characters(text.get(counted..at).unwrap_or_default(), utf8);
        counted = at;
        Insertion { at, text: inserted.into(), before }
    };
    Rewritten { insertions: insertions.into_iter().map(insertion).collect() }
}

impl Rewritten {
    /// The rewritten text, piece by piece. `text`: the client's, of which it was made.
    pub fn pieces<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut copied = 0;
        let inserted = self.insertions.iter().flat_map(move |insertion| {
            let before = text.get(copied..insertion.at).unwrap_or_default();
            copied = insertion.at;
            [before, insertion.text.as_bytes()]
        });
        let last = self.insertions.last().map_or(0, |insertion| insertion.at);
        inserted.chain([text.get(last..).unwrap_or_default()])
    }

    /// The rewritten text as a whole.
    pub fn text(&self, text: &[u8]) -> Vec<u8> {
        self.pieces(text).collect::<Vec<_>>().concat()
    }

    /// Bytes by which the rewritten text is longer.
    pub fn added(&self) -> usize {
        self.insertions.iter().map(|insertion| insertion.text.len()).sum()
    }

    /// What keeping it takes, about: bytes.
    pub fn size(&self) -> usize {
        self.added() + self.insertions.len() * size_of::<Insertion>()
    }

    /// The same with more in it, behind what is in the same place already.
    pub fn with(&self, text: &[u8], more: impl IntoIterator<Item = (usize, String)>) -> Rewritten {
        let own = self.insertions.iter().map(|insertion| (insertion.at, insertion.text.clone().into_string()));
        rewrite(text, own.chain(more).collect())
    }

    /// Maps an error position of the server (characters from 1, in the rewritten text) to the client's own text. A
    /// position inside what was inserted becomes the place where it was. One that is in none of the client's statements (an EXECUTE
    /// fails at a place in what was prepared) stays as it is.
    pub fn client_position(&self, position: usize) -> usize {
        match self.place(position) {
            Place::Client(own) => own,
            Place::Insertion { at } => at,
            Place::Statement => position,
        }
    }

    /// Whether the server means the client's own text.
    pub fn is_the_clients(&self, position: usize) -> bool {
        matches!(self.place(position), Place::Client(_))
    }

    fn place(&self, position: usize) -> Place {
        let mut added = 0;
        for insertion in &self.insertions {
            let start = insertion.before + added;
            if position <= start {
                break;
            }
            let length = insertion.text.chars().count();
            if position <= start + length {
                return match insertion.is_statement() {
                    true => Place::Statement,
                    false => Place::Insertion { at: insertion.before + 1 },
                };
            }
            added += length;
        }
        Place::Client(position - added)
    }
}

impl Insertion {
    /// A statement of its own in front of the client's or behind it, whose errors are told apart by the answers' order.
    fn is_statement(&self) -> bool {
        self.text.starts_with(';') || self.text.ends_with(';')
    }
}

/// Characters of a text: of UTF-8, or bytes of an encoding that is not known.
fn characters(text: &[u8], utf8: bool) -> usize {
    match utf8 {
        true => text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count(),
        false => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_map_back_to_the_clients_text() {
        let text = "delete from é; delete from b; x";
        let insertions = vec![(14, " [é]".to_owned()), (29, " [2]".to_owned())];
        let rewritten = rewrite(text.as_bytes(), insertions);
        assert_eq!(
            String::from_utf8_lossy(&rewritten.text(text.as_bytes())),
            "delete from é [é]; delete from b [2]; x"
        );
        let inside: Vec<char> = "delete from é [é]; delete from b [2]; x".chars().collect();
        let clients: Vec<char> = text.chars().collect();
        for (position, c) in inside.iter().enumerate().map(|(i, c)| (i + 1, c)) {
            let mapped = rewritten.client_position(position);
            let inserted = (14..=17).contains(&position) || (33..=36).contains(&position);
            assert!(inserted || clients[mapped - 1] == *c, "{position} -> {mapped}");
        }
        assert_eq!(rewritten.client_position(15), 14, "the place of the insertion");
        assert_eq!(rewritten.client_position(39), 31);
    }

    #[test]
    fn a_position_in_another_text_stays_as_it_is() {
        let insertions = vec![(0, "select before();".to_owned()), (9, ";select after()".to_owned())];
        let rewritten = rewrite(b"execute p", insertions);
        assert_eq!(rewritten.client_position(10), 10, "of what was prepared");
        assert_eq!(rewritten.client_position(30), 30);
        assert_eq!(rewritten.client_position(17), 1);
        assert!(rewritten.is_the_clients(17) && !rewritten.is_the_clients(10));
    }
}
