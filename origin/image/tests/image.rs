//! The command as a process: what is written, what is said, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use kado_imaging::samples::{self, JpegSample};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// The example's binary, which cargo builds beside the tests.
fn command() -> Command {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    Command::new(folder.join("examples/kado-image"))
}

/// Runs it in a folder.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    command().current_dir(folder).args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with one JPEG in it.
fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let photo = folder.path().join("photo.jpg");
    fs::write(&photo, JpegSample::default().encode(640, 480)).unwrap();
    (folder, photo)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_becomes_what_its_new_name_says() {
    let (folder, _) = folder();
    for (output, magic) in [
        ("a.webp", b"RIFF".as_slice()),
        ("a.png", b"\x89PNG"),
        ("a.jpg", b"\xff\xd8"),
    ] {
        let done = run(folder.path(), &["photo.jpg", "width=40", output]);
        assert_eq!(code(&done), 0, "{}", said(&done));
        assert!(fs::read(folder.path().join(output)).unwrap().starts_with(magic));
    }
    assert_eq!(names(folder.path()), ["a.jpg", "a.png", "a.webp", "photo.jpg"]);
}

#[test]
fn what_is_there_stays_unless_it_is_given_up_and_an_input_always_does() {
    let (folder, photo) = folder();
    let before = fs::read(&photo).unwrap();
    fs::write(folder.path().join("a.jpg"), "precious").unwrap();
    std::os::unix::fs::symlink("photo.jpg", folder.path().join("link.jpg")).unwrap();
    let refused = run(folder.path(), &["photo.jpg", "width=40", "a.jpg"]);
    assert_eq!(code(&refused), 64);
    assert!(said(&refused).contains("--force"), "{}", said(&refused));
    assert_eq!(fs::read(folder.path().join("a.jpg")).unwrap(), b"precious");
    for itself in ["photo.jpg", "./photo.jpg", "link.jpg"] {
        let refused = run(folder.path(), &["photo.jpg", "width=40", itself, "--force"]);
        assert_eq!(code(&refused), 64, "{itself}");
    }
    assert_eq!(fs::read(&photo).unwrap(), before);
    assert_eq!(
        code(&run(folder.path(), &["photo.jpg", "width=40", "a.jpg", "--force"])),
        0
    );
    assert!(
        fs::read(folder.path().join("a.jpg"))
            .unwrap()
            .starts_with(&[0xff, 0xd8])
    );
}

#[test]
fn pictures_go_through_pipes() {
    let mut child = command()
        .args(["-", "width=30,format=png", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&samples::png_rgba(60, 60)).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0);
    assert_eq!(output.stdout.get(16..24), Some([0, 0, 0, 30, 0, 0, 0, 30].as_slice()));
}

#[test]
fn bad_usage_and_bad_pictures_end_differently_and_leave_nothing() {
    let (folder, _) = folder();
    fs::write(folder.path().join("text.jpg"), "no picture").unwrap();
    let truncated = JpegSample::default().encode(640, 480)[..2000].to_vec();
    fs::write(folder.path().join("cut.png"), &samples::png_rgb(64, 64)[..300]).unwrap();
    fs::write(folder.path().join("cut.jpg"), truncated).unwrap();
    let before = names(folder.path());
    for (arguments, expected, told) in [
        (["photo.jpg", "width=none", "a.jpg"], 64, "width:"),
        (["photo.jpg", "format=png", "a.webp"], 64, "contradicts"),
        (["photo.jpg", "width=9", "a"], 64, "format="),
        (["absent.jpg", "width=9", "a.jpg"], 64, "absent.jpg"),
        (["text.jpg", "width=9", "a.jpg"], 70, "not an image"),
        (["cut.png", "width=9", "a.jpg"], 70, "cut.png"),
    ] {
        let refused = run(folder.path(), &arguments);
        assert_eq!(code(&refused), expected, "{arguments:?}: {}", said(&refused));
        assert!(said(&refused).contains(told), "{arguments:?}: {}", said(&refused));
    }
    assert_eq!(names(folder.path()), before);
}

#[test]
fn one_bad_file_of_a_folder_stops_no_other_and_is_named() {
    let (folder, _) = folder();
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).unwrap();
    for name in ["a.jpg", "a.png", "b.jpg", ".hidden.jpg"] {
        fs::copy(folder.path().join("photo.jpg"), photos.join(name)).unwrap();
    }
    fs::write(photos.join("bad.png"), &samples::png_rgb(64, 64)[..300]).unwrap();
    fs::write(photos.join("notes.txt"), "no picture").unwrap();
    let done = run(folder.path(), &["photos", "width=40,format=webp", "web"]);
    let text = said(&done);
    assert_eq!(code(&done), 1, "{text}");
    assert!(
        text.starts_with("3 written, 1 skipped as no pictures, 1 failed:\n"),
        "{text}"
    );
    assert!(text.contains("photos/bad.png: png:"), "{text}");
    assert_eq!(
        names(&folder.path().join("web")),
        ["a.jpg.webp", "a.png.webp", "b.webp"]
    );
}

#[test]
fn a_pattern_keeps_the_folders_that_it_spans() {
    let (folder, _) = folder();
    for name in ["p/one", "p/two/deep"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
        fs::copy(
            folder.path().join("photo.jpg"),
            folder.path().join(name).join("same.jpg"),
        )
        .unwrap();
    }
    let done = run(folder.path(), &["p/**/*.jpg", "width=40", "out"]);
    assert_eq!((code(&done), said(&done).as_str()), (0, "2 written\n"));
    for name in ["out/one/same.jpg", "out/two/deep/same.jpg"] {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
    assert_eq!(code(&run(folder.path(), &["none/*.jpg", "width=40", "out"])), 64);
    // Everything is there already now.
    let again = run(folder.path(), &["p/**/*.jpg", "width=40", "out"]);
    assert_eq!(code(&again), 1, "{}", said(&again));
}

#[test]
fn a_plan_is_told_without_work_and_the_work_with_its_stages() {
    let (folder, _) = folder();
    let planned = run(folder.path(), &["--explain", "photo.jpg", "width=40"]);
    let text = String::from_utf8(planned.stdout.clone()).unwrap();
    assert_eq!(code(&planned), 0);
    for fact in ["640 x 480 jpeg", "at 1/8", "to 40 x 30", "estimated"] {
        assert!(text.contains(fact), "{fact}: {text}");
    }
    assert!(!text.contains(" ms"), "{text}");
    assert_eq!(names(folder.path()), ["photo.jpg"]);
    let done = run(folder.path(), &["--explain", "photo.jpg", "width=40", "a.webp"]);
    let text = String::from_utf8(done.stdout.clone()).unwrap();
    for fact in ["decode", "resample", "encode", " ms", "bytes"] {
        assert!(text.contains(fact), "{fact}: {text}");
    }
    assert_eq!(names(folder.path()), ["a.webp", "photo.jpg"]);
    let piped = run(folder.path(), &["--explain", "photo.jpg", "width=40", "-"]);
    assert!(piped.stdout.starts_with(&[0xff, 0xd8]) && said(&piped).contains(" ms"));
}
