//! The life of a signing key: pending, active, retiring, retired.
//!
//! A pending key is published and signs nothing, until every edge and every replica can know it. Promoted, it signs, and the
//! one before it retires: what that has signed goes on until nobody can come with it any more.

use kado_shared::settings::{Settings, validate};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use super::{
    keyring::{self, KeyringError},
    session::TOKEN_LIFE,
};
use crate::{
    database::DatabaseError,
    entropy::Entropy,
    seal::Sealer,
    settings::{Values, global_values},
};

/// Holds a second rotation off; any number of ours.
const ADVISORY_LOCK: i64 = 0x6B61_646F_0004;
const IDLE: &str = "sessionTimeout";

/// Why a key was left as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotationError {
    #[error("another rotation is under way")]
    UnderWay,
    #[error("there is no signing key {kid:?}; there are {}", known.join(", "))]
    Unknown { kid: String, known: Vec<String> },
    #[error("signing key {0} is retired already")]
    Retired(String),
    #[error("signing key {kid} is {state}, and only a pending one can be promoted")]
    NotPending { kid: String, state: String },
    #[error(
        "signing key {0} is the only one that can sign: with --replace another is made, which signs from this moment on"
    )]
    OnlyKey(String),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

impl From<DatabaseError> for RotationError {
    fn from(error: DatabaseError) -> Self {
        Self::Keyring(error.into())
    }
}

impl From<sqlx::Error> for RotationError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

/// A key, without its private half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) kid: String,
    pub(crate) state: String,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) activated_at: Option<OffsetDateTime>,
    pub(crate) retire_after: Option<OffsetDateTime>,
}

/// Every key, newest first.
pub(crate) async fn list(connection: &mut PgConnection) -> Result<Vec<Listed>, DatabaseError> {
    Ok(sqlx::query_as!(
        Listed,
        "select kid, state, created_at, activated_at, retire_after from signing_keys order by created_at desc, kid",
    )
    .fetch_all(connection)
    .await?)
}

/// Keeps other rotations off until the connection ends.
pub(crate) async fn hold(connection: &mut PgConnection) -> Result<(), RotationError> {
    let held = sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "held!""#, ADVISORY_LOCK)
        .fetch_one(connection)
        .await?;
    if held { Ok(()) } else { Err(RotationError::UnderWay) }
}

/// Keeps other changes of keys off until the transaction ends; reading goes on.
pub(crate) async fn lock(connection: &mut PgConnection) -> Result<(), RotationError> {
    sqlx::query!("lock table signing_keys in share row exclusive mode")
        .execute(connection)
        .await?;
    Ok(())
}

/// A key that does not open must never become the one that signs.
async fn require_usable(connection: &mut PgConnection, sealer: &Sealer, kid: &str) -> Result<(), RotationError> {
    let row = sqlx::query!(
        "select public_key, sealed_private_key from signing_keys where kid = $1",
        kid
    )
    .fetch_one(connection)
    .await?;
    let signing = keyring::open(sealer, kid, &row.sealed_private_key)?;
    if signing.verifying_key().as_bytes()[..] == row.public_key[..] {
        Ok(())
    } else {
        Err(KeyringError::Mismatch(kid.to_owned()).into())
    }
}

async fn oldest_pending(connection: &mut PgConnection) -> Result<Option<String>, RotationError> {
    Ok(
        sqlx::query_scalar!("select kid from signing_keys where state = 'pending' order by created_at, kid limit 1")
            .fetch_optional(connection)
            .await?,
    )
}

async fn insert_pending(
    connection: &mut PgConnection,
    sealer: &Sealer,
    entropy: &dyn Entropy,
    now: OffsetDateTime,
) -> Result<String, RotationError> {
    let made = keyring::make(sealer, entropy)?;
    sqlx::query!(
        "insert into signing_keys (kid, public_key, sealed_private_key, state, created_at) values ($1, $2, $3, 'pending', $4)",
        made.kid,
        &made.public[..],
        made.sealed,
        now,
    )
    .execute(connection)
    .await?;
    Ok(made.kid)
}

/// The next key, published from now on. One that an interrupted rotation has left is taken up.
pub(crate) async fn publish(
    connection: &mut PgConnection,
    sealer: &Sealer,
    entropy: &dyn Entropy,
    now: OffsetDateTime,
) -> Result<String, RotationError> {
    lock(connection).await?;
    if let Some(kid) = oldest_pending(connection).await? {
        require_usable(connection, sealer, &kid).await?;
        return Ok(kid);
    }
    insert_pending(connection, sealer, entropy, now).await
}

/// What a promotion has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promoted {
    /// The key that signed until now.
    pub(crate) previous: Option<String>,
    /// Until when that verifies in any case.
    pub(crate) retire_after: OffsetDateTime,
}

/// Lets a pending key sign from now on. Replicas that do not know it yet sign with the one before, which they all know.
pub(crate) async fn promote(
    connection: &mut PgConnection,
    kid: &str,
    now: OffsetDateTime,
) -> Result<Promoted, RotationError> {
    lock(connection).await?;
    let state = state(connection, kid).await?;
    if state != "pending" {
        return Err(RotationError::NotPending {
            kid: kid.to_owned(),
            state,
        });
    }
    let retire_after = now + longest_idle(connection).await?.max(TOKEN_LIFE);
    let previous = sqlx::query_scalar!(
        "update signing_keys set state = 'retiring', retire_after = $1 where state = 'active' returning kid",
        retire_after
    )
    .fetch_optional(&mut *connection)
    .await?;
    activate(connection, kid, now).await?;
    Ok(Promoted { previous, retire_after })
}

async fn activate(connection: &mut PgConnection, kid: &str, now: OffsetDateTime) -> Result<(), RotationError> {
    sqlx::query!(
        "update signing_keys set state = 'active', activated_at = $2 where kid = $1",
        kid,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn state(connection: &mut PgConnection, kid: &str) -> Result<String, RotationError> {
    let state = sqlx::query_scalar!("select state from signing_keys where kid = $1", kid)
        .fetch_optional(&mut *connection)
        .await?;
    match state {
        Some(state) => Ok(state),
        None => Err(RotationError::Unknown {
            kid: kid.to_owned(),
            known: list(connection).await?.into_iter().map(|key| key.kid).collect(),
        }),
    }
}

/// What retiring a key at once has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetiredNow {
    /// What the key was.
    pub(crate) state: String,
    /// What signs in its place, where it was the one that signed.
    pub(crate) successor: Option<String>,
}

/// Ends a key at once, with every token that it has signed. The active one needs a successor: a pending key, or with
/// `replace` one that is made here and that nobody has heard of yet.
pub(crate) async fn retire_now(
    connection: &mut PgConnection,
    kid: &str,
    replace: bool,
    sealer: &Sealer,
    entropy: &dyn Entropy,
    now: OffsetDateTime,
) -> Result<RetiredNow, RotationError> {
    lock(connection).await?;
    let state = state(connection, kid).await?;
    if state == "retired" {
        return Err(RotationError::Retired(kid.to_owned()));
    }
    let successor = if state == "active" {
        let pending = match oldest_pending(connection).await? {
            Some(pending) => {
                require_usable(connection, sealer, &pending).await?;
                pending
            }
            None if replace => insert_pending(connection, sealer, entropy, now).await?,
            None => return Err(RotationError::OnlyKey(kid.to_owned())),
        };
        Some(pending)
    } else {
        None
    };
    sqlx::query!(
        "update signing_keys set state = 'retired', retire_after = $2 where kid = $1",
        kid,
        now
    )
    .execute(&mut *connection)
    .await?;
    if let Some(successor) = &successor {
        activate(connection, successor, now).await?;
    }
    Ok(RetiredNow { state, successor })
}

/// Retires the keys whose time has passed; answers which. A token lives 15 minutes, so its session may have been used that
/// long after the promotion, and may be rotated for the idle time after that: such a session keeps its key.
pub(crate) async fn retire_due(
    connection: &mut PgConnection,
    now: OffsetDateTime,
) -> Result<Vec<String>, DatabaseError> {
    let used_since = now - longest_idle(connection).await?;
    Ok(sqlx::query_scalar!(
        "update signing_keys k set state = 'retired'
         where state = 'retiring' and retire_after <= $1 and not exists
             (select from sessions s where s.key_id = k.kid and s.ended_at is null and s.last_seen_at >= $2)
         returning kid",
        now,
        used_since,
    )
    .fetch_all(connection)
    .await?)
}

/// The longest idle time that any tenant allows.
async fn longest_idle(connection: &mut PgConnection) -> Result<Duration, DatabaseError> {
    let global = Settings::from_layers([&global_values(connection).await?]).integer(IDLE);
    let own = sqlx::query_scalar!(
        "select value from system_settings where name = $1 and tenant_id is not null",
        IDLE
    )
    .fetch_all(connection)
    .await?;
    let own = own.into_iter().filter(|value| validate(IDLE, value).is_ok());
    let longest = own
        .map(|value| Settings::from_layers([&Values::from([(IDLE.to_owned(), value)])]).integer(IDLE))
        .fold(global, u64::max);
    Ok(Duration::seconds(i64::try_from(longest).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::{RotationError, hold, list, promote, publish, retire_due, retire_now};
    use crate::{
        api::testing::{JWT_SECRET, TestApp},
        clock::{Clock, SharedClock, testing::ManualClock},
        entropy::testing::CountingEntropy,
        identity::keyring::Keyring,
        seal::{Purpose, Sealer},
    };
    use kado_shared::{
        claims::{Expiry, Verifier},
        secret::Secret,
    };
    use serde_json::json;
    use std::sync::Arc;
    use time::Duration;

    fn sealer() -> Sealer {
        Sealer::new(&Secret::new(JWT_SECRET), Purpose::SIGNING_KEYS)
    }

    /// Other bytes than those of the application's first key.
    fn entropy(first: usize) -> CountingEntropy {
        let entropy = CountingEntropy::default();
        for _ in 0..first {
            let _: [u8; 32] = (&entropy as &dyn crate::entropy::Entropy).bytes();
        }
        entropy
    }

    async fn states(app: &TestApp) -> Vec<String> {
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let mut states: Vec<_> = list(&mut connection)
            .await
            .unwrap()
            .into_iter()
            .map(|key| key.state)
            .collect();
        states.sort();
        states
    }

    async fn publish_next(app: &TestApp) -> String {
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let mut transaction = sqlx::Connection::begin(&mut *connection).await.unwrap();
        let kid = publish(&mut transaction, &sealer(), &entropy(1000), app.clock.now())
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        kid
    }

    async fn promote_it(app: &TestApp, kid: &str) -> super::Promoted {
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let mut transaction = sqlx::Connection::begin(&mut *connection).await.unwrap();
        let promoted = promote(&mut transaction, kid, app.clock.now()).await.unwrap();
        transaction.commit().await.unwrap();
        promoted
    }

    async fn due(app: &TestApp) -> Vec<String> {
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        retire_due(&mut connection, app.clock.now()).await.unwrap()
    }

    fn replica(app: &TestApp) -> Keyring {
        let clock: SharedClock = Arc::<ManualClock>::clone(&app.clock);
        Keyring::new(
            app.database().pools().app().clone(),
            sealer(),
            TestApp::PUBLIC_URL.to_owned(),
            clock,
        )
    }

    #[tokio::test]
    async fn no_request_is_refused_while_replicas_learn_of_a_rotation_one_after_the_other() {
        let Some(app) = TestApp::start().await else { return };
        let replicas = [replica(&app), replica(&app)];
        let mut tokens = Vec::new();
        let mut kid = String::new();
        // The second replica looks three seconds after the first; a token of each is shown to both, every second.
        for second in 0..40_u32 {
            match second {
                10 => kid = publish_next(&app).await,
                20 => {
                    let before = app.service.keyring.current().await.unwrap().kid.clone();
                    let promoted = promote_it(&app, &kid).await;
                    assert_eq!(promoted.previous, Some(before));
                    assert_eq!(promoted.retire_after, app.clock.now() + Duration::minutes(30));
                }
                _ => {}
            }
            tokens.push(app.admin_token().await);
            for token in &tokens {
                for (number, replica) in replicas.iter().enumerate() {
                    if second < 3 && number == 1 {
                        continue;
                    }
                    let keys = replica.current_for(token).await.unwrap();
                    let verdict = keys.verifier.verify(token, app.now(), Expiry::Required);
                    assert!(verdict.is_ok(), "second {second}, replica {number}: {verdict:?}");
                }
                assert_eq!(app.get_as(token, "/api/auth/me").await.status, 200, "second {second}");
            }
            if tokens.len() > 4 {
                tokens.remove(1);
            }
            app.clock.advance(Duration::SECOND);
        }
        let newest = tokens.last().and_then(|token| Verifier::key_id(token));
        assert_eq!(newest, Some(kid));
    }

    #[tokio::test]
    async fn the_old_key_retires_when_its_time_has_passed_and_nobody_can_come_with_it() {
        let Some(app) = TestApp::start().await else { return };
        let early = app.admin_token().await;
        let kid = publish_next(&app).await;
        assert_eq!(publish_next(&app).await, kid, "an interrupted rotation is taken up");
        assert_eq!(states(&app).await, ["active", "pending"]);
        app.clock.advance(Duration::seconds(10));
        promote_it(&app, &kid).await;
        assert_eq!(states(&app).await, ["active", "retiring"]);

        // Used at the end of its token's life, the session may be rotated for half an hour more.
        app.clock.advance(Duration::minutes(14));
        assert_eq!(app.get_as(&early, "/api/auth/me").await.status, 200);
        app.clock.advance(Duration::minutes(17));
        assert_eq!(due(&app).await, Vec::<String>::new());
        let rotated = app.post_as(&early, "/api/auth/rotate", &json!({})).await;
        assert_eq!(rotated.status, 200, "{}", rotated.text());
        let successor = rotated.json()["token"].as_str().unwrap().to_owned();
        assert_eq!(Verifier::key_id(&successor), Some(kid));

        let revision = app.count("select revision from edge_state").await;
        assert_eq!(due(&app).await.len(), 1);
        assert_eq!(states(&app).await, ["active", "retired"]);
        assert!(
            app.count("select revision from edge_state").await > revision,
            "edges are told"
        );
        app.clock.advance(Duration::seconds(6));
        assert_eq!(app.post_as(&early, "/api/auth/rotate", &json!({})).await.status, 401);
        assert_eq!(app.get_as(&successor, "/api/auth/me").await.status, 200);
        let published = app.get("/.well-known/jwks.json").await.json();
        assert_eq!(published["keys"].as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn the_longest_idle_time_of_any_tenant_counts_and_never_less_than_a_tokens_life() {
        let Some(app) = TestApp::start().await else { return };
        app.execute("insert into system_settings (tenant_id, name, value) values (null, 'sessionTimeout', '60')")
            .await;
        let first = publish_next(&app).await;
        assert_eq!(
            promote_it(&app, &first).await.retire_after,
            app.clock.now() + Duration::minutes(15)
        );
        app.execute(
            "insert into system_settings (tenant_id, name, value) select id, 'sessionTimeout', '7200' from tenants",
        )
        .await;
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let second = publish(&mut connection, &sealer(), &entropy(2000), app.clock.now()).await;
        drop(connection);
        // A statement of its own is a transaction of its own, which cannot hold a lock.
        assert!(second.is_err());
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let mut transaction = sqlx::Connection::begin(&mut *connection).await.unwrap();
        let second = publish(&mut transaction, &sealer(), &entropy(2000), app.clock.now())
            .await
            .unwrap();
        let promoted = promote(&mut transaction, &second, app.clock.now()).await.unwrap();
        assert_eq!(promoted.retire_after, app.clock.now() + Duration::hours(2));
    }

    #[tokio::test]
    async fn the_only_key_is_not_retired_without_another_and_the_new_one_counts_at_every_replica() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let other = replica(&app);
        let active = other.current().await.unwrap().kid.clone();
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let mut transaction = sqlx::Connection::begin(&mut *connection).await.unwrap();
        let (sealer, entropy, now) = (sealer(), entropy(1000), app.clock.now());
        let refused = retire_now(&mut transaction, &active, false, &sealer, &entropy, now).await;
        assert!(matches!(refused, Err(RotationError::OnlyKey(_))), "{refused:?}");
        let unknown = retire_now(&mut transaction, "nosuchkey", true, &sealer, &entropy, now).await;
        assert!(unknown.unwrap_err().to_string().contains(&active));
        let retired = retire_now(&mut transaction, &active, true, &sealer, &entropy, now)
            .await
            .unwrap();
        let twice = retire_now(&mut transaction, &active, true, &sealer, &entropy, now).await;
        assert!(matches!(twice, Err(RotationError::Retired(_))), "{twice:?}");
        transaction.commit().await.unwrap();
        drop(connection);
        assert_eq!(
            (retired.state.as_str(), states(&app).await.join(" ").as_str()),
            ("active", "active retired")
        );

        // This replica has heard of it, the other has not: it asks when it meets the key.
        app.clock.advance(Duration::seconds(2));
        let later = replica(&app);
        assert_eq!(Some(later.current().await.unwrap().kid.clone()), retired.successor);
        app.clock.advance(Duration::seconds(5));
        let fresh = app.admin_token().await;
        assert!(
            other
                .current_for(&fresh)
                .await
                .unwrap()
                .verifier
                .verify(&fresh, app.now(), Expiry::Required)
                .is_ok()
        );
        assert_eq!(app.get_as(&token, "/api/auth/me").await.status, 401);
        assert_eq!(app.get_as(&fresh, "/api/auth/me").await.status, 200);
    }

    #[tokio::test]
    async fn a_replica_that_meets_an_unknown_key_asks_once_a_second() {
        let Some(app) = TestApp::start().await else { return };
        let other = replica(&app);
        let before = other.current().await.unwrap().kid.clone();
        let kid = publish_next(&app).await;
        promote_it(&app, &kid).await;
        app.clock.advance(Duration::milliseconds(900));
        let signing = replica(&app).current().await.unwrap();
        let claims = kado_shared::claims::AccessClaims {
            iss: TestApp::PUBLIC_URL.to_owned(),
            sub: uuid::Uuid::nil(),
            sid: uuid::Uuid::nil(),
            generation: 0,
            epoch: 1,
            role: kado_shared::claims::Role::User,
            tenant: app.tenant,
            iat: app.now(),
            exp: app.now() + 900,
        };
        let token = crate::identity::session::mint(&claims, &signing).unwrap();
        assert_eq!(other.current_for(&token).await.unwrap().kid, before);
        app.clock.advance(Duration::milliseconds(100));
        assert_eq!(other.current_for(&token).await.unwrap().kid, kid);
    }

    #[tokio::test]
    async fn a_key_that_does_not_open_is_never_promoted_and_two_rotations_do_not_mix() {
        let Some(app) = TestApp::start().await else { return };
        publish_next(&app).await;
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let mut transaction = sqlx::Connection::begin(&mut *connection).await.unwrap();
        let other = Sealer::new(
            &Secret::new("other-secret-other-secret-other-32"),
            Purpose::SIGNING_KEYS,
        );
        let refused = publish(&mut transaction, &other, &entropy(1000), app.clock.now()).await;
        assert!(matches!(refused, Err(RotationError::Keyring(_))), "{refused:?}");
        transaction.rollback().await.unwrap();

        let mut second = app.database().pools().system().acquire().await.unwrap();
        hold(&mut connection).await.unwrap();
        assert!(matches!(hold(&mut second).await, Err(RotationError::UnderWay)));
        sqlx::raw_sql("select pg_advisory_unlock_all()")
            .execute(&mut *connection)
            .await
            .unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_rotations_that_race_one_key_comes_and_one_promotion_counts() {
        let Some(app) = TestApp::start().await else { return };
        let app = Arc::new(app);
        let race = |number: usize| {
            let app = Arc::clone(&app);
            tokio::spawn(async move {
                let mut connection = app.database().pools().system().acquire().await.unwrap();
                let mut transaction = sqlx::Connection::begin(&mut *connection).await.unwrap();
                let random = entropy(1000 * (number + 1));
                let kid = publish(&mut transaction, &sealer(), &random, app.clock.now())
                    .await
                    .unwrap();
                transaction.commit().await.unwrap();
                let mut transaction = sqlx::Connection::begin(&mut *connection).await.unwrap();
                let promoted = promote(&mut transaction, &kid, app.clock.now()).await;
                match promoted {
                    Ok(_) => transaction.commit().await.unwrap(),
                    Err(RotationError::NotPending { .. }) => transaction.rollback().await.unwrap(),
                    Err(error) => panic!("{error}"),
                }
            })
        };
        for racer in (0..4).map(race).collect::<Vec<_>>() {
            racer.await.unwrap();
        }
        let states = states(&app).await;
        assert_eq!(
            states.iter().filter(|state| *state == "active").count(),
            1,
            "{states:?}"
        );
        assert!(!states.contains(&"pending".to_owned()), "{states:?}");
    }
}
