//! One at a time: whoever changes a session, or counts in a user's row, waits for the turn here, not inside the database.
//!
//! A row's lock is waited for on a connection of the pool. Some hundred rotations of one token would each hold one and keep
//! everybody else from the database; waiting here costs none. The row's lock stays: other replicas know nothing of this queue.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Mutex as Queue, OwnedMutexGuard};
use uuid::Uuid;

/// What somebody has the turn of, each with those who wait for it, in their order.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    queues: Mutex<HashMap<Uuid, Arc<Queue<()>>>>,
}

/// The turn; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    of: Uuid,
    queue: Arc<Queue<()>>,
    /// `None` once it has been given back.
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until nobody else has this one's turn.
    pub(crate) async fn wait(&self, of: Uuid) -> Turn<'_> {
        let queue = Arc::clone(self.lock().entry(of).or_default());
        // Given up while waiting, the turn is forgotten as one that was had.
        let mut turn = Turn {
            turns: self,
            of,
            queue,
            held: None,
        };
        turn.held = Some(Arc::clone(&turn.queue).lock_owned().await);
        turn
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<Queue<()>>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queues = self.turns.lock();
        self.held = None;
        // This one's and the map's: nobody waits. Others join under the map's lock only.
        if Arc::strong_count(&self.queue) == 2 {
            queues.remove(&self.of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;
    use crate::api::testing::{TestApp, png};
    use futures_util::future::join_all;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use uuid::Uuid;

    #[tokio::test]
    async fn one_at_a_time_has_the_turn_of_a_session_and_others_wait_for_their_own() {
        let turns = Turns::default();
        let inside = [AtomicU32::new(0), AtomicU32::new(0)];
        let had = AtomicU32::new(0);
        join_all((0..200).map(|number: usize| {
            let (turns, inside, had) = (&turns, &inside[number % 2], &had);
            async move {
                let _turn = turns.wait(Uuid::from_u128(number as u128 % 2)).await;
                assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::Relaxed);
                had.fetch_add(1, Ordering::Relaxed);
            }
        }))
        .await;
        assert_eq!(had.into_inner(), 200);
        assert!(
            turns.lock().is_empty(),
            "nothing is kept of sessions that nobody changes"
        );
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_nothing_behind() {
        let turns = Turns::default();
        let session = Uuid::from_u128(1);
        let held = turns.wait(session).await;
        let given_up = tokio::time::timeout(Duration::from_millis(1), turns.wait(session)).await;
        assert!(given_up.is_err());
        drop(held);
        assert!(turns.lock().is_empty());
        drop(turns.wait(session).await);
    }

    /// Each waits for the row that its user is counted in. Would it do so on a connection, nobody else had any.
    #[tokio::test(flavor = "multi_thread")]
    async fn uploads_of_one_user_at_once_leave_connections_to_others() {
        /// More than twice the connections of the pool.
        const UPLOADS: u32 = 12;
        const PATIENCE: Duration = Duration::from_secs(5);
        let Some(app) = TestApp::start().await else { return };
        let (token, other) = (app.user_token("user@localhost").await, app.admin_token().await);
        assert_eq!(app.upload(&token, png(1, 1)).await.status, 201);
        let mut row = app.database().superuser().begin().await.unwrap();
        sqlx::query("select from usage_records where action = 'IMAGE_PROCESS' for update")
            .execute(&mut *row)
            .await
            .unwrap();
        let uploads = join_all((1..=UPLOADS).map(|n| app.upload(&token, png(2, n))));
        let others = async {
            // What is announced waits next.
            let announced = async {
                while app.count("select count(*) from blobs").await < i64::from(1 + UPLOADS) {
                    tokio::task::yield_now().await;
                }
            };
            let announced = tokio::time::timeout(PATIENCE, announced).await;
            announced.expect("uploads that wait keep none from arriving");
            for _ in 0..20 {
                let answer = tokio::time::timeout(PATIENCE, app.get_as(&other, "/api/images")).await;
                assert_eq!(answer.expect("others are served").status, 200);
            }
            row.commit().await.unwrap();
        };
        let (uploads, ()) = tokio::join!(uploads, others);
        assert!(uploads.iter().all(|answer| answer.status == 201));
    }
}
