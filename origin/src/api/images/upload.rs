//! `POST /api/images`: stores an original, streamed, once per content and tenant. What is cut leaves nothing.

use axum::{
    Json,
    extract::{
        FromRequest, Multipart, Request, State,
        multipart::{Field, MultipartError},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use kado_imaging::{Format, ImageError, ImageInfo, Limits};
use kado_shared::{
    problem::{Code, FieldError},
    quota::{Action, Standing},
    tenant::TenantId,
};
use serde_json::json;
use sqlx::PgConnection;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::timeout;
use uuid::Uuid;

use super::{ImageView, Links, lock_blob};
use crate::{
    api::{openapi::parameters::IdempotencyKey, page::timestamp},
    audit,
    blobs::{BlobError, Staged},
    database::DatabaseError,
    http::{
        authentication::{Principal, SignedIn},
        failure::Failure,
    },
    idempotency::{Attempt, NotFirst},
    quota::{self, Cost},
    service::App,
};

/// Name of the one field.
const FIELD: &str = "image";
/// What multipart adds around the file at most.
const FRAMING_BYTES: u64 = 16 * 1024;
/// Longest pause between two pieces of the body.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest header probe: it reads little, from a local store.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the database once the bytes are here.
const STORE_TIMEOUT: Duration = Duration::from_secs(12);

/// Why nothing was stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("not multipart/form-data")]
    NotMultipart,
    #[error("malformed multipart body")]
    Malformed(#[source] MultipartError),
    #[error("the body ended early or paused for too long")]
    Cut,
    #[error("the fields are not valid")]
    Fields(Vec<FieldError>),
    #[error("{value} bytes are over the limit of {limit}")]
    TooLarge { limit: u64, value: u64 },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("the user's quota is used up")]
    Quota { standing: Standing, now: OffsetDateTime },
    #[error("too many uploads at once")]
    Busy,
    #[error("the database took too long")]
    Slow,
    #[error("the probe's thread died or hung")]
    Probe,
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    NotFirst(#[from] NotFirst),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for UploadError {
    fn into_response(self) -> Response {
        let failure = match self {
            Self::NotMultipart => Failure::new(
                Code::UnsupportedMediaType,
                "The body must be multipart/form-data with one field, `image`",
            ),
            Self::Malformed(error) => Failure::new(Code::BadRequest, "The multipart body is malformed").because(&error),
            Self::Cut => Failure::new(Code::BadRequest, "The body ended early or paused for too long"),
            Self::Fields(errors) => Failure::fields(errors),
            Self::TooLarge { limit, value } => Failure::new(
                Code::TooLarge,
                format!("The file may have at most {limit} bytes (setting maxFileSize)"),
            )
            .with_limit(limit, value),
            Self::Image(error) => image_failure(&error),
            Self::Quota { standing, now } => quota::exceeded(Action::ImageProcess, standing, now),
            Self::Busy => Failure::busy("Too many uploads at this moment"),
            Self::Slow => Failure::unavailable("The database is not available at the moment"),
            Self::Blob(error) => Failure::unavailable("The blob store is not available at the moment").because(&error),
            Self::NotFirst(answer) => return answer.into_response(),
            Self::Database(error) => error.into(),
            Self::Probe => Failure::internal(&self),
        };
        failure.into_response()
    }
}

fn image_failure(error: &ImageError) -> Failure {
    match (Code::from_code(error.code()), error) {
        // Our own store failed while the engine read from it.
        (_, ImageError::Source(_)) => {
            Failure::unavailable("The blob store is not available at the moment").because(error)
        }
        (_, ImageError::TooLarge { limit, value, .. }) => {
            Failure::new(Code::TooLarge, error.to_string()).with_limit(*limit, *value)
        }
        (Some(code), _) if code.status() < 500 => Failure::new(code, error.to_string()),
        _ => Failure::internal(error),
    }
}

/// Stores an original.
///
/// The same bytes are stored once within a tenant; a cut upload leaves nothing.
#[utoipa::path(post, path = "/api/images", params(IdempotencyKey),
    request_body(content = ref("#/components/schemas/Upload"), content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "It is stored.", body = ImageView),
        (status = 413, description = "The file is larger than the setting `maxFileSize`, or has too many pixels."),
        (status = 415, description = "The body is no form, or the file no picture of a kind that can be read."),
        (status = 422, description = "The picture is damaged, or the Idempotency-Key was sent with another request."),
    ))]
pub(crate) async fn post_image(
    State(app): State<App>,
    SignedIn(principal): SignedIn,
    attempt: Attempt,
    request: Request,
) -> Result<Response, UploadError> {
    let _place = app.uploads.try_acquire().map_err(|_| UploadError::Busy)?;
    let limit = within(STORE_TIMEOUT, begin(&app, &principal, &attempt)).await?;
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(declared) = declared.filter(|declared| *declared > limit + FRAMING_BYTES) {
        return Err(UploadError::TooLarge { limit, value: declared });
    }
    let multipart = Multipart::from_request(request, &())
        .await
        .map_err(|_| UploadError::NotMultipart)?;
    let staged = receive(&app, multipart, limit).await?;
    let info = probe(&staged, limit).await?;
    // The same bytes, whatever name and boundary they came with.
    let attempt = attempt.of(&staged.hash().0);
    let image = within(STORE_TIMEOUT, store(&app, &principal, attempt, staged, &info)).await?;
    let location = image.links.itself.clone();
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(image)).into_response())
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, UploadError>>) -> Result<T, UploadError> {
    timeout(limit, work).await.map_err(|_| UploadError::Slow)?
}

/// Answers the largest size, unless the quota is used up already: then no byte need be read, but to know again what has been paid
/// for.
async fn begin(app: &App, principal: &Principal, attempt: &Attempt) -> Result<u64, UploadError> {
    let now = app.clock.now();
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let account = principal.account(Action::ImageProcess);
    let quota = principal.allowance.image_process;
    let standing = quota::look(transaction.connection(), account, quota, now).await?;
    principal.stands(standing);
    if standing.remaining == 0 && !attempt.has_key() {
        app.metrics.spent(Action::ImageProcess, 1, false);
        return Err(UploadError::Quota { standing, now });
    }
    let settings = app
        .settings
        .of_revision(transaction.connection(), principal.caller.tenant, principal.revision)
        .await?;
    transaction.commit().await?;
    Ok(settings.integer("maxFileSize"))
}

/// Reads the whole form. Exactly one field, and it is the file.
async fn receive(app: &App, mut form: Multipart, limit: u64) -> Result<Staged, UploadError> {
    let mut staged = None;
    let mut errors = Vec::new();
    while let Some(field) = paused(form.next_field()).await? {
        let name = field.name().unwrap_or_default().to_owned();
        match (name.as_str(), &staged) {
            (FIELD, None) => staged = Some(receive_file(app, field, limit).await?),
            (FIELD, Some(_)) => errors.push(FieldError {
                field: FIELD.to_owned(),
                detail: "may be given once".to_owned(),
            }),
            _ => errors.push(FieldError {
                field: name.chars().filter(|c| !c.is_control()).take(100).collect(),
                detail: "is not a field here; the one field is `image`".to_owned(),
            }),
        }
        // What is wrong already needs no more bytes.
        if !errors.is_empty() {
            break;
        }
    }
    match staged {
        Some(staged) if errors.is_empty() && staged.bytes() > 0 => Ok(staged),
        Some(_) if errors.is_empty() => Err(ImageError::NotAnImage.into()),
        _ => {
            if errors.is_empty() {
                errors.push(FieldError {
                    field: FIELD.to_owned(),
                    detail: "is missing: a file is expected".to_owned(),
                });
            }
            Err(UploadError::Fields(errors))
        }
    }
}

async fn receive_file(app: &App, mut field: Field<'_>, limit: u64) -> Result<Staged, UploadError> {
    let mut staging = app.blobs.stage(app.entropy.uuid()).await?;
    while let Some(chunk) = paused(field.chunk()).await? {
        let value = staging.bytes() + chunk.len() as u64;
        if value > limit {
            return Err(UploadError::TooLarge { limit, value });
        }
        staging.write(chunk).await?;
    }
    Ok(staging.finish().await?)
}

async fn paused<T>(next: impl Future<Output = Result<T, MultipartError>>) -> Result<T, UploadError> {
    match timeout(LONGEST_PAUSE, next).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(UploadError::Malformed(error)),
        Err(_) => Err(UploadError::Cut),
    }
}

/// Decides by content what the picture is; its name and declared type count for nothing.
async fn probe(staged: &Staged, limit: u64) -> Result<ImageInfo, UploadError> {
    let source = staged.blocking_source();
    let limits = Limits {
        source_bytes: limit,
        ..Limits::HEAVY
    };
    let probed = tokio::task::spawn_blocking(move || kado_imaging::probe(&source, &limits));
    let info = timeout(PROBE_TIMEOUT, probed)
        .await
        .map_err(|_| UploadError::Probe)?
        .map_err(|_| UploadError::Probe)??;
    if info.format == Format::Json {
        return Err(ImageError::NotAnImage.into());
    }
    Ok(info)
}

async fn store(
    app: &App,
    principal: &Principal,
    attempt: Attempt,
    staged: Staged,
    info: &ImageInfo,
) -> Result<ImageView, UploadError> {
    let (tenant, hash, now) = (principal.caller.tenant, staged.hash(), app.clock.now());
    let bytes = i64::try_from(staged.bytes()).map_err(|_| UploadError::TooLarge {
        limit: 0,
        value: staged.bytes(),
    })?;
    let image = new_view(app.entropy.uuid(), info, bytes, now);
    announce_blob(app, tenant, &staged, now).await?;
    // Each counts in the one row of its user, and holds it for as long as the file takes to its place.
    let _turn = app.stores.wait(principal.user).await;
    let mut transaction = app.database.begin(tenant).await?;
    let claim = attempt.claim(transaction.connection(), principal, now).await?;
    let standing = spend(app, transaction.connection(), principal, now).await?;
    lock_blob(transaction.connection(), tenant, hash).await?;
    sqlx::query!(
        "insert into blobs as b (tenant_id, sha256, bytes, reference_count, created_at) values ($1, $2, $3, 1, $4)
         on conflict (tenant_id, sha256) do update set reference_count = b.reference_count + 1",
        tenant.0,
        &hash.0[..],
        bytes,
        now,
    )
    .execute(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    sqlx::query!(
        "insert into images (tenant_id, id, sha256, user_id, width, height, format, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        tenant.0,
        image.id,
        &hash.0[..],
        principal.user,
        image.width,
        image.height,
        image.format,
        now,
    )
    .execute(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    let mut entry = principal.entry(app, "images.create");
    entry.target = Some(image.id.to_string());
    entry.after = Some(json!({ "sha256": hash.to_string(), "bytes": bytes }));
    audit::record(transaction.connection(), entry).await?;
    claim
        .keep(
            transaction.connection(),
            principal,
            StatusCode::CREATED,
            &image.links.itself,
            &image,
            now,
        )
        .await?;
    // Under the blob's lock, so that no removal can come between file and row. The store is asked rather than believed:
    // a row whose file was lost is healed by the next upload of the same bytes.
    if !app.blobs.contains(tenant, hash).await? {
        app.blobs.place(staged, tenant).await?;
    }
    transaction.commit().await?;
    principal.stands(standing);
    app.metrics.spent(Action::ImageProcess, 1, true);
    Ok(image)
}

/// Spends in the transaction that stores: an upload that fails, or that its client gives up, has cost nothing, and
/// nothing is told of it. A refusal is told here, the rest once it holds.
async fn spend(
    app: &App,
    connection: &mut PgConnection,
    principal: &Principal,
    now: OffsetDateTime,
) -> Result<Standing, UploadError> {
    let cost = Cost {
        count: 1,
        limit: principal.allowance.image_process,
        enforced: true,
    };
    let verdict = quota::spend(connection, principal.account(Action::ImageProcess), cost, now).await?;
    let standing = verdict.standing;
    if verdict.admitted {
        return Ok(standing);
    }
    principal.stands(standing);
    app.metrics.spent(Action::ImageProcess, 1, false);
    Err(UploadError::Quota { standing, now })
}

/// Writes a row without references before the file gets its place: should the process die in between, the sweep finds the
/// file by it.
async fn announce_blob(app: &App, tenant: TenantId, staged: &Staged, now: OffsetDateTime) -> Result<(), UploadError> {
    let bytes = i64::try_from(staged.bytes()).unwrap_or(i64::MAX);
    let mut transaction = app.database.begin(tenant).await?;
    sqlx::query!(
        "insert into blobs (tenant_id, sha256, bytes, reference_count, created_at) values ($1, $2, $3, 0, $4)
         on conflict (tenant_id, sha256) do nothing",
        tenant.0,
        &staged.hash().0[..],
        bytes,
        now,
    )
    .execute(transaction.connection())
    .await
    .map_err(DatabaseError::from)?;
    Ok(transaction.commit().await?)
}

fn new_view(id: Uuid, info: &ImageInfo, bytes: i64, now: OffsetDateTime) -> ImageView {
    let (width, height) = info.upright_size();
    let pixels = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
    ImageView {
        id,
        width: pixels(width),
        height: pixels(height),
        format: info.format.to_string(),
        bytes,
        created_at: timestamp(now),
        links: Links::of(id),
    }
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{TestApp, multipart, png};
    use serde_json::json;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_upload_is_stored_once_per_content() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let first = app.upload(&token, png(31, 17)).await;
        assert_eq!(first.status, 201, "{}", first.text());
        let body = first.json();
        assert_eq!(
            (&body["width"], &body["height"], &body["format"]),
            (&json!(31), &json!(17), &json!("png"))
        );
        assert_eq!(body["bytes"], png(31, 17).len());
        let id = body["id"].as_str().unwrap();
        assert_eq!(body["links"]["preview"], format!("/img/width=400/u/{id}"));
        assert_eq!(first.header("location"), Some(&*format!("/api/images/{id}")));

        let second = app.upload(&token, png(31, 17)).await;
        assert_ne!(second.json()["id"], body["id"]);
        assert_eq!(
            (app.files(), app.count("select reference_count from blobs").await),
            (1, 2)
        );
        app.nothing_stays_pending().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bad_uploads_say_why_and_leave_nothing() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let bomb = {
            let mut png = png(8, 8);
            png[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
            png
        };
        let picture = multipart("image", &png(4, 4));
        let open = picture.strip_suffix(b"--kado--\r\n").unwrap();
        let with_extra_field = [open, &*multipart("extra", b"x")].concat();
        for (body, status, code) in [
            (multipart("image", b"this is no picture at all"), 415, "not-an-image"),
            (multipart("image", b""), 415, "not-an-image"),
            (multipart("file", &png(4, 4)), 400, "validation-failed"),
            (with_extra_field, 400, "validation-failed"),
            (multipart("image", &png(4, 4))[..60].to_vec(), 400, "bad-request"),
            (b"no form".to_vec(), 400, "bad-request"),
            (multipart("image", &bomb), 413, "too-large"),
        ] {
            let answer = app.upload_form(&token, body).await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (status, Some(code)),
                "{}",
                answer.text()
            );
        }
        let json = app.post_as(&token, "/api/images", &json!({})).await;
        assert_eq!(json.status, 415);
        app.nothing_stays_pending().await;
        assert_eq!((app.files(), app.count("select count(*) from blobs").await), (0, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_setting_limits_the_size() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        assert_eq!(
            app.patch_as(&token, "/api/admin/settings", &json!({"maxFileSize": 1024}), None)
                .await
                .status,
            200
        );
        let answer = app.upload(&token, vec![1; 2000]).await;
        assert_eq!((answer.status, &answer.json()["limit"]), (413, &json!(1024)));
        let declared = app.upload(&token, vec![1; 50_000]).await;
        assert_eq!(declared.status, 413);
        assert_eq!(app.upload(&token, png(8, 8)).await.status, 201);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn uploads_of_the_same_bytes_at_once_share_one_file() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let answers = futures_util::future::join_all((0..8).map(|_| app.upload(&token, png(9, 9)))).await;
        assert!(answers.iter().all(|answer| answer.status == 201));
        assert_eq!(
            (app.files(), app.count("select reference_count from blobs").await),
            (1, 8)
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_quota_holds_for_uploads_at_once_and_failed_ones_cost_nothing() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.user_token("user@localhost").await;
        app.execute("update users set quota_image_process = 3, quota_until = timestamptz '2100-01-01'")
            .await;
        for _ in 0..2 {
            let failed = app.upload(&token, b"no picture".to_vec()).await;
            assert_eq!(
                (failed.status, failed.header("x-user-ratelimit-remaining")),
                (415, Some("3"))
            );
        }
        let answers = futures_util::future::join_all((0..8).map(|n| app.upload(&token, png(9, n + 1)))).await;
        let stored = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!((stored, app.files()), (3, 3));
        for refused in answers.iter().filter(|answer| answer.status != 201) {
            let body = refused.json();
            assert_eq!(
                (refused.status, &body["code"], &body["violated-policies"]),
                (429, &json!("quota-exceeded"), &json!(["IMAGE_PROCESS"]))
            );
            // The clock of tests stands at a full hour.
            assert_eq!(refused.header("retry-after"), Some("3600"));
        }
        app.nothing_stays_pending().await;
        let spent = "select count from usage_records where action = 'IMAGE_PROCESS'";
        assert_eq!(app.count(spent).await, 3);
        let unread = app.upload_form(&token, b"no form".to_vec()).await;
        assert_eq!(unread.status, 429, "nobody looks at what will not be stored");
        let keyed = |key: &str| {
            app.signed("POST", "/api/images")
                .header("authorization", format!("Bearer {token}"))
                .header("idempotency-key", key)
                .header("content-type", "multipart/form-data; boundary=kado")
                .body(multipart("image", &png(20, 20)).into())
                .unwrap()
        };
        assert_eq!(app.send(keyed("first")).await.status, 429);
        app.execute("update users set quota_image_process = 4").await;
        for replayed in [None, Some("true")] {
            let answer = app.send(keyed("first")).await;
            assert_eq!(
                (answer.status, answer.header("idempotent-replayed")),
                (201, replayed),
                "the reply to what was paid for with the last unit may be lost too"
            );
        }
        assert_eq!(app.count(spent).await, 4);
        app.clock.advance(time::Duration::hours(1));
        let token = app.admin_token().await;
        assert_eq!(app.upload(&token, png(1, 1)).await.status, 201, "the next hour");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_not_stored_is_not_told_as_spent() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.user_token("user@localhost").await;
        app.execute("update users set quota_image_process = 3, quota_until = timestamptz '2100-01-01'")
            .await;
        // After the quota was spent.
        app.execute("alter table audit_logs add constraint none check (action <> 'images.create')")
            .await;
        let failed = app.upload(&token, png(4, 4)).await;
        assert_eq!(
            (failed.status, failed.header("x-user-ratelimit-remaining")),
            (500, Some("3")),
            "{}",
            failed.text()
        );
        app.execute("alter table audit_logs drop constraint none").await;
        let stored = app.upload(&token, png(4, 4)).await;
        assert_eq!(
            (stored.status, stored.header("x-user-ratelimit-remaining")),
            (201, Some("2"))
        );
    }

    #[tokio::test]
    async fn strangers_store_nothing() {
        let Some(app) = TestApp::start().await else { return };
        let request = app
            .signed("POST", "/api/images")
            .header("content-type", "multipart/form-data; boundary=kado");
        assert_eq!(
            app.send(request.body(multipart("image", &png(4, 4)).into()).unwrap())
                .await
                .status,
            401
        );
    }
}
