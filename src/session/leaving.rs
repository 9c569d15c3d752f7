//! A client that leaves while something of it is under way.
//!
//! PostgreSQL reads whatever was sent before the end of the stream, or before Terminate, and carries it out: a COMMIT that was the
//! client's last word is done, whether or not anybody waits for the answer. So a session that has something unsent or unanswered
//! goes on without its client: what was sent is passed on, then the backends are told in the client's place that nothing more comes, and the
//! session ends when they have answered.
//!
//! 1. The client sends half of a message, which is passed on as it comes.
//! 2. It leaves.
//! 3. A Terminate would be the message's other half to the server, which would wait for more, and the session for it, for ever.
//!
//! So such a stream ends without a word, as the client's own did, and the server closes its connection.

use bytes::BufMut;

use super::{End, Session};
use crate::side::Side;
use crate::wire::front;

/// How far a client's leaving has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Leaving {
    #[default]
    No,
    /// Nothing more is read from it; what it sent is being passed on.
    PassingOn,
    /// The backends have been told.
    Told,
}

impl Session {
    /// The client has said its last word. Ends the session with `end` where nothing is under way.
    pub(super) fn leave(&mut self, end: End) -> Result<(), End> {
        if self.is_settled() && self.client.inbound.is_empty() {
            return Err(end);
        }
        self.leaving = Leaving::PassingOn;
        Ok(())
    }

    /// Everything that can be taken from the buffers was taken.
    pub(super) fn go_on_leaving(&mut self) -> Result<(), End> {
        match self.leaving {
            Leaving::No => Ok(()),
            Leaving::PassingOn if self.is_passed_on() => {
                self.leaving = Leaving::Told;
                self.tell_backends();
                Ok(())
            }
            Leaving::PassingOn => Ok(()),
            Leaving::Told if self.is_settled() => Err(End::ClientLeft),
            Leaving::Told => Ok(()),
        }
    }

    /// The last of what a client left behind has just been sent. The backend may have nothing to say to it, and so nobody else would wake
    /// the session to go on.
    pub(super) fn has_passed_on(&self) -> bool {
        self.leaving == Leaving::PassingOn && self.is_passed_on()
    }

    fn is_passed_on(&self) -> bool {
        self.requests.approved == 0 && self.is_sent() && self.may_send()
    }

    fn tell_backends(&mut self) {
        let cut_off = (self.requests.frame_left > 0).then_some(self.active);
        for side in Side::BOTH {
            let Some(peer) = self.peers.get_mut(side) else { continue };
            if cut_off == Some(side) {
                peer.channel.finish();
            } else {
                peer.channel.outbound.put_u8(front::TERMINATE);
                peer.channel.outbound.put_u32(4);
            }
        }
    }

    /// Nothing is owed to the client, and nothing of it is on the way.
    fn is_settled(&self) -> bool {
        let owed = Side::BOTH.into_iter().any(|side| self.owes(side));
        !owed && self.withheld.is_none() && self.requests.approved == 0 && self.is_sent()
    }

    fn is_sent(&self) -> bool {
        Side::BOTH.into_iter().all(|side| self.peers.get(side).as_ref().is_none_or(|p| !p.channel.has_unsent()))
    }
}
