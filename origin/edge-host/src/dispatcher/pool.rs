//! Transform processes that are idle, and who gets the next one.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kado_shared::tenant::TenantId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::queue::{FairQueue, Pushed, Ticket};
use crate::process::{Activity, Health, Lifecycle, Order, Probe, Running, resident_bytes};

/// Asked of a transform process to learn whether it is free; any answer below 500 will do.
pub(crate) const HEALTH_PATH: &str = "/v1/health";

/// What the pool holds to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolLimits {
    /// Jobs that may wait.
    pub(crate) queue: usize,
    /// Resident bytes above which a process is replaced after its job.
    pub(crate) memory_bytes: u64,
}

/// The queue is full, or the job had to make room for another tenant's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Busy;

type Grant = oneshot::Sender<Result<Lease, Busy>>;

pub(crate) struct Pool {
    inner: Mutex<Inner>,
    limits: PoolLimits,
}

struct Inner {
    /// Last used last, and taken first: it is warm.
    idle: Vec<Arc<Slot>>,
    queue: FairQueue<TenantId, Grant>,
}

/// One start of one transform process.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) socket: PathBuf,
    running: Running,
    alive: AtomicBool,
    busy: AtomicBool,
    jobs: AtomicU64,
}

impl Pool {
    pub(crate) fn new(limits: PoolLimits) -> Arc<Self> {
        let inner = Inner {
            idle: Vec::new(),
            queue: FairQueue::new(limits.queue),
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            limits,
        })
    }

    /// Waits for a process in the tenant's turn. `again` is for a job whose process died: it goes first, and is not
    /// refused. A caller that stops waiting leaves the queue.
    pub(crate) async fn acquire(self: &Arc<Self>, tenant: TenantId, again: bool) -> Result<Lease, Busy> {
        let (grant, granted) = oneshot::channel();
        let (ticket, displaced) = {
            let mut inner = self.lock();
            if let Some(slot) = inner.idle.pop() {
                return Ok(Lease::new(self, slot));
            }
            if again {
                (inner.queue.push_again(&tenant, grant), None)
            } else {
                match inner.queue.push(&tenant, grant) {
                    Pushed::Waits(ticket) => (ticket, None),
                    Pushed::WaitsInsteadOf(ticket, displaced) => (ticket, Some(displaced)),
                    Pushed::Full(_) => return Err(Busy),
                }
            }
        };
        if let Some(displaced) = displaced {
            let _ = displaced.send(Err(Busy));
        }
        let _waiting = Waiting {
            pool: self,
            tenant,
            ticket,
        };
        granted.await.unwrap_or(Err(Busy))
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    pub(crate) fn idle(&self) -> usize {
        self.lock().idle.len()
    }

    /// Gives a free process to whoever is next.
    fn offer(self: &Arc<Self>, slot: Arc<Slot>) {
        let mut slot = slot;
        loop {
            let grant = {
                let mut inner = self.lock();
                if !slot.alive.load(Ordering::Acquire) {
                    return;
                }
                match inner.queue.pop() {
                    Some(grant) => grant,
                    None => {
                        inner.idle.push(slot);
                        return;
                    }
                }
            };
            match grant.send(Ok(Lease::new(self, slot))) {
                Ok(()) | Err(Err(Busy)) => return,
                // Its client left just now; the next one then.
                Err(Ok(mut lease)) => match lease.slot.take() {
                    Some(back) => slot = back,
                    None => return,
                },
            }
        }
    }

    fn withdraw(&self, slot: &Arc<Slot>) {
        let mut inner = self.lock();
        slot.alive.store(false, Ordering::Release);
        inner.idle.retain(|known| !Arc::ptr_eq(known, slot));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics between two states; a poisoned lock still guards a whole one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves the queue with its owner.
struct Waiting<'a> {
    pool: &'a Arc<Pool>,
    tenant: TenantId,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.lock().queue.remove(&self.tenant, self.ticket);
    }
}

/// A process for one job.
///
/// Dropped before [`Lease::start`], it goes back unused. Dropped after, without [`Lease::done`] or [`Lease::kill`],
/// the job was abandoned: the process is asked until it answers, for then its event loop is free again, and is killed
/// at the job's deadline if it does not.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    slot: Option<Arc<Slot>>,
    deadline: Option<Instant>,
}

impl Lease {
    fn new(pool: &Arc<Pool>, slot: Arc<Slot>) -> Self {
        slot.busy.store(true, Ordering::Release);
        slot.jobs.fetch_add(1, Ordering::AcqRel);
        Self {
            pool: Arc::clone(pool),
            slot: Some(slot),
            deadline: None,
        }
    }

    pub(crate) fn start(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.slot.as_ref().map(|s| s.socket.clone()).unwrap_or_default()
    }

    /// The job ended well: the process is free, or replaced when it has grown too large.
    pub(crate) fn done(mut self) {
        if let Some(slot) = self.slot.take() {
            release(&self.pool, slot);
        }
    }

    /// The process broke or ran past its deadline.
    pub(crate) fn kill(mut self) {
        if let Some(slot) = self.slot.take() {
            slot.order(Order::Kill);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let pool = Arc::clone(&self.pool);
        match self.deadline {
            None => release(&pool, slot),
            Some(deadline) => {
                tokio::spawn(settle(pool, slot, deadline));
            }
        }
    }
}

/// At least this long is given to an abandoned job, so that a deadline just passed does not cost a healthy process.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);

async fn settle(pool: Arc<Pool>, slot: Arc<Slot>, deadline: Instant) {
    let patience = deadline.saturating_duration_since(Instant::now()).max(LEAST_PATIENCE);
    let probe = Probe {
        socket: slot.socket.clone(),
        path: HEALTH_PATH,
        patience,
    };
    if probe.ask().await == Health::Alive {
        release(&pool, slot);
    } else {
        slot.order(Order::Kill);
    }
}

fn release(pool: &Arc<Pool>, slot: Arc<Slot>) {
    let resident = resident_bytes(slot.running.pid).unwrap_or_default();
    slot.busy.store(false, Ordering::Release);
    if resident > pool.limits.memory_bytes {
        tracing::info!(
            pid = slot.running.pid,
            resident,
            "a transform process has grown too large"
        );
        slot.order(Order::Recycle);
    } else {
        pool.offer(slot);
    }
}

impl Slot {
    fn order(&self, order: Order) {
        // A supervisor that is gone has ended the process.
        let _ = self.running.orders.send((self.running.generation, order));
    }
}

/// Tells the pool of one process's ups and downs.
pub(crate) struct SlotKeeper {
    pool: Arc<Pool>,
    socket: PathBuf,
    current: Mutex<Option<Arc<Slot>>>,
}

impl SlotKeeper {
    pub(crate) fn new(pool: &Arc<Pool>, socket: PathBuf) -> Self {
        Self {
            pool: Arc::clone(pool),
            socket,
            current: Mutex::new(None),
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<Slot>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lifecycle for SlotKeeper {
    fn up(&self, running: Running) {
        let slot = Arc::new(Slot {
            socket: self.socket.clone(),
            running,
            alive: AtomicBool::new(true),
            busy: AtomicBool::new(false),
            jobs: AtomicU64::new(0),
        });
        *self.current() = Some(Arc::clone(&slot));
        self.pool.offer(slot);
    }

    fn down(&self, generation: u64) {
        let slot = self.current().take_if(|slot| slot.running.generation == generation);
        if let Some(slot) = slot {
            self.pool.withdraw(&slot);
        }
    }

    fn activity(&self) -> Activity {
        self.current()
            .as_ref()
            .map_or(Activity { busy: false, count: 0 }, |slot| Activity {
                busy: slot.busy.load(Ordering::Acquire),
                count: slot.jobs.load(Ordering::Acquire),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    fn tenant(n: u128) -> TenantId {
        TenantId(uuid::Uuid::from_u128(n))
    }

    fn pool(queue: usize) -> (Arc<Pool>, SlotKeeper) {
        let pool = Pool::new(PoolLimits {
            queue,
            memory_bytes: u64::MAX,
        });
        let keeper = SlotKeeper::new(&pool, PathBuf::from("/nowhere"));
        (pool, keeper)
    }

    fn start(keeper: &SlotKeeper, generation: u64) -> mpsc::UnboundedReceiver<(u64, Order)> {
        let (orders, received) = mpsc::unbounded_channel();
        keeper.up(Running {
            pid: u32::MAX,
            generation,
            orders,
        });
        received
    }

    async fn until(holds: impl Fn() -> bool) {
        tokio::time::timeout(Duration::from_secs(5), async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("comes to hold");
    }

    #[tokio::test]
    async fn one_job_at_a_time_and_the_next_when_it_is_done() {
        let (pool, keeper) = pool(4);
        let _orders = start(&keeper, 1);
        let first = pool.acquire(tenant(1), false).await.unwrap();
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.acquire(tenant(1), false).await.map(|_| ()) }
        });
        until(|| pool.waiting() == 1).await;
        assert!(keeper.activity().busy);
        first.done();
        waiting.await.unwrap().unwrap();
        until(|| pool.idle() == 1).await;
    }

    #[tokio::test]
    async fn a_full_queue_says_busy_and_who_stops_waiting_leaves_it() {
        let (pool, _keeper) = pool(1);
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.acquire(tenant(1), false).await.map(|_| ()) }
        });
        until(|| pool.waiting() == 1).await;
        assert_eq!(pool.acquire(tenant(1), false).await.map(|_| ()), Err(Busy));
        waiting.abort();
        until(|| pool.waiting() == 0).await;
    }

    #[tokio::test]
    async fn a_lease_that_was_never_started_goes_back_and_a_killed_one_does_not() {
        let (pool, keeper) = pool(1);
        let mut orders = start(&keeper, 7);
        drop(pool.acquire(tenant(1), false).await.unwrap());
        assert_eq!(pool.idle(), 1);
        pool.acquire(tenant(1), false).await.unwrap().kill();
        assert_eq!(pool.idle(), 0);
        assert_eq!(orders.recv().await, Some((7, Order::Kill)));
    }

    #[tokio::test]
    async fn an_abandoned_process_that_does_not_answer_is_killed() {
        let (pool, keeper) = pool(1);
        let mut orders = start(&keeper, 1);
        let mut lease = pool.acquire(tenant(1), false).await.unwrap();
        lease.start(Instant::now());
        drop(lease);
        assert_eq!(orders.recv().await, Some((1, Order::Kill)));
        assert_eq!(pool.idle(), 0);
    }

    #[tokio::test]
    async fn a_process_that_ended_under_its_job_does_not_come_back() {
        let (pool, keeper) = pool(1);
        let _orders = start(&keeper, 1);
        let lease = pool.acquire(tenant(1), false).await.unwrap();
        keeper.down(1);
        lease.done();
        assert_eq!(pool.idle(), 0);
        keeper.down(1);
        let _orders = start(&keeper, 2);
        keeper.down(1);
        assert_eq!(pool.idle(), 1, "a late word about an earlier start changes nothing");
    }

    #[tokio::test]
    async fn a_process_that_grew_too_large_is_replaced_after_its_job() {
        let pool = Pool::new(PoolLimits {
            queue: 1,
            memory_bytes: 1,
        });
        let keeper = SlotKeeper::new(&pool, PathBuf::from("/nowhere"));
        let (orders, mut received) = mpsc::unbounded_channel();
        keeper.up(Running {
            pid: std::process::id(),
            generation: 1,
            orders,
        });
        pool.acquire(tenant(1), false).await.unwrap().done();
        if cfg!(target_os = "linux") {
            assert_eq!(received.recv().await, Some((1, Order::Recycle)));
            assert_eq!(pool.idle(), 0);
        }
    }
}
