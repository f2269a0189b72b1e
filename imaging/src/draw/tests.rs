//! Overlays on plain pictures, whose every pixel is known.

use crate::options::Draw;
use crate::options::OptionValue;
use crate::{ImageError, Limits, NativeCodecs, Resolved, Sources, plan, probe, samples, transform};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use png::{BitDepth, ColorType};
use proptest::prelude::*;

const BLACK: [u8; 3] = [0; 3];
const RED: [u8; 4] = [255, 0, 0, 255];

/// Pixels as rows of RGBA.
struct Picture {
    width: u32,
    height: u32,
    rgba: Vec<[u8; 4]>,
}

impl Picture {
    fn read(png: &[u8]) -> Self {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
        decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::ALPHA);
        let mut reader = decoder.read_info().unwrap();
        let mut data = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut data).unwrap();
        assert_eq!(frame.color_type, ColorType::Rgba);
        let rgba = data.as_chunks().0.to_vec();
        Self {
            width: frame.width,
            height: frame.height,
            rgba,
        }
    }

    fn at(&self, x: u32, y: u32) -> [u8; 4] {
        self.rgba[(y * self.width + x) as usize]
    }

    /// Left, top, right and bottom of all that is not black; right and bottom are the first ones behind it.
    fn bounds(&self) -> Option<(u32, u32, u32, u32)> {
        let drawn = |x: &u32, y: &u32| self.at(*x, *y)[..3] != BLACK;
        let all = || (0..self.height).flat_map(|y| (0..self.width).map(move |x| (x, y)));
        let seen: Vec<_> = all().filter(|(x, y)| drawn(x, y)).collect();
        Some((
            seen.iter().map(|(x, _)| *x).min()?,
            seen.iter().map(|(_, y)| *y).min()?,
            seen.iter().map(|(x, _)| x + 1).max()?,
            seen.iter().map(|(_, y)| y + 1).max()?,
        ))
    }
}

fn plain(width: u32, height: u32, color: [u8; 4]) -> Vec<u8> {
    let data = color.repeat((width * height) as usize);
    samples::png_of(width, height, ColorType::Rgba, BitDepth::Eight, &data)
}

fn try_drawn(picture: &[u8], overlay: &[u8], options: &str) -> Result<Vec<u8>, ImageError> {
    let resolved = Resolved::parse(options).unwrap();
    let limits = Limits::EDGE;
    let mut plan = plan(&probe(&picture, &limits)?, &resolved, &limits)?;
    if plan.overlay().is_some() {
        let info = probe(&overlay, &limits).map_err(|error| ImageError::Overlay(Box::new(error)))?;
        plan = plan.with_overlay(&info, &limits)?;
    }
    let sources = Sources {
        picture: &picture,
        overlay: Some(&overlay),
    };
    transform(sources, &plan, &limits, &NativeCodecs, &|| false).map(|output| output.bytes)
}

fn drawn(picture: &[u8], overlay: &[u8], options: &str) -> Picture {
    Picture::read(&try_drawn(picture, overlay, options).unwrap())
}

/// A red mark of 20 x 10 on black of 100 x 60.
fn marked(draw: &str) -> Picture {
    let picture = plain(100, 60, [0, 0, 0, 255]);
    drawn(&picture, &plain(20, 10, RED), &format!("draw=u:mark{draw},format=png"))
}

fn written(text: &str, rest: &str) -> Picture {
    let picture = plain(400, 300, [0, 0, 0, 255]);
    let text = URL_SAFE_NO_PAD.encode(text);
    drawn(&picture, &[], &format!("draw=t:{text}{rest},format=png"))
}

#[test]
fn an_overlay_lies_where_its_gravity_says() {
    for (gravity, left, top) in [
        ("center", 40, 25),
        ("left", 0, 25),
        ("right", 80, 25),
        ("top", 40, 0),
        ("bottom", 40, 50),
        ("top-left", 0, 0),
        ("top-right", 80, 0),
        ("bottom-left", 0, 50),
        ("bottom-right", 80, 50),
        ("0.25x0.1", 20, 5),
    ] {
        let picture = marked(&format!(";gravity={gravity}"));
        assert_eq!(picture.bounds(), Some((left, top, left + 20, top + 10)), "{gravity}");
        assert_eq!(picture.at(left, top), RED);
    }
}

#[test]
fn an_overlay_has_the_size_that_is_asked_for() {
    for (size, width, height) in [
        ("", 20, 10),
        (";width=10", 10, 5),
        (";height=20;fit=contain", 40, 20),
        (";width=40", 20, 10),
        (";width=0.5;fit=contain", 50, 25),
        (";width=30;height=30;fit=squeeze", 30, 30),
        (";width=30;height=30;fit=cover", 30, 30),
        (";width=0.2;height=0.5;fit=pad", 20, 10),
    ] {
        let (left, top, right, bottom) = marked(size).bounds().unwrap();
        assert_eq!((right - left, bottom - top), (width, height), "{size}");
    }
}

#[test]
fn an_overlay_is_repeated_without_gaps() {
    let both = marked(";repeat=true");
    assert!(both.rgba.iter().all(|pixel| *pixel == RED));
    assert_eq!(marked(";repeat=x").bounds(), Some((0, 25, 100, 35)));
    assert_eq!(marked(";repeat=y;gravity=left").bounds(), Some((0, 0, 20, 60)));
}

#[test]
fn an_overlay_shows_as_much_as_its_opacity_and_its_alpha_let_it() {
    assert_eq!(marked(";opacity=0").bounds(), None);
    assert_eq!(marked(";opacity=0.4").at(50, 30), [102, 0, 0, 255]);
    let white = plain(10, 10, [255; 4]);
    let half = plain(4, 4, [255, 0, 0, 128]);
    assert_eq!(
        drawn(&white, &half, "draw=u:a,format=png").at(5, 5),
        [255, 127, 127, 255]
    );
    // On nothing, its colour stays its own.
    let nothing = plain(10, 10, [0; 4]);
    let picture = drawn(&nothing, &half, "draw=u:a;opacity=0.5,format=png");
    assert_eq!((picture.at(5, 5), picture.at(0, 0)), ([255, 0, 0, 64], [0; 4]));
}

#[test]
fn an_overlay_that_is_larger_than_the_picture_is_made_smaller_or_cut() {
    let (tiny, large) = (plain(3, 2, [0, 0, 0, 255]), plain(60, 20, RED));
    assert_eq!(drawn(&tiny, &large, "draw=u:a,format=png").bounds(), Some((0, 0, 3, 1)));
    let cut = drawn(&tiny, &large, "draw=u:a;width=60;gravity=right,format=png");
    assert!(cut.rgba.iter().all(|pixel| *pixel == RED));
}

#[test]
fn a_grey_picture_takes_colour_and_a_jpeg_overlay_its_profile_and_turn() {
    let grey = samples::png_of(40, 40, ColorType::Grayscale, BitDepth::Eight, &[0; 1600]);
    let jpeg = samples::with_orientation(&samples::JpegSample::default().encode(32, 16), 6);
    let picture = drawn(&grey, &jpeg, "draw=u:a,format=png");
    assert_eq!(picture.bounds(), Some((12, 4, 28, 36)));
}

#[test]
fn a_border_lies_around_what_is_drawn_and_effects_below_it() {
    let picture = plain(20, 20, [10, 200, 30, 255]);
    let options = "border=2:blue,draw=u:a;gravity=top-left,saturation=0,format=png";
    let picture = drawn(&picture, &plain(4, 4, RED), options);
    assert_eq!((picture.at(1, 1), picture.at(2, 2)), ([0, 0, 255, 255], RED));
    let [r, g, b, _] = picture.at(10, 10);
    assert!(r.abs_diff(g) < 3 && g.abs_diff(b) < 3);
}

#[test]
fn every_frame_of_an_animation_is_drawn_on() {
    let gif = samples::gif(60, 40, 3);
    let overlay = plain(60, 40, RED);
    let bytes = try_drawn(&gif, &overlay, "draw=u:a,format=gif").unwrap();
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(bytes.as_slice()).unwrap();
    let mut frames = 0;
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        frames += 1;
        assert!(frame.buffer.chunks_exact(4).all(|pixel| pixel == RED));
    }
    assert_eq!(frames, 3);
}

#[test]
fn what_is_wrong_with_an_overlay_is_said_of_the_overlay() {
    let picture = plain(10, 10, RED);
    let error = |overlay: &[u8], draw: &str| try_drawn(&picture, overlay, draw).unwrap_err();
    let none = error(b"not a picture", "draw=u:a,format=png");
    assert_eq!((none.code(), none.status()), ("not-an-image", 415));
    assert!(none.to_string().starts_with("the picture to draw: "), "{none}");
    let mut cut = plain(60, 60, RED);
    cut.truncate(cut.len() - 20);
    assert_eq!(error(&cut, "draw=u:a,format=png").code(), "corrupt-image");
    let huge = error(&samples::png_claiming(11_000, 9_000), "draw=u:a,format=png");
    assert_eq!((huge.code(), huge.is_heavy()), ("too-large", true));
    let wide = error(
        &plain(9, 9, RED),
        "draw=u:a;width=12000;height=12000;fit=squeeze,format=png",
    );
    assert_eq!(wide.code(), "too-large");
}

#[test]
fn a_text_keeps_clear_of_the_edge_that_it_lies_at() {
    // Letters are a twentieth of the height, and half of that is kept clear on the sides.
    let (left, top, right, bottom) = written("Hxg", ";gravity=top-left").bounds().unwrap();
    assert!((7..=10).contains(&left) && (4..=12).contains(&top), "{left}, {top}");
    assert!((10..=24).contains(&(bottom - top)), "{top}..{bottom}");
    let far = written("Hxg", ";gravity=bottom-right").bounds().unwrap();
    assert!((390..=393).contains(&far.2) && far.3 < 300, "{far:?}");
    assert!((far.2 - far.0).abs_diff(right - left) <= 1);
}

#[test]
fn a_text_fills_its_box() {
    let bounds = |rest: &str| {
        let (left, top, right, bottom) = written("Wide text", rest).bounds().unwrap();
        (right - left, bottom - top)
    };
    let (width, height) = bounds(";width=300");
    assert!((230..=300).contains(&width), "{width}");
    let (squeezed, taller) = bounds(";width=300;height=200;fit=squeeze");
    assert!(squeezed.abs_diff(width) < 8 && 2 * taller > 3 * height);
    assert!(bounds(";width=0.5").0 < 200);
}

#[test]
fn a_text_has_its_colour_and_as_much_of_it_as_its_alpha_says() {
    let brightest = |rest: &str| written("\u{2588}\u{25cc}MMM", rest).rgba.into_iter().max().unwrap();
    assert_eq!(brightest(";width=0.9"), [255; 4]);
    assert_eq!(brightest(";width=0.9;color=%23f28c28"), [0xf2, 0x8c, 0x28, 255]);
    assert_eq!(brightest(";width=0.9;color=%23ffffff80;opacity=0.5"), [64, 64, 64, 255]);
}

#[test]
fn every_script_of_the_fonts_is_set_and_what_is_in_none_is_a_box() {
    for text in [
        "Ääßőžșĳ",
        "Ωμέγα",
        "Жґўѝ",
        "שלום עולם",
        "سلام",
        "e\u{301}\u{323}",
        "Việt",
        "ﬁ",
        "漢字",
        "\u{1f600}",
    ] {
        assert!(written(text, "").bounds().is_some(), "{text}");
    }
    // Joined and in their order, letters are narrower than each for itself.
    let width = |text: &str| written(text, "").bounds().map(|bounds| bounds.2 - bounds.0).unwrap();
    assert!(width("سلام") < width("س ل ا م"));
    assert_eq!(width("e\u{301}"), width("é"));
    assert_eq!(written("漢", "").rgba, written("字", "").rgba);
}

#[test]
fn a_text_is_data_and_never_markup() {
    let tags = written("<tspan>&amp;</tspan>", "").bounds().unwrap();
    let plain = written("A", "").bounds().unwrap();
    assert!(tags.2 - tags.0 > 10 * (plain.2 - plain.0));
    assert_eq!(written("A\u{1}", "").rgba, written("A\u{fffd}", "").rgba);
}

#[test]
fn lines_lie_below_each_other_and_emptiness_draws_nothing() {
    let one = written("AAA", "").bounds().unwrap();
    let two = written("AAA\nAAA", "").bounds().unwrap();
    assert_eq!((one.0, one.2), (two.0, two.2));
    assert!(two.3 - two.1 > 2 * (one.3 - one.1));
    assert_eq!(written("A\r\nB", "").rgba, written("A\nB", "").rgba);
    for nothing in [" ", "\n", "\u{200b}", " \n\t "] {
        assert_eq!(written(nothing, "").bounds(), None, "{nothing:?}");
    }
}

#[test]
fn a_long_text_is_made_to_fit() {
    let (left, top, right, bottom) = written(&"long ".repeat(200), "").bounds().unwrap();
    assert!(right - left > 300 && left < 10 && right > 390, "{left}..{right}");
    assert!(bottom - top < 10);
    let lines = written(&"line\n".repeat(200), "").bounds().unwrap();
    assert!(lines.3 - lines.1 > 280);
}

#[test]
fn the_mark_is_drawn_last_and_is_part_of_the_normal_form() {
    let mark = || Draw::parse("t:bWFyaw;color=#f28c28");
    let resolve = |options: &str| {
        let options = crate::ImageOptions::parse(options).unwrap();
        crate::negotiate(options, &crate::ClientHints::default(), crate::Encoders::default()).resolved
    };
    let branded = resolve("w=40,branding=true").branded(mark);
    assert_eq!(branded.normal_form(), "branding=t:bWFyaw;color=%23f28c28,width=40");
    assert_eq!(Resolved::parse(&branded.normal_form()), Ok(branded));
    assert_eq!(resolve("w=40,branding=true").branded(|| None).normal_form(), "width=40");
    assert_eq!(resolve("w=40,branding=false").branded(mark).normal_form(), "width=40");
    assert!(Resolved::parse("branding=true").is_err());
    assert!(crate::ImageOptions::parse("branding=t:bWFyaw").is_err());
    let picture = plain(200, 200, [0, 0, 0, 255]);
    let options = "branding=t:QQ;color=%23ff0000;width=0.9,draw=u:a;width=200;fit=contain,format=png";
    assert!(drawn(&picture, &plain(9, 9, [255; 4]), options).rgba.contains(&RED));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_text_is_drawn_on_any_picture(
        text in "\\PC{1,40}", width in 1u32..80, height in 1u32..80, opacity in 0u8..=10, repeat in prop_oneof![Just(""), Just(";repeat=x"), Just(";repeat=true")],
        size in prop_oneof![Just(""), Just(";width=7"), Just(";height=0.3"), Just(";width=200;height=1;fit=squeeze")],
    ) {
        let picture = plain(width, height, [0, 0, 0, 255]);
        let text = URL_SAFE_NO_PAD.encode(text);
        let options = format!("draw=t:{text};opacity={}{repeat}{size},format=png", f64::from(opacity) / 10.0);
        let picture = drawn(&picture, &[], &options);
        prop_assert_eq!((picture.width, picture.height), (width, height));
    }
}
