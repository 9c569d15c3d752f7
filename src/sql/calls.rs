//! Whether a statement calls one of some functions, told by its tokens alone, so that it holds for what no parser reads too.

use std::collections::HashSet;

use super::lex::{Backslash, Lexer, TokenKind};
use super::name::identifier;

/// Whether one of these names (in lower case) stands before a bracket.
pub fn calls_any(text: &[u8], names: &HashSet<String>) -> bool {
    if names.is_empty() {
        return false;
    }
    let mut lexer = Lexer::new(text, Backslash::Plain);
    let mut former = lexer.next_significant();
    while former.kind != TokenKind::End {
        let token = lexer.next_significant();
        let called = token.kind == TokenKind::OpenParen
            && identifier(former, text, '\\').is_some_and(|n| names.contains(&n.to_lowercase()));
        if called {
            return true;
        }
        former = token;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_name_before_a_bracket() {
        let names = HashSet::from(["pay".to_owned()]);
        assert!(calls_any(b"select x.Pay /* now */ (1)", &names));
        assert!(calls_any(b"select * from \"pay\"()", &names));
        assert!(!calls_any(b"select pay, 'pay(1)' from paying (1)", &names));
    }
}
