//! Jobs that wait, by the ticket that the gateway drew for each: so that it can give one up that nobody waits for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use kado_shared::headers::KADO_TICKET;
use tokio::sync::oneshot;

/// Tickets of jobs in the queue.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<HashMap<String, oneshot::Sender<()>>>);

impl Tickets {
    /// Completes when the job of these headers is given up. Its ticket counts for as long as this is waited for.
    pub(super) async fn given_up(&self, headers: &HeaderMap) {
        let Some(ticket) = ticket(headers) else {
            return std::future::pending().await;
        };
        let (give_up, given_up) = oneshot::channel();
        self.lock().insert(ticket.to_owned(), give_up);
        let _held = Held { tickets: self, ticket };
        if given_up.await.is_err() {
            // Another job came with the same ticket, which is that one's now.
            std::future::pending::<()>().await;
        }
    }

    /// Gives a job up; answers whether it was waiting.
    pub(super) fn give_up(&self, headers: &HeaderMap) -> bool {
        let waiting = ticket(headers).and_then(|ticket| self.lock().remove(ticket));
        waiting.is_some_and(|give_up| give_up.send(()).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ticket(headers: &HeaderMap) -> Option<&str> {
    headers.get(KADO_TICKET).and_then(|ticket| ticket.to_str().ok())
}

struct Held<'a> {
    tickets: &'a Tickets,
    ticket: &'a str,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut tickets = self.tickets.lock();
        // One that another job has taken over is not ours.
        if tickets.get(self.ticket).is_some_and(oneshot::Sender::is_closed) {
            tickets.remove(self.ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn headers(ticket: &str) -> HeaderMap {
        HeaderMap::from_iter([(KADO_TICKET.parse().unwrap(), ticket.parse().unwrap())])
    }

    #[tokio::test]
    async fn a_job_is_given_up_by_its_ticket_while_it_waits_and_not_before_or_after() {
        let tickets = Tickets::default();
        assert!(!tickets.give_up(&headers("a")));
        let waiting = headers("a");
        let ended = tokio::join!(tickets.given_up(&waiting), async {
            assert!(!tickets.give_up(&headers("b")));
            assert!(!tickets.give_up(&HeaderMap::new()));
            tickets.give_up(&headers("a"))
        });
        assert!(ended.1);
        assert!(!tickets.give_up(&headers("a")));
        assert!(tickets.lock().is_empty());
    }

    #[tokio::test]
    async fn a_job_that_has_had_its_turn_leaves_no_ticket_behind() {
        let tickets = Tickets::default();
        let headers = headers("a");
        let waited = tokio::time::timeout(Duration::from_millis(1), tickets.given_up(&headers)).await;
        assert!(waited.is_err());
        assert!(tickets.lock().is_empty());
    }
}
