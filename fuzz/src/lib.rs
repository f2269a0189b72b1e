//! What every input must keep: no panic, no more memory than was planned, and answers of the planned size.

use std::time::{Duration, Instant};

use kado_imaging::{Format, ImageOptions, Limits, NativeCodecs, Plan, Resolved, plan, probe, transform};
use libfuzzer_sys::Corpus;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Small enough that a run tries thousands of inputs in a second.
const LIMITS: Limits = Limits {
    memory_bytes: 64 << 20,
    ..Limits::EDGE
};

/// Pixels of an input and its answer, which bound its time.
const PIXELS: u64 = 1 << 20;

/// How long one input may take; instrumented code is some ten times slower.
const PATIENCE: Duration = Duration::from_secs(20);

/// What decoders are asked for: every scale, turns, what looks at pixels, and what re-encodes.
const OPTIONS: [&str; 9] = [
    "format=png",
    "width=50,format=png",
    "width=9,format=jpeg",
    "width=200,height=90,fit=cover,gravity=auto,format=png",
    "trim=border,format=webp,quality=50",
    "rotate=90,flip=h,width=33,format=jpeg,max-bytes=2000",
    "format=gif,width=40",
    "format=json",
    "format=svg",
];

/// A file of one format; the first byte chooses the options.
pub fn decoder(format: Format, data: &[u8]) -> Corpus {
    let Some((first, file)) = data.split_first() else {
        return Corpus::Reject;
    };
    let file = file.to_vec();
    match probe(&file, &LIMITS) {
        Ok(info) if info.format == format => {}
        _ => return Corpus::Reject,
    }
    let options = OPTIONS[usize::from(*first) % OPTIONS.len()];
    run(&file, &Resolved::parse(options).expect("the options are right"))
}

/// Options, a line's end, and a file.
pub fn engine(data: &[u8]) -> Corpus {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else {
        return Corpus::Reject;
    };
    let Some(resolved) = std::str::from_utf8(&data[..at])
        .ok()
        .and_then(|options| Resolved::parse(options).ok())
    else {
        return Corpus::Reject;
    };
    run(&data[at + 1..].to_vec(), &resolved)
}

/// A segment of options.
pub fn options(data: &[u8]) {
    let Ok(segment) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(parsed) = ImageOptions::parse(segment) {
        let normal = parsed.normal_form();
        let again = ImageOptions::parse(&normal).unwrap_or_else(|error| panic!("{normal:?} of {segment:?}: {error:?}"));
        assert_eq!(again.normal_form(), normal, "{segment:?}");
    }
}

fn run(file: &Vec<u8>, resolved: &Resolved) -> Corpus {
    let Ok(plan) = probe(file, &LIMITS).and_then(|info| plan(&info, resolved, &LIMITS)) else {
        return Corpus::Keep;
    };
    if !is_small(&plan) {
        return Corpus::Reject;
    }
    let started = Instant::now();
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let answer = transform(file, &plan, &LIMITS, &NativeCodecs, &|| started.elapsed() > PATIENCE);
    let taken = ALLOCATOR.peak_usage().saturating_sub(before) as u64;
    let foreseen = match (plan.info.format, plan.encoding.format) {
        // Facts are no picture, and planned without memory.
        (_, Format::Json) => 1 << 16,
        // What a document draws is known when it is read, and refused then.
        (Format::Svg, _) => LIMITS.memory_bytes - plan.memory.source,
        _ => plan.memory.peak - plan.memory.source,
    };
    assert!(
        taken <= foreseen,
        "{taken} bytes taken, {foreseen} foreseen by {:?}",
        plan.memory
    );
    assert!(started.elapsed() < 2 * PATIENCE, "the cancellation was not heard");
    if let Ok(answer) = answer {
        let searched =
            plan.encoding.max_bytes.is_some() || matches!(plan.encoding.format, Format::Blurhash | Format::Thumbhash);
        if !searched && !resolved.normal_form().contains("trim=border") {
            assert_eq!((answer.width, answer.height), (plan.width, plan.height));
        }
        if let Some(most) = plan.encoding.max_bytes {
            assert!(
                answer.bytes.len() as u64 <= most,
                "{} bytes instead of {most}",
                answer.bytes.len()
            );
        }
    }
    Corpus::Keep
}

fn is_small(plan: &Plan) -> bool {
    let source = u64::from(plan.info.width) * u64::from(plan.info.height);
    let answer = u64::from(plan.width) * u64::from(plan.height);
    source * u64::from(plan.info.frames.unwrap_or(1)) <= PIXELS && answer <= PIXELS
}
