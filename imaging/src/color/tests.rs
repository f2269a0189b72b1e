use crate::{Format, ImageError, LimitKind, Limits, NoCodecs, Resolved, process};
use moxcms::ColorProfile;
use png::{BitDepth, ColorType};
use proptest::prelude::*;

/// The colour in the middle of an answer.
fn middle(bytes: &[u8], options: &str) -> Vec<u8> {
    let output = process(
        &bytes.to_vec(),
        &Resolved::parse(options).unwrap(),
        &Limits::EDGE,
        &NoCodecs,
        &|| false,
    )
    .unwrap();
    assert_eq!(output.format, Format::Png);
    let mut decoder = png::Decoder::new(std::io::Cursor::new(output.bytes));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let count = info.color_type.samples();
    let at = (info.height as usize / 2 * info.width as usize + info.width as usize / 2) * count;
    pixels[at..at + count].to_vec()
}

fn near(found: &[u8], expected: &[u8]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 2)
}

fn icc(profile: &ColorProfile) -> Vec<u8> {
    profile.encode().unwrap()
}

fn plain(color: [u8; 3]) -> Vec<u8> {
    color.repeat(32 * 32)
}

fn jpeg(color: [u8; 3], profile: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 100);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_1_1);
    encoder.add_icc_profile(profile).unwrap();
    encoder
        .encode(&plain(color), 32, 32, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    bytes
}

fn png_with(color: ColorType, data: &[u8], change: impl FnOnce(&mut png::Info<'static>)) -> Vec<u8> {
    let mut info = png::Info::with_size(32, 32);
    info.color_type = color;
    info.bit_depth = BitDepth::Eight;
    change(&mut info);
    let mut bytes = Vec::new();
    let encoder = png::Encoder::with_info(&mut bytes, info).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    bytes
}

fn png_of(color: [u8; 3], profile: Vec<u8>) -> Vec<u8> {
    png_with(ColorType::Rgb, &plain(color), |info| {
        info.icc_profile = Some(profile.into());
    })
}

fn webp(color: [u8; 3], profile: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = image_webp::WebPEncoder::new(&mut bytes);
    encoder.set_icc_profile(profile);
    encoder
        .encode(&plain(color), 32, 32, image_webp::ColorType::Rgb8)
        .unwrap();
    bytes
}

/// In double precision, from the standards' own numbers: nothing of it is shared with what is tested.
fn p3_to_srgb(color: [u8; 3]) -> [u8; 3] {
    let linear = color.map(|value| {
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    });
    const MATRIX: [[f64; 3]; 3] = [
        [1.224_940_2, -0.224_940_2, 0.0],
        [-0.042_056_9, 1.042_056_9, 0.0],
        [-0.019_637_6, -0.078_650_6, 1.098_273_5],
    ];
    MATRIX.map(|row| {
        let value: f64 = row.iter().zip(linear).map(|(a, b)| a * b).sum();
        let value = value.clamp(0.0, 1.0);
        let encoded = if value <= 0.003_130_8 {
            value * 12.92
        } else {
            1.055 * value.powf(1.0 / 2.4) - 0.055
        };
        (encoded * 255.0).round() as u8
    })
}

#[test]
fn display_p3_comes_out_as_srgb_from_every_kind_of_file() {
    let profile = icc(&ColorProfile::new_display_p3());
    // The last is beyond sRGB and is cut.
    for color in [
        [200, 60, 60],
        [90, 160, 70],
        [40, 60, 190],
        [128, 128, 128],
        [255, 0, 0],
    ] {
        let expected = p3_to_srgb(color);
        for (name, bytes) in [
            ("jpeg", jpeg(color, &profile)),
            ("png", png_of(color, profile.clone())),
            ("webp", webp(color, profile.clone())),
        ] {
            for options in ["format=png", "format=png,width=7", "format=png,width=50,fit=contain"] {
                let found = middle(&bytes, options);
                assert!(near(&found, &expected), "{name} {color:?}: {found:?}, not {expected:?}");
            }
        }
    }
}

#[test]
fn adobe_rgb_comes_out_as_srgb_and_alpha_stays() {
    let profile = icc(&ColorProfile::new_adobe_rgb());
    // Adobe RGB's (120, 160, 90) by the standards' matrices.
    let bytes = png_of([120, 160, 90], profile.clone());
    let found = middle(&bytes, "format=png");
    assert!(near(&found, &[98, 161, 85]), "{found:?}");
    let half = png_with(ColorType::Rgba, &[120, 160, 90, 128].repeat(32 * 32), |info| {
        info.icc_profile = Some(profile.into());
    });
    let found = middle(&half, "format=png");
    assert!(near(&found, &[98, 161, 85, 128]), "{found:?}");
    assert_eq!(found[3], 128);
}

#[test]
fn grey_follows_its_own_curve() {
    let profile = icc(&ColorProfile::new_gray_with_gamma(1.0));
    let grey = png_with(ColorType::Grayscale, &[55; 32 * 32], |info| {
        info.icc_profile = Some(profile.into());
    });
    // 55 / 255 of the light is 128 in sRGB.
    let found = middle(&grey, "format=png");
    assert!(found.iter().all(|value| value.abs_diff(128) <= 1), "{found:?}");
}

#[test]
fn a_profile_in_many_segments_is_put_together() {
    let mut profile = ColorProfile::new_display_p3();
    profile.copyright = Some(moxcms::ProfileText::Localizable(vec![moxcms::LocalizableString::new(
        "en".to_owned(),
        "US".to_owned(),
        "free ".repeat(20_000),
    )]));
    let profile = icc(&profile);
    assert!(profile.len() > 3 * 65_535, "{}", profile.len());
    let bytes = jpeg([200, 60, 60], &profile);
    let found = middle(&bytes, "format=png");
    assert!(near(&found, &p3_to_srgb([200, 60, 60])), "{found:?}");
    // One part short, it is no profile.
    let second = bytes
        .windows(13)
        .position(|window| window == b"ICC_PROFILE\0\x02")
        .unwrap();
    let mut short = bytes;
    short[second] = b'?';
    assert!(near(&middle(&short, "format=png"), &[200, 60, 60]));
}

#[test]
fn what_cannot_be_used_counts_as_srgb() {
    let profile = icc(&ColorProfile::new_display_p3());
    let grey = icc(&ColorProfile::new_gray_with_gamma(1.0));
    for broken in [b"not a profile".to_vec(), profile[..profile.len() / 2].to_vec(), grey] {
        for bytes in [
            jpeg([200, 60, 60], &broken),
            png_of([200, 60, 60], broken.clone()),
            webp([200, 60, 60], broken.clone()),
        ] {
            assert!(near(&middle(&bytes, "format=png"), &[200, 60, 60]));
        }
    }
}

#[test]
fn srgb_under_any_name_is_left_alone() {
    let profile = icc(&ColorProfile::new_srgb());
    let info = |bytes: &Vec<u8>| crate::probe(bytes, &Limits::EDGE).unwrap();
    let bytes = png_of([1, 2, 3], profile);
    assert!(info(&bytes).color_profile);
    let conversion = super::Conversion::of(&bytes, &info(&bytes), &Limits::EDGE).unwrap();
    assert!(conversion.is_none());
    assert_eq!(middle(&bytes, "format=png"), [1, 2, 3]);
}

#[test]
fn profiles_over_the_limit_are_refused() {
    let limits = Limits {
        profile_bytes: 400,
        ..Limits::EDGE
    };
    let profile = icc(&ColorProfile::new_display_p3());
    assert!(profile.len() > 400);
    for bytes in [
        jpeg([9, 9, 9], &profile),
        png_of([9, 9, 9], vec![7; 300_000]),
        webp([9, 9, 9], profile.clone()),
    ] {
        let result = process(
            &bytes,
            &Resolved::parse("format=png").unwrap(),
            &limits,
            &NoCodecs,
            &|| false,
        );
        assert!(
            matches!(
                result,
                Err(ImageError::TooLarge {
                    what: LimitKind::ProfileBytes,
                    limit: 400,
                    ..
                })
            ),
            "{result:?}"
        );
    }
}

#[test]
fn png_s_own_numbers_count_where_there_is_no_profile() {
    let scaled = png::ScaledFloat::from_scaled;
    let gamma = |value: u32| {
        png_with(ColorType::Rgb, &plain([100, 150, 200]), |info| {
            info.source_gamma = Some(scaled(value));
        })
    };
    assert_eq!(middle(&gamma(45_455), "format=png"), [100, 150, 200]);
    assert_eq!(middle(&gamma(0), "format=png"), [100, 150, 200]);
    // An old Macintosh's 1.8 is darker here.
    let exponent = |value: f64| ((value / 255.0).powf(100_000.0 / 55_556.0).powf(1.0 / 2.2) * 255.0) as u8;
    let found = middle(&gamma(55_556), "format=png");
    let expected = [100.0, 150.0, 200.0].map(exponent);
    assert!(
        found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) < 6),
        "{found:?}, not {expected:?}"
    );
    let p3 = png_with(ColorType::Rgb, &plain([200, 60, 60]), |info| {
        info.source_chromaticities = Some(png::SourceChromaticities::new(
            (0.3127, 0.3290),
            (0.680, 0.320),
            (0.265, 0.690),
            (0.150, 0.060),
        ));
    });
    let found = middle(&p3, "format=png");
    assert!(near(&found, &p3_to_srgb([200, 60, 60])), "{found:?}");
    let srgb = png_with(ColorType::Rgb, &plain([200, 60, 60]), |info| {
        info.source_gamma = Some(scaled(100_000));
        info.srgb = Some(png::SrgbRenderingIntent::Perceptual);
    });
    assert_eq!(middle(&srgb, "format=png"), [200, 60, 60]);
}

/// A profile of a press whose paper is pink, which ideal inks know nothing of.
fn press() -> Vec<u8> {
    // lut8: 4 in, 3 out, two points a side; input and output curves are straight.
    let mut table = b"mft1\0\0\0\0".to_vec();
    table.extend([4, 3, 2, 0]);
    for value in [1u32, 0, 0, 0, 1, 0, 0, 0, 1] {
        table.extend((value << 16).to_be_bytes());
    }
    let straight: Vec<u8> = (0..=255).collect();
    table.extend(straight.repeat(4));
    for corner in 0..16u32 {
        // Lightness 78.4 and a of 20 without ink; black with any.
        table.extend(if corner == 0 { [200, 148, 128] } else { [0, 128, 128] });
    }
    table.extend(straight.repeat(3));
    let mut profile = vec![0; 128];
    profile[8..12].copy_from_slice(&[2, 0x40, 0, 0]);
    profile[12..20].copy_from_slice(b"prtrCMYK");
    profile[20..24].copy_from_slice(b"Lab ");
    profile[36..40].copy_from_slice(b"acsp");
    // The illuminant is D50.
    profile[68..80].copy_from_slice(&[0, 0, 0xf6, 0xd6, 0, 1, 0, 0, 0, 0, 0xd3, 0x2d]);
    profile.extend(1u32.to_be_bytes());
    profile.extend(b"A2B0");
    profile.extend(144u32.to_be_bytes());
    profile.extend((table.len() as u32).to_be_bytes());
    profile.extend(table);
    let size = (profile.len() as u32).to_be_bytes();
    profile[..4].copy_from_slice(&size);
    profile
}

#[test]
fn inks_go_through_the_profile_of_their_press() {
    let sample = |color, profile: Option<&[u8]>| {
        let mut bytes = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 100);
        if let Some(profile) = profile {
            encoder.add_icc_profile(profile).unwrap();
        }
        encoder.encode(&[0; 32 * 32 * 4], 32, 32, color).unwrap();
        bytes
    };
    for color in [jpeg_encoder::ColorType::Cmyk, jpeg_encoder::ColorType::CmykAsYcck] {
        let ideal = middle(&sample(color, None), "format=png");
        assert!(ideal.iter().all(|value| *value >= 253), "{color:?}: {ideal:?}");
        let pink = middle(&sample(color, Some(&press())), "format=png");
        // That Lab colour in sRGB, by the standards' formulas.
        assert!(near(&pink, &[230, 181, 195]), "{color:?}: {pink:?}");
        let broken = middle(&sample(color, Some(b"?")), "format=png");
        assert_eq!(broken, ideal);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_profiles_are_answered(
        kind in 0usize..4, changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut profile = match kind {
            0 => icc(&ColorProfile::new_display_p3()),
            1 => icc(&ColorProfile::new_adobe_rgb()),
            2 => icc(&ColorProfile::new_gray_with_gamma(1.8)),
            _ => press(),
        };
        for (index, value) in changes {
            let at = index.index(profile.len());
            profile[at] = value;
        }
        if let Ok(profile) = ColorProfile::new_from_slice(&profile) {
            if let Some(inks) = super::Inks::from_profile(&profile) {
                inks.print(&mut [7; 3 * 9], &[7; 9]).unwrap();
            }
            for grey in [false, true] {
                if let Some(conversion) = super::Conversion::from_profile(&profile, grey) {
                    let mut raster = crate::pixels::Raster::zeroed(9, 9, crate::pixels::Channels::Rgb).unwrap();
                    conversion.apply(&mut raster).unwrap();
                }
            }
        }
    }

    #[test]
    fn any_numbers_of_png_are_answered(gamma in any::<u32>(), values in any::<[u32; 8]>(), small in any::<bool>(), grey in any::<bool>()) {
        let values = if small { values.map(|value| value % 100_001) } else { values };
        if let Some(profile) = super::png_profile(Some(gamma), Some(values), grey) {
            let _ = super::Conversion::from_profile(&profile, grey);
        }
    }
}
