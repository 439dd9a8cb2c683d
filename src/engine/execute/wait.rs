//! Writes a resource, and retries while the API does not know other new resources yet.

use std::sync::PoisonError;

use super::changed::moved;
use super::{Checked, Run, object};
use crate::document::Document;
use crate::event::Event;
use crate::live::{AnyLive, Target, WriteError};
use crate::plan::Step;
use crate::snapshot::Seen;

impl Run<'_> {
    /// Calls the API, and retries while a new resource is not known everywhere yet. Stops if the step's resource
    /// changes in the meantime.
    pub(super) async fn write(
        &self,
        step: &Step,
        live: &dyn AnyLive,
        target: &Target,
        checked: &Checked,
    ) -> Result<(), WriteError> {
        let limits = self.engine.limits;
        let mut waited = std::time::Duration::ZERO;
        let mut pause = limits.pause;
        loop {
            let mut written = live.write(self.engine.session, &step.scope, target, &checked.action).await;
            if let Err(WriteError::UnknownPrincipal { what, why }) = written {
                let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let names = |body: Option<&Document>| body.map(|body| live.facet(object(step, body)).names());
                let (wanted, shown) = (names(step.after()), names(checked.seen.as_ref()));
                let refused = self.engine.refused_principals(
                    what,
                    why,
                    wanted.unwrap_or_default(),
                    shown.unwrap_or_default(),
                    &made,
                );
                written = Err(refused.await);
            }
            match written {
                Err(WriteError::NotYet { what, awaited, why }) => {
                    if waited >= limits.patience || *self.stop.borrow() {
                        let why = format!("{why} (waited {} s)", waited.as_secs());
                        return Err(WriteError::NotYet { what, awaited, why });
                    }
                    // Earlier calls of the same write may have succeeded, so the resource is read again.
                    let before = self.look(step, target).await;
                    self.engine.sink.take(Event::Waiting { step: step.id().clone(), awaited, pause });
                    self.sleep(pause).await;
                    // No new journal entry precedes the retry, so confirm that the lock was not lost meanwhile.
                    if let Err(error) = self.backend.vouch().await {
                        return Err(WriteError::Failed {
                            what,
                            why: format!("{why}, and Bailiwick did not retry: {error}"),
                        });
                    }
                    match (before, self.look(step, target).await) {
                        (Seen::Unreadable { why: unread, cause }, _) | (_, Seen::Unreadable { why: unread, cause }) => {
                            let why = format!("{why}; during the wait, it could not be read: {unread}");
                            return Err(WriteError::Unread { what, why, cause });
                        }
                        (before, now) if self.stayed(step, live, &before, &now) => {}
                        (_, now) => {
                            let why = format!("{why}; during the wait, {}", moved(step, live, &now));
                            return Err(WriteError::Changed { what, why });
                        }
                    }
                    waited += pause;
                    pause = (pause * 2).min(limits.pause * 8);
                }
                other => return other,
            }
        }
    }

    /// Whether the step's resource is unchanged between two reads.
    fn stayed(&self, step: &Step, live: &dyn AnyLive, before: &Seen, now: &Seen) -> bool {
        before.fingerprint() == now.fingerprint() || self.names_what_was_taken_away(step, live, now)
    }

    /// Sleeps for the pause, or until the run is stopped.
    async fn sleep(&self, pause: std::time::Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.stopped() => {}
        }
    }
}
