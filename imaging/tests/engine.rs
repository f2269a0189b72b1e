//! The engine's number names its answers: whoever changes a byte of them raises it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use kado_imaging::samples::{self, JpegColor, JpegSample};
use kado_imaging::{ENGINE, Limits, NativeCodecs, Resolved, process};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// With this variable in the environment `engine.txt` is written anew.
const RENEW: &str = "KADO_RENEW";

fn sources() -> [(&'static str, Vec<u8>); 8] {
    let jpeg = |color, progressive_scans| {
        let sample = JpegSample {
            color,
            progressive_scans,
            ..JpegSample::default()
        };
        sample.encode(301, 203)
    };
    let lossy = |options| {
        let png = samples::png_rgba(151, 101);
        let answer = process(
            &png,
            &Resolved::parse(options).unwrap(),
            &Limits::EDGE,
            &NativeCodecs,
            &|| false,
        );
        answer.unwrap().bytes
    };
    [
        ("baseline", jpeg(JpegColor::Color(2, 2), 0)),
        ("progressive", jpeg(JpegColor::Color(2, 1), 5)),
        ("grey", jpeg(JpegColor::Grey, 0)),
        ("png", samples::png_rgba(151, 101)),
        ("lossy-webp", lossy("format=webp,quality=70,background=white")),
        ("lossless-webp", samples::webp_lossless(151, 101, true)),
        ("gif", samples::gif(60, 40, 3)),
        ("svg", samples::svg(120, 90).into_bytes()),
    ]
}

/// Every encoder but AVIF's, whose bytes are those of its library's version; and every kind of work on pixels. What is done
/// here gives the same bits with every instruction set of x86-64; a colour profile, which no source has, need not.
const OPTIONS: [&str; 14] = [
    "format=jpeg",
    "format=png",
    "format=png,quality=60",
    "format=webp",
    "format=gif",
    "format=jpeg,width=38",
    "format=jpeg,width=75,quality=95",
    "format=jpeg,width=90,height=40,fit=cover,gravity=auto",
    "format=png,width=60,height=60,fit=pad,background=teal,rotate=90,flip=h",
    "format=png,width=70,blur=6,sharpen=1.5,gamma=1.4",
    "format=png,width=70,brightness=1.1,contrast=0.9,saturation=1.3,border=3:red",
    "format=png,width=70,filter=oceanic,draw=t:S2Fkbw;opacity=0.7",
    "format=webp,trim=border,width=80,segment=foreground",
    "format=jpeg,max-bytes=1500",
];

#[test]
#[cfg_attr(
    not(target_arch = "x86_64"),
    ignore = "documents and text are drawn in floating point, whose last bit is the processor's"
)]
fn answers_are_those_of_the_engines_number() {
    let now = answers();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine.txt");
    let known = std::fs::read_to_string(&path).unwrap();
    let changed = changes(&known, &now);
    let raised = known.lines().next() != now.lines().next();
    assert!(
        raised || changed.is_empty(),
        "the same options and bytes give other answers:\n{}\nIf that is meant, raise ENGINE in imaging/src/lib.rs, or caches go on \
         giving the old ones.",
        changed.join("\n")
    );
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(&path, now).unwrap();
        return;
    }
    assert!(
        known == now,
        "{} has other sources, options or another number. Renew it with `{RENEW}=1 cargo test --package kado-imaging --test engine`.",
        path.display()
    );
}

#[test]
fn only_another_answer_to_the_same_question_is_a_change() {
    let known = "engine 1\na 00\n  format=png 11\n  format=gif 12\nb 01\n  format=png 13\n";
    assert_eq!(changes(known, known), Vec::<String>::new());
    let other_answer = known.replace("12", "22");
    assert_eq!(changes(known, &other_answer), ["a 00, format=gif: 12 became 22"]);
    let other_sample = known.replace("a 00", "a 02").replace("11", "21");
    assert_eq!(changes(known, &other_sample), Vec::<String>::new());
    let other_options = known.replace("  format=gif 12\n", "  format=webp 22\n");
    assert_eq!(changes(known, &other_options), Vec::<String>::new());
}

/// The engine's number; for each source its name and hash, and indented the hash of what each options make of it.
fn answers() -> String {
    let mut text = format!("engine {ENGINE}\n");
    for (name, bytes) in sources() {
        writeln!(text, "{name} {}", short_hash(&bytes)).unwrap();
        for options in OPTIONS {
            let resolved = Resolved::parse(options).unwrap();
            let answer = process(&bytes, &resolved, &Limits::EDGE, &NativeCodecs, &|| false)
                .unwrap_or_else(|error| panic!("{name} {options}: {error}"));
            writeln!(text, "  {options} {}", short_hash(&answer.bytes)).unwrap();
        }
    }
    text
}

/// Where both texts have the same options for the same bytes, and another answer.
fn changes(known: &str, now: &str) -> Vec<String> {
    let known = by_question(known);
    by_question(now)
        .into_iter()
        .filter_map(|(question, answer)| {
            let before = known.get(&question).filter(|before| **before != answer)?;
            Some(format!("{}, {}: {before} became {answer}", question.0, question.1))
        })
        .collect()
}

fn by_question(text: &str) -> BTreeMap<(&str, &str), &str> {
    let mut source = "";
    let mut answers = BTreeMap::new();
    for line in text.lines() {
        match line.strip_prefix("  ").and_then(|line| line.rsplit_once(' ')) {
            Some((options, answer)) => {
                answers.insert((source, options), answer);
            }
            None => source = line,
        }
    }
    answers
}

/// The first 64 bits of SHA-256.
fn short_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
