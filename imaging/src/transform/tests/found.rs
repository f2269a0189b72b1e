//! What is found in the pixels.

use super::*;

/// A grey picture with a rectangle in it that is not, as PNG.
fn framed_png(size: (u32, u32), paper: u8, inner: (u32, u32, u32, u32)) -> Vec<u8> {
    let scene = samples::scene(size.0, size.1);
    let rgb: Vec<u8> = scene
        .chunks_exact(3)
        .zip(0u32..)
        .flat_map(|(pixel, index)| {
            let (x, y) = (index % size.0, index / size.0);
            let is_inner = (inner.0..inner.0 + inner.2).contains(&x) && (inner.1..inner.1 + inner.3).contains(&y);
            if is_inner {
                [255 - paper, pixel[1], 40]
            } else {
                [paper; 3]
            }
        })
        .collect();
    samples::png_of(size.0, size.1, png::ColorType::Rgb, png::BitDepth::Eight, &rgb)
}

#[test]
fn a_border_is_cut_off_before_everything_else() {
    let png = framed_png((120, 90), 230, (20, 10, 60, 50));
    let expected = pixels(&ok(&png, "trim=10;40;30;20"));
    assert_eq!(pixels(&ok(&png, "trim=border")), expected);
    for (options, same) in [
        (
            "trim=border,width=30,height=30,fit=cover",
            "trim=10;40;30;20,width=30,height=30,fit=cover",
        ),
        (
            "trim=border,rotate=90,flip=h,width=20",
            "trim=10;40;30;20,rotate=90,flip=h,width=20",
        ),
        ("trim=border,trim.border.keep=4", "trim=6;36;26;16"),
        (
            "trim=border,trim.border.keep=2,dpr=2,width=20",
            "trim=6;36;26;16,width=40",
        ),
        ("trim=border,trim.border.keep=999", ""),
        ("trim=border,trim.border.color=red", ""),
        ("trim=border,trim.border.color=%23e0e0e0,trim.border.tolerance=5", ""),
        (
            "trim=border,trim.border.color=%23e0e0e0,trim.border.tolerance=6",
            "trim=10;40;30;20",
        ),
        ("trim=border,trim.border.tolerance=255", ""),
        (
            "trim=border,width=60,height=60,fit=contain",
            "trim=10;40;30;20,width=60,height=60,fit=contain",
        ),
    ] {
        assert_eq!(pixels(&ok(&png, options)), pixels(&ok(&png, same)), "{options}");
    }
}

#[test]
fn a_border_is_found_however_the_picture_lies_and_small_it_is_decoded() {
    let png = framed_png((640, 480), 250, (160, 80, 320, 240));
    let rgb = pixels(&ok(&png, "")).data;
    for value in 1..=8 {
        let sample = JpegSample {
            quality: 92,
            color: JpegColor::Color(1, 1),
            orientation: value,
            ..JpegSample::default()
        };
        let jpeg = sample.encode_pixels(&rgb, 640, 480);
        let output = ok(&jpeg, "trim=border,trim.border.tolerance=20");
        let (width, height) = Orientation::from_exif(value).size((output.width, output.height));
        assert!(
            width.abs_diff(320) <= 2 && height.abs_diff(240) <= 2,
            "{value}: {width} x {height}"
        );
        // The plan for the whole picture would decode at an eighth; what is left has to have its pixels.
        let plan = plan(
            &probe(&jpeg, &Limits::EDGE).unwrap(),
            &Resolved::parse("trim=border,width=60").unwrap(),
            &Limits::EDGE,
        )
        .unwrap();
        assert_eq!(plan.decode_scale, 1);
    }
}

#[test]
fn what_a_border_leaves_is_held_to_the_limits() {
    let png = framed_png((400, 300), 250, (200, 0, 2, 300));
    let output = ok(&png, "trim=border,width=40,fit=contain");
    assert_eq!((output.width, output.height), (40, 6_000));
    match run(&png, "trim=border,width=400,fit=contain").unwrap_err() {
        ImageError::TooLarge { what, value, .. } => assert_eq!((what, value), (crate::LimitKind::OutputSide, 60_000)),
        other => panic!("{other}"),
    }
}

/// A soft grey slope with a strongly coloured, lined disc at a place.
fn with_subject(size: (u32, u32), center: (u32, u32), radius: u32) -> Vec<u8> {
    let rgb: Vec<u8> = (0..size.0 * size.1)
        .flat_map(|index| {
            let (x, y) = (index % size.0, index / size.0);
            if x.abs_diff(center.0).pow(2) + y.abs_diff(center.1).pow(2) < radius * radius {
                if (x / 6 + y / 6) % 2 == 0 {
                    [220, 60, 40]
                } else {
                    [250, 190, 150]
                }
            } else {
                [(90 + x * 40 / size.0) as u8, (110 + y * 40 / size.1) as u8, 120]
            }
        })
        .collect();
    samples::png_of(size.0, size.1, png::ColorType::Rgb, png::BitDepth::Eight, &rgb)
}

/// Pixels of the subject in an answer.
fn subject(raster: &Raster) -> usize {
    let count = raster.channels.count();
    raster
        .data
        .chunks_exact(count)
        .filter(|pixel| i32::from(pixel[0]) - i32::from(pixel[2]) > 70)
        .count()
}

#[test]
fn the_subject_is_kept_wherever_it_is() {
    let all = subject(&pixels(&ok(&with_subject((480, 160), (240, 80), 24), "format=png")));
    for x in (30..=450).step_by(35) {
        for (gravity, share) in [("auto", 97), ("entropy", 90), ("face", 97)] {
            let least = all * share / 100;
            let wide = with_subject((480, 160), (x, 80), 24);
            let kept = subject(&pixels(&ok(
                &wide,
                &format!("width=160,height=160,fit=cover,gravity={gravity}"),
            )));
            assert!(kept >= least, "{gravity} across at {x}: {kept} of {all}");
            let tall = with_subject((160, 480), (80, x), 24);
            let kept = subject(&pixels(&ok(
                &tall,
                &format!("width=160,height=160,fit=aspect-crop,gravity={gravity}"),
            )));
            assert!(kept >= least, "{gravity} down at {x}: {kept} of {all}");
        }
    }
    // Both axes at once, for a crop that is not scaled.
    for (x, y) in [(30, 30), (290, 40), (160, 100), (40, 170), (280, 160)] {
        for gravity in ["auto", "entropy"] {
            let png = with_subject((320, 200), (x, y), 24);
            let output = pixels(&ok(&png, &format!("width=319,height=100,fit=cover,gravity={gravity}")));
            assert!(subject(&output) > 0, "{gravity} at {x}, {y}");
        }
    }
}

#[test]
fn what_is_turned_keeps_its_subject() {
    let png = with_subject((480, 160), (60, 80), 24);
    for turn in ["rotate=90", "rotate=180", "rotate=270", "flip=h", "flip=h,rotate=90"] {
        let upright = pixels(&ok(&png, "width=160,height=160,fit=cover,gravity=auto"));
        let turned = pixels(&ok(
            &png,
            &format!("width=160,height=160,fit=cover,gravity=auto,{turn}"),
        ));
        assert_eq!(subject(&turned), subject(&upright), "{turn}");
    }
}

#[test]
fn a_flat_picture_is_centred() {
    let flat = samples::png_of(
        300,
        100,
        png::ColorType::Rgb,
        png::BitDepth::Eight,
        &[120, 140, 160].repeat(300 * 100),
    );
    let info = probe(&flat, &Limits::EDGE).unwrap();
    for gravity in ["auto", "entropy"] {
        let resolved = Resolved::parse(&format!("width=50,height=50,fit=cover,gravity={gravity},zoom=1")).unwrap();
        let plan = plan(&info, &resolved, &Limits::EDGE).unwrap();
        let raster = decode_whole(&Job {
            source: &flat,
            plan: &plan,
            limits: &Limits::EDGE,
            codecs: &crate::NativeCodecs,
            cancel: &|| false,
            observe: &|_| (),
            overlays: &Overlays::default(),
        })
        .unwrap();
        let settled = settle(&raster, &plan, &Limits::EDGE).unwrap().unwrap();
        assert_eq!(settled.kept, (100, 0, 100, 100), "{gravity}");
    }
}

#[test]
fn zoom_comes_closer_and_never_enlarges_what_may_not_be() {
    let png = with_subject((480, 320), (330, 200), 30);
    let part = |zoom: &str| {
        let output = pixels(&ok(
            &png,
            &format!("width=120,height=120,fit=cover,gravity=auto,zoom={zoom}"),
        ));
        assert_eq!((output.width, output.height), (120, 120));
        subject(&output)
    };
    let (far, near, close) = (part("0"), part("0.5"), part("1"));
    assert!(far * 5 / 4 < near && near * 5 / 4 < close, "{far} {near} {close}");
    let crop = pixels(&ok(&png, "width=300,height=300,fit=crop,gravity=auto,zoom=1"));
    assert!(crop.width == crop.height && crop.width <= 300);
    // Where nothing is cut, there is nothing to choose.
    for options in [
        "width=120",
        "width=120,height=120,fit=pad",
        "width=120,height=120,fit=contain",
    ] {
        assert_eq!(
            ok(&png, &format!("{options},gravity=auto")),
            ok(&png, options),
            "{options}"
        );
    }
}

#[test]
fn an_exact_cut_of_the_middle_is_the_same_found_or_given() {
    let png = with_subject((480, 160), (240, 80), 40);
    for fit in ["cover", "crop", "aspect-crop"] {
        let found = pixels(&ok(&png, &format!("width=160,height=160,fit={fit},gravity=auto")));
        let given = pixels(&ok(&png, &format!("width=160,height=160,fit={fit}")));
        assert_eq!((found.width, found.height), (given.width, given.height));
        assert!(subject(&found) == subject(&given), "{fit}");
    }
}

#[test]
fn a_removed_background_needs_alpha_or_gets_a_colour() {
    let png = framed_png((90, 60), 240, (30, 15, 30, 30));
    let rgb = pixels(&ok(&png, "")).data;
    let jpeg = JpegSample {
        quality: 95,
        color: JpegColor::Color(1, 1),
        ..JpegSample::default()
    }
    .encode_pixels(&rgb, 90, 60);
    for (source, options, format, corner) in [
        (&png, "", Format::Png, [0, 0, 0, 0].as_slice()),
        (&jpeg, "", Format::Png, &[0, 0, 0, 0]),
        (&png, "width=45,background=red", Format::Png, &[255, 0, 0]),
        (
            &png,
            "width=60,height=60,fit=pad,background=%2300ff0080",
            Format::Png,
            &[0, 255, 0, 128],
        ),
        (&png, "format=jpeg,quality=100", Format::Jpeg, &[255, 255, 255]),
        (&jpeg, "background=blue,quality=100", Format::Jpeg, &[0, 0, 254]),
    ] {
        let output = ok(source, &format!("segment=foreground,{options}"));
        assert_eq!(output.format, format, "{options}");
        let raster = pixels(&output);
        assert_eq!(raster.data[..corner.len()], *corner, "{options}");
        let middle = (raster.height / 2 * raster.width + raster.width / 2) as usize * raster.channels.count();
        assert!(
            raster.data[middle].abs_diff(15) < 20,
            "{options}: {:?}",
            &raster.data[middle..middle + 3]
        );
    }
    assert_eq!(
        ok(&png, "segment=foreground,tolerance=12"),
        ok(&png, "segment=foreground")
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_box_and_picture_have_a_crop(
        size in (1u32..90, 1u32..90), wanted in (1u32..90, 1u32..90), fit in 2usize..5, zoom in 0u32..=10, rotate in 0u32..4, entropy in proptest::bool::ANY,
    ) {
        let png = samples::png_rgba(size.0, size.1);
        let gravity = if entropy { "entropy" } else { "auto" };
        let options = format!(
            "width={},height={},fit={},rotate={}", wanted.0, wanted.1, FITS[fit], rotate * 90,
        );
        let output = ok(&png, &format!("{options},gravity={gravity},zoom={}", f64::from(zoom) / 10.0));
        if zoom == 0 && FITS[fit] != "aspect-crop" {
            let plain = ok(&png, &options);
            proptest::prop_assert_eq!((output.width, output.height), (plain.width, plain.height));
        } else {
            proptest::prop_assert!(output.width <= wanted.0 && output.height <= wanted.1);
        }
    }
}
