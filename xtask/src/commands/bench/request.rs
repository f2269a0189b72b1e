//! `cargo xtask bench request`

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde_json::json;
use xtask::http::{Answer, Client};
use xtask::system::{Binaries, System};
use xtask::temporary::TemporaryFolder;
use xtask::workspace::Workspace;
use xtask::{invoke, picture, progress, sample, tools, wait};

use super::document::{self, Circumstances, processor};
use super::mosaics::{Mosaic, Mosaics};
use super::numbers::median;
use super::partner::{Partner, sharp};

/// A picture to be measured with: its name in the table, its size, the width asked for, and how often it is measured.
const CASES: [Case; 3] = [
    Case {
        name: "12 MP to 400 px",
        size: (4000, 3000),
        width: 400,
        runs: 9,
    },
    Case {
        name: "12 MP to 1200 px",
        size: (4000, 3000),
        width: 1200,
        runs: 9,
    },
    Case {
        name: "100 MP to 400 px",
        size: (11_600, 8_620),
        width: 400,
        runs: 3,
    },
];
/// Requests before the first measured one: the isolate starts and its code is compiled.
const WARM_UP: u8 = 2;
/// Every measured request has a quality of its own, from here on: another key, so a miss, and the same work.
const FIRST_QUALITY: u8 = 80;

/// A JPEG of 12 and of 100 megapixels through the running Worker, against sharp on one thread, in turns in the same
/// run. Starts a system of its own. Prints medians, ratios and the Worker's memory as a Markdown table; of photographs it
/// goes into docs/PERFORMANCE.md as well.
///
/// The Worker's time is a client's: it includes HTTP, the fetch of the original from the origin, and the store's key.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Make the pictures of photographs in this folder (PNG or JPEG), as mosaics; otherwise they are drawn
    #[arg(long, value_name = "FOLDER")]
    photos: Option<PathBuf>,
    /// Cargo's profile for the native services
    #[arg(long, default_value = "native", value_name = "PROFILE")]
    profile: String,
}

struct Case {
    name: &'static str,
    size: (u16, u16),
    width: u16,
    runs: u8,
}

/// What came of a case.
struct Measured {
    name: &'static str,
    input_bytes: u64,
    worker: Vec<f64>,
    sharp: Vec<f64>,
    hit: f64,
    image_header: String,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    tools::require_bare_machine()?;
    let binaries = Binaries::build(workspace, &arguments.profile)?;
    let mut sharp = Partner::start(&mut sharp(workspace))?;
    let mut pictures = Pictures {
        mosaics: arguments
            .photos
            .as_deref()
            .map(|photos| Mosaics::of(workspace, photos))
            .transpose()?,
        drawn: TemporaryFolder::new("bench")?,
    };
    let system = progress::step("Starting a system", || System::temporary(binaries, |_| {}))?;
    raise_limits(&system)?;
    let client = Client::new(Duration::from_secs(60));
    let run_file = system.run_file();
    let token = sample::login(&client, &run_file, &system.secrets().admin_password)?
        .ok_or_else(|| anyhow!("the first admin's password is refused"))?;
    let mut measured = Vec::new();
    for case in &CASES {
        measured.push(progress::step(case.name, || {
            let file = pictures.get(case, &mut sharp)?;
            let id = upload(&client, &run_file.edge, &token, &file)?;
            measure(case, &client, &format!("{}/img", run_file.edge), &id, &file, &mut sharp)
        })?);
    }
    system.stop();
    let section = section(&measured, &circumstances(arguments, &mut sharp)?);
    document::print(&section)?;
    if arguments.photos.is_some() {
        document::write(workspace, "request", &section)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Uploads of a hundred megabytes, and as many transforms as we ask for.
fn raise_limits(system: &System) -> Result<()> {
    let mut command = system.kado();
    command.args(["settings", "set", "maxFileSize", "104857600"]);
    invoke::read(&mut command).context("raising the limit on uploads")?;
    Ok(())
}

/// The pictures of the cases: mosaics, or drawn where there are no photographs.
struct Pictures {
    mosaics: Option<Mosaics>,
    drawn: TemporaryFolder,
}

impl Pictures {
    fn get(&mut self, case: &Case, sharp: &mut Partner) -> Result<PathBuf> {
        let (width, height) = case.size;
        if let Some(mosaics) = &self.mosaics {
            let mosaic = Mosaic {
                name: "jpeg",
                width: width.into(),
                height: height.into(),
                format: "jpeg",
                settings: &json!({ "quality": 88, "chromaSubsampling": "4:2:0" }),
            };
            return mosaics.get(&mosaic, sharp);
        }
        let output = self.drawn.path().join(format!("{width}x{height}.jpg"));
        if !output.exists() {
            fs::write(&output, picture::jpeg(width, height)?)
                .with_context(|| format!("writing {}", output.display()))?;
        }
        Ok(output)
    }
}

fn upload(client: &Client, edge: &str, token: &str, file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    // A changed limit reaches the edge within seconds; until then a large upload is refused.
    let answer = wait::until(Duration::from_secs(15), || {
        match client.post_file(
            &format!("{edge}/api/images"),
            token,
            "image",
            ("picture.jpg", "image/jpeg"),
            &bytes,
        ) {
            Ok(answer) if answer.status == 413 => None,
            other => Some(other),
        }
    });
    let stored = answer
        .ok_or_else(|| anyhow!("the upload is refused as too large"))??
        .expect(201)?
        .json()?;
    stored["id"]
        .as_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| anyhow!("the upload's answer has no id: {stored}"))
}

fn measure(case: &Case, client: &Client, base: &str, id: &str, file: &Path, sharp: &mut Partner) -> Result<Measured> {
    let mut measured = Measured {
        name: case.name,
        input_bytes: fs::metadata(file)
            .with_context(|| format!("reading {}", file.display()))?
            .len(),
        worker: Vec::new(),
        sharp: Vec::new(),
        hit: f64::NAN,
        image_header: String::new(),
    };
    for round in 0..case.runs + WARM_UP {
        let quality = FIRST_QUALITY + round;
        let link = format!("{base}/width={},quality={quality},format=jpeg/u/{id}", case.width);
        let (answer, milliseconds) = timed(client, &link)?;
        if sample::has_hit(answer.header("cache-status")) {
            bail!("{link} was to be a miss: {}", answer.header("cache-status"));
        }
        let question = json!({"action": "resize", "file": file, "width": case.width, "quality": quality});
        let theirs = sharp.ask(&question)?["milliseconds"].as_f64().unwrap_or(f64::NAN);
        if round >= WARM_UP {
            measured.worker.push(milliseconds);
            measured.sharp.push(theirs);
            measured.image_header = answer.header("kado-image").to_owned();
        }
        if round == WARM_UP {
            measured.hit = hit(client, &link)?;
        }
    }
    Ok(measured)
}

/// The time of a request for what was just made, once it comes from the cache.
fn hit(client: &Client, link: &str) -> Result<f64> {
    wait::until(Duration::from_secs(5), || match timed(client, link) {
        Ok((answer, milliseconds)) => sample::has_hit(answer.header("cache-status")).then_some(Ok(milliseconds)),
        Err(error) => Some(Err(error)),
    })
    .ok_or_else(|| anyhow!("{link} never comes from the cache"))?
}

fn timed(client: &Client, link: &str) -> Result<(Answer, f64)> {
    let started = Instant::now();
    let answer = client.get(link, &[])?;
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    Ok((
        answer.expect(200).with_context(|| format!("asking for {link}"))?,
        milliseconds,
    ))
}

fn circumstances(arguments: &Arguments, sharp: &mut Partner) -> Result<Circumstances> {
    let mut command = "cargo xtask bench request".to_owned();
    if arguments.photos.is_some() {
        command += " --photos FOLDER";
    }
    if arguments.profile != "native" {
        command += &format!(" --profile {}", arguments.profile);
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let machine = format!("{}, {cores} cores", processor());
    Circumstances::now(command, machine, sharp, &arguments.profile)
}

fn section(measured: &[Measured], circumstances: &Circumstances) -> String {
    let Circumstances {
        command,
        date,
        machine,
        sharp,
        profile,
    } = circumstances;
    let mut text = format!(
        "`{command}`, {date}, {machine}. JPEG to JPEG of quality {FIRST_QUALITY} and more. The Worker's time is a client's,\n\
         over HTTP, the original's way from the origin included, and the native services built as `{profile}`; {sharp} has\n\
         the file in memory and one thread. In turns, medians in milliseconds. Memory is the isolate's, the whole file\n\
         included, which stays outside linear memory.\n\n\
         | work | runs | input | Worker | sharp | Worker / sharp | cached | memory |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n"
    );
    for case in measured {
        let _infallible = writeln!(text, "{}", row(case));
    }
    text
}

fn row(case: &Measured) -> String {
    let (ours, theirs) = (median(&case.worker), median(&case.sharp));
    format!(
        "| {} | {} | {:.1} MB | {ours:.1} | {theirs:.1} | {:.2} | {:.1} | {} |",
        case.name,
        case.worker.len(),
        megabytes(case.input_bytes),
        ours / theirs,
        case.hit,
        memory(&case.image_header),
    )
}

/// What `Kado-Image` says of it; empty where the heavy lane made the picture.
fn memory(image_header: &str) -> String {
    let memory = image_header.split("; ").find_map(|fact| fact.strip_prefix("mem="));
    memory.map_or_else(String::new, |memory| memory.replace("MiB", " MiB"))
}

#[expect(clippy::cast_precision_loss, reason = "a file's size for a person")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_medians_ratio_and_memory() {
        let case = Measured {
            name: "12 MP to 400 px",
            input_bytes: 3_100_000,
            worker: vec![60.0, 50.0, 900.0],
            sharp: vec![40.0, 30.0, 50.0],
            hit: 4.04,
            image_header: "in=4000x3000 jpeg 3100000; out=400x300 jpeg 9; lane=edge; mem=6MiB".to_owned(),
        };
        assert_eq!(
            row(&case),
            "| 12 MP to 400 px | 3 | 3.1 MB | 60.0 | 40.0 | 1.50 | 4.0 | 6 MiB |"
        );
        assert_eq!(memory("lane=heavy"), "");
    }
}
