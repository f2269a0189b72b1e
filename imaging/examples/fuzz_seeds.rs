//! Writes the files that the fuzz targets start from: small pictures of every kind, drawn in code.

use std::io;
use std::path::Path;

use kado_imaging::samples::{self, AvifSample, AvifSampling, JpegColor, JpegSample};
use kado_imaging::{Limits, NativeCodecs, Resolved, process};

/// A document with a picture in it, clipped, and an address that is not to be followed.
const PICTURE_IN_SVG: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"><clipPath id="c">
<ellipse cx="9" cy="9" rx="8" ry="5"/></clipPath><image width="20" height="20" clip-path="url(#c)" href="data:image/gif;base64,R0lGODlhAQABAIAAAP8AAAAAACwAAAAAAQABAAACAkQBADs="/>
<image href="https://example.org/a.png" width="3" height="3"/><switch><text x="2" y="9" textLength="20">a<tspan dy="3">b</tspan></text></switch></svg>"##;

/// What comes in a sheet of styles, markers, nested documents, and filters that take each other's results.
const STYLED_SVG: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 60 40"><style>path,.m>g{marker:url(#m);stroke:red}#a:first-child{opacity:.5}</style>
<marker id="m" orient="auto" markerWidth="3" markerHeight="3"><path d="M0 0h3v3z"/></marker><symbol id="s" viewBox="0 0 9 9"><rect width="9" height="9"/></symbol>
<filter id="f"><feTurbulence baseFrequency=".1" result="t"/><feDisplacementMap in="SourceGraphic" in2="t" scale="4"/><feMerge><feMergeNode/><feMergeNode in="t"/></feMerge></filter>
<g class="m" filter="url(#f)"><path id="a" d="M5 5l10 10t9 -8q3 3 9 9" stroke-dasharray="3 1"/><use href="#s" width="9" transform="skewX(9)"/></g>
<svg x="30" width="20" height="50%"><polygon points="1,1 9,2 4,8" paint-order="stroke" mix-blend-mode="multiply"/></svg></svg>"##;

fn main() -> io::Result<()> {
    let folder = std::env::args()
        .nth(1)
        .ok_or_else(|| io::Error::other("usage: seeds FOLDER"))?;
    let folder = Path::new(&folder);
    let jpeg = |color, progressive_scans, restart_interval| {
        let sample = JpegSample {
            color,
            progressive_scans,
            restart_interval,
            ..JpegSample::default()
        };
        sample.encode(40, 30)
    };
    let encoded = |options: &str| {
        let png = samples::png_rgba(40, 30);
        let resolved = Resolved::parse(options).expect("the options are right");
        let answer = process(&png, &resolved, &Limits::EDGE, &NativeCodecs, &|| false);
        answer.expect("a sample can be encoded").bytes
    };
    let avif = |sample: AvifSample| sample.encode(24, 18);
    let files: [(&str, Vec<Vec<u8>>); 8] = [
        (
            "jpeg",
            vec![
                jpeg(JpegColor::Color(2, 2), 0, 0),
                jpeg(JpegColor::Color(1, 1), 0, 2),
                jpeg(JpegColor::Color(2, 1), 6, 0),
                jpeg(JpegColor::Grey, 4, 0),
            ],
        ),
        (
            "png",
            vec![
                samples::png_rgb(20, 20),
                samples::png_rgba(20, 20),
                encoded("format=png,quality=20"),
            ],
        ),
        (
            "webp",
            vec![
                samples::webp_lossless(20, 20, false),
                samples::webp_lossless(20, 20, true),
                encoded("format=webp,quality=30"),
                encoded("format=webp,quality=90,background=red"),
            ],
        ),
        ("gif", vec![samples::gif(20, 20, 1), samples::gif(20, 20, 3)]),
        ("bmp", vec![samples::bmp(20, 20)]),
        ("tiff", vec![samples::tiff(20, 20)]),
        (
            "avif",
            vec![
                avif(AvifSample {
                    sampling: AvifSampling::Quarter,
                    ..AvifSample::default()
                }),
                avif(AvifSample {
                    depth: 10,
                    alpha: true,
                    turned: 1,
                    ..AvifSample::default()
                }),
                avif(AvifSample {
                    sampling: AvifSampling::Grey,
                    grid: (2, 1),
                    ..AvifSample::default()
                }),
            ],
        ),
        (
            "svg",
            [&samples::svg(40, 30), PICTURE_IN_SVG, STYLED_SVG]
                .map(|text| text.as_bytes().to_vec())
                .to_vec(),
        ),
    ];
    for (target, pictures) in &files {
        for (index, picture) in pictures.iter().enumerate() {
            for options in 0..9u8 {
                write(
                    &folder.join(target),
                    &format!("seed-{index}-{options}"),
                    &[&[options], picture.as_slice()].concat(),
                )?;
            }
            let line = b"width=20,height=10,fit=cover,format=jpeg\n";
            write(
                &folder.join("engine"),
                &format!("seed-{target}-{index}"),
                &[line, picture.as_slice()].concat(),
            )?;
        }
    }
    let segments = [
        "w=400,h=300,q=90,f=webp,bg=white,fit=cover",
        "trim=10;20;30;40,rotate=90,flip=hv,blur=4,sharpen=2",
        "border=4:rgb%28240%2C40%2C145%29,gravity=0.5x0.2,dpr=2",
        "segment=foreground,tolerance=12,filter=sepia,max-bytes=10000",
        "draw=t:S2Fkbw;width=40;opacity=0.5;gravity=bottom-right",
    ];
    for (index, segment) in segments.iter().enumerate() {
        write(&folder.join("options"), &format!("seed-{index}"), segment.as_bytes())?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(name), bytes)
}
