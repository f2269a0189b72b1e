//! How many fetches one host gets at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds fetches per host. Hosts without a fetch take no memory.
pub(crate) struct HostSlots {
    per_host: usize,
    hosts: Arc<Mutex<HashMap<String, Host>>>,
}

struct Host {
    places: Arc<Semaphore>,
    /// Fetches that hold or await a place.
    users: usize,
}

/// A place at a host, or the wait for one.
pub(crate) struct HostSlot {
    hosts: Arc<Mutex<HashMap<String, Host>>>,
    name: String,
    places: Arc<Semaphore>,
    place: Option<OwnedSemaphorePermit>,
}

impl HostSlots {
    pub(crate) fn new(per_host: usize) -> Self {
        Self {
            per_host,
            hosts: Arc::default(),
        }
    }

    /// Waits for a place.
    pub(crate) async fn enter(&self, name: String) -> HostSlot {
        let mut slot = self.join(name);
        slot.place = Arc::clone(&slot.places).acquire_owned().await.ok();
        slot
    }

    fn join(&self, name: String) -> HostSlot {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(name.clone()).or_insert_with(|| Host {
            places: Arc::new(Semaphore::new(self.per_host)),
            users: 0,
        });
        host.users += 1;
        HostSlot {
            hosts: Arc::clone(&self.hosts),
            name,
            places: Arc::clone(&host.places),
            place: None,
        }
    }
}

impl Drop for HostSlot {
    fn drop(&mut self) {
        self.place = None;
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get_mut(&self.name) {
            host.users -= 1;
            if host.users == 0 {
                hosts.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_host_gets_its_places_and_others_theirs_and_nothing_stays_behind() {
        let slots = HostSlots::new(2);
        let first = slots.enter("a".to_owned()).await;
        let _second = slots.enter("a".to_owned()).await;
        let _other = slots.enter("b".to_owned()).await;
        let third = slots.enter("a".to_owned());
        assert!(
            tokio::time::timeout(Duration::from_millis(20), third).await.is_err(),
            "no third place"
        );
        drop(first);
        drop(slots.enter("a".to_owned()).await);
        drop((_second, _other));
        assert!(slots.hosts.lock().unwrap().is_empty());
    }
}
