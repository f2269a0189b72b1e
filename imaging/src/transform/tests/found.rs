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
        let (width, height) = crate::Orientation::from_exif(value).size((output.width, output.height));
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
