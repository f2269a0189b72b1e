//! A transform job: what the gateway tells the transform role, in the header `Kado-Job`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::tenant::TenantId;

/// Version of the job's form.
pub const VERSION: u32 = 1;
/// Where jobs are posted.
pub const PATH: &str = "/v1/transform";
/// Where the dispatcher is told that nobody waits any more for the job of a ticket; 204 where it had not begun.
pub const LEAVE_PATH: &str = "/v1/leave";
/// Status that tells the gateway where the source redirects to: whether that may be followed is the gateway's to decide.
pub const REDIRECT_STATUS: u16 = 307;
/// Largest header value, in bytes.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// A transform to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransformJob {
    /// [`VERSION`].
    pub v: u32,
    /// Whose job it is; jobs of different tenants take turns.
    pub tenant: TenantId,
    /// Options in normal form, everything negotiated.
    pub options: String,
    /// Where the picture is.
    pub source: JobSource,
    /// What it may cost.
    pub limits: JobLimits,
    /// Time for the whole job, in milliseconds.
    pub deadline_ms: u64,
    /// Request it is done for.
    pub request_id: String,
    /// Client it is done for; enters the signature of a fetch from the origin.
    pub client_ip: String,
    /// Trace it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// `Via` of the request it is done for: whoever it went through already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
}

/// Where the picture is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum JobSource {
    /// A stored original of the tenant.
    Stored {
        /// Its identifier.
        id: Uuid,
    },
    /// An address that the gateway has checked. A redirect is answered, not followed: the gateway checks where it leads.
    Url {
        /// The address.
        url: String,
        /// Whether it may resolve to an address that is not public.
        allow_private: bool,
        /// Whether its port is listed though it is neither 80 nor 443.
        allow_port: bool,
    },
    /// The request's body.
    Body,
}

/// What a job may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobLimits {
    /// Bytes of the source.
    pub max_bytes: u64,
    /// Pixels of the source.
    pub max_pixels: u64,
}

/// The header is no job of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job header is malformed: {0}")]
pub struct MalformedJob(String);

impl TransformJob {
    /// The header's value.
    #[must_use]
    pub fn to_header(&self) -> String {
        // A struct of strings and numbers always serialises; an empty header would be refused as malformed.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads a header's value.
    ///
    /// # Errors
    /// [`MalformedJob`] with what is wrong.
    pub fn from_header(value: &str) -> Result<Self, MalformedJob> {
        if value.len() > MAX_HEADER_BYTES {
            return Err(MalformedJob(format!("longer than {MAX_HEADER_BYTES} bytes")));
        }
        let json = URL_SAFE_NO_PAD
            .decode(value)
            .map_err(|error| MalformedJob(error.to_string()))?;
        let job: Self = serde_json::from_slice(&json).map_err(|error| MalformedJob(error.to_string()))?;
        if job.v == VERSION {
            Ok(job)
        } else {
            Err(MalformedJob(format!("version {}, this is version {VERSION}", job.v)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{JobLimits, JobSource, TransformJob, VERSION};
    use crate::tenant::TenantId;
    use proptest::prelude::{any, prop_assert, proptest};
    use uuid::Uuid;

    fn job() -> TransformJob {
        TransformJob {
            v: VERSION,
            tenant: TenantId(Uuid::from_u128(1)),
            options: "format=webp,width=400".into(),
            source: JobSource::Url {
                url: "https://cdn.example.com/a.jpg".into(),
                allow_private: false,
                allow_port: true,
            },
            limits: JobLimits {
                max_bytes: 1,
                max_pixels: 2,
            },
            deadline_ms: 30_000,
            request_id: "0123456789".into(),
            client_ip: "203.0.113.9".into(),
            traceparent: None,
            via: Some("1.1 varnish".into()),
        }
    }

    #[test]
    fn a_job_survives_its_header() {
        assert_eq!(TransformJob::from_header(&job().to_header()), Ok(job()));
        let stored = TransformJob {
            source: JobSource::Stored { id: Uuid::nil() },
            ..job()
        };
        assert_eq!(TransformJob::from_header(&stored.to_header()), Ok(stored));
    }

    #[test]
    fn another_version_is_refused() {
        let other = TransformJob { v: 2, ..job() };
        assert!(
            TransformJob::from_header(&other.to_header())
                .unwrap_err()
                .to_string()
                .contains("version 2")
        );
    }

    proptest! {
        #[test]
        fn any_header_is_survived(text in any::<String>()) {
            prop_assert!(TransformJob::from_header(&text).is_err());
        }
    }
}
