//! The shared store of several gateways' limits. Optional; away, the service falls back and says so.

use kado_shared::secret::Secret;
use redis::{Cmd, FromRedisValue, RedisError, aio::MultiplexedConnection};
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

    /// Asks whether it is there.
    pub(crate) async fn ping(&self) -> Result<(), RedisError> {
        self.ask(&redis::cmd("PING")).await
    }

    /// Sends a command. All requests share one connection; one that failed is given up, so the next call makes a new one.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        // Whoever connects is waited for: nobody needs a second connection.
        let mut connection = {
            let mut known = self.connection.lock().await;
            match &*known {
                Some(connection) => connection.clone(),
                None => known
                    .insert(self.client.get_multiplexed_async_connection().await?)
                    .clone(),
            }
        };
        let answer = command.query_async(&mut connection).await;
        if let Err(error) = &answer
            && error.is_unrecoverable_error()
        {
            self.give_up().await;
        }
        answer
    }

    /// Lets go of the connection, where a call was given up because it took too long.
    pub(crate) async fn give_up(&self) {
        *self.connection.lock().await = None;
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use kado_shared::secret::Secret;
    use std::{
        net::TcpListener,
        process::{Child, Command, Stdio},
        time::Duration,
    };

    use super::Redis;

    /// A real server of one test; it keeps nothing.
    pub(crate) struct Server {
        child: Child,
        port: u16,
        folder: tempfile::TempDir,
    }

    impl Server {
        /// `None` where the machine has no Redis.
        pub(crate) async fn start() -> Option<Self> {
            let required = std::env::var("KADO_REQUIRE_ALL").is_ok_and(|value| value == "1");
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let folder = tempfile::tempdir().unwrap();
            match run(port, folder.path()) {
                Ok(child) => {
                    let server = Self { child, port, folder };
                    server.until_it_answers().await;
                    Some(server)
                }
                Err(error) if required => panic!("KADO_REQUIRE_ALL=1, but redis-server cannot be started: {error}"),
                Err(_) => {
                    eprintln!("not run: redis-server is not installed");
                    None
                }
            }
        }

        pub(crate) fn address(&self) -> Secret {
            Secret::new(format!("redis://127.0.0.1:{}/", self.port))
        }

        pub(crate) fn kill(&mut self) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }

        pub(crate) async fn start_again(&mut self) {
            self.child = run(self.port, self.folder.path()).unwrap();
            self.until_it_answers().await;
        }

        async fn until_it_answers(&self) {
            let redis = Redis::new(&self.address()).unwrap();
            tokio::time::timeout(Duration::from_secs(10), async {
                while redis.ping().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await
            .expect("Redis answers");
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            // It may have been killed by the test.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn run(port: u16, folder: &std::path::Path) -> std::io::Result<Child> {
        Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .arg("--dir")
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }
}

#[cfg(test)]
mod tests {
    use super::{Redis, testing::Server};
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

    #[tokio::test]
    async fn a_server_that_went_and_came_back_is_found_again() {
        let Some(mut server) = Server::start().await else {
            return;
        };
        let redis = Redis::new(&server.address()).unwrap();
        redis.ping().await.unwrap();
        server.kill();
        assert!(redis.ping().await.is_err());
        server.start_again().await;
        redis.ping().await.unwrap();
    }
}
