//! Every state that can be reached, breadth first: the first counterexample found is a shortest one.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// What is explored.
pub trait Model {
    type State: Copy + Eq + Hash;
    type Action: Copy + Debug;

    fn initial(&self) -> Self::State;
    /// Every step that can be taken, and where it leads; `Err`: taking it breaks the named promise.
    fn steps(&self, state: &Self::State, out: &mut Vec<(Self::Action, Outcome<Self::State>)>);
    /// What must hold in every state. `at_rest`: nothing but a fault can happen any more.
    fn check(&self, state: &Self::State, at_rest: bool) -> Result<(), Broken>;
    fn is_fault(&self, action: Self::Action) -> bool;
}

/// The promise that does not hold.
pub type Broken = &'static str;
pub type Outcome<S> = Result<S, Broken>;

/// What an exploration found.
#[derive(Debug)]
pub struct Report {
    pub states: usize,
    pub steps: usize,
    /// States in which nothing but a fault can happen any more.
    pub at_rest: usize,
    /// The steps of the longest way on which a state was first reached.
    pub depth: usize,
    pub counterexample: Option<Counterexample>,
}

#[derive(Debug)]
pub struct Counterexample {
    pub broken: Broken,
    pub trace: Vec<String>,
}

struct Node<M: Model> {
    state: M::State,
    parent: Option<(u32, M::Action)>,
    depth: usize,
}

/// Explores until the first broken promise, or to the end. States are compared as a whole, never by their hash alone.
pub fn explore<M: Model>(model: &M) -> Report {
    let mut known: HashMap<M::State, (), BuildHasherDefault<Mixer>> = HashMap::default();
    let mut nodes = vec![Node::<M> { state: model.initial(), parent: None, depth: 0 }];
    known.insert(model.initial(), ());
    let mut report = Report { states: 1, steps: 0, at_rest: 0, depth: 0, counterexample: None };
    let mut out = Vec::new();
    let mut next = 0;
    while next < nodes.len() {
        let Node { state, depth, .. } = nodes[next];
        out.clear();
        model.steps(&state, &mut out);
        report.steps += out.len();
        report.depth = depth;
        let at_rest = out.iter().all(|(action, _)| model.is_fault(*action));
        report.at_rest += usize::from(at_rest);
        if let Err(broken) = model.check(&state, at_rest) {
            report.counterexample = Some(Counterexample { broken, trace: trace(&nodes, next, None) });
            break;
        }
        for (action, outcome) in out.drain(..) {
            match outcome {
                Err(broken) => {
                    let trace = trace(&nodes, next, Some(action));
                    report.counterexample = Some(Counterexample { broken, trace });
                    report.states = nodes.len();
                    return report;
                }
                Ok(state) if known.insert(state, ()).is_none() => {
                    nodes.push(Node { state, parent: Some((next as u32, action)), depth: depth + 1 });
                }
                Ok(_) => {}
            }
        }
        next += 1;
    }
    report.states = nodes.len();
    report
}

fn trace<M: Model>(nodes: &[Node<M>], last: usize, action: Option<M::Action>) -> Vec<String> {
    let mut trace: Vec<String> = action.iter().map(|action| format!("{action:?}")).collect();
    let mut at = last;
    while let Some((parent, action)) = &nodes[at].parent {
        trace.push(format!("{action:?}"));
        at = *parent as usize;
    }
    trace.reverse();
    trace
}

/// A quick hash for small plain values; what it is asked to keep apart are neighbours, not adversaries.
#[derive(Default)]
pub struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u8(byte);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u8(number as u8);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}
