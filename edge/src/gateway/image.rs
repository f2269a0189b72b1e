//! `GET /img/<options>/<source>`: parse, negotiate, key, cache, and where it misses, make it once.

use kado_imaging::{
    ClientHints, ENGINE, Encoders, ImageOptions, OptionError, negotiate,
    options::{Color, Decimal, Draw, Gravity, Overlay},
};
use kado_shared::{
    cache_key,
    job::{JobLimits, JobSource, TransformJob, VERSION},
    problem::{Code, FieldError, Problem},
    settings::Settings,
    source::{Source, SourceError, Target},
};
use worker::Context;

use super::{
    Facts, Gateway, limits, maintenance,
    rendering::{self, Found, Order},
    snapshot::{self, Snapshot},
};
use crate::{
    answer::{Answer, Refusal},
    exchange::Exchange,
    js,
};

/// Encoders that the transform role brings beside JPEG and PNG.
const ENCODERS: Encoders = Encoders { webp: true, avif: true };

/// How much of the tenant's watermark shows.
const WATERMARK_OPACITY: Decimal = Decimal::thousandths(850);

/// Answers an image request.
pub(super) async fn serve(
    gateway: &Gateway,
    exchange: &Exchange,
    context: &Context,
    facts: &mut Facts,
    options: &str,
    source: &str,
) -> Result<Answer, Refusal> {
    if exchange.header("via").is_some_and(|via| names_us(&via)) {
        return Err(Refusal::new(
            Code::SourceFailed,
            "the source is an image address of Kado itself: a loop",
        ));
    }
    let snapshot = snapshot::of_host(gateway, &exchange.host, context).await?;
    facts.tenant = Some(snapshot.config.tenant.id.to_string());
    facts.limit = Some("images");
    let standing = limits::check(gateway, exchange, &snapshot, "limitImages", "images").await?;
    let result = picture(gateway, exchange, context, facts, &snapshot, options, source).await;
    standing.on(result)
}

async fn picture(
    gateway: &Gateway,
    exchange: &Exchange,
    context: &Context,
    facts: &mut Facts,
    snapshot: &Snapshot,
    options: &str,
    source: &str,
) -> Result<Answer, Refusal> {
    let (order, vary) = order(exchange, snapshot, options, source)?;
    let now = js::now_ms();
    let found = match rendering::look_up(exchange, &order.key).await {
        Ok(found) => found,
        Err(error) => {
            // A cache that is away costs time, not the answer.
            crate::log::line(
                &serde_json::json!({ "level": "error", "event": "cache-away", "message": js::describe(&error) }),
            );
            Found::Nothing
        }
    };
    match found {
        Found::Entry(entry) => {
            let stale = entry.is_stale(now);
            facts.cache = Some(if stale { "stale" } else { "hit" });
            if stale {
                let (gateway, order) = (gateway.clone(), order);
                context.wait_until(async move { rendering::renew(&gateway, &order).await });
            }
            return Ok(conditional(exchange, entry.into_answer(now, &vary)));
        }
        Found::OutOfRange(length) => {
            facts.cache = Some("hit");
            let refusal = Refusal::new(
                Code::RangeNotSatisfiable,
                "nothing of the picture lies in the range that was asked for",
            );
            return Err(refusal.with("content-range", length));
        }
        Found::Nothing => {}
    }
    maintenance::check_picture(snapshot, facts)?;
    facts.cache = Some("miss");
    facts.lane = Some("edge");
    let standing = match limits::check(gateway, exchange, snapshot, "limitTransform", "transform").await {
        Ok(standing) => standing,
        Err(refusal) => {
            facts.limit = Some("transform");
            return Err(refusal);
        }
    };
    let made = rendering::obtain(gateway, context, &order).await;
    let result = match (made, order.fallback) {
        (Ok(entry), _) => Ok(conditional(exchange, entry.into_answer(js::now_ms(), &vary))),
        // The client gets the picture as it is; next time it may be made.
        (Err(_), Some(source)) => Ok(Answer::empty(302)
            .with("location", &source)
            .with("cache-control", "no-store")),
        (Err(refusal), None) => Err(refusal),
    };
    standing.on(result)
}

/// Parses a request into what is to be made, and the headers it was negotiated by.
fn order(
    exchange: &Exchange,
    snapshot: &Snapshot,
    options: &str,
    source: &str,
) -> Result<(Order, Vec<&'static str>), Refusal> {
    let options = ImageOptions::parse(options).map_err(|errors| bad_options(&errors))?;
    check_site(&options)?;
    check_overlay(&options)?;
    let may_redirect = options.onerror.is_some() && options.sig.is_none();
    let hints = ClientHints::from_headers(|name| exchange.header(name));
    let negotiated = negotiate(options, &hints, ENCODERS);
    let settings = &snapshot.settings;
    let resolved = negotiated.resolved.branded(|| watermark(settings));
    let parsed = Source::parse(source, exchange.query.as_deref()).map_err(|error| refuse_source(&error))?;
    let allowed = settings.sources();
    let target = parsed
        .resolve(&settings.text("imageOrigin"), &allowed)
        .map_err(|error| refuse_source(&error))?;
    let normal_form = resolved.normal_form();
    let format = normal_form
        .split(',')
        .find_map(|part| part.strip_prefix("format="))
        .unwrap_or("source");
    let key = cache_key::of(
        &snapshot.config,
        ENGINE,
        format,
        &normal_form,
        &parsed.identity(target.as_ref()),
    );
    let job = TransformJob {
        v: VERSION,
        tenant: snapshot.config.tenant.id,
        options: normal_form,
        source: job_source(&parsed, target.as_ref()),
        limits: JobLimits {
            max_bytes: settings.integer("maxSourceBytes"),
            max_pixels: settings.integer("maxSourcePixels"),
        },
        deadline_ms: settings.integer("transformTimeout").saturating_mul(1000),
        request_id: exchange.id.clone(),
        client_ip: exchange.client_ip_text(),
        traceparent: Some(exchange.trace.to_string()),
    };
    let immutable = matches!(parsed, Source::Stored(_));
    // What the client could not fetch itself, or is not to know, is not told.
    let fallback = target
        .filter(|target| may_redirect && !target.allow_private)
        .map(|target| target.url.into());
    Ok((
        Order {
            key,
            job,
            allowed,
            settings: std::rc::Rc::clone(settings),
            immutable,
            fallback,
        },
        negotiated.vary,
    ))
}

/// What only the site can give a meaning to: without keys no signature is valid, without presets no name is one's.
fn check_site(options: &ImageOptions) -> Result<(), Refusal> {
    if options.sig.is_some() {
        let detail = "sig: this site has no key that addresses are signed with";
        return Err(Refusal::new(Code::BadSignature, detail));
    }
    options.preset.as_ref().map_or(Ok(()), |name| {
        Err(bad_option(
            "preset",
            format!("preset: this site has none that is named '{name}'"),
        ))
    })
}

/// A picture to draw is a stored original, which an identifier of another form cannot be.
fn check_overlay(options: &ImageOptions) -> Result<(), Refusal> {
    let Some(Overlay::Picture(id)) = options.draw.as_ref().map(|draw| &draw.overlay) else {
        return Ok(());
    };
    if Source::parse(&format!("u/{id}"), None).is_ok() {
        return Ok(());
    }
    let detail = format!("draw: 'u:{id}' is not valid: u: and the identifier of a stored picture, a lower-case UUID");
    Err(bad_option("draw", detail))
}

fn bad_option(option: &str, detail: String) -> Refusal {
    let field = FieldError {
        field: option.to_owned(),
        detail: detail.clone(),
    };
    Problem::new(Code::BadOptions, detail).with_errors(vec![field]).into()
}

/// What `branding` draws: the tenant's text in its colour, in the lower right corner.
fn watermark(settings: &Settings) -> Option<Draw> {
    let text = settings.text("watermarkText");
    if text.trim().is_empty() {
        return None;
    }
    let [r, g, b] = settings.color("watermarkColor");
    Some(Draw {
        color: Some(Color { r, g, b, a: 255 }),
        gravity: Gravity::Point {
            x: Decimal::ONE,
            y: Decimal::ONE,
        },
        opacity: WATERMARK_OPACITY,
        ..Draw::text(text)
    })
}

fn job_source(source: &Source, target: Option<&Target>) -> JobSource {
    match (source, target) {
        (Source::Stored(id), _) => JobSource::Stored { id: *id },
        (_, Some(target)) => rendering::url_source(target),
        // `resolve` gives a target for everything that is not stored.
        (_, None) => JobSource::Body,
    }
}

fn bad_options(errors: &[OptionError]) -> Refusal {
    let fields: Vec<FieldError> = errors
        .iter()
        .map(|error| FieldError {
            field: error.option.clone(),
            detail: error.to_string(),
        })
        .collect();
    let detail = match fields.as_slice() {
        [one] => one.detail.clone(),
        many => format!("{} options are not valid", many.len()),
    };
    Problem::new(Code::BadOptions, detail).with_errors(fields).into()
}

fn refuse_source(error: &SourceError) -> Refusal {
    match error {
        SourceError::Malformed(detail) => Refusal::new(Code::BadSource, *detail),
        SourceError::NotAllowed(detail) => Refusal::new(Code::SourceNotAllowed, *detail),
    }
}

/// Whether a `Via` has a hop that is a Kado: it fetches this picture as the source of another.
fn names_us(via: &str) -> bool {
    via.split(',').any(|hop| {
        hop.split_whitespace()
            .nth(1)
            .is_some_and(|name| name.eq_ignore_ascii_case("kado"))
    })
}

/// 304 where the client has these very bytes already.
fn conditional(exchange: &Exchange, answer: Answer) -> Answer {
    if is_unchanged(exchange, &answer) {
        answer.into_not_modified()
    } else {
        answer
    }
}

fn is_unchanged(exchange: &Exchange, answer: &Answer) -> bool {
    let Some((wanted, etag)) = exchange.header("if-none-match").zip(answer.header("etag")) else {
        return false;
    };
    wanted
        .split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::names_us;

    #[test]
    fn a_loop_is_seen_among_other_hops() {
        for looped in ["1.1 kado", "1.1 varnish, 1.1 Kado", "HTTP/1.1 kado (edge)"] {
            assert!(names_us(looped), "{looped}");
        }
        for plain in ["", "1.1 varnish", "kado", "1.1 kado.example.com", "1.1 vegur, 2 mikado"] {
            assert!(!names_us(plain), "{plain}");
        }
    }
}
