//! Documents, good and hostile.

use crate::{Format, ImageError, LimitKind, Limits, NativeCodecs, Resolved, Sources, plan, probe, samples, transform};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use core::fmt::Write;

mod any;

fn svg(body: &str) -> String {
    format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"40\" height=\"20\">{body}</svg>")
}

fn process(document: &str, options: &str) -> Result<Vec<u8>, ImageError> {
    let bytes = document.as_bytes().to_vec();
    let limits = Limits::EDGE;
    let plan = plan(&probe(&bytes, &limits)?, &Resolved::parse(options).unwrap(), &limits)?;
    transform(Sources::from(&bytes), &plan, &limits, &NativeCodecs, &|| false).map(|output| output.bytes)
}

/// Width, height and RGBA.
fn drawn(document: &str, options: &str) -> (u32, u32, Vec<[u8; 4]>) {
    let bytes = process(document, &format!("{options}format=png")).unwrap();
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::ALPHA);
    let mut reader = decoder.read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut data).unwrap();
    (frame.width, frame.height, data.as_chunks().0.to_vec())
}

fn sanitised(document: &str) -> String {
    String::from_utf8(process(document, "format=svg").unwrap()).unwrap()
}

fn refused(document: &str) -> ImageError {
    let drawn = process(document, "format=png").unwrap_err();
    assert_eq!(process(document, "format=svg").err(), Some(drawn.clone()));
    drawn
}

fn limit(error: &ImageError) -> Option<LimitKind> {
    match error {
        ImageError::TooLarge { what, .. } => Some(*what),
        _ => None,
    }
}

const RED: [u8; 4] = [255, 0, 0, 255];
const NOTHING: [u8; 4] = [0; 4];

#[test]
fn a_document_is_drawn_at_the_size_of_the_answer() {
    let half = svg("<rect width=\"20\" height=\"20\" fill=\"red\"/>");
    let (width, height, pixels) = drawn(&half, "width=400,fit=contain,");
    assert_eq!((width, height), (400, 200));
    // Sharp at ten times its size: no pixel lies between red and nothing.
    assert_eq!((pixels[199], pixels[200]), (RED, NOTHING));
    assert!(pixels.iter().all(|pixel| *pixel == RED || *pixel == NOTHING));
    let (width, height, pixels) = drawn(&half, "trim=0;10;0;10,width=10,height=10,fit=cover,");
    assert_eq!((width, height, pixels[0], pixels[9]), (10, 10, RED, NOTHING));
    let (width, _, pixels) = drawn(&half, "rotate=90,");
    assert_eq!((width, pixels[0], pixels[20 * 39]), (20, RED, NOTHING));
}

#[test]
fn what_pixels_decide_is_decided_for_documents_too() {
    let framed = svg(
        "<rect width=\"40\" height=\"20\" fill=\"#fff\"/><rect x=\"10\" y=\"5\" width=\"20\" height=\"10\" fill=\"red\"/>",
    );
    let (width, height, pixels) = drawn(&framed, "trim=border,width=200,fit=contain,");
    assert_eq!((width, height), (200, 100));
    assert!(pixels.iter().all(|pixel| *pixel == RED));
}

#[test]
fn without_a_format_it_becomes_a_png() {
    let bytes = process(&svg(""), "width=10").unwrap();
    assert_eq!(probe(&bytes, &Limits::EDGE).unwrap().format, Format::Png);
    let jpeg = process(&svg(""), "format=jpeg").unwrap();
    assert_eq!(probe(&jpeg, &Limits::EDGE).unwrap().format, Format::Jpeg);
}

#[test]
fn style_sheets_hold_as_they_would_in_a_browser() {
    let sheet = |css: &str, class: &str| {
        let body = format!(
            "<style>{css}</style><g id=\"a\"><rect class=\"{class}\" width=\"40\" height=\"20\" fill=\"blue\"/></g>"
        );
        drawn(&svg(&body), "").2[0]
    };
    assert_eq!(sheet(".b{fill:red}", "b"), RED);
    assert_eq!(sheet("#a rect{fill:red} rect{fill:lime}", "b"), RED);
    assert_eq!(sheet("rect{fill:red!important}", "b\" style=\"fill:lime"), RED);
    assert_eq!(sheet("g > .b{fill:lime} .b.c{fill:red}", "b c"), RED);
    assert_eq!(
        sheet("@import url(x.css); @media print{rect{fill:lime}}", "b"),
        [0, 0, 255, 255]
    );
}

#[test]
fn a_sanitised_document_holds_nothing_that_runs_or_leads_outside() {
    let hostile = [
        "<script>alert(1)</script><script href=\"x.js\"/>",
        "<rect onload=\"alert(1)\" onclick='x' width=\"4\" height=\"4\"/>",
        "<foreignObject><body xmlns=\"http://www.w3.org/1999/xhtml\" onload=\"x\"/></foreignObject>",
        "<a href=\"javascript:alert(1)\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" xlink:href=\"http://evil.example\"><rect/></a>",
        "<image href=\"http://evil.example/a.png\"/><image href=\"file:///etc/passwd\"/><image href=\"/etc/passwd\"/>",
        "<image href=\"data:text/html,&lt;script>\"/><image href=\"data:image/svg+xml;base64,AAAA\"/>",
        "<use href=\"http://evil.example/a.svg#b\"/><use href=\"other.svg#b\"/>",
        "<rect fill=\"url(http://evil.example/a)\" style=\"fill:url('//evil.example/b');background:url(javascript:x)\"/>",
        "<style>@import 'http://evil.example'; rect{fill:url(http://evil.example#a);-moz-binding:url(x)}</style><rect/>",
        "<rect style=\"fill:u\\72l(http://evil.example)\"/><rect fill=\"URL(http://evil.example)\"/>",
        "<animate attributeName=\"href\" values=\"javascript:x\"/><set attributeName=\"onload\" to=\"x\"/>",
        "<filter id=\"f\"><feImage href=\"http://evil.example\"/></filter><handler/><iframe src=\"x\"/>",
        "<x:script xmlns:x=\"http://www.w3.org/2000/svg\">alert(1)</x:script><?php evil ?><!-- evil -->",
        "<text>&lt;script>evil&lt;/script></text><title>&lt;evil></title>",
    ];
    for body in hostile {
        let text = sanitised(&svg(body));
        let lower = text.to_ascii_lowercase();
        for bad in [
            "<script",
            "onload=",
            "onclick",
            "javascript",
            "foreign",
            "http://e",
            "//evil",
            "file:",
            "passwd",
            "text/html",
            "svg+xml",
            "other.svg",
            "import",
            "binding",
            "\\",
            "animate",
            "<set",
            "iframe",
            "handler",
            "<?",
            "<!--",
            "<a ",
        ] {
            assert!(!lower.contains(bad), "{bad} in {text}");
        }
        // It is a document still, and one that nothing more is to be taken from.
        assert_eq!(sanitised(&text), text);
    }
}

#[test]
fn what_a_picture_needs_is_kept() {
    let body = "<defs><linearGradient id=\"a\"><stop offset=\"0\" stop-color=\"red\"/><stop offset=\"1\" style=\"stop-color:#00f\"/>\
        </linearGradient><clipPath id=\"c\"><circle r=\"9\"/></clipPath></defs><g clip-path=\"url(#c)\" transform=\"scale(2)\">\
        <rect fill=\"url(&quot;#a&quot;)\" width=\"9\" height=\"9\"/><use xmlns:x=\"http://www.w3.org/1999/xlink\" x:href=\"#a\"/></g>\
        <text xml:space=\"preserve\">a &amp; b</text>";
    let text = sanitised(&svg(body));
    for kept in [
        "id=\"a\"",
        "stop-color:#00f",
        "url(#c)",
        "transform=\"scale(2)\"",
        "href=\"#a\"",
        "a &amp; b",
        "xml:space=\"preserve\"",
        "width=\"40\"",
    ] {
        assert!(text.contains(kept), "{kept}: {text}");
    }
}

#[test]
fn a_document_type_may_name_the_language_and_declare_nothing() {
    let named = "<?xml version=\"1.0\"?><!-- a > b --><!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"http://www.w3.org/svg11.dtd\">";
    assert!(!sanitised(&format!("{named}{}", svg("<g/>"))).contains("DOCTYPE"));
    let laughs = "<!DOCTYPE svg [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]>";
    let error = refused(&format!("{laughs}{}", svg("<text>&b;</text>")));
    assert_eq!((error.code(), error.status()), ("unsupported-format", 415));
    let external = "<!DOCTYPE svg [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>";
    assert_eq!(
        refused(&format!("{external}{}", svg("&a;"))).code(),
        "unsupported-format"
    );
    assert_eq!(refused(&svg("<text>&undeclared;</text>")).code(), "corrupt-image");
}

#[test]
fn what_draws_itself_many_times_is_refused_before_it_is_drawn() {
    // Each level uses the one below ten times.
    let levels = |name: &str, use_of: &dyn Fn(u32) -> String| {
        let mut body = format!("<{name} id=\"l0\" width=\"1\" height=\"1\"><rect width=\"1\" height=\"1\"/></{name}>");
        for level in 1..20 {
            let _infallible = write!(
                body,
                "<{name} id=\"l{level}\" width=\"1\" height=\"1\">{}</{name}>",
                use_of(level - 1).repeat(10)
            );
        }
        svg(&(body + &use_of(19)))
    };
    let bombs = [
        levels("g", &|level| format!("<use href=\"#l{level}\"/>")),
        levels("symbol", &|level| format!("<use href=\"#l{level}\"/>")),
        levels("pattern", &|level| {
            format!("<rect width=\"1\" height=\"1\" fill=\"url(#l{level})\"/>")
        }),
        levels("pattern", &|level| {
            format!("<g style=\"stroke:url( '#l{level}' )\"><rect width=\"1\" height=\"1\"/></g>")
        }),
        levels("mask", &|level| {
            format!("<rect width=\"1\" height=\"1\" mask=\"url(#l{level})\"/>")
        }),
        levels("clipPath", &|level| {
            format!("<rect width=\"1\" height=\"1\" clip-path=\"url(#l{level})\"/>")
        }),
        levels("marker", &|level| {
            format!("<path d=\"M0 0 1 1\" marker-end=\"url(#l{level})\"/>")
        }),
    ];
    for bomb in bombs {
        assert_eq!(limit(&refused(&bomb)), Some(LimitKind::Elements), "{bomb}");
    }
    let inherited = format!(
        "<style>g{{fill:url(#p)}}</style><pattern id=\"p\" width=\"9\" height=\"9\">{}</pattern><g>{}</g>",
        "<rect/>".repeat(200),
        "<circle r=\"3\"/>".repeat(200)
    );
    assert_eq!(limit(&refused(&svg(&inherited))), Some(LimitKind::Elements));
    let corners = format!(
        "<marker id=\"m\">{}</marker><path d=\"M{}\" marker-mid=\"url(#m)\"/>",
        "<rect/>".repeat(20),
        "1 1 ".repeat(2_000)
    );
    assert_eq!(limit(&refused(&svg(&corners))), Some(LimitKind::Elements));
}

#[test]
fn what_is_inherited_counts_where_it_is_drawn() {
    // The rectangles of each pattern take their fill from the group around it.
    let mut levels =
        "<pattern id=\"l0\" width=\"1\" height=\"1\"><rect width=\"1\" height=\"1\"/></pattern>".to_owned();
    for level in 1..12 {
        let _infallible = write!(
            levels,
            "<g fill=\"url(#l{})\"><pattern id=\"l{level}\" width=\"1\" height=\"1\">{}</pattern></g>",
            level - 1,
            "<rect width=\"1\" height=\"1\"/>".repeat(10)
        );
    }
    let bomb = svg(&(levels + "<rect width=\"9\" height=\"9\" fill=\"url(#l11)\"/>"));
    assert_eq!(limit(&refused(&bomb)), Some(LimitKind::Elements));
    for keyword in ["inherit", "context-fill", "INHERIT "] {
        let text = sanitised(&svg(&format!("<g mask=\"{keyword}\" style=\"fill:{keyword}\"/>")));
        assert!(
            !text.to_lowercase().contains("inherit") && !text.contains("context"),
            "{text}"
        );
    }
}

#[test]
fn the_data_of_what_is_drawn_again_counts_every_time() {
    let copies = "<use href=\"#a\"/>".repeat(4_000);
    let path = format!("<path id=\"a\" d=\"M{}\"/>{copies}", "1 1 ".repeat(50_000));
    assert_eq!(
        limit(&process(&svg(&path), "format=png").unwrap_err()),
        Some(LimitKind::Memory)
    );
    let text = format!("<text id=\"a\">{}</text>{copies}", "a".repeat(1_000));
    assert_eq!(limit(&refused(&svg(&text))), Some(LimitKind::Elements));
    assert_eq!(
        limit(&refused(&svg(&format!("<text>{}</text>", "a".repeat(50_000))))),
        Some(LimitKind::Elements)
    );
}

#[test]
fn circles_of_references_are_refused() {
    for circle in [
        "<g id=\"a\"><use href=\"#a\"/></g>",
        "<use id=\"a\" href=\"#b\"/><use id=\"b\" href=\"#a\"/>",
        "<pattern id=\"a\" width=\"1\" height=\"1\"><rect width=\"1\" height=\"1\" fill=\"url(#a)\"/></pattern><rect fill=\"url(#a)\"/>",
        "<mask id=\"a\" mask=\"url(#a)\"/>",
        "<filter id=\"a\"><feImage href=\"#b\"/></filter><g id=\"b\" filter=\"url(#a)\"/>",
    ] {
        assert_eq!(refused(&svg(circle)).code(), "corrupt-image", "{circle}");
    }
}

#[test]
fn elements_are_counted_and_their_depth_is() {
    let flat = |count: usize| svg(&"<rect width=\"1\" height=\"1\"/>".repeat(count));
    assert!(process(&flat(9_999), "format=png").is_ok());
    assert_eq!(limit(&refused(&flat(10_000))), Some(LimitKind::Elements));
    assert_eq!(
        limit(&refused(&svg(&"a<!---->".repeat(100_000)))),
        Some(LimitKind::Elements)
    );
    let deep = |depth: usize| {
        svg(&format!(
            "{}<rect width=\"9\" height=\"9\"/>{}",
            "<g opacity=\"0.9\">".repeat(depth),
            "</g>".repeat(depth)
        ))
    };
    // A WebAssembly stack has one mebibyte.
    let deepest = deep(62);
    let drawn = std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(move || process(&deepest, "format=png").is_ok());
    assert!(drawn.unwrap().join().unwrap());
    assert_eq!(limit(&refused(&deep(63))), Some(LimitKind::Depth));
    assert_eq!(limit(&refused(&deep(9_000))), Some(LimitKind::Depth));
    // As deep by references.
    let mut chain = "<g id=\"c0\"/>".to_owned();
    for link in 1..5_000 {
        let _infallible = write!(chain, "<g id=\"c{link}\"><use href=\"#c{}\"/></g>", link - 1);
    }
    assert!(matches!(
        limit(&refused(&svg(&chain))),
        Some(LimitKind::Depth | LimitKind::Elements)
    ));
}

#[test]
fn style_sheets_beyond_reason_are_refused() {
    let rules = format!("<style>{}{{{}}}</style>", "a,".repeat(2_000), "fill:red;".repeat(2_000));
    assert_eq!(limit(&refused(&svg(&rules))), Some(LimitKind::Styles));
    // Descendants of descendants, tried in every way.
    let slow = format!(
        "<style>{}</style>{}",
        "x g g g g g g g g{fill:red}".repeat(50),
        "<g>".repeat(60) + &"<g/>".repeat(100) + &"</g>".repeat(60)
    );
    assert_eq!(limit(&refused(&svg(&slow))), Some(LimitKind::Styles));
}

#[test]
fn what_would_paint_for_minutes_or_take_all_memory_is_refused_first() {
    let on = |body: &str| {
        let document = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"2000\" height=\"2000\">{body}</svg>");
        limit(&process(&document, "format=png").unwrap_err())
    };
    let all = "width=\"2000\" height=\"2000\"";
    assert_eq!(on(&format!("<rect {all}/>").repeat(2_000)), Some(LimitKind::Painted));
    let layers = format!("{}<rect {all}/>{}", "<g opacity=\"0.9\">".repeat(40), "</g>".repeat(40));
    assert_eq!(on(&layers), Some(LimitKind::Memory));
    let filter = |primitive: &str| {
        format!(
            "<filter id=\"f\" x=\"-9\" y=\"-9\" width=\"19\" height=\"19\">{primitive}</filter><rect {all} filter=\"url(#f)\"/>"
        )
    };
    assert!(on(&filter(&"<feGaussianBlur stdDeviation=\"100000\"/>".repeat(9))).is_some());
    assert!(on(&filter("<feMorphology operator=\"dilate\" radius=\"500\"/>")).is_some());
    assert!(on(&filter("<feTurbulence baseFrequency=\"1\" numOctaves=\"1000000\"/>")).is_some());
    let tile = format!(
        "<pattern id=\"p\" width=\"30000\" height=\"30000\" patternUnits=\"userSpaceOnUse\"><rect {all}/></pattern><rect {all} fill=\"url(#p)\"/>"
    );
    assert_eq!(on(&tile), Some(LimitKind::Memory));
    let far = "<pattern id=\"p\" width=\"7\" height=\"1\" patternUnits=\"userSpaceOnUse\"><circle cx=\"3\" cy=\"3\" \
        r=\"2666666666666666666\"/></pattern><rect width=\"60\" height=\"60\" fill=\"url(#p)\"/>";
    assert_eq!(
        on(far),
        Some(LimitKind::Distance),
        "what is too far away to be told apart"
    );
    for primitive in [
        "<feGaussianBlur stdDeviation=\"1222222222.5\"/>",
        "<feDropShadow dx=\"-3e38\"/>",
        "<feOffset dy=\"5e9\"/>",
        "<feMorphology operator=\"dilate\" radius=\"4e9\"/>",
        "<feDisplacementMap scale=\"1e30\" xChannelSelector=\"R\"/>",
    ] {
        assert_eq!(on(&filter(primitive)), Some(LimitKind::Distance), "{primitive}");
    }
    for huge in [
        "<path d=\"M0 0 100 50A2e99 12 30 0 1 70 40Z\"/>",
        "<circle r=\"-3e38\"/>",
        "<rect width=\"9\" height=\"9\" rx=\"10000000000000000000000000000000000\"/>",
        "<svg viewBox=\"0 0 1e30 1\"><ellipse rx=\"50%\" ry=\"1\"/></svg>",
    ] {
        assert_eq!(on(huge), Some(LimitKind::Distance), "{huge}");
    }
    let uncountable = process(&svg("<circle r=\"-3e38\"/>"), "format=png").unwrap_err();
    assert!(
        uncountable
            .to_string()
            .starts_with("more pixels to a shape than can be counted")
    );
    let dashes = "<path d=\"M0 0L2000 2000\" stroke=\"red\" stroke-dasharray=\"0.00001\"/>".repeat(100);
    assert!(on(&dashes).is_some());
}

#[test]
fn ordinary_filters_and_patterns_are_drawn() {
    let body = "<filter id=\"f\"><feGaussianBlur stdDeviation=\"2\"/></filter><pattern id=\"p\" width=\"4\" height=\"4\" \
        patternUnits=\"userSpaceOnUse\"><rect width=\"4\" height=\"4\" fill=\"red\"/></pattern>\
        <rect width=\"40\" height=\"20\" fill=\"url(#p)\"/><g filter=\"url(#f)\"><circle cx=\"20\" cy=\"10\" r=\"5\"/></g>";
    let pixels = drawn(&svg(body), "").2;
    assert_eq!(pixels[0], RED);
    let middle = pixels[10 * 40 + 20];
    assert!(middle[0] < 100 && middle[3] == 255, "{middle:?}");
}

#[test]
fn absurd_sizes_are_refused_by_the_header_and_odd_ones_read_as_browsers_do() {
    let size = |attributes: &str| {
        let bytes = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" {attributes}/>").into_bytes();
        probe(&bytes, &Limits::EDGE).map(|info| (info.width, info.height))
    };
    for (attributes, expected) in [
        ("", (300, 150)),
        ("width='30' height='20'", (30, 20)),
        ("width='1in' height='2.54cm'", (96, 96)),
        ("width='100%' height='100%' viewBox='0 0 24 12'", (24, 12)),
        ("viewBox='0,0 , 64 32'", (64, 32)),
        ("width='100' viewBox='0 0 2 1'", (100, 50)),
        ("height='100px' viewBox='-5 -5 2 1'", (200, 100)),
        ("width='NaN' height='-5'", (300, 150)),
        ("width='1e-9' height='inf' viewBox='0 0 0 0'", (1, 150)),
        ("data-width='9' title='a>b' width = '7' height=\"8\"", (7, 8)),
    ] {
        assert_eq!(size(attributes), Ok(expected), "{attributes}");
    }
    for huge in [
        "width='1e30' height='1'",
        "viewBox='0 0 99999 1'",
        "width='11000' height='11000'",
    ] {
        assert_eq!(size(huge).unwrap_err().code(), "too-large", "{huge}");
    }
    // What the header says is the size, whatever the renderer makes of it.
    for odd in [
        "viewBox='0 0 1e-30 1e-30'",
        "width='5' height='5' viewBox='0 0 1e30 1'",
        "width='0.001' height='9'",
    ] {
        let document = format!("<svg xmlns='http://www.w3.org/2000/svg' {odd}><rect width='9' height='9'/></svg>");
        if let Err(error) = process(&document, "format=png") {
            assert_ne!(error.status(), 500, "{odd}: {error}");
        }
    }
}

#[test]
fn pictures_in_a_document_are_decoded_by_us() {
    let image = |kind: &str, bytes: &[u8]| {
        svg(&format!(
            "<image width=\"40\" height=\"20\" preserveAspectRatio=\"none\" href=\"data:{kind};base64,{}\"/>",
            STANDARD.encode(bytes)
        ))
    };
    let red = samples::png_of(4, 4, png::ColorType::Rgb, png::BitDepth::Eight, &[255, 0, 0].repeat(16));
    assert_eq!(drawn(&image("image/png", &red), "").2[210], RED);
    let photo = samples::JpegSample::default().encode(64, 32);
    assert_ne!(drawn(&image("image/jpeg", &photo), "").2[210], NOTHING);
    // Neither what cannot be read nor what says that it is something else stops the rest.
    assert_eq!(drawn(&image("image/png", b"nothing"), "").2[210], NOTHING);
    assert_eq!(drawn(&image("image/png", svg("").as_bytes()), "").2[210], NOTHING);
    let bomb = samples::png_of(
        5_000,
        4_000,
        png::ColorType::Grayscale,
        png::BitDepth::One,
        &vec![0; 625 * 4_000],
    );
    assert_eq!(
        limit(&process(&image("image/png", &bomb), "format=png").unwrap_err()),
        Some(LimitKind::Pixels)
    );
}

#[test]
fn format_svg_is_for_documents_alone_and_takes_nothing_else() {
    let png = samples::png_rgb(4, 4);
    let resolved = Resolved::parse("format=svg").unwrap();
    let error = plan(&probe(&png, &Limits::EDGE).unwrap(), &resolved, &Limits::EDGE).unwrap_err();
    assert_eq!((error.code(), error.status()), ("unsupported-format", 415));
    let error = process(&svg(""), "format=svg,width=40,draw=t:QQ").unwrap_err();
    assert!(matches!(error, ImageError::BadOptions(errors) if errors.len() == 2));
    assert_eq!(
        process(&svg(""), "format=svg,max-bytes=10").unwrap_err().code(),
        "too-large"
    );
}

#[test]
fn what_is_no_document_is_refused() {
    for (bytes, code) in [
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'><g></svg>".as_slice(),
            "corrupt-image",
        ),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "corrupt-image"),
        (b"<svg><g a=b/></svg>", "corrupt-image"),
        (b"<svg xmlns='http://www.w3.org/1999/xhtml'/>", "corrupt-image"),
        (b"<svg>\xff</svg>", "corrupt-image"),
        (b"<svgx/>", "not-an-image"),
        (b"<html><svg/></html>", "not-an-image"),
        (b"\x1f\x8b\x08\x00compressed", "unsupported-format"),
    ] {
        let bytes = bytes.to_vec();
        let made = probe(&bytes, &Limits::EDGE)
            .and_then(|info| plan(&info, &Resolved::parse("format=png").unwrap(), &Limits::EDGE))
            .and_then(|plan| transform(&bytes, &plan, &Limits::EDGE, &NativeCodecs, &|| false));
        assert_eq!(made.unwrap_err().code(), code, "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn work_ends_when_it_is_cancelled() {
    let bytes = svg(&"<rect/>".repeat(100)).into_bytes();
    let plan = plan(
        &probe(&bytes, &Limits::EDGE).unwrap(),
        &Resolved::parse("").unwrap(),
        &Limits::EDGE,
    )
    .unwrap();
    let asked = core::cell::Cell::new(0);
    let cancel = || {
        asked.set(asked.get() + 1);
        asked.get() > 50
    };
    assert_eq!(
        transform(&bytes, &plan, &Limits::EDGE, &NativeCodecs, &cancel),
        Err(ImageError::Cancelled)
    );
}
