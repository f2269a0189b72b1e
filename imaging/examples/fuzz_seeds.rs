//! Writes the files that the fuzz targets start from: small pictures of every kind, drawn in code.

use std::io;
use std::path::Path;

use kado_imaging::samples::{self, JpegColor, JpegSample};
use kado_imaging::{Limits, NativeCodecs, Resolved, process};

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
    let files: [(&str, Vec<Vec<u8>>); 6] = [
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
    ];
    for (target, pictures) in &files {
        for (index, picture) in pictures.iter().enumerate() {
            for options in 0..8u8 {
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
