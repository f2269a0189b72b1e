//! The built Worker and the workerd binary: found, checked, and the Worker copied to where it runs.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::HostError;

/// What the Worker consists of, main module first; the template embeds these names.
pub(crate) const FILES: [&str; 5] = [
    "entry.js",
    "index_bg.wasm",
    "avif-enc.wasm",
    "kado_edge_av1.wasm",
    "webp_enc_simd.wasm",
];

/// Copies the bundle next to the configuration, so that a process restarted in the middle of a new build still runs
/// what the others run.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), HostError> {
    for name in FILES {
        let source = from.join(name);
        if !source.is_file() {
            return Err(HostError::config(
                "--worker-dir",
                format!(
                    "{} has no {name}; build the Worker first: cargo xtask build-edge",
                    from.display()
                ),
            ));
        }
        let target = to.join(name);
        std::fs::copy(&source, &target).map_err(HostError::io(&target))?;
    }
    Ok(())
}

/// The native binary. npm's package has a JavaScript starter in its place where install scripts are off; a process
/// started through that could be neither watched nor measured, so what it would start is taken instead.
pub(crate) fn workerd_binary(path: &Path) -> Result<PathBuf, HostError> {
    let missing = |e: std::io::Error| {
        HostError::config(
            "--workerd",
            format!("{}: {e}; install it with `npm ci`", path.display()),
        )
    };
    let real = path.canonicalize().map_err(missing)?;
    let mut start = [0; 2];
    std::fs::File::open(&real)
        .and_then(|mut f| f.read_exact(&mut start))
        .map_err(missing)?;
    if &start != b"#!" {
        return Ok(real);
    }
    platform_binary(&real).ok_or_else(|| {
        HostError::config(
            "--workerd",
            format!(
                "{} is a script, and the native binary is not installed beside it; run `npm ci`",
                real.display()
            ),
        )
    })
}

fn platform_binary(starter: &Path) -> Option<PathBuf> {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "64",
        "aarch64" => "arm64",
        _ => return None,
    };
    // node_modules/workerd/bin/workerd -> node_modules/@cloudflare/workerd-linux-64/bin/workerd
    let modules = starter.ancestors().nth(3)?;
    let binary = modules.join(format!("@cloudflare/workerd-{system}-{machine}/bin/workerd"));
    binary.is_file().then_some(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_bundle_is_refused_with_the_command_that_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILES[0]), "x").unwrap();
        let text = copy(dir.path(), dir.path()).unwrap_err().to_string();
        assert!(
            text.contains("index_bg.wasm") && text.contains("cargo xtask build-edge"),
            "{text}"
        );
    }

    #[test]
    fn a_starter_script_leads_to_the_binary_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().canonicalize().unwrap();
        let starter = modules.join("workerd/bin/workerd");
        std::fs::create_dir_all(starter.parent().unwrap()).unwrap();
        std::fs::write(&starter, "#!/usr/bin/env node\n").unwrap();
        assert!(workerd_binary(&starter).unwrap_err().to_string().contains("npm ci"));
        let native = platform_binary(&starter);
        assert_eq!(native, None);
        let machine = if cfg!(target_arch = "x86_64") { "64" } else { "arm64" };
        let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
        let native = modules.join(format!("@cloudflare/workerd-{system}-{machine}/bin/workerd"));
        std::fs::create_dir_all(native.parent().unwrap()).unwrap();
        std::fs::write(&native, "ELF").unwrap();
        assert_eq!(workerd_binary(&starter).unwrap(), native);
    }

    #[test]
    fn a_missing_binary_is_named() {
        assert!(
            workerd_binary(Path::new("/nowhere/workerd"))
                .unwrap_err()
                .to_string()
                .contains("/nowhere/workerd")
        );
    }
}
