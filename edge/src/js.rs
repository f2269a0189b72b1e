//! The runtime's functions that `worker` does not give in the form needed here: with the runtime's own request and
//! response types on both sides.

use std::cell::RefCell;

use js_sys::{Function, Object, Promise, Reflect, Uint8Array};
use kado_imaging::Codec;
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Request, Response};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch, catch)]
    fn global_fetch(request: &Request) -> Result<Promise, JsValue>;

    #[wasm_bindgen(thread_local_v2, js_name = caches)]
    static CACHES: JsValue;

    #[wasm_bindgen(js_namespace = console, js_name = log)]
    fn console_log(line: &str);

    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues, catch)]
    fn get_random_values(array: &Uint8Array) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(js_namespace = kadoCodecs, js_name = loadWebp, catch)]
    fn codec_load_webp() -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = kadoCodecs, js_name = loadAvif, catch)]
    fn codec_load_avif() -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = kadoCodecs, js_name = loadAv1, catch)]
    fn codec_load_av1() -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = kadoFields, js_name = of, catch)]
    fn fields_of(message: &JsValue) -> Result<String, JsValue>;

    #[wasm_bindgen(js_namespace = kadoFields, js_name = read, catch)]
    fn fields_read(request: &Request) -> Result<String, JsValue>;

    #[wasm_bindgen(js_namespace = kadoFields, js_name = request, catch)]
    fn fields_request(method: &str, url: &str, text: &str, body: &JsValue, timeout_ms: f64)
    -> Result<Request, JsValue>;

    #[wasm_bindgen(js_namespace = kadoFields, js_name = ask, catch)]
    fn fields_ask(
        objects: &JsValue,
        name: &str,
        method: &str,
        url: &str,
        body: &JsValue,
        timeout_ms: f64,
    ) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = kadoFields, js_name = untilTimes, catch)]
    fn fields_until_times(entries: &js_sys::Map) -> Result<String, JsValue>;

    #[wasm_bindgen(js_namespace = kadoFields, js_name = left, catch)]
    fn fields_left(request: &Request) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = kadoFields, js_name = limited, catch)]
    fn fields_limited(stream: &web_sys::ReadableStream, most: f64) -> Result<LimitedStream, JsValue>;

    /// A body that breaks off where it grows too large.
    pub(crate) type LimitedStream;

    /// Whether it did.
    #[wasm_bindgen(method, getter)]
    pub(crate) fn over(this: &LimitedStream) -> JsValue;

    #[wasm_bindgen(js_namespace = kadoFields, js_name = respond, catch)]
    fn fields_respond(status: u16, text: &str, body: &JsValue) -> Result<Response, JsValue>;

    #[wasm_bindgen(js_name = getReader, method, js_class = "ReadableStream", catch)]
    fn get_reader(this: &BodyStream, options: &JsValue) -> Result<BodyReader, JsValue>;

    type BodyStream;

    /// A reader that fills buffers.
    pub(crate) type BodyReader;

    #[wasm_bindgen(method, catch)]
    fn read(this: &BodyReader, view: &Uint8Array, options: &JsValue) -> Result<Promise, JsValue>;

    #[wasm_bindgen(method)]
    pub(crate) fn cancel(this: &BodyReader) -> Promise;

    /// An instantiated encoder, or the AV1 decoder.
    pub(crate) type CodecModule;

    #[wasm_bindgen(method, catch)]
    pub(crate) fn encode(
        this: &CodecModule,
        rgba: &Uint8Array,
        width: u32,
        height: u32,
        settings: &JsValue,
    ) -> Result<Uint8Array, JsValue>;

    #[wasm_bindgen(method, catch)]
    pub(crate) fn decode(this: &CodecModule, data: &Uint8Array, most_bytes: f64) -> Result<Av1Facts, JsValue>;

    #[wasm_bindgen(method, js_name = memoryBytes)]
    pub(crate) fn memory_bytes(this: &CodecModule) -> f64;

    #[wasm_bindgen(method)]
    pub(crate) fn release(this: &CodecModule);

    /// A picture in the AV1 decoder's memory, until it decodes the next one or is released.
    pub(crate) type Av1Facts;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn width(this: &Av1Facts) -> u32;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn height(this: &Av1Facts) -> u32;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn layout(this: &Av1Facts) -> u32;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn depth(this: &Av1Facts) -> u8;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn matrix(this: &Av1Facts) -> u8;

    #[wasm_bindgen(method, getter, js_name = fullRange)]
    pub(crate) fn full_range(this: &Av1Facts) -> u32;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn planes(this: &Av1Facts) -> Vec<Av1PlaneView>;

    /// A plane there.
    pub(crate) type Av1PlaneView;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn bytes(this: &Av1PlaneView) -> Uint8Array;

    #[wasm_bindgen(method, getter)]
    pub(crate) fn stride(this: &Av1PlaneView) -> u32;
}

/// The wall clock, Unix milliseconds. On Cloudflare it stands still while code computes.
pub(crate) fn now_ms() -> u64 {
    // Dates are far inside the integers that an f64 holds exactly.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a date is a positive integer below 2^53"
    )]
    let now = js_sys::Date::now() as u64;
    now
}

/// Random bytes that are fetched from the runtime at once.
const RANDOM_AT_ONCE: u32 = 2048;

thread_local! {
    /// Random bytes that nobody has had yet.
    static RANDOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Random bytes from the runtime's generator, each given once. To ask it costs more than a hundred bytes do.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], JsValue> {
    RANDOM.with_borrow_mut(|fresh| {
        if fresh.len() < N {
            let array = Uint8Array::new_with_length(RANDOM_AT_ONCE.max(u32::try_from(N).unwrap_or(u32::MAX)));
            get_random_values(&array)?;
            *fresh = array.to_vec();
        }
        let rest = fresh.len().saturating_sub(N);
        <[u8; N]>::try_from(fresh.split_off(rest)).map_err(|_| JsValue::from_str("too few random bytes"))
    })
}

/// Writes one line to the runtime's log.
pub(crate) fn log(line: &str) {
    console_log(line);
}

/// The binding of this name; `None` where there is none.
pub(crate) fn binding(env: &JsValue, name: &str) -> Option<JsValue> {
    Reflect::get(env, &JsValue::from_str(name))
        .ok()
        .filter(|value| !value.is_undefined() && !value.is_null())
}

/// The text binding of this name; empty where there is none.
pub(crate) fn text_binding(env: &JsValue, name: &str) -> String {
    binding(env, name)
        .and_then(|value| value.as_string())
        .unwrap_or_default()
}

/// Sends a request through a service binding, or through plain `fetch` where there is none.
pub(crate) async fn fetch(service: Option<&JsValue>, request: &Request) -> Result<Response, JsValue> {
    let promise = match service {
        Some(service) => method(service, "fetch")?
            .call1(service, request)?
            .dyn_into::<Promise>()?,
        None => global_fetch(request)?,
    };
    JsFuture::from(promise).await?.dyn_into::<Response>()
}

/// A request, given up after this time where there is one. Redirects are never followed.
///
/// # Errors
/// Where a field is none, which one with a line feed is not, or the address.
pub(crate) fn request<'a>(
    method: &str,
    url: &str,
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: Option<&JsValue>,
    timeout_ms: Option<u64>,
) -> Result<Request, JsValue> {
    let none = JsValue::UNDEFINED;
    let text = packed(fields)?;
    fields_request(method, url, &text, body.unwrap_or(&none), given_up_after(timeout_ms))
}

/// As the other side has it: negative for never.
fn given_up_after(milliseconds: Option<u64>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "deadlines are minutes at most")]
    milliseconds.map_or(-1.0, |milliseconds| milliseconds as f64)
}

/// Asks a Durable Object of a namespace by its name; answers the status and the text of what it said.
pub(crate) async fn ask_object(
    objects: &JsValue,
    name: &str,
    method: &str,
    url: &str,
    body: Option<&str>,
    timeout_ms: Option<u64>,
) -> Result<(u16, String), JsValue> {
    let body = body.map_or(JsValue::UNDEFINED, JsValue::from_str);
    let asked = fields_ask(objects, name, method, url, &body, given_up_after(timeout_ms))?;
    let answer = JsFuture::from(asked).await?.as_string().unwrap_or_default();
    let (status, text) = answer.split_once('\n').unwrap_or_default();
    Ok((status.parse().unwrap_or_default(), text.to_owned()))
}

/// Completes when the client of a request has gone away before its answer, and never where it has not.
pub(crate) async fn client_left(request: &Request) -> Result<(), JsValue> {
    JsFuture::from(fields_left(request)?).await.map(|_| ())
}

/// A body as it comes, up to so many bytes.
pub(crate) fn limited(body: &web_sys::ReadableStream, most: u64) -> Result<LimitedStream, JsValue> {
    #[expect(clippy::cast_precision_loss, reason = "bodies are megabytes at most")]
    let most = most as f64;
    fields_limited(body, most)
}

/// What decides about a request.
pub(crate) struct Read {
    pub(crate) method: String,
    pub(crate) url: String,
    /// Address of the peer, as workerd tells it; empty elsewhere.
    pub(crate) peer: String,
    /// As [`fields`].
    pub(crate) fields: Vec<(String, String)>,
}

/// Reads a request at once: each way to its object and back takes longer than to read what comes of it.
pub(crate) fn read(request: &Request) -> Result<Read, JsValue> {
    let text = fields_read(request)?;
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default().to_owned();
    Ok(Read {
        method: line(),
        url: line(),
        peer: line(),
        fields: unpacked(&line()),
    })
}

/// Header fields of a request or a response: names in lower case, several of one name as one, except `Set-Cookie`.
pub(crate) fn fields(message: &JsValue) -> Result<Vec<(String, String)>, JsValue> {
    Ok(unpacked(&fields_of(message)?))
}

/// Keys of stored entries, none of which has a line feed, and until when each of them matters, Unix milliseconds; what is no
/// entry never did.
pub(crate) fn until_times(entries: &js_sys::Map) -> Result<Vec<(String, u64)>, JsValue> {
    let times = unpacked(&fields_until_times(entries)?);
    Ok(times
        .into_iter()
        .map(|(key, until)| (key, until.parse().unwrap_or_default()))
        .collect())
}

fn unpacked(text: &str) -> Vec<(String, String)> {
    let mut parts = text.split('\n');
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        fields.push((name.to_owned(), value.to_owned()));
    }
    fields
}

/// A response with a status, header fields and any body.
///
/// # Errors
/// Where a field is none, which one with a line feed is not.
pub(crate) fn response<'a>(
    status: u16,
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: &JsValue,
) -> Result<Response, JsValue> {
    fields_respond(status, &packed(fields)?, body)
}

/// Fields as one text.
fn packed<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<String, JsValue> {
    let mut text = String::with_capacity(1024);
    for (name, value) in fields {
        if name.contains('\n') || value.contains('\n') {
            return Err(JsValue::from_str(&format!("the header {name:?} has a line feed")));
        }
        for part in [name, value] {
            text.push_str(part);
            text.push('\n');
        }
    }
    Ok(text)
}

/// An object of one field.
fn object(name: &str, value: &JsValue) -> Result<JsValue, JsValue> {
    let object = Object::new();
    Reflect::set(&object, &JsValue::from_str(name), value)?;
    Ok(object.into())
}

/// A reader of a body's bytes, which must not have one yet.
pub(crate) fn body_reader(body: &web_sys::ReadableStream) -> Result<BodyReader, JsValue> {
    body.unchecked_ref::<BodyStream>()
        .get_reader(&object("mode", &JsValue::from_str("byob"))?)
}

/// The next `length` bytes of a body, fewer where it ends and none behind its end.
///
/// One promise for many of a connection's packets: a megabyte read packet by packet costs several milliseconds.
pub(crate) async fn read_body(reader: &BodyReader, length: u32) -> Result<Uint8Array, JsValue> {
    let all = object("min", &JsValue::from(length))?;
    let read = JsFuture::from(reader.read(&Uint8Array::new_with_length(length), &all)?).await?;
    let bytes: Uint8Array = Reflect::get(&read, &JsValue::from_str("value"))?.dyn_into()?;
    // A view on a buffer that is mostly empty would keep all of it.
    let is_small = bytes.length() < length / 2;
    Ok(if is_small {
        bytes.slice(0, bytes.length())
    } else {
        bytes
    })
}

/// Reads a body to its end and lets go of it; its length in bytes.
pub(crate) async fn drain(body: &web_sys::ReadableStream) -> Result<u64, JsValue> {
    const AT_ONCE: u32 = 64 * 1024;
    let reader = body_reader(body)?;
    let mut bytes = 0;
    loop {
        match read_body(&reader, AT_ONCE).await?.length() {
            0 => return Ok(bytes),
            length => bytes += u64::from(length),
        }
    }
}

/// The body of a response as one buffer outside linear memory.
pub(crate) async fn array_buffer(response: &Response) -> Result<js_sys::ArrayBuffer, JsValue> {
    JsFuture::from(response.array_buffer()?).await?.dyn_into()
}

/// The body of a response as text.
pub(crate) async fn text(response: &Response) -> Result<String, JsValue> {
    Ok(JsFuture::from(response.text()?).await?.as_string().unwrap_or_default())
}

/// Looks a request up in the default cache; `None` where it has no entry.
pub(crate) async fn cache_match(request: &Request) -> Result<Option<Response>, JsValue> {
    let cache = default_cache()?;
    let promise = method(&cache, "match")?.call1(&cache, request)?.dyn_into::<Promise>()?;
    let found = JsFuture::from(promise).await?;
    Ok(if found.is_undefined() {
        None
    } else {
        Some(found.dyn_into()?)
    })
}

/// Stores a response in the default cache.
pub(crate) async fn cache_put(key: &Request, response: &Response) -> Result<(), JsValue> {
    let cache = default_cache()?;
    let promise = method(&cache, "put")?
        .call2(&cache, key, response)?
        .dyn_into::<Promise>()?;
    JsFuture::from(promise).await.map(|_| ())
}

/// Deletes a response from the default cache.
pub(crate) async fn cache_delete(key: &Request) -> Result<(), JsValue> {
    let cache = default_cache()?;
    let promise = method(&cache, "delete")?.call1(&cache, key)?.dyn_into::<Promise>()?;
    JsFuture::from(promise).await.map(|_| ())
}

fn default_cache() -> Result<Object, JsValue> {
    CACHES
        .with(|caches| Reflect::get(caches, &JsValue::from_str("default")))?
        .dyn_into()
}

/// Loads a codec; its module is instantiated on first use.
pub(crate) async fn load_codec(codec: Codec) -> Result<CodecModule, JsValue> {
    let loading = match codec {
        Codec::WebP => codec_load_webp()?,
        Codec::Avif => codec_load_avif()?,
        Codec::Av1 => codec_load_av1()?,
    };
    JsFuture::from(loading).await.map(JsCast::unchecked_into)
}

/// Text of whatever was thrown, for a log line.
pub(crate) fn describe(error: &JsValue) -> String {
    error
        .dyn_ref::<js_sys::Error>()
        .map(|error| String::from(error.message()))
        .or_else(|| error.as_string())
        .unwrap_or_else(|| format!("{error:?}"))
}

/// Whether a rejected fetch was given up by its signal: the peer may have the request, and be at it.
pub(crate) fn was_given_up(error: &JsValue) -> bool {
    let name = Reflect::get(error, &JsValue::from_str("name"))
        .ok()
        .and_then(|name| name.as_string());
    matches!(name.as_deref(), Some("TimeoutError" | "AbortError"))
}

fn method(object: &JsValue, name: &str) -> Result<Function, JsValue> {
    Reflect::get(object, &JsValue::from_str(name))?.dyn_into()
}

/// Bytes of our own linear memory.
pub(crate) fn linear_memory_bytes() -> u64 {
    let buffer = wasm_bindgen::memory()
        .dyn_into::<js_sys::WebAssembly::Memory>()
        .map(|memory| memory.buffer());
    buffer
        .ok()
        .and_then(|buffer| buffer.dyn_into::<js_sys::ArrayBuffer>().ok())
        .map_or(0, |buffer| u64::from(buffer.byte_length()))
}

#[cfg(test)]
mod tests {
    use super::unpacked;

    #[test]
    fn fields_come_in_pairs_and_may_be_empty() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(unpacked("a\nb\nc\n\n"), [pair("a", "b"), pair("c", "")]);
        assert_eq!(unpacked(""), []);
    }
}
