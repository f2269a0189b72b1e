//! Flags of `kado image`.

use std::path::PathBuf;

const EXAMPLES: &str = "Examples:\n  \
    kado image photo.jpg width=400 small.webp\n  \
    kado image photos width=1200,format=webp web\n  \
    kado image 'photos/**/*.jpg' width=400,height=400,fit=cover thumbnails\n  \
    kado image photo.jpg 'draw=u:logo;width=0.2;gravity=bottom-right' marked.jpg --overlay logo.svg\n  \
    kado image --explain photo.jpg width=400 -\n\n\
    Exit codes: 0 fine, 1 some of several pictures could not be made, 64 bad usage, 70 anything that failed.";

/// Flags of `kado image`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A picture, `-` for standard input, a folder, or a pattern in quotes (`*`, `?`, `**`)
    #[arg(value_name = "INPUT")]
    pub input: PathBuf,
    /// What to do, as in an image's address: `width=400,fit=cover,format=webp`
    #[arg(value_name = "OPTIONS")]
    pub options: String,
    /// The file to write, `-` for standard output; a folder where INPUT is one or a pattern. Its extension decides the
    /// format where OPTIONS do not
    #[arg(value_name = "OUTPUT", required_unless_present = "explain")]
    pub output: Option<PathBuf>,
    /// The picture that `draw=u:<id>` draws; its id may be any
    #[arg(long, value_name = "FILE")]
    pub overlay: Option<PathBuf>,
    /// Say what is planned and, with OUTPUT, how long each stage took; of one picture
    #[arg(long)]
    pub explain: bool,
    /// Replace what is there already; never an input
    #[arg(long)]
    pub force: bool,
}
