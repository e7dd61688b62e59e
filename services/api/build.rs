//! Unpacks the files of Swagger UI that `/docs` shows, from the crate that carries them: nothing is downloaded.

#![allow(clippy::print_stdout)] // how a build script speaks to cargo

use std::{
    env, fs,
    io::{self, Cursor, Read as _},
    path::PathBuf,
};

/// What the page needs, and no more: no second bundle, no source maps, no sample page.
const WANTED: [&str; 4] = ["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "LICENSE"];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    let mut archive = zip::ZipArchive::new(Cursor::new(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED))?;
    let names = archive.file_names().map(|name| Ok(name?.into_owned())).collect::<io::Result<Vec<String>>>()?;
    for wanted in WANTED {
        let parent = if wanted == "LICENSE" { "" } else { "dist/" };
        // The archive has one folder that is named after the version.
        let name = names.iter().find(|name| name.split_once('/').is_some_and(|(_, rest)| rest == format!("{parent}{wanted}")));
        let name = name.ok_or_else(|| {
            io::Error::other(format!("expected `{parent}{wanted}` in the archive of utoipa-swagger-ui-vendored; it is not there"))
        })?;
        let mut bytes = Vec::new();
        archive.by_name(name)?.read_to_end(&mut bytes)?;
        fs::write(out.join(wanted), bytes)?;
    }
    Ok(())
}
