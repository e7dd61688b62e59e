//! Extracts Swagger UI (`/docs`) and Scalar (`/reference`) from the crates that contain them,
//! without downloads. Compresses the large files for the binary.

#![allow(clippy::disallowed_macros)] // cargo reads the output of build scripts

use std::{
    env, fs,
    io::{self, Cursor, Read as _, Write as _},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

/// The files that `/docs` needs.
const SWAGGER_UI: [&str; 3] = ["swagger-ui.css", "swagger-ui-bundle.js", "LICENSE"];

const COMPRESSED: [&str; 2] = [".css", ".js"];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    swagger_ui(&out)?;
    scalar(&out)
}

fn swagger_ui(out: &Path) -> io::Result<()> {
    let mut archive =
        zip::ZipArchive::new(Cursor::new(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED))?;
    let names = archive
        .file_names()
        .map(|name| Ok(name?.into_owned()))
        .collect::<io::Result<Vec<String>>>()?;
    for wanted in SWAGGER_UI {
        let parent = if wanted == "LICENSE" { "" } else { "dist/" };
        // The archive's one directory has the version in its name.
        let name = names.iter().find(|name| {
            name.split_once('/').is_some_and(|(_, rest)| rest == format!("{parent}{wanted}"))
        });
        let name = name.ok_or_else(|| {
            io::Error::other(format!(
                "expected `{parent}{wanted}` in the archive of \
                utoipa-swagger-ui-vendored; it is missing"
            ))
        })?;
        let mut bytes = Vec::new();
        archive.by_name(name)?.read_to_end(&mut bytes)?;
        write(out, wanted, &bytes)?;
    }
    Ok(())
}

fn scalar(out: &Path) -> io::Result<()> {
    let wanted = "scalar.js";
    let bytes = scalar_api_reference::get_asset(wanted).ok_or_else(|| {
        io::Error::other(format!(
            "expected `{wanted}` among the assets of scalar_api_reference; it is missing"
        ))
    })?;
    write(out, wanted, &bytes)
}

/// Writes a file, compressed as `NAME.gz` if it is in [`COMPRESSED`].
fn write(out: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    if !COMPRESSED.iter().any(|end| name.ends_with(end)) {
        return fs::write(out.join(name), bytes);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    fs::write(out.join(format!("{name}.gz")), encoder.finish()?)
}
