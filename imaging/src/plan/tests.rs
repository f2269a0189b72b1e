use super::*;
use crate::{ClientHints, Encoders, ImageOptions, negotiate};

fn resolved(options: &str) -> Resolved {
    let hints = ClientHints {
        accept: Some("image/webp".to_owned()),
        ..ClientHints::default()
    };
    negotiate(
        ImageOptions::parse(options).unwrap(),
        &hints,
        Encoders {
            webp: true,
            avif: false,
        },
    )
    .resolved
}

fn jpeg(width: u32, height: u32) -> ImageInfo {
    ImageInfo {
        samples_per_pixel_quarters: 6,
        decodable: true,
        ..ImageInfo::new(Format::Jpeg, width, height)
    }
}

fn image(format: Format, width: u32, height: u32, alpha: bool) -> ImageInfo {
    ImageInfo {
        decodable: true,
        alpha,
        ..ImageInfo::new(format, width, height)
    }
}

fn planned(info: &ImageInfo, options: &str) -> Plan {
    plan(info, &resolved(options), &Limits::EDGE).unwrap_or_else(|error| panic!("{options}: {error}"))
}

fn refused(info: &ImageInfo, options: &str, limits: &Limits) -> ImageError {
    plan(info, &resolved(options), limits).expect_err(options)
}

#[test]
fn jpeg_is_decoded_as_small_as_the_shrink_allows() {
    for (width, scale) in [
        (3200, 1),
        (1600, 1),
        (1068, 1),
        (1066, 2),
        (800, 2),
        (642, 2),
        (640, 4),
        (400, 4),
        (357, 4),
        (355, 8),
        (100, 8),
    ] {
        let plan = plan(&jpeg(3200, 2400), &resolved(&format!("w={width}")), &Limits::HEAVY).unwrap();
        assert_eq!(plan.decode_scale, scale, "{width}");
    }
    // 266.556 rows are rounded to 267, which is no reason to decode four times as many pixels.
    assert_eq!(planned(&jpeg(3600, 2399), "w=400").decode_scale, 8);
    // What counts is the shrink of what is kept: here the height is scaled by 9, the rest is cut.
    assert_eq!(planned(&jpeg(6400, 900), "w=100,h=100,fit=cover").decode_scale, 8);
    assert_eq!(planned(&jpeg(900, 900), "w=100,h=300,fit=squeeze").decode_scale, 2);
    assert_eq!(planned(&image(Format::Png, 3200, 2400, false), "w=100").decode_scale, 1);
    assert_eq!(planned(&jpeg(4000, 12), "w=100").decode_scale, 1);
}

#[test]
fn chroma_is_no_finer_than_the_answer_has_a_use_for() {
    let full = |options: &str| planned(&jpeg(7200, 7200), options).full_chroma;
    // From a shrink by 18 on half of it, in blocks of 8, still is more than the answer has.
    assert!(full("w=410,format=png"));
    assert!(!full("w=390,format=png"));
    assert!(full("w=1800,format=png"));
    assert!(full("w=410,format=jpeg,quality=95"));
    assert!(!full("w=410,format=jpeg,quality=80"));
    assert!(!full("w=410,format=webp"));
    // Of a picture whose border is cut off, any part may be what is shown.
    assert!(full("w=390,format=png,trim=border"));
}

#[test]
fn the_coarser_scale_is_better_than_no_picture() {
    let progressive = ImageInfo {
        progressive: true,
        ..jpeg(6000, 4000)
    };
    let scale = |memory_bytes| {
        let limits = Limits {
            memory_bytes,
            ..Limits::HEAVY
        };
        plan(&progressive, &resolved("w=2400"), &limits).map(|plan| (plan.decode_scale, plan.memory.peak))
    };
    let (fine, most) = scale(u64::MAX).unwrap();
    assert_eq!(fine, 1);
    assert_eq!(scale(most).unwrap(), (1, most));
    let (coarse, less) = scale(most - 1).unwrap();
    assert_eq!(coarse, 2);
    assert!(less < most);
    assert!(scale(less - 1).unwrap_err().is_heavy());
}

#[test]
fn width_and_height_are_of_the_upright_picture() {
    let info = ImageInfo {
        orientation: Orientation::from_exif(6),
        ..jpeg(4000, 3000)
    };
    let plan = planned(&info, "w=300");
    assert_eq!(
        (plan.width, plan.height, plan.resized, plan.decode_scale),
        (300, 400, (400, 300), 8)
    );
    let turned = planned(&info, "w=300,rotate=90");
    assert_eq!((turned.width, turned.height, turned.orientation.exif()), (300, 225, 3));
}

#[test]
fn dpr_scales_sizes_trim_and_border() {
    let plan = planned(
        &jpeg(1000, 1000),
        "w=100,h=50,fit=cover,dpr=2,trim=10;0;0;0,border=3:red",
    );
    assert_eq!((plan.width, plan.height), (212, 112));
    // 1000 x 980 is scaled to 200 x 196, of which 48 rows are cut off above and below.
    assert_eq!(plan.region.top, 20.0 + 48.0 * 5.0);
}

#[test]
fn trim_comes_before_everything_but_orientation() {
    let plan = planned(&jpeg(100, 80), "trim=1;2;3;4");
    assert_eq!(
        (plan.region.left, plan.region.top, plan.width, plan.height),
        (4.0, 1.0, 94, 76)
    );
    let rectangle = planned(&jpeg(100, 80), "trim.left=5,trim.top=6,trim.width=50,trim.height=900");
    assert_eq!(
        (
            rectangle.region.left,
            rectangle.region.top,
            rectangle.width,
            rectangle.height
        ),
        (5.0, 6.0, 50, 74)
    );
    // Turned, the same pixels stay.
    let rotated = planned(&jpeg(100, 80), "trim=1;2;3;4,rotate=90");
    assert_eq!((rotated.region, rotated.width, rotated.height), (plan.region, 76, 94));
    let sideways = ImageInfo {
        orientation: Orientation::from_exif(6),
        ..jpeg(100, 80)
    };
    let upright = planned(&sideways, "trim=1;2;3;4");
    assert_eq!(
        (
            upright.region.left,
            upright.region.top,
            upright.region.width,
            upright.region.height
        ),
        (1.0, 2.0, 96.0, 74.0)
    );
    assert!(matches!(
        refused(&jpeg(100, 80), "trim=40;0;40;0", &Limits::EDGE),
        ImageError::BadOptions(_)
    ));
    assert!(matches!(
        refused(&jpeg(100, 80), "trim.left=100", &Limits::EDGE),
        ImageError::BadOptions(_)
    ));
}

#[test]
fn the_format_follows_source_request_and_alpha() {
    let format = |info: &ImageInfo, options: &str| planned(info, options).encoding.format;
    assert_eq!(format(&jpeg(9, 9), ""), Format::Jpeg);
    assert_eq!(format(&image(Format::Png, 9, 9, false), ""), Format::Png);
    assert_eq!(format(&image(Format::WebP, 9, 9, false), ""), Format::WebP);
    assert_eq!(format(&jpeg(9, 9), "f=auto"), Format::WebP);
    let classic = |info: &ImageInfo| {
        let resolved = Resolved::parse("format=auto-classic").unwrap();
        plan(info, &resolved, &Limits::EDGE).unwrap().encoding.format
    };
    assert_eq!(classic(&image(Format::Png, 9, 9, true)), Format::Png);
    assert_eq!(classic(&image(Format::Png, 9, 9, false)), Format::Jpeg);
    let flattened = planned(&image(Format::Png, 9, 9, true), "f=jpeg");
    assert_eq!((flattened.alpha, flattened.background), (false, Some(Color::WHITE)));
    assert!(planned(&image(Format::Png, 9, 9, true), "f=webp").alpha);
    assert!(!planned(&image(Format::Png, 9, 9, true), "f=webp,bg=red").alpha);
    assert!(planned(&jpeg(20, 10), "f=png,w=10,h=10,fit=pad,bg=transparent").alpha);
    assert_eq!(
        planned(&jpeg(20, 10), "w=10,h=10,fit=pad,bg=%23ff000080").background,
        Some(Color {
            r: 255,
            g: 127,
            b: 127,
            a: 255
        })
    );
}

#[test]
fn the_codec_to_load_is_named() {
    let codecs = |info: &ImageInfo, options: &str| planned(info, options).codecs().collect::<Vec<Codec>>();
    assert_eq!(codecs(&jpeg(9, 9), "f=webp"), [Codec::WebP]);
    assert_eq!(codecs(&jpeg(9, 9), "f=avif"), [Codec::Avif]);
    assert_eq!(codecs(&jpeg(9, 9), ""), []);
    let avif = image(Format::Avif, 9, 9, false);
    assert_eq!(codecs(&avif, "f=jpeg"), [Codec::Av1]);
    assert_eq!(codecs(&avif, ""), [Codec::Av1, Codec::Avif]);
    assert_eq!(codecs(&avif, "f=json"), []);
}

#[test]
fn what_cannot_be_done_is_said_before_any_work() {
    let heic = ImageInfo {
        decodable: false,
        ..image(Format::Heic, 9, 9, false)
    };
    assert_eq!(refused(&heic, "f=jpeg", &Limits::EDGE).code(), "unsupported-format");
    assert_eq!(planned(&heic, "f=json").encoding.format, Format::Json);
    let animated = ImageInfo {
        frames: Some(3),
        ..image(Format::Gif, 9, 9, true)
    };
    for (options, format, moves) in [
        ("", Format::Gif, true),
        ("f=auto", Format::WebP, true),
        ("f=gif", Format::Gif, true),
        ("anim=false", Format::Gif, false),
        ("f=webp,anim=false", Format::WebP, false),
        ("f=png", Format::Png, false),
        ("f=jpeg", Format::Jpeg, false),
    ] {
        let plan = planned(&animated, options);
        assert_eq!((plan.encoding.format, plan.animated), (format, moves), "{options}");
    }
    let classic = |options: &str| {
        let resolved = Resolved::parse(options).unwrap();
        plan(&animated, &resolved, &Limits::EDGE).unwrap().encoding.format
    };
    assert_eq!(classic("format=auto-classic"), Format::Gif);
    assert_eq!(classic("format=auto-classic,anim=false"), Format::Png);
    assert_eq!(
        refused(&jpeg(9, 9), "f=svg", &Limits::EDGE).code(),
        "unsupported-format"
    );
}

#[test]
fn avif_is_automatic_where_it_is_quick() {
    let best = Resolved::parse("format=auto-avif").unwrap();
    let format = |info: &ImageInfo| plan(info, &best, &Limits::EDGE).unwrap().encoding.format;
    assert_eq!(format(&jpeg(1200, 900)), Format::Avif);
    assert_eq!(format(&jpeg(1300, 900)), Format::WebP);
    let animated = ImageInfo {
        frames: Some(3),
        ..image(Format::Gif, 9, 9, true)
    };
    assert_eq!(format(&animated), Format::WebP);
    assert!(refused(&jpeg(2400, 1800), "f=avif", &Limits::EDGE).is_heavy());
}

#[test]
fn the_answer_has_limits_too() {
    let too_large = |options: &str| match refused(&jpeg(100, 100), options, &Limits::EDGE) {
        ImageError::TooLarge { what, limit, value } => (what, limit, value),
        other => panic!("{other}"),
    };
    assert_eq!(
        too_large("w=6000,dpr=2.5,fit=contain"),
        (LimitKind::OutputSide, 12_000, 15_000)
    );
    assert_eq!(
        too_large("w=6000,fit=contain"),
        (LimitKind::OutputPixels, 25_000_000, 36_000_000)
    );
    assert_eq!(too_large("w=12000,h=1,fit=cover,border=1:red").0, LimitKind::OutputSide);
}

#[test]
fn a_hundred_megapixels_fit_an_isolate_as_a_thumbnail() {
    let info = ImageInfo {
        bytes: 30 << 20,
        ..jpeg(11_547, 8_660)
    };
    let plan = planned(&info, "w=400");
    assert_eq!(plan.decode_scale, 8);
    assert!(plan.memory.peak < 48 << 20, "{:?}", plan.memory);
    let progressive = ImageInfo {
        progressive: true,
        ..info
    };
    assert!(planned(&progressive, "w=400").memory.peak < 64 << 20);
    let error = refused(&progressive, "w=4000", &Limits::EDGE);
    assert!(error.is_heavy(), "{error}");
    assert_eq!((error.code(), error.status()), ("too-large", 413));
    assert!(crate::plan(&progressive, &resolved("w=4000"), &Limits::HEAVY).is_ok());
}

proptest::proptest! {
    #[test]
    fn whatever_a_border_leaves_takes_no_more_than_was_planned(
        size in (16u32..3_000, 16u32..3_000), part in (0.0f64..1.0, 0.0f64..1.0, 0.01f64..1.0, 0.01f64..1.0),
        wanted in (1u32..2_000, 1u32..2_000), fit in 0usize..8, sides in 0u32..4, png in proptest::bool::ANY,
    ) {
        let fits = ["scale-down", "crop", "aspect-crop", "contain", "cover", "pad", "squeeze", "scale-up"];
        // By one side alone, only what is never enlarged has a bound.
        let fit = if sides == 3 { fits[fit] } else { fits[fit % 3] };
        let width = if sides & 1 == 1 { format!("width={},", wanted.0) } else { String::new() };
        let height = if sides & 2 == 2 { format!("height={},", wanted.1) } else { String::new() };
        let info = if png { image(Format::Png, size.0, size.1, true) } else { jpeg(size.0, size.1) };
        let resolved = resolved(&format!("{width}{height}fit={fit},rotate=90,trim=border,border=3:red"));
        let plan = plan(&info, &resolved, &Limits::HEAVY).unwrap();
        let place = |from: f64, length: f64, full: u32| {
            let start = ((f64::from(full) * from) as u32).min(full - 1);
            (start, ((f64::from(full) * length) as u32).clamp(1, full - start))
        };
        let (across, down) = (place(part.0, part.2, size.0), place(part.1, part.3, size.1));
        let kept = plan.keeping((across.0, down.0, across.1, down.1), &Limits::HEAVY).unwrap();
        proptest::prop_assert_eq!(kept.memory.peak, plan.memory.peak);
        proptest::prop_assert_eq!((kept.decode_scale, kept.encoding), (plan.decode_scale, plan.encoding));
        proptest::prop_assert!(Memory::estimate(&kept).peak <= plan.memory.peak);
    }
}

#[test]
fn sixteen_megapixels_of_lossy_webp_stay_planes() {
    let info = ImageInfo {
        samples_per_pixel_quarters: 6,
        bytes: 6_000_000,
        ..image(Format::WebP, 4608, 3456, false)
    };
    let memory = planned(&info, "width=1200,format=jpeg").memory;
    assert!(memory.decode < 27_000_000, "{memory:?}");
    assert!(memory.peak < 80 << 20, "{memory:?}");
    // With alpha they are joined: more than four bytes a pixel, next to what they are made of.
    let joined = ImageInfo {
        alpha: true,
        width: 2000,
        height: 1500,
        ..info
    };
    assert!(planned(&joined, "width=1200,format=jpeg").memory.decode > 6 * 2000 * 1500);
}
