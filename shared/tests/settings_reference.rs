//! `docs/SETTINGS.md` is made of the declaration of the settings. `KADO_RENEW=1 cargo test --package kado-shared --test
//! settings_reference` renews it.

use kado_shared::{
    setting_shape::declaration,
    settings::{SETTINGS, Setting},
};
use std::{fmt::Write as _, path::Path};

const HEAD: &str = "# Settings

Everything that is not a secret of the deployment is a setting in the database. What a tenant has set for itself holds over what is set for all,
and that over the default; a change is in force at every origin at once and at every edge within 5 s, and audited.

* Of one tenant, over HTTP: `GET` and `PATCH /api/admin/settings` ([API.md](API.md)).
* Of one tenant or of all, at the shell: `kado settings get`, `kado settings set NAME VALUE [--tenant HOST]`, at psql too
  ([RUNBOOK.md](RUNBOOK.md)).

Values are JSON. Secrets are sealed in the database and shown masked. This page is made of their declaration, `shared/src/settings.rs`.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut sections: Vec<&str> = Vec::new();
    for setting in SETTINGS {
        if !sections.contains(&setting.section) {
            sections.push(setting.section);
        }
    }
    for section in sections {
        let _infallible = write!(
            page,
            "\n## {section}\n\n| setting | value | default | |\n|---|---|---|---|\n"
        );
        for setting in SETTINGS.iter().filter(|setting| setting.section == section) {
            let _infallible = writeln!(
                page,
                "| `{}` | {} | {} | {} |",
                setting.name,
                value(setting),
                default(setting),
                cell(setting.description)
            );
        }
    }
    page
}

/// What it may be.
fn value(setting: &Setting) -> String {
    let declared = declaration(setting);
    let expects = declared["shape"]["expects"].as_str().expect("a text");
    let expects = cell(expects.trim_start_matches("must be "));
    let secret = if setting.secret { "; secret" } else { "" };
    format!("{expects}{secret}")
}

fn default(setting: &Setting) -> String {
    match setting.default {
        "\"\"" => "empty".to_owned(),
        text => format!("`{}`", cell(text)),
    }
}

/// A text within a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn the_page_tells_of_every_setting_as_it_is_declared() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SETTINGS.md");
    let wanted = page();
    assert!(SETTINGS.iter().all(|setting| wanted.contains(setting.name)));
    if std::env::var_os("KADO_RENEW").is_some() {
        std::fs::write(&path, &wanted).expect("writing the page");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == wanted,
        "docs/SETTINGS.md is not what the declaration makes: KADO_RENEW=1 renews it"
    );
}
