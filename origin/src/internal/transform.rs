//! `POST /internal/transform`: a job that the edge has no memory for, by the header `Kado-Job`. Answers like the edge's
//! transform role: the picture, a problem, or 307 with a `Location` where the source redirects.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kado_edge_host::{FetchError, Fetched};
use kado_imaging::{ImageError, Limits, Resolved};
use kado_shared::{
    headers::{
        KADO_ALLOW_PORT, KADO_ALLOW_PRIVATE, KADO_IMAGE, KADO_JOB, KADO_MAX_BYTES, KADO_SOURCE, KADO_TIMEOUT_MS,
        KADO_VIA, SOURCE_CACHE_CONTROL,
    },
    job::{JobSource, MalformedJob, REDIRECT_STATUS, TransformJob},
    problem::{Code, FieldError, Problem},
    tenant::TenantId,
};
use sha2::{Digest, Sha256};
use std::time::Instant;
use uuid::Uuid;

use super::blob::{self, BlobAnswerError};
use crate::{
    heavy::{self, HeavyLane, NoPlace, Order},
    http::{edge::signed_tenant, failure::Failure},
    service::App,
};

/// Longest a job may take, in milliseconds, whatever it asks for.
const LONGEST_MS: u64 = 120_000;
/// Bytes of the body's SHA-256 that make the ETag.
const ETAG_BYTES: usize = 16;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeavyError {
    #[error("there is no heavy lane here")]
    Off,
    #[error("Kado-Job is missing")]
    NoJob,
    #[error(transparent)]
    Job(#[from] MalformedJob),
    #[error("the job is another tenant's than the request's")]
    Tenant,
    #[error("the job's options are not in normal form")]
    Options,
    #[error("this lane takes no bodies")]
    Body,
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    #[error("the source has {value} bytes or more")]
    TooManyBytes { most: u64, value: u64 },
    #[error("the source has no such picture")]
    Missing,
    #[error("the source did not answer with a picture")]
    NoPicture,
    #[error("the source: {0}")]
    Source(#[from] FetchError),
    #[error("draw=u:{id} is no stored picture")]
    Overlay { id: String },
    #[error(transparent)]
    Blob(#[from] BlobAnswerError),
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl IntoResponse for HeavyError {
    fn into_response(self) -> Response {
        let detail = self.to_string();
        let failure = match self {
            // What the edge said of the picture stands.
            Self::Off => Failure::new(Code::Heavy, "The picture takes more memory than the edge has"),
            Self::NoJob | Self::Job(_) | Self::Tenant | Self::Options | Self::Body => {
                Failure::new(Code::BadRequest, detail)
            }
            Self::NoPlace(reason) => Failure::busy("Too many large pictures are being made").because(&reason),
            Self::TooManyBytes { most, value } => Failure::new(
                Code::TooLarge,
                format!("the source may have {most} bytes, it has {value} or more"),
            )
            .with_limit(most, value),
            Self::Missing | Self::Overlay { .. } => Failure::new(Code::SourceNotFound, detail),
            Self::NoPicture => Failure::new(Code::SourceFailed, detail),
            Self::Source(error) => of_source(error),
            Self::Blob(error) => return error.into_response(),
            Self::Image(error) => of_image(&error),
        };
        failure.into_response()
    }
}

/// Nothing of the source's own words is told: they could be anybody's.
fn of_source(error: FetchError) -> Failure {
    match error {
        FetchError::AddressRefused => Failure::new(
            Code::SourceNotAllowed,
            "the source's address is not one that may be fetched",
        ),
        FetchError::Timeout => Failure::new(Code::SourceTimeout, "the source did not answer in time"),
        FetchError::TooLarge => Failure::new(Code::TooLarge, "the source has more bytes than are allowed"),
        _ => Failure::new(Code::SourceFailed, "the source could not be fetched").because(&error),
    }
}

fn of_image(error: &ImageError) -> Failure {
    if *error == ImageError::Cancelled {
        return Failure::busy("The picture could not be made in time");
    }
    let code = Code::from_code(error.code()).unwrap_or(Code::Internal);
    let mut problem = Problem::new(code, error.to_string());
    let inner = match error {
        ImageError::Overlay(inner) => inner,
        other => other,
    };
    if let ImageError::TooLarge { limit, value, .. } = inner {
        problem = problem.with_limit(*limit, *value);
    }
    if let ImageError::BadOptions(errors) = inner {
        let fields = errors.iter().map(|error| FieldError {
            field: error.option.clone(),
            detail: error.to_string(),
        });
        problem = problem.with_errors(fields.collect());
    }
    Failure::of(problem)
}

pub(crate) async fn post_transform(State(app): State<App>, headers: HeaderMap) -> Result<Response, HeavyError> {
    let lane = app.heavy.as_ref().ok_or(HeavyError::Off)?;
    let header = headers.get(KADO_JOB).and_then(|value| value.to_str().ok());
    let job = TransformJob::from_header(header.ok_or(HeavyError::NoJob)?)?;
    if signed_tenant(&headers) != Some(job.tenant) {
        return Err(HeavyError::Tenant);
    }
    let options = Resolved::parse(&job.options).map_err(|_| HeavyError::Options)?;
    let limits = Limits {
        source_bytes: job.limits.max_bytes,
        pixels: job.limits.max_pixels,
        ..Limits::HEAVY
    };
    let deadline = heavy::deadline(job.deadline_ms.min(LONGEST_MS));
    // Before the bytes: what waits here holds none.
    let admitted = lane.admit(deadline).await?;
    let (picture, cache_control) = match source(&app, lane, &job).await? {
        Got::Bytes { bytes, cache_control } => (bytes, cache_control),
        Got::Redirect(location) => return Ok(redirect(&location)),
    };
    let (info, mut plan) = heavy::plan(&picture, &options, &limits)?;
    let overlay = match plan.overlay() {
        Some(id) => Some(overlay(&app, &job, id).await?),
        None => None,
    };
    if let Some(overlay) = &overlay {
        plan = heavy::join(&plan, overlay, &limits)?;
    }
    let place = lane.enter(admitted, deadline).await?;
    let bytes = picture.len() as u64;
    let order = Order {
        picture,
        overlay,
        plan,
        limits,
    };
    let started = Instant::now();
    let output = heavy::make(order, place, deadline).await?;
    let memory = output.peak_estimate;
    let facts = output.facts(&info, bytes, "origin", memory);
    tracing::info!(
        event = "transform",
        requestId = job.request_id,
        tenant = %job.tenant,
        options = job.options,
        image = facts,
        ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    );
    let digest = Sha256::digest(&output.bytes);
    let etag = URL_SAFE_NO_PAD.encode(&digest[..ETAG_BYTES]);
    let fields = [
        (header::CONTENT_TYPE, output.format.media_type().to_owned()),
        (header::CONTENT_LENGTH, output.bytes.len().to_string()),
        (header::ETAG, format!("\"{etag}\"")),
        (HeaderName::from_static(KADO_IMAGE), facts),
    ];
    let source_policy = cache_control.map(|policy| (HeaderName::from_static(SOURCE_CACHE_CONTROL), policy));
    let mut response = Body::from(output.bytes).into_response();
    for (name, value) in fields.into_iter().chain(source_policy) {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// A job's source.
enum Got {
    Bytes {
        bytes: Vec<u8>,
        cache_control: Option<String>,
    },
    Redirect(String),
}

async fn source(app: &App, lane: &HeavyLane, job: &TransformJob) -> Result<Got, HeavyError> {
    match &job.source {
        JobSource::Stored { id } => Ok(Got::Bytes {
            bytes: stored(app, job.tenant, *id, job.limits.max_bytes).await?,
            cache_control: None,
        }),
        JobSource::Url {
            url,
            allow_private,
            allow_port,
        } => {
            let headers = egress_headers(url, *allow_private, *allow_port, job);
            match lane.sources.fetch(&headers).await? {
                Fetched::Whole { bytes, cache_control } => Ok(Got::Bytes { bytes, cache_control }),
                Fetched::Redirect(location) => Ok(Got::Redirect(location)),
                Fetched::Missing => Err(HeavyError::Missing),
                Fetched::Other => Err(HeavyError::NoPicture),
            }
        }
        JobSource::Body => Err(HeavyError::Body),
    }
}

fn egress_headers(url: &str, allow_private: bool, allow_port: bool, job: &TransformJob) -> HeaderMap {
    // The rest is for the work, as at the edge.
    let patience_ms = job.deadline_ms.min(LONGEST_MS) / 4 * 3;
    let flag = |is: bool| is.then(|| "1".to_owned());
    let fields = [
        (KADO_SOURCE, Some(url.to_owned())),
        (KADO_MAX_BYTES, Some(job.limits.max_bytes.to_string())),
        (KADO_TIMEOUT_MS, Some(patience_ms.to_string())),
        (KADO_ALLOW_PRIVATE, flag(allow_private)),
        (KADO_ALLOW_PORT, flag(allow_port)),
        (KADO_VIA, job.via.clone()),
    ];
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::try_from(value?).ok()?)))
        .collect()
}

async fn stored(app: &App, tenant: TenantId, id: Uuid, most: u64) -> Result<Vec<u8>, HeavyError> {
    let hash = blob::hash_of(app, tenant, id).await?;
    let object = blob::open(app, tenant, id, hash).await?;
    if object.meta.size > most {
        return Err(HeavyError::TooManyBytes {
            most,
            value: object.meta.size,
        });
    }
    let bytes = object
        .bytes()
        .await
        .map_err(|error| BlobAnswerError::Store(error.into()))?;
    Ok(bytes.into())
}

async fn overlay(app: &App, job: &TransformJob, id: &str) -> Result<Vec<u8>, HeavyError> {
    let missing = || HeavyError::Overlay { id: id.to_owned() };
    let uuid = Uuid::try_parse(id).map_err(|_| missing())?;
    match stored(app, job.tenant, uuid, job.limits.max_bytes).await {
        Err(HeavyError::Blob(BlobAnswerError::Missing)) => Err(missing()),
        other => other,
    }
}

fn redirect(location: &str) -> Response {
    let mut response = StatusCode::from_u16(REDIRECT_STATUS)
        .unwrap_or(StatusCode::TEMPORARY_REDIRECT)
        .into_response();
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{Answer, TestApp};
    use kado_shared::{
        headers::KADO_JOB,
        job::{JobLimits, JobSource, TransformJob, VERSION},
        tenant::TenantId,
    };
    use uuid::Uuid;

    fn job(app: &TestApp, source: JobSource) -> TransformJob {
        TransformJob {
            v: VERSION,
            tenant: app.tenant,
            options: "format=jpeg,width=20".into(),
            source,
            limits: JobLimits {
                max_bytes: 1_000_000,
                max_pixels: 1_000_000,
            },
            deadline_ms: 20_000,
            request_id: "0123456789".into(),
            client_ip: String::new(),
            traceparent: None,
            via: None,
        }
    }

    async fn ask(app: &TestApp, job: &TransformJob) -> Answer {
        app.internal_with("POST", "/internal/transform", &[(KADO_JOB, &job.to_header())])
            .await
    }

    /// A picture that is whole: BMP is easily written by hand.
    fn bmp(width: u32, height: u32) -> Vec<u8> {
        let pixels = (width * 3).next_multiple_of(4) * height;
        let mut file = b"BM".to_vec();
        for number in [54 + pixels, 0, 54, 40, width, height] {
            file.extend(number.to_le_bytes());
        }
        file.extend([1, 0, 24, 0]);
        file.extend([0; 24]);
        file.extend(vec![200; pixels as usize]);
        file
    }

    async fn stored(app: &TestApp) -> JobSource {
        let token = app.admin_token().await;
        let id = app.upload(&token, bmp(40, 30)).await.json()["id"].clone();
        JobSource::Stored {
            id: id.as_str().unwrap().parse().unwrap(),
        }
    }

    fn url(url: &str) -> JobSource {
        JobSource::Url {
            url: url.into(),
            allow_private: false,
            allow_port: true,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stored_picture_is_made_as_the_edge_would_make_it() {
        let Some(app) = TestApp::start().await else { return };
        let answer = ask(&app, &job(&app, stored(&app).await)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("image/jpeg"));
        assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
        let facts = answer.header("kado-image").unwrap();
        assert!(
            facts.starts_with("in=40x30 bmp ") && facts.contains("; out=20x15 jpeg "),
            "{facts}"
        );
        assert!(facts.contains("; lane=origin; "), "{facts}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_made_is_told_as_the_edge_tells_it() {
        let Some(app) = TestApp::start().await else { return };
        let source = stored(&app).await;
        let good = job(&app, source.clone());
        let few = JobLimits {
            max_bytes: 10,
            ..good.limits
        };
        for (job, status, code) in [
            (
                job(&app, JobSource::Stored { id: Uuid::nil() }),
                404,
                "source-not-found",
            ),
            (
                TransformJob {
                    limits: few,
                    ..good.clone()
                },
                413,
                "too-large",
            ),
            (
                TransformJob {
                    tenant: TenantId(Uuid::nil()),
                    ..good.clone()
                },
                400,
                "bad-request",
            ),
            (
                TransformJob {
                    options: "width=0".into(),
                    ..good.clone()
                },
                400,
                "bad-request",
            ),
            (TransformJob { v: 9, ..good.clone() }, 400, "bad-request"),
            (job(&app, JobSource::Body), 400, "bad-request"),
            (job(&app, url("http://127.0.0.1:9/x.png")), 403, "source-not-allowed"),
            (
                job(&app, url("http://169.254.169.254/latest")),
                403,
                "source-not-allowed",
            ),
            (job(&app, url("ftp://example.com/x.png")), 403, "source-not-allowed"),
        ] {
            let answer = ask(&app, &job).await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (status, Some(code)),
                "{job:?}"
            );
        }
        let without = app.internal("POST", "/internal/transform").await;
        assert_eq!(without.status, 400);
    }
}
