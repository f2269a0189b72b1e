//! `GET /img/<options>/<source>`: parse, negotiate, key, cache, and where it misses, make it once.

use kado_imaging::{
    ClientHints, ENGINE, Ease, Effort, Encoders, ImageOptions, OptionError, SignedPath, negotiate,
    options::{Color, Decimal, Draw, Gravity, Overlay, Preset, PresetName},
};
use kado_shared::{
    address_signature::{self, Refused},
    cache_key,
    conditional::{self, Selection},
    edge_config,
    job::{JobLimits, JobSource, TransformJob, VERSION},
    lifetime::Condition,
    problem::{Code, FieldError, Problem},
    purge,
    settings::Settings,
    source::{Source, SourceError, Target},
};
use std::collections::BTreeMap;
use worker::Context;

use super::{
    Facts, Gateway, credentials, limits, maintenance,
    rendering::{self, Entry, Found, Order, Revived, Signed},
    snapshot::{self, Snapshot},
};
use crate::{
    answer::{Answer, Refusal},
    exchange::Exchange,
    js,
};

/// Encoders that the transform role brings beside JPEG and PNG.
const ENCODERS: Encoders = Encoders { webp: true, avif: true };

/// Longest `Via` that is passed on to sources: more hops than that are a loop of somebody's.
const LONGEST_VIA: usize = 1024;

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
    if let Some(via) = exchange.header("via") {
        if names_us(&via) {
            return Err(Refusal::new(
                Code::SourceFailed,
                "the source is an image address of Kado itself: a loop",
            ));
        }
        if via.len() > LONGEST_VIA {
            let detail = format!("Via may have {LONGEST_VIA} bytes");
            return Err(Refusal::new(Code::HeadersTooLarge, detail));
        }
    }
    let snapshot = snapshot::of_host(gateway, &exchange.host, context).await?;
    facts.tenant = Some(snapshot.config.tenant.id.to_string());
    let mut standing = limits::check(gateway, exchange, facts, &snapshot, "limitImages").await?;
    if limits::must_know_who(exchange, &snapshot) {
        let who = credentials::who_if_told(gateway, exchange, &snapshot).await;
        standing = standing.and(limits::check_who(gateway, exchange, facts, &snapshot, &who).await?);
    }
    let result = match signed(exchange, &snapshot, options) {
        Ok(signed) => picture(gateway, exchange, context, facts, &snapshot, (options, source, signed)).await,
        Err(refusal) => Err(refusal),
    };
    standing.on(result.map(|answer| timed(gateway, exchange, facts, answer)))
}

/// Verifies a signed address, before anything of it is parsed; `None` where it is not signed and need not be.
fn signed(exchange: &Exchange, snapshot: &Snapshot, options: &str) -> Result<Option<Signed>, Refusal> {
    // The last option alone signs; elsewhere the parser says where it belongs.
    let claims = options.rsplit(',').next().is_some_and(|last| last.starts_with("sig="));
    if !claims {
        return if snapshot.settings.flag("requireSignature") {
            let detail = "this site serves signed image addresses only: exp and then sig are the two last options";
            Err(Refusal::new(Code::BadSignature, detail))
        } else {
            Ok(None)
        };
    }
    let wrong = || Refusal::new(Code::BadSignature, "sig: no key of this site signed this address");
    let address = exchange.path_and_query();
    let split = SignedPath::split(&address, address_signature::PREFIX).ok_or_else(wrong)?;
    let keys = &snapshot.config.tenant.address_keys;
    let now = js::now_ms() / 1000;
    match address_signature::judge(keys, &split.message, split.signature, split.expires, now) {
        Ok(()) => Ok(Some(Signed { expires: split.expires })),
        Err(Refused::BadSignature) => Err(wrong()),
        Err(Refused::Expired) => Err(Refusal::new(Code::Expired, "exp: this address has expired")),
    }
}

/// `Server-Timing`: what the cache said, the stages of a picture that was made for this request, and the whole. On
/// Cloudflare time stands still while code computes, so nothing is told there.
fn timed(gateway: &Gateway, exchange: &Exchange, facts: &Facts, mut answer: Answer) -> Answer {
    if gateway.one_object_per_key() {
        answer.remove("server-timing");
        return answer;
    }
    let total = js::now_ms().saturating_sub(exchange.started_ms);
    let cache = facts.cache.unwrap_or("none");
    let stages = answer
        .header("server-timing")
        .map(|stages| format!("{stages}, "))
        .unwrap_or_default();
    answer.with(
        "server-timing",
        &format!("cache;desc={cache}, {stages}total;dur={total}"),
    )
}

async fn picture(
    gateway: &Gateway,
    exchange: &Exchange,
    context: &Context,
    facts: &mut Facts,
    snapshot: &Snapshot,
    (options, source, signed): (&str, &str, Option<Signed>),
) -> Result<Answer, Refusal> {
    let (mut order, vary) = order(exchange, snapshot, options, source, ENCODERS)?;
    order.signed = signed;
    let now = js::now_ms();
    let mut found = look_up(exchange, &order, now).await;
    if !snapshot.settings.flag("avifEnabled") && !is_fresh(&found) {
        let encoders = Encoders {
            avif: false,
            ..ENCODERS
        };
        let (mut instead, _) = self::order(exchange, snapshot, options, source, encoders)?;
        if instead.key != order.key {
            instead.signed = signed;
            let known = look_up(exchange, &instead, now).await;
            // A stale picture is shown, and the other one made in its place.
            if !is_shown(&found) || is_shown(&known) {
                found = known;
            }
            order = instead;
        }
    }
    match found {
        Found::Entry(entry, Condition::Fresh) => {
            facts.cache = Some("hit");
            fitted(exchange, entry.into_answer(now, &order, &vary)).await
        }
        Found::Entry(entry, Condition::Stale) => {
            facts.cache = Some("stale");
            let answer = fitted(exchange, entry.into_answer(now, &order, &vary)).await;
            let gateway = gateway.clone();
            context.wait_until(async move { rendering::renew(&gateway, &order).await });
            answer
        }
        Found::Entry(entry, Condition::Expired) => {
            expired(gateway, exchange, context, facts, snapshot, entry, (&order, &vary)).await
        }
        Found::OutOfRange(length) => {
            facts.cache = Some("hit");
            Err(out_of_range(length))
        }
        Found::Entry(_, Condition::Gone) | Found::Nothing => {
            missed(gateway, exchange, context, facts, snapshot, (&order, &vary)).await
        }
    }
}

async fn look_up(exchange: &Exchange, order: &Order, now: u64) -> Found {
    rendering::look_up(exchange, order, now).await.unwrap_or_else(|error| {
        // A cache that is away costs time, not the answer.
        crate::log::line(
            &serde_json::json!({ "level": "error", "event": "cache-away", "message": js::describe(&error) }),
        );
        Found::Nothing
    })
}

/// Whether it is the answer, as it is.
const fn is_fresh(found: &Found) -> bool {
    matches!(found, Found::Entry(_, Condition::Fresh) | Found::OutOfRange(_))
}

/// Whether it is the answer, and may be made anew behind it.
const fn is_shown(found: &Found) -> bool {
    is_fresh(found) || matches!(found, Found::Entry(_, Condition::Stale))
}

/// What is to be made, and the headers it was negotiated by.
type Wanted<'a> = (&'a Order, &'a [&'static str]);

async fn missed(
    gateway: &Gateway,
    exchange: &Exchange,
    context: &Context,
    facts: &mut Facts,
    snapshot: &Snapshot,
    (order, vary): Wanted<'_>,
) -> Result<Answer, Refusal> {
    maintenance::check_picture(snapshot, facts)?;
    facts.cache = Some("miss");
    facts.lane = Some("edge");
    let standing = limits::check_miss(gateway, exchange, facts, snapshot).await?;
    let made = rendering::obtain(gateway, exchange, context, order).await;
    let result = match made {
        Ok(entry) => {
            facts.lane = Some(entry.lane());
            fitted(exchange, entry.into_answer(js::now_ms(), order, vary)).await
        }
        Err(refusal) => without_picture(order, refusal),
    };
    standing.on(result)
}

/// What a client gets instead of a picture: the reason, or, where it asked for that, the source as it is. Next time it may
/// be made.
fn without_picture(order: &Order, refusal: Refusal) -> Result<Answer, Refusal> {
    let Some(source) = &order.fallback else {
        return Err(refusal);
    };
    Ok(Answer::empty(302)
        .with("location", source)
        .with("cache-control", "no-store"))
}

/// Makes a picture anew whose time is over, and shows the old one where that fails for now: making it counts as a miss,
/// and so does the limit of misses, but the old one costs nothing.
async fn expired(
    gateway: &Gateway,
    exchange: &Exchange,
    context: &Context,
    facts: &mut Facts,
    snapshot: &Snapshot,
    entry: Entry,
    (order, vary): Wanted<'_>,
) -> Result<Answer, Refusal> {
    facts.cache = Some("stale");
    let stand_in = |entry: Entry, failure| {
        let old = entry.standing_in(failure).into_answer(js::now_ms(), order, vary);
        fitted(exchange, old)
    };
    if let Some(failure) = rendering::resting(order) {
        return stand_in(entry, failure).await;
    }
    let Ok(standing) = limits::check_miss(gateway, exchange, facts, snapshot).await else {
        return stand_in(entry, Code::RateLimited).await;
    };
    let result = match rendering::revive(gateway, context, order).await {
        Revived::Made(made) => {
            facts.cache = Some("miss");
            facts.lane = Some(made.lane());
            entry.discard();
            fitted(exchange, made.into_answer(js::now_ms(), order, vary)).await
        }
        Revived::StandIn(failure) => stand_in(entry, failure).await,
        Revived::Refused(refusal) => {
            facts.cache = Some("miss");
            entry.discard();
            without_picture(order, refusal)
        }
    };
    standing.on(result)
}

/// Parses a request into what is to be made, and the headers it was negotiated by.
fn order(
    exchange: &Exchange,
    snapshot: &Snapshot,
    options: &str,
    source: &str,
    encoders: Encoders,
) -> Result<(Order, Vec<&'static str>), Refusal> {
    let options = ImageOptions::parse(options).map_err(|errors| bad_options(&errors))?;
    // An address is purged as it was asked for, before its preset is expanded and it is negotiated.
    let asked = if snapshot.purges.is_empty() {
        String::new()
    } else {
        options.normal_form()
    };
    let preset = options.preset.clone();
    let options = expanded(options, &snapshot.config.tenant.preset_options)?;
    check_overlay(&options)?;
    let may_redirect = options.onerror.is_some() && options.sig.is_none();
    let hints = ClientHints::from_headers(|name| exchange.header(name));
    let negotiated = negotiate(options, &hints, encoders);
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
    let preset = preset.as_ref().map(PresetName::as_str);
    let identity = parsed.identity(target.as_ref());
    let key = cache_key::of(&snapshot.config, ENGINE, preset, format, &normal_form, &identity);
    let source_hash = purge::source_hash(&identity);
    let purged_ms = if snapshot.purges.is_empty() {
        None
    } else {
        let address_hash = purge::address_hash(&asked, &identity);
        snapshot.purges.time_of(&[&source_hash, &address_hash])
    };
    let tags = purge::tags(snapshot.config.tenant.id, &source_hash, preset);
    let job = TransformJob {
        v: VERSION,
        tenant: snapshot.config.tenant.id,
        // The key is that of what was asked for: what is cached is shown in any case.
        options: match ease(settings) {
            Ease::NONE => normal_form,
            ease => resolved.eased(ease).normal_form(),
        },
        source: job_source(&parsed, target.as_ref()),
        limits: JobLimits {
            max_bytes: settings.integer("maxSourceBytes"),
            max_pixels: settings.integer("maxSourcePixels"),
        },
        deadline_ms: settings.integer("transformTimeout").saturating_mul(1000),
        request_id: exchange.id.clone(),
        client_ip: exchange.client_ip_text(),
        traceparent: Some(exchange.trace.to_string()),
        via: exchange.header("via").filter(|via| !via.is_empty()),
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
            purged_ms,
            tags,
            signed: None,
        },
        negotiated.vary,
    ))
}

/// The options, filled with those of the preset that they name.
fn expanded(options: ImageOptions, presets: &BTreeMap<String, edge_config::Preset>) -> Result<ImageOptions, Refusal> {
    let Some(name) = &options.preset else {
        return Ok(options);
    };
    let Some(stored) = presets.get(name.as_str()) else {
        let detail = format!("preset: this site has none that is named '{name}'");
        return Err(bad_option("preset", detail));
    };
    match Preset::parse(&stored.options, stored.branding) {
        Ok(preset) => Ok(preset.fill(options)),
        // The origin took it: it knows options that this edge, which is older, does not.
        Err(_) => {
            let detail = format!("the preset '{name}' has options that this edge does not know yet");
            Err(Refusal::new(Code::Unavailable, detail).with("retry-after", "30"))
        }
    }
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

/// How much easier pictures are to be made at the moment.
fn ease(settings: &Settings) -> Ease {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a factor is between 0.5 and 1"
    )]
    let thousandths = (settings.number("qualityFactor") * 1000.0).round() as u32;
    Ease {
        quality_factor: Decimal::thousandths(thousandths.clamp(1, 1000)),
        most_effort: match settings.integer("maxEffort") {
            1 => Effort::Fast,
            2 => Effort::Usual,
            _ => Effort::Small,
        },
    }
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

/// The answer as the client's conditions and range want it: 304 where it has these very bytes already, 206 for a part.
async fn fitted(exchange: &Exchange, answer: Answer) -> Result<Answer, Refusal> {
    if rendering::is_known(exchange, &answer) {
        return Ok(answer.into_not_modified());
    }
    let length = answer.header("content-length").and_then(|length| length.parse().ok());
    let (Some(range), Some(length), 200, "GET") = (
        exchange.header("range"),
        length,
        answer.status(),
        exchange.method.as_str(),
    ) else {
        return Ok(answer);
    };
    if !conditional::range_applies(exchange.header("if-range").as_deref(), answer.header("etag")) {
        return Ok(answer);
    }
    match conditional::select(&range, length) {
        Selection::Whole => Ok(answer),
        Selection::Part(part) => answer
            .into_part(part, length)
            .await
            .map_err(|error| Refusal::internal("range", &error)),
        Selection::Unsatisfiable => {
            answer.discard();
            Err(out_of_range(format!("bytes */{length}")))
        }
    }
}

fn out_of_range(length: String) -> Refusal {
    let detail = "nothing of the picture lies in the range that was asked for";
    Refusal::new(Code::RangeNotSatisfiable, detail).with("content-range", length)
}

#[cfg(test)]
mod tests {
    use super::{edge_config, expanded, names_us};
    use kado_imaging::ImageOptions;

    #[test]
    fn a_preset_is_expanded_refused_where_it_is_not_there_and_never_done_in_part() {
        let stored = |options: &str, branding| edge_config::Preset {
            options: options.to_owned(),
            branding,
        };
        let presets = [
            ("card".to_owned(), stored("fit=cover,height=300,width=400", true)),
            ("later".to_owned(), stored("invented=1,width=400", false)),
        ]
        .into();
        let expand = |address: &str| {
            let options = ImageOptions::parse(address).unwrap();
            expanded(options, &presets).map(|options| options.normal_form())
        };
        assert_eq!(expand("w=40").unwrap(), "width=40");
        assert_eq!(expand("p=card").unwrap(), "fit=cover,height=300,width=400");
        assert_eq!(expand("p=card,w=40,fit=scale-down").unwrap(), "height=300,width=40");
        let refusal = |address: &str| {
            let problem = expand(address).unwrap_err().problem;
            (problem.status, problem.code)
        };
        assert_eq!(refusal("p=nowhere"), (400, "bad-options"));
        assert_eq!(refusal("p=later"), (503, "unavailable"));
    }

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
