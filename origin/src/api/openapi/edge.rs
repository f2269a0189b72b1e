//! What the edge answers by itself.

use serde_json::{Value, json};

/// `GET /img/{options}/{source}`.
pub(super) fn image() -> Value {
    let text = json!({ "type": "string" });
    let header = |description: &str| json!({ "description": description, "schema": text });
    let picture = json!({ "schema": { "type": "string", "contentMediaType": "image/*" } });
    let headers = json!({
        "Cache-Control": header("How long the answer may be kept."),
        "Cache-Status": header("Where it is from (RFC 9211)."),
        "Cache-Tag": header("What a CDN in front purges it by."),
        "ETag": header("Strong entity tag."),
        "Kado-Image": header("Sizes, formats and bytes, before and after."),
        "Kado-Warning": header("What was ignored or replaced."),
        "Vary": header("`Accept`, where the format was chosen by it."),
    });
    let mut responses = json!({
        "200": {
            "description": "The picture, or with format=json what is known of it.",
            "headers": headers,
            "content": { "image/*": picture, "application/json": { "schema": { "type": "object" } } },
        },
        "206": { "description": "The part that was asked for.", "headers": headers, "content": { "image/*": picture } },
        "302": {
            "description": "With onerror=redirect: no picture could be made, here is the source.",
            "headers": { "Location": header("Address of the source.") },
        },
        "304": { "description": "The client has it.", "headers": headers },
    });
    for (status, description) in [
        ("400", "Options or source are not valid: `bad-options`, `bad-source`."),
        ("403", "The source is not on the list, or the signature is wrong."),
        ("404", "The source has no such picture."),
        ("410", "The signed address has expired."),
        (
            "413",
            "Too many bytes, pixels or frames; `limit` and `value` say which.",
        ),
        ("414", "The address has more than 8192 bytes."),
        ("415", "No picture, or of a kind that cannot be read or written."),
        ("416", "The range lies outside the picture."),
        ("421", "No site is served under this host."),
        ("422", "The picture is truncated or damaged."),
        ("429", "A rate limit refused."),
        ("431", "The header is too large."),
        ("500", "A defect of ours."),
        ("502", "The source failed."),
        ("503", "Too busy, in maintenance, or the limiter is away."),
        ("504", "The source took too long."),
    ] {
        responses[status] = json!({ "description": description });
    }
    json!({
        "operationId": "get_img",
        "summary": "A picture, made as its address says.",
        "description": "Answered by the edge, from its cache where it can. Options and sources: docs/IMAGES.md.",
        "security": [],
        "parameters": [
            {
                "name": "options", "in": "path", "required": true, "schema": text, "example": "width=400,format=auto",
                "description": "`name=value`, comma-separated.",
            },
            {
                "name": "source", "in": "path", "required": true, "schema": text, "allowReserved": true,
                "example": "u/6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d",
                "description": "The rest of the path, slashes and query included: an address, a path of the site's own pictures, or `u/<id>` for a stored original.",
            },
            {
                "name": "Accept", "in": "header", "schema": text,
                "description": "Decides the format where it is `auto`.",
            },
        ],
        "responses": responses,
    })
}
