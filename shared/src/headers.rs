//! Names of the headers that edge and origin exchange, lower-case as HTTP libraries want them.

/// Signature of a request from the edge to the origin; see [`crate::signature`].
pub const KADO_EDGE: &str = "kado-edge";
/// Tenant a signed request speaks for: a UUID.
pub const KADO_TENANT: &str = "kado-tenant";
/// Client address as the edge saw it.
pub const KADO_CLIENT_IP: &str = "kado-client-ip";
/// Transform job: base64url JSON of [`crate::job::TransformJob`].
pub const KADO_JOB: &str = "kado-job";
/// On the answer to a job that was given up before it began.
pub const KADO_GIVEN_UP: &str = "kado-given-up";
/// Names a job's place in the dispatcher's queue: 32 hexadecimal digits, drawn for it.
pub const KADO_TICKET: &str = "kado-ticket";
/// Facts of an answered picture, for people.
pub const KADO_IMAGE: &str = "kado-image";
/// The source's `Cache-Control`, from where a picture was made to the gateway.
pub const SOURCE_CACHE_CONTROL: &str = "kado-source-cache-control";
/// What was ignored or replaced although the request succeeded.
pub const KADO_WARNING: &str = "kado-warning";
/// Absolute address that the egress is asked to fetch.
pub const KADO_SOURCE: &str = "kado-source";
/// `1` where the tenant lists this host as private.
pub const KADO_ALLOW_PRIVATE: &str = "kado-allow-private";
/// `1` where the tenant lists this port.
pub const KADO_ALLOW_PORT: &str = "kado-allow-port";
/// `Via` of the request that the egress fetches for; a loop is known by it.
pub const KADO_VIA: &str = "kado-via";
/// Largest body the egress may pass on, in bytes.
pub const KADO_MAX_BYTES: &str = "kado-max-bytes";
/// Time the egress has for the whole fetch, in milliseconds.
pub const KADO_TIMEOUT_MS: &str = "kado-timeout-ms";
/// Why the egress refused or failed.
pub const KADO_EGRESS_ERROR: &str = "kado-egress-error";
/// Maintenance that is announced: `startsAt=<time>, endsAt=<time>`.
pub const KADO_MAINTENANCE: &str = "kado-maintenance";
/// What a user may spend of a quota in an hour.
pub const X_USER_RATELIMIT_LIMIT: &str = "x-user-ratelimit-limit";
/// What is left of it.
pub const X_USER_RATELIMIT_REMAINING: &str = "x-user-ratelimit-remaining";
/// When the hour ends, Unix seconds.
pub const X_USER_RATELIMIT_RESET: &str = "x-user-ratelimit-reset";
/// What a client draws for a request that it may have to repeat.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `true` on an answer that was given before.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
/// Identifier of a request, on every answer.
pub const X_REQUEST_ID: &str = "x-request-id";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

/// Whether an inbound header must not be believed, and so never reaches the origin.
///
/// The edge strips these before it adds its own; a client can therefore not speak as the edge, as another address, or
/// with a signature of its own.
#[must_use]
pub fn is_untrusted_inbound(lower_case_name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["kado-", "x-forwarded-", "cf-", "signature"];
    const NAMES: [&str; 4] = ["forwarded", "x-real-ip", "true-client-ip", "via"];
    PREFIXES.iter().any(|prefix| lower_case_name.starts_with(prefix)) || NAMES.contains(&lower_case_name)
}

/// Whether a header belongs to one connection only (RFC 9110, section 7.6.1).
#[must_use]
pub fn is_hop_by_hop(lower_case_name: &str) -> bool {
    matches!(
        lower_case_name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether a message's `Connection` header names this header as one of the connection's own.
#[must_use]
pub fn is_named_by(connection: &str, lower_case_name: &str) -> bool {
    // What a message is made of is not the connection's, whatever a client says: it could hide it from the next hop.
    const KEPT: [&str; 5] = ["host", "content-length", "content-type", "authorization", "cookie"];
    !KEPT.contains(&lower_case_name)
        && connection
            .split(',')
            .any(|name| name.trim().eq_ignore_ascii_case(lower_case_name))
}

/// Whether a header of the origin's answer is a word between the two, and no client's business.
#[must_use]
pub fn is_between_origin_and_edge(lower_case_name: &str) -> bool {
    lower_case_name.starts_with("kado-") && ![KADO_IMAGE, KADO_WARNING].contains(&lower_case_name)
}

#[cfg(test)]
mod tests {
    use super::{is_between_origin_and_edge, is_hop_by_hop, is_named_by, is_untrusted_inbound};

    #[test]
    fn a_client_cannot_speak_as_the_edge() {
        for name in [
            "kado-edge",
            "kado-tenant",
            "x-forwarded-for",
            "cf-connecting-ip",
            "signature-input",
            "forwarded",
            "x-real-ip",
        ] {
            assert!(is_untrusted_inbound(name), "{name}");
        }
        for name in ["accept", "content-length", "authorization", "cookie", "x-request-id"] {
            assert!(!is_untrusted_inbound(name), "{name}");
        }
    }

    #[test]
    fn hop_by_hop_headers_are_known() {
        assert!(is_hop_by_hop("transfer-encoding") && !is_hop_by_hop("content-length"));
    }

    #[test]
    fn what_the_connection_names_is_its_own_but_not_the_message() {
        assert!(is_named_by("close, X-Hop", "x-hop") && is_named_by("x-hop", "x-hop"));
        for name in ["x-other", "authorization", "content-length", "x-ho"] {
            assert!(!is_named_by("x-hop, authorization, Content-Length", name), "{name}");
        }
    }

    #[test]
    fn an_answer_keeps_what_is_for_clients() {
        for name in ["kado-edge", "kado-tenant", "kado-client-ip", "kado-job"] {
            assert!(is_between_origin_and_edge(name), "{name}");
        }
        for name in [
            "kado-image",
            "kado-warning",
            "etag",
            "www-authenticate",
            "content-length",
        ] {
            assert!(!is_between_origin_and_edge(name), "{name}");
        }
    }
}
