//! The shared store of several gateways' limits. Optional; away, the service falls back and says so.

use kado_shared::secret::Secret;
use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;

/// A Redis that connects when it is first asked.
pub(crate) struct Redis {
    client: redis::Client,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redis")
    }
}

/// The address cannot be used. It is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("REDIS_URL is not a Redis address (redis://user:password@host:port/number)")]
pub(crate) struct BadAddress;

impl Redis {
    /// A client of this address.
    pub(crate) fn new(address: &Secret) -> Result<Self, BadAddress> {
        let client = redis::Client::open(address.expose()).map_err(|_| BadAddress)?;
        Ok(Self {
            client,
            connection: Mutex::new(None),
        })
    }

    /// Asks whether it is there. A connection that failed is given up, so the next call makes a new one.
    pub(crate) async fn ping(&self) -> Result<(), redis::RedisError> {
        let known = self.connection.lock().await.take();
        let mut connection = match known {
            Some(connection) => connection,
            None => self.client.get_multiplexed_async_connection().await?,
        };
        redis::cmd("PING").query_async::<()>(&mut connection).await?;
        *self.connection.lock().await = Some(connection);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Redis;
    use kado_shared::secret::Secret;

    #[test]
    fn a_bad_address_is_not_repeated() {
        let error = Redis::new(&Secret::new("http://:hunter2@host")).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }

    #[tokio::test]
    async fn nobody_there_is_an_error() {
        assert!(
            Redis::new(&Secret::new("redis://127.0.0.1:1/"))
                .unwrap()
                .ping()
                .await
                .is_err()
        );
    }
}
