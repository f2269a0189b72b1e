//! `kado keys drill`: what the runbook wants done every quarter, done and checked by itself.
//!
//! The tokens that are shown are a user's whom nobody can sign in as, made for the drill and removed after it.

use axum::{
    body::Bytes,
    http::{HeaderValue, header},
};
use kado_edge_host::Poster;
use kado_shared::{
    claims::{Expiry, Role},
    tenant::TenantId,
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};
use url::Url;
use uuid::Uuid;

use super::{
    Secrets, entry,
    rotate::{Wait, promote_audited, publish_audited},
};
use crate::{
    audit,
    cli::{CommandError, configuration::check_public_url, connect::DatabaseArgs, say, settings::tenant_of},
    clock::{Clock, SystemClock, unix},
    database::DatabaseError,
    entropy::{Entropy, SystemEntropy},
    identity::{
        key_rotation::hold,
        keyring,
        session::{self, Lifetimes, Opening},
    },
    seal::Sealer,
    settings,
};

/// Address of the drill's user: a name that no mail can reach (RFC 2606).
const ADDRESS: &str = "key-drill@kado.invalid";
/// What no password has as its hash.
const NO_HASH: &str = "!";

/// Flags of `kado keys drill`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address of the running service, whose edge and origin the tokens are shown to; without it the checks are made here, by the same rules.
    #[arg(long, value_name = "ADDRESS")]
    service: Option<String>,
    /// A host of the tenant that the tokens are made for; by default the service's, else any tenant.
    #[arg(long, value_name = "HOST")]
    tenant: Option<String>,
    /// The site's address, as `kado serve` has it: tokens are issued in its name.
    #[arg(long, env = "PUBLIC_URL", default_value = "", hide_default_value = true)]
    public_url: String,
    /// Answer one JSON object {passed, steps: [{step, passed, detail, ms}]}.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    secrets: Secrets,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let sealer = args.secrets.sealer()?;
    let issuer = check_public_url(&args.public_url).map_err(CommandError::Configuration)?;
    let service = args.service.as_deref().map(Service::parse).transpose()?;
    let mut connection = args.database.connect_as_system("keys drill").await?;
    hold(&mut connection).await?;
    let named = args.tenant.as_deref().or_else(|| service.as_ref()?.url.host_str());
    let tenant = match named {
        Some(host) => tenant_of(&mut connection, host).await?,
        None => any_tenant(&mut connection).await?,
    };
    let mut drill = Drill {
        connection: &mut connection,
        sealer: &sealer,
        issuer: &issuer,
        tenant,
        service: service.as_ref(),
        wait: args.wait.duration(),
        clock: &SystemClock,
        entropy: &SystemEntropy,
        steps: Vec::new(),
    };
    let passed = drill.run().await?;
    if args.json {
        let steps: Vec<_> = drill.steps.iter().map(Step::to_json).collect();
        say(&json!({ "passed": passed, "steps": steps }).to_string());
    } else {
        for step in &drill.steps {
            let verdict = if step.passed { "ok   " } else { "WRONG" };
            say(&format!(
                "{verdict} {:<18} {:>7} ms  {}",
                step.name,
                step.took.as_millis(),
                step.detail
            ));
        }
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(70) })
}

async fn any_tenant(connection: &mut PgConnection) -> Result<TenantId, CommandError> {
    sqlx::query_scalar!("select id from tenants where active order by created_at, id limit 1")
        .fetch_optional(connection)
        .await
        .map_err(DatabaseError::from)?
        .map(TenantId)
        .ok_or_else(|| CommandError::Configuration("there is no active tenant: run `kado seed`".to_owned()))
}

/// What was done, how it went and how long it took.
#[derive(Debug)]
struct Step {
    name: &'static str,
    passed: bool,
    detail: String,
    took: Duration,
}

impl Step {
    fn to_json(&self) -> Value {
        let ms = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        json!({ "step": self.name, "passed": self.passed, "detail": self.detail, "ms": ms })
    }
}

/// The running service.
#[derive(Debug)]
struct Service {
    url: Url,
    poster: Poster,
}

impl Service {
    fn parse(text: &str) -> Result<Self, CommandError> {
        let wrong = || {
            CommandError::Configuration(format!(
                "--service {text:?} is no address such as https://images.example.com"
            ))
        };
        let url = Url::parse(text).map_err(|_| wrong())?;
        let right = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
        let poster = Poster::new()?;
        if right { Ok(Self { url, poster }) } else { Err(wrong()) }
    }

    /// Signs out with a token, which counts if that is done.
    async fn show(&self, token: &str) -> Result<bool, String> {
        let url = self.url.join("/api/auth/logout").map_err(|error| error.to_string())?;
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| error.to_string())?;
        let headers = [
            (header::AUTHORIZATION, bearer),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ];
        match self.poster.post(&url, &headers, Bytes::from_static(b"{}"), true).await {
            Ok(200..=299) => Ok(true),
            Ok(401) => Ok(false),
            Ok(status) => Err(format!("the service answered {status}")),
            Err(error) => Err(format!("the service did not answer ({error})")),
        }
    }
}

/// A drill under way.
struct Drill<'a> {
    connection: &'a mut PgConnection,
    sealer: &'a Sealer,
    issuer: &'a str,
    tenant: TenantId,
    service: Option<&'a Service>,
    wait: Duration,
    clock: &'a dyn Clock,
    entropy: &'a dyn Entropy,
    steps: Vec<Step>,
}

impl Drill<'_> {
    /// Goes through with it; answers whether every check was passed.
    async fn run(&mut self) -> Result<bool, CommandError> {
        let user = self.make_user().await?;
        let done = self.steps(user).await;
        // Whatever came of it, nobody is left behind.
        self.remove_user().await?;
        let passed = done? && self.steps.iter().all(|step| step.passed);
        let mut told = entry("keys.drill", None, self.clock.now());
        told.after =
            Some(json!({ "passed": passed, "steps": self.steps.iter().map(Step::to_json).collect::<Vec<_>>() }));
        audit::record(self.connection, told).await?;
        Ok(passed)
    }

    /// Stops where nothing would be proved by going on: sessions are not ended for that. Answers whether it came to the end.
    async fn steps(&mut self, user: Uuid) -> Result<bool, CommandError> {
        let old = [self.sign_in(user).await?, self.sign_in(user).await?];
        let [shown, kept] = &old;
        if !self.check("token before", shown, true).await? {
            return Ok(false);
        }
        let begun = Instant::now();
        let kid = publish_audited(self.connection, self.sealer, self.entropy, self.clock.now()).await?;
        self.done("publish", format!("{kid} is pending"), begun);
        let begun = Instant::now();
        tokio::time::sleep(self.wait).await;
        self.done("wait", "every edge knows it".to_owned(), begun);
        let begun = Instant::now();
        let detail = promote_audited(self.connection, &kid, self.clock.now()).await?;
        self.done("promote", detail, begun);
        let begun = Instant::now();
        let epoch = self.revoke_all().await?;
        self.done(
            "revoke all",
            format!("sessions of epoch {epoch} count from now on"),
            begun,
        );
        self.check("old token refused", kept, false).await?;
        let new = self.sign_in(user).await?;
        self.check("new token accepted", &new, true).await?;
        Ok(true)
    }

    fn done(&mut self, name: &'static str, detail: String, begun: Instant) {
        self.steps.push(Step {
            name,
            passed: true,
            detail,
            took: begun.elapsed(),
        });
    }

    async fn make_user(&mut self) -> Result<Uuid, CommandError> {
        // One that a killed drill has left.
        self.remove_user().await?;
        let id = sqlx::query_scalar!(
            "insert into users (tenant_id, email, password_hash, created_at, updated_at) values ($1, $2, $3, $4, $4)
             returning id",
            self.tenant.0,
            ADDRESS,
            NO_HASH,
            self.clock.now(),
        )
        .fetch_one(&mut *self.connection)
        .await
        .map_err(DatabaseError::from)?;
        Ok(id)
    }

    async fn remove_user(&mut self) -> Result<(), CommandError> {
        sqlx::query!(
            "delete from users where email = $1 and password_hash = $2",
            ADDRESS,
            NO_HASH
        )
        .execute(&mut *self.connection)
        .await
        .map_err(DatabaseError::from)?;
        Ok(())
    }

    async fn sign_in(&mut self, user: Uuid) -> Result<String, CommandError> {
        let now = self.clock.now();
        let keys = keyring::read(self.connection, self.sealer, self.issuer, None, now)
            .await
            .map_err(|error| CommandError::configuration(&error))?;
        let opening = Opening {
            tenant: self.tenant,
            user,
            role: Role::User,
            id: self.entropy.uuid(),
            now,
            user_agent: Some("kado keys drill"),
            client_ip: None,
            issuer: self.issuer,
        };
        let claims = session::open(self.connection, opening, &keys).await?;
        session::mint(&claims, &keys).map_err(|error| CommandError::failed(&error))
    }

    async fn revoke_all(&mut self) -> Result<i64, CommandError> {
        let mut transaction = self.connection.begin().await.map_err(DatabaseError::from)?;
        let epoch = session::raise_sites_epoch(&mut transaction).await?;
        let mut told = entry("sessions.revoke-all", None, self.clock.now());
        told.after = Some(json!({ "epoch": epoch }));
        audit::record(&mut transaction, told).await?;
        transaction.commit().await.map_err(DatabaseError::from)?;
        Ok(epoch)
    }

    /// Shows a token; answers whether what came of it was right.
    async fn check(&mut self, name: &'static str, token: &str, wanted: bool) -> Result<bool, CommandError> {
        let begun = Instant::now();
        let verdict = match self.service {
            Some(service) => service.show(token).await,
            None => self.judge(token).await?,
        };
        let passed = verdict == Ok(wanted);
        let detail = match verdict {
            Ok(true) => "accepted".to_owned(),
            Ok(false) => "refused".to_owned(),
            Err(detail) => detail,
        };
        self.steps.push(Step {
            name,
            passed,
            detail,
            took: begun.elapsed(),
        });
        Ok(passed)
    }

    /// What the service would say, by its own rules.
    async fn judge(&mut self, token: &str) -> Result<Result<bool, String>, CommandError> {
        let now = self.clock.now();
        let keys = keyring::read(self.connection, self.sealer, self.issuer, None, now)
            .await
            .map_err(|error| CommandError::configuration(&error))?;
        let Ok(claims) = keys.verifier.verify(token, unix(now), Expiry::Required) else {
            return Ok(Ok(false));
        };
        let Some(stored) = session::load(self.connection, claims.sid).await? else {
            return Ok(Ok(false));
        };
        let settings = settings::load(self.connection, self.tenant).await?.resolve();
        let seconds = |name| time::Duration::seconds(i64::try_from(settings.integer(name)).unwrap_or(i64::MAX));
        let lifetimes = Lifetimes {
            idle: seconds("sessionTimeout"),
            whole: seconds("sessionMaxAge"),
        };
        Ok(Ok(session::check(&claims, self.tenant, &stored, lifetimes, now).is_ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Drill, Service};
    use crate::{
        api::testing::{JWT_SECRET, TestApp},
        entropy::testing::CountingEntropy,
        seal::{Purpose, Sealer},
    };
    use axum::{Router, extract::Request, response::IntoResponse};
    use kado_shared::secret::Secret;
    use sqlx::PgConnection;
    use std::{sync::Arc, time::Duration};

    fn drill<'a>(
        app: &'a TestApp,
        connection: &'a mut PgConnection,
        sealer: &'a Sealer,
        entropy: &'a CountingEntropy,
        service: Option<&'a Service>,
    ) -> Drill<'a> {
        Drill {
            connection,
            sealer,
            issuer: TestApp::PUBLIC_URL,
            tenant: app.tenant,
            service,
            wait: Duration::ZERO,
            clock: &*app.clock,
            entropy,
            steps: Vec::new(),
        }
    }

    fn sealer() -> Sealer {
        Sealer::new(&Secret::new(JWT_SECRET), Purpose::SIGNING_KEYS)
    }

    /// Bytes that the application has not drawn.
    fn entropy() -> CountingEntropy {
        let entropy = CountingEntropy::default();
        for _ in 0..1000 {
            let _: [u8; 32] = (&entropy as &dyn crate::entropy::Entropy).bytes();
        }
        entropy
    }

    async fn nothing_is_left(app: &TestApp) {
        assert_eq!(
            app.count("select count(*) from users where email like '%invalid'")
                .await,
            0
        );
        assert_eq!(
            app.count("select count(*) from audit_logs where action = 'keys.drill'")
                .await,
            1
        );
    }

    #[tokio::test]
    async fn it_rotates_ends_every_session_and_checks_by_the_rules() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let (sealer, entropy) = (sealer(), entropy());
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let mut drill = drill(&app, &mut connection, &sealer, &entropy, None);
        assert!(drill.run().await.unwrap(), "{:?}", drill.steps);
        let names: Vec<_> = drill.steps.iter().map(|step| step.name).collect();
        assert_eq!(
            names,
            [
                "token before",
                "publish",
                "wait",
                "promote",
                "revoke all",
                "old token refused",
                "new token accepted"
            ]
        );
        drop(connection);
        assert_eq!(app.get_as(&token, "/api/auth/me").await.status, 401);
        assert_eq!(
            app.count("select count(*) from signing_keys where state = 'retiring'")
                .await,
            1
        );
        nothing_is_left(&app).await;
    }

    /// Serves the application on a socket, with what an edge would add.
    async fn serve(app: Arc<TestApp>, status: Option<u16>) -> Service {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(move |request: Request| {
            let app = Arc::clone(&app);
            async move {
                if let Some(status) = status {
                    return axum::http::StatusCode::from_u16(status).unwrap().into_response();
                }
                // A new key is looked for as time goes by.
                app.clock.advance(time::Duration::seconds(2));
                let bearer = request.headers()["authorization"].to_str().unwrap().to_owned();
                let signed = app.signed(request.method().as_str(), request.uri().path());
                let answer = app
                    .send(
                        signed
                            .header("authorization", bearer)
                            .body(axum::body::Body::empty())
                            .unwrap(),
                    )
                    .await;
                (axum::http::StatusCode::from_u16(answer.status).unwrap(), answer.body).into_response()
            }
        });
        let (_never, stop) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            let _open = _never;
            crate::http::connection::serve(listener, router, stop).await;
        });
        Service::parse(&format!("http://{address}")).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_checks_at_the_running_service() {
        let Some(app) = TestApp::start().await else { return };
        let app = Arc::new(app);
        let service = serve(Arc::clone(&app), None).await;
        let (sealer, entropy) = (sealer(), entropy());
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let mut drill = drill(&app, &mut connection, &sealer, &entropy, Some(&service));
        assert!(drill.run().await.unwrap(), "{:?}", drill.steps);
        drop(connection);
        nothing_is_left(&app).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_service_that_answers_nonsense_ends_nobodys_session() {
        let Some(app) = TestApp::start().await else { return };
        let app = Arc::new(app);
        let token = app.admin_token().await;
        let service = serve(Arc::clone(&app), Some(500)).await;
        let (sealer, entropy) = (sealer(), entropy());
        let mut connection = app.database().pools().system().acquire().await.unwrap();
        let mut drill = drill(&app, &mut connection, &sealer, &entropy, Some(&service));
        assert!(!drill.run().await.unwrap());
        let [step] = &drill.steps[..] else {
            panic!("{:?}", drill.steps)
        };
        assert!(step.detail.contains("500"), "{step:?}");
        drop(connection);
        assert_eq!(app.get_as(&token, "/api/auth/me").await.status, 200);
        nothing_is_left(&app).await;
    }
}
