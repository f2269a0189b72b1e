//! Draws one photo through every option into one PNG, each picture with its options beneath.
//!
//! `sheet FILE OUT [SIDE]`: SIDE is the side of a cell in pixels, 300 without.

use std::io;
use std::path::Path;

use kado_imaging::options::{Draw, FilterName};
use kado_imaging::samples;
use kado_imaging::{ImageOptions, Limits, NativeCodecs, Resolved, process};
use png::{BitDepth, ColorType, Transformations};

/// Cells in a row.
const COLUMNS: usize = 12;
/// Around each picture, in pixels.
const GAP: usize = 8;
/// Height of a line beneath a picture, of which there may be two.
const LINE: usize = 15;
/// Characters that fit into a line.
const CHARACTERS: usize = 38;
/// What lies around and under the pictures.
const GREY: u8 = 235;

/// Every option that changes pixels, with values that show what it does. Filters follow from their list.
const CELLS: &[&str] = &[
    "",
    "width=150",
    "width=150,dpr=0.5",
    "height=90",
    "fit=scale-down,width=200,height=200",
    "fit=contain,width=200,height=200",
    "fit=cover,width=200,height=200",
    "fit=crop,width=200,height=200",
    "fit=aspect-crop,width=200,height=120",
    "fit=pad,width=200,height=200",
    "fit=pad,width=200,height=200,background=teal,gravity=top",
    "fit=squeeze,width=120,height=200",
    "fit=scale-up,width=120,height=90",
    "fit=cover,width=120,height=200,gravity=left",
    "fit=cover,width=120,height=200,gravity=right",
    "fit=cover,width=200,height=80,gravity=top",
    "fit=cover,width=200,height=80,gravity=bottom",
    "fit=cover,width=120,height=120,gravity=0.3x0.7",
    "fit=cover,width=120,height=120,gravity=auto",
    "fit=cover,width=120,height=120,gravity=auto,zoom=1",
    "fit=cover,width=120,height=120,gravity=entropy",
    "quality=1,format=jpeg",
    "quality=30,format=jpeg",
    "quality=10,format=webp",
    "quality=10,format=avif",
    "quality=5,format=png",
    "quality=60,format=png",
    "format=gif",
    "max-bytes=1500,format=jpeg",
    "compression=fast,format=jpeg",
    "trim=40;80;40;80",
    "trim.left=60,trim.top=60,trim.width=50,trim.height=50,fit=contain,width=300,height=300",
    "trim.left=60,trim.top=60,trim.width=50,trim.height=50,fit=contain,width=300,height=300,upscale=interpolate",
    "blur=2",
    "blur=20",
    "blur=250",
    "sharpen=1",
    "sharpen=5",
    "sharpen=10",
    "brightness=0.5",
    "brightness=1.3",
    "contrast=0.5",
    "contrast=1.5",
    "saturation=0",
    "saturation=0.5",
    "saturation=2",
    "gamma=0.5",
    "gamma=2",
    "rotate=90",
    "rotate=180",
    "rotate=270",
    "flip=h",
    "flip=v",
    "flip=hv",
    "flip=h,rotate=90",
    "trim=border,trim.border.tolerance=60",
    "border=10:red",
    "border=2;10;20;30:navy",
    "segment=foreground,tolerance=30",
    "segment=foreground,tolerance=60,background=gold",
];

/// What is drawn over the picture.
const DRAWN: &[&str] = &[
    "",
    ";gravity=bottom-right;opacity=0.5",
    ";width=0.9;color=gold",
    ";width=0.3;height=0.5;fit=squeeze",
    ";width=40;repeat=true;opacity=0.6",
    ";width=40;repeat=x;gravity=top-left",
];

fn main() -> io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(photo), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: sheet FILE OUT [SIDE]"));
    };
    let side = match arguments.next().map(|side| side.to_string_lossy().parse()) {
        None => 300,
        Some(Ok(side)) => side,
        Some(Err(_)) => return Err(io::Error::other("SIDE is a number of pixels")),
    };
    let photo = std::fs::read(photo)?;
    let options = CELLS.iter().map(|options| (*options).to_owned());
    let drawn = DRAWN.iter().map(|more| format!("draw={}{more}", Draw::text("Kado")));
    let filters = FilterName::ALL.iter().map(|name| format!("filter={name}"));
    let cells: Vec<String> = options.chain(drawn).chain(filters).collect();
    let mut sheet = Sheet::new(cells.len(), side);
    for (index, options) in cells.iter().enumerate() {
        sheet.add(index, &photo, options)?;
    }
    std::fs::write(Path::new(&out), sheet.encoded())
}

/// Rows of RGB pixels.
struct Sheet {
    side: usize,
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

/// RGBA pixels of a width.
struct Picture {
    width: usize,
    pixels: Vec<u8>,
}

impl Sheet {
    fn new(cells: usize, side: usize) -> Self {
        let width = COLUMNS * (side + GAP) + GAP;
        let height = cells.div_ceil(COLUMNS) * (side + 2 * LINE + GAP) + GAP;
        Self {
            side,
            width,
            height,
            rgb: vec![GREY; width * height * 3],
        }
    }

    fn add(&mut self, index: usize, photo: &[u8], options: &str) -> io::Result<()> {
        let left = GAP + index % COLUMNS * (self.side + GAP);
        let top = GAP + index / COLUMNS * (self.side + 2 * LINE + GAP);
        let sized = ImageOptions::parse(options).is_ok_and(|parsed| parsed.width.is_some() || parsed.height.is_some());
        let whole = if sized {
            options.to_owned()
        } else {
            format!("{options},width={0},height={0}", self.side)
        };
        let words = if options.is_empty() { "none" } else { options };
        match answer(photo, &whole).and_then(|file| picture(&file, self.side)) {
            Ok(picture) => {
                let height = picture.pixels.len() / (4 * picture.width).max(1);
                let across = self.side.saturating_sub(picture.width) / 2;
                let down = self.side.saturating_sub(height) / 2;
                self.paste(&picture, (left + across, top + down));
            }
            Err(refused) => self.write(&refused, (left, top))?,
        }
        self.write(words, (left, top + self.side))
    }

    /// Two lines of text, drawn by the engine.
    fn write(&mut self, words: &str, at: (usize, usize)) -> io::Result<()> {
        let broken = words
            .char_indices()
            .rfind(|(at, character)| *at < CHARACTERS && matches!(character, ',' | ';' | ' '));
        let text = match broken {
            Some((at, _)) if words.len() > CHARACTERS => {
                let (first, second) = words.split_at(at + 1);
                format!("{first}\n{second}")
            }
            _ => words.to_owned(),
        };
        let height = LINE * text.lines().count();
        let paper = vec![GREY; self.side * height * 3];
        let paper = samples::png_of(self.side as u32, height as u32, ColorType::Rgb, BitDepth::Eight, &paper);
        let draw = format!(
            "format=png,draw={};width={};height={height};color=black",
            Draw::text(text),
            self.side
        );
        let picture = answer(&paper, &draw).and_then(|file| picture(&file, self.side));
        self.paste(&picture.map_err(io::Error::other)?, at);
        Ok(())
    }

    fn paste(&mut self, picture: &Picture, (left, top): (usize, usize)) {
        let rows = self.rgb.chunks_exact_mut(self.width * 3).skip(top);
        for (row, from) in rows.zip(picture.pixels.chunks_exact((picture.width * 4).max(1))) {
            for (to, from) in row[left * 3..].chunks_exact_mut(3).zip(from.chunks_exact(4)) {
                let alpha = u32::from(from[3]);
                for (to, from) in to.iter_mut().zip(from) {
                    *to = ((u32::from(*from) * alpha + u32::from(*to) * (255 - alpha) + 127) / 255) as u8;
                }
            }
        }
    }

    fn encoded(&self) -> Vec<u8> {
        let (width, height) = (self.width as u32, self.height as u32);
        samples::png_of(width, height, ColorType::Rgb, BitDepth::Eight, &self.rgb)
    }
}

fn answer(file: &[u8], options: &str) -> Result<Vec<u8>, String> {
    let resolved = Resolved::parse(options).map_err(|errors| format!("{options}: {errors:?}"))?;
    let answer = process(&file, &resolved, &Limits::HEAVY, &NativeCodecs, &|| false);
    answer.map(|answer| answer.bytes).map_err(|error| error.to_string())
}

/// The pixels of any file that the engine answers. What is larger than its cell is shown smaller.
fn picture(file: &[u8], side: usize) -> Result<Picture, String> {
    let png = answer(file, &format!("format=png,anim=false,width={side},height={side}"))?;
    let mut decoder = png::Decoder::new(io::Cursor::new(png));
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16 | Transformations::ALPHA);
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let mut data = vec![0; reader.output_buffer_size().ok_or("a picture too large for memory")?];
    let frame = reader.next_frame(&mut data).map_err(|error| error.to_string())?;
    let pixels = match frame.color_type {
        ColorType::Rgba => data,
        ColorType::GrayscaleAlpha => data
            .chunks_exact(2)
            .flat_map(|pixel| [pixel[0], pixel[0], pixel[0], pixel[1]])
            .collect(),
        other => return Err(format!("pixels are {other:?}")),
    };
    Ok(Picture {
        width: frame.width as usize,
        pixels,
    })
}
