//! A whole service on a fresh database, spoken to as the edge speaks to it.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Request, request::Builder},
};
use http_body_util::BodyExt;
use kado_shared::{
    headers,
    secret::Secret,
    signature::{EdgeKeys, Parts, Purpose},
    tenant::TenantId,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;
use tower::ServiceExt;
use uuid::Uuid;

use crate::{
    blobs::BlobStore,
    clock::{Clock, SharedClock, testing::ManualClock, unix},
    database::Database,
    entropy::{SharedEntropy, testing::CountingEntropy},
    heavy::HeavyLane,
    identity::{keyring::create_first, password::hash_now},
    redis::Redis,
    seal::{self, Sealer},
    service::{self, App, Service},
    testing::TestDatabase,
};

pub(crate) const JWT_SECRET: &str = "test-jwt-secret-test-jwt-secret-32";
const EDGE_SECRET: &str = "test-edge-secret-test-edge-secret-32";

/// A service, its database, its files and its clock.
pub(crate) struct TestApp {
    pub(crate) service: App,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) tenant: TenantId,
    database: Option<TestDatabase>,
    folder: tempfile::TempDir,
    nonces: AtomicU64,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    headers: HeaderMap,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// A request without the edge's signature.
pub(crate) fn unsigned(method: &str, target: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(target)
        .body(Body::empty())
        .unwrap()
}

impl TestApp {
    pub(crate) const PASSWORD: &'static str = "correct horse battery staple";
    pub(crate) const PUBLIC_URL: &'static str = "http://localhost:8787";

    /// A ready service with one tenant (host localhost) and its administrator; `None` without a server for databases.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_as(None).await
    }

    /// The same with a Redis at this address, which need not be there.
    pub(crate) async fn start_with_redis(address: &Secret) -> Option<Self> {
        Self::start_as(Some(Redis::new(address).unwrap())).await
    }

    async fn start_as(redis: Option<Redis>) -> Option<Self> {
        let database = TestDatabase::create().await?;
        let (pools, clock) = (database.pools().clone(), Arc::new(ManualClock::default()));
        let tenant = TenantId(Uuid::from_u128(7));
        let entropy: SharedEntropy = Arc::new(CountingEntropy::default());
        let mut connection = database.superuser().acquire().await.unwrap();
        let hash = hash_now(Self::PASSWORD.as_bytes(), &[1; 16]).unwrap();
        sqlx::query("insert into tenants (id, name) values ($1, 'test')")
            .bind(tenant.0)
            .execute(&mut *connection)
            .await
            .unwrap();
        sqlx::query("insert into tenant_hosts (tenant_id, host) values ($1, 'localhost')")
            .bind(tenant.0)
            .execute(&mut *connection)
            .await
            .unwrap();
        sqlx::query(
            "insert into users (tenant_id, email, password_hash, role) values ($1, 'admin@localhost', $2, 'ADMIN')",
        )
        .bind(tenant.0)
        .bind(hash)
        .execute(&mut *connection)
        .await
        .unwrap();
        let sealer = Sealer::new(&Secret::new(JWT_SECRET), seal::Purpose::SIGNING_KEYS);
        create_first(&mut connection, &sealer, &*entropy, clock.now())
            .await
            .unwrap();
        drop(connection);
        let app = Self::build(pools, Some(database), clock, entropy, tenant, redis);
        app.service.readiness.complete();
        Some(app)
    }

    /// A service whose database is not there.
    pub(crate) fn without_database() -> Self {
        let nowhere = Secret::new("postgres://nobody@127.0.0.1:1/none");
        Self::on(Database::connect_lazily(&nowhere, &nowhere, 2).unwrap())
    }

    /// A service on a database that somebody else keeps, which has not started.
    pub(crate) fn on(pools: Database) -> Self {
        let tenant = TenantId(Uuid::from_u128(7));
        Self::build(
            pools,
            None,
            Arc::new(ManualClock::default()),
            Arc::new(CountingEntropy::default()),
            tenant,
            None,
        )
    }

    fn build(
        pools: Database,
        database: Option<TestDatabase>,
        clock: Arc<ManualClock>,
        entropy: SharedEntropy,
        tenant: TenantId,
        redis: Option<Redis>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shared: SharedClock = Arc::<ManualClock>::clone(&clock);
        let service = Service::build(service::Parts {
            clock: shared,
            entropy,
            database: pools,
            redis,
            blobs: BlobStore::open_folder(folder.path().to_owned()).unwrap(),
            jwt_secret: Secret::new(JWT_SECRET),
            edge_secret: Secret::new(EDGE_SECRET),
            public_url: Self::PUBLIC_URL.to_owned(),
            hashes_at_once: 2,
            heavy: Some(HeavyLane::new(1, Vec::new()).unwrap()),
            tracing: None,
        });
        Self {
            service: Arc::new(service.unwrap()),
            clock,
            tenant,
            database,
            folder,
            nonces: AtomicU64::new(1),
        }
    }

    pub(crate) fn database(&self) -> &TestDatabase {
        self.database.as_ref().expect("started with a database")
    }

    pub(crate) fn now(&self) -> u64 {
        unix(self.clock.now())
    }

    /// A forwarded request's head, rightly signed.
    pub(crate) fn signed(&self, method: &str, target: &str) -> Builder {
        self.signed_for(Some(self.tenant), Purpose::Forward, method, target, None)
    }

    pub(crate) fn signed_for(
        &self,
        tenant: Option<TenantId>,
        purpose: Purpose,
        method: &str,
        target: &str,
        body_sha256: Option<[u8; 32]>,
    ) -> Builder {
        let tenant = tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
        let number = self.nonces.fetch_add(1, Ordering::Relaxed);
        let request_id = format!("request-{number:08}");
        let parts = Parts {
            method,
            path_and_query: target,
            tenant: &tenant,
            client_ip: "203.0.113.9",
            request_id: &request_id,
            body_sha256,
        };
        let keys = EdgeKeys::from_secret_list(&Secret::new(EDGE_SECRET), purpose).unwrap();
        let signature = keys.sign(&parts, self.now(), u128::from(number).to_be_bytes());
        Request::builder()
            .method(method)
            .uri(target)
            .header(headers::KADO_EDGE, signature)
            .header(headers::KADO_TENANT, tenant)
            .header(headers::KADO_CLIENT_IP, "203.0.113.9")
            .header(headers::X_REQUEST_ID, request_id)
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Self::read(crate::api::router(App::clone(&self.service)), request).await
    }

    pub(crate) async fn read(router: axum::Router, request: Request<Body>) -> Answer {
        let response = router.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            body,
            headers: parts.headers,
        }
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(self.signed("GET", target).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn get_as(&self, token: &str, target: &str) -> Answer {
        self.send(
            self.signed("GET", target)
                .header("authorization", format!("Bearer {token}"))
                .body(Body::empty())
                .unwrap(),
        )
        .await
    }

    pub(crate) async fn delete_as(&self, token: &str, target: &str) -> Answer {
        self.send(
            self.signed("DELETE", target)
                .header("authorization", format!("Bearer {token}"))
                .body(Body::empty())
                .unwrap(),
        )
        .await
    }

    pub(crate) async fn put_as(&self, token: &str, target: &str, body: &Value) -> Answer {
        let request = self.signed("PUT", target).header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn post(&self, target: &str, body: &Value) -> Answer {
        self.post_owned(target, body.clone()).await
    }

    pub(crate) async fn post_owned(&self, target: &str, body: Value) -> Answer {
        let request = self.signed("POST", target).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn post_as(&self, token: &str, target: &str, body: &Value) -> Answer {
        let request = self.signed("POST", target).header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn patch_as(&self, token: &str, target: &str, body: &Value, if_match: Option<&str>) -> Answer {
        let request = self.signed("PATCH", target).header("content-type", "application/json");
        let mut request = request.header("authorization", format!("Bearer {token}"));
        if let Some(tag) = if_match {
            request = request.header("if-match", tag);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Uploads a file as the field `image`.
    pub(crate) async fn upload(&self, token: &str, file: Vec<u8>) -> Answer {
        self.upload_form(token, multipart("image", &file)).await
    }

    pub(crate) async fn upload_form(&self, token: &str, form: Vec<u8>) -> Answer {
        let request = self
            .signed("POST", "/api/images")
            .header("content-type", "multipart/form-data; boundary=kado");
        let request = request
            .header("authorization", format!("Bearer {token}"))
            .header("content-length", form.len());
        self.send(request.body(Body::from(form)).unwrap()).await
    }

    pub(crate) async fn internal(&self, method: &str, target: &str) -> Answer {
        self.internal_with(method, target, &[]).await
    }

    pub(crate) async fn internal_with(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.internal_for(Some(self.tenant), method, target, headers).await
    }

    pub(crate) async fn internal_for(
        &self,
        tenant: Option<TenantId>,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let empty = Some(Sha256::digest(b"").into());
        let request = self.signed_for(tenant, Purpose::Internal, method, target, empty);
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value));
        let router = crate::internal::router(App::clone(&self.service));
        Self::read(router, request.body(Body::empty()).unwrap()).await
    }

    /// A request of the edge itself, with a body.
    pub(crate) async fn post_internal(&self, target: &str, body: &Value) -> Answer {
        self.post_internal_owned(target, body.clone()).await
    }

    pub(crate) async fn post_internal_owned(&self, target: &str, body: Value) -> Answer {
        self.post_internal_for(self.tenant, target, body).await
    }

    pub(crate) async fn post_internal_for(&self, tenant: TenantId, target: &str, body: Value) -> Answer {
        let body = body.to_string();
        let hash = Some(Sha256::digest(body.as_bytes()).into());
        let request = self
            .signed_for(Some(tenant), Purpose::Internal, "POST", target, hash)
            .header("content-type", "application/json");
        let router = crate::internal::router(App::clone(&self.service));
        Self::read(router, request.body(Body::from(body)).unwrap()).await
    }

    /// Signs the administrator in.
    pub(crate) async fn admin_token(&self) -> String {
        self.token("admin@localhost").await
    }

    /// Adds a user of role USER, with the same password, and signs them in.
    pub(crate) async fn user_token(&self, email: &str) -> String {
        self.execute(&format!(
            "insert into users (tenant_id, email, password_hash) select tenant_id, '{email}', password_hash from users limit 1"
        ))
        .await;
        self.token(email).await
    }

    async fn token(&self, email: &str) -> String {
        let answer = self
            .post("/api/auth/login", &json!({"email": email, "password": Self::PASSWORD}))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// Runs a statement above row-level security.
    pub(crate) async fn execute(&self, sql: &str) {
        sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(self.database().superuser())
            .await
            .unwrap();
    }

    /// One number from above row-level security.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned()))
            .fetch_one(self.database().superuser())
            .await
            .unwrap()
    }

    /// Originals in the blob folder.
    pub(crate) fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join(self.tenant.to_string())).map_or(0, Iterator::count)
    }

    /// Staged uploads that got no place are removed behind the answer.
    pub(crate) async fn nothing_stays_pending(&self) {
        let pending = self.folder.path().join("pending");
        tokio::time::timeout(Duration::from_secs(5), async {
            while std::fs::read_dir(&pending).is_ok_and(|files| files.count() > 0) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("what was staged for nothing is removed");
    }
}

/// A form with one file, boundary `kado`.
pub(crate) fn multipart(field: &str, file: &[u8]) -> Vec<u8> {
    let head = format!(
        "--kado\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    [head.as_bytes(), file, b"\r\n--kado--\r\n"].concat()
}

/// The smallest PNG of a size that a header probe takes: signature, IHDR with its checksum, IDAT, IEND.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        bytes.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        let start = bytes.len();
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(data);
        let sum = crc32(&bytes[start..]);
        bytes.extend_from_slice(&sum.to_be_bytes());
    };
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend_from_slice(&[8, 0, 0, 0, 0]);
    chunk(b"IHDR", &header);
    chunk(b"IDAT", &[0x78, 0x9c, 0x03, 0, 0, 0, 0, 1]);
    chunk(b"IEND", &[]);
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            }
        })
    })
}
