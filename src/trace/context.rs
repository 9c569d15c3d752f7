//! Identities of traces and spans, and W3C's `traceparent`, version 00.

/// Names one span, everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub trace: [u8; 16],
    pub span: [u8; 8],
}

/// What an application says of the span that its statement belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub context: Context,
    pub sampled: bool,
}

impl Context {
    /// The first span of a trace.
    pub fn root() -> Self {
        Context { trace: identity(), span: identity() }
    }

    /// A further span of the same trace.
    pub fn another(self) -> Self {
        Context { span: identity(), ..self }
    }
}

/// Not all zero: that would be none.
fn identity<const N: usize>() -> [u8; N] {
    loop {
        let bytes: [u8; N] = std::array::from_fn(|_| rand::random());
        if bytes.iter().any(|&byte| byte != 0) {
            return bytes;
        }
    }
}

impl Parent {
    /// `None`: not well formed, and as good as absent. Of a later version what this one knows is read, as the standard asks.
    pub fn read(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let mut field = || fields.next();
        let [version] = bytes::<1>(field()?)?;
        let context = Context { trace: bytes(field()?)?, span: bytes(field()?)? };
        let [flags] = bytes::<1>(field()?)?;
        let ends = fields.next().is_none();
        let exists = context.trace != [0; 16] && context.span != [0; 8];
        let known = version != 0xff && (ends || version != 0);
        (exists && known).then_some(Parent { context, sampled: flags & 1 == 1 })
    }
}

/// Exactly so many, from lower-case hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: &u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    let pairs = text.as_bytes().chunks(2);
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(pairs) {
        let [high, low] = pair else { return None };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_names_a_trace_a_span_and_whether_it_is_sampled() {
        let parent = Parent::read(GOOD).unwrap();
        assert_eq!((parent.context.trace[0], parent.context.span[7], parent.sampled), (0x4b, 0xb7, true));
        assert!(!Parent::read(&GOOD.replace("-01", "-00")).unwrap().sampled);
        assert!(Parent::read(&GOOD.replace("-01", "-03")).unwrap().sampled, "other flags are others' affair");
        assert!(Parent::read(&format!("cc{}-what-comes-later", &GOOD[2..])).is_some());
    }

    #[test]
    fn what_is_not_well_formed_is_none() {
        let zero_trace = GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let zero_span = GOOD.replace("00f067aa0ba902b7", &"0".repeat(16));
        let (upper, longer, later) = (GOOD.to_uppercase(), format!("{GOOD}-1"), format!("ff{}", &GOOD[2..]));
        for text in ["", "00", "00-1-2-01", "ä", &zero_trace, &zero_span, &upper, &longer, &later, &GOOD[..54]] {
            assert_eq!(Parent::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_further_span_is_of_the_same_trace() {
        let root = Context::root();
        assert!(root.another().trace == root.trace && root.another().span != root.span);
        assert_ne!(Context::root().trace, root.trace);
    }
}
