//! A session's last words to its client.

use std::time::Duration;

use super::{End, Session, cancel, handshake};
use crate::wire::Notice;

/// For a cancel request to each backend whose session is cut off.
const LAST_REQUEST: Duration = Duration::from_millis(500);

impl Session {
    /// Ends the session, with a word as far as the client can still hear it.
    pub(super) async fn say_farewell(&mut self, end: &End) {
        if matches!(end, End::Shutdown) {
            self.cut_short().await;
        }
        let Some(notice) = last_word(end) else { return };
        // The client waits for the rest of a message that will not come: nothing after it could be read.
        if self.answers.frame_left > 0 {
            return;
        }
        if let Some(peer) = self.peers.get_mut(self.active) {
            self.answers.seal(&mut peer.channel.inbound, &mut self.client.outbound);
        }
        // What a backend said before it closed has been passed on already; nothing is added to a FATAL of its own.
        let said = matches!(end, End::Backend(side) if self.peers.get(*side).as_ref().is_some_and(|p| p.said_why));
        if !said {
            notice.put(&mut self.client.outbound);
        }
        let bound = self.worker.context.config.timeouts.connect;
        let _ = tokio::time::timeout(bound, self.client.close()).await;
    }

    /// What is under way is not waited for any more. A commit that only the secondary has not confirmed *is* committed, and is reported, as
    /// Postgres does when it gives up waiting for a standby.
    async fn cut_short(&mut self) {
        if let Some(withheld) = self.withheld.take() {
            Notice::warning(
                "57P01",
                "canceling the wait for the secondary and terminating connection due to administrator command",
            )
            .detail("The transaction has already committed on the primary, but might not have been carried to the secondary yet.")
            .put(&mut self.client.outbound);
            self.client.outbound.extend_from_slice(&withheld.frame);
        }
        cancel::tell(self.busy(), LAST_REQUEST).await;
    }
}

fn last_word(end: &End) -> Option<Notice> {
    Some(match end {
        End::Shutdown => Notice::fatal("57P01", "terminating connection due to administrator command"),
        End::Idle => Notice::fatal("57P05", "terminating connection due to idle-session timeout"),
        End::IdleInTransaction => Notice::fatal("25P03", "terminating connection due to idle-in-transaction timeout"),
        End::Overrun => Notice::fatal("57014", "canceling statement due to statement timeout")
            .detail("The database did not stop the statement when it was asked to."),
        End::TooManyStatements => Notice::fatal("54000", "too many prepared statements and portals")
            .hint("Close what is not needed any more, or raise clients.max_statement_bytes of pgduet."),
        End::Violation(what) => Notice::fatal("08P01", what.clone()),
        End::Backend(side) => Notice::fatal("08006", format!("the connection to the database was lost ({side})")),
        End::Login(side, error) => handshake::login_notice(*side, error),
        End::ClientLeft | End::Client(_) => return None,
    })
}
