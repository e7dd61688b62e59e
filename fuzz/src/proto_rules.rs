//! Rules of fields in `.proto` files.

use std::{path::Path, sync::LazyLock};

use proto_rules::{Rules, generate};
use protox::{
    Compiler, Error,
    file::{File, FileResolver, GoogleFileResolver},
    prost_reflect::prost_types::FileDescriptorProto,
};

const NAME: &str = "test.proto";
const HEAD: &str = "syntax = \"proto3\";\npackage shop.v1;\nimport \"buf/validate/validate.proto\";
import \"google/protobuf/timestamp.proto\";\n";
const MAX_BYTES: usize = 4096;

/// Imported files, parsed once.
static IMPORTS: LazyLock<Vec<FileDescriptorProto>> = LazyLock::new(|| {
    const VALIDATE: &str = include_str!("../../proto/buf/validate/validate.proto");
    let validate = File::from_source("buf/validate/validate.proto", VALIDATE);
    let google = ["descriptor", "duration", "field_mask", "timestamp"]
        .map(|name| GoogleFileResolver::new().open_file(&format!("google/protobuf/{name}.proto")));
    let files = google.into_iter().chain([validate]);
    files.map(|file| file.expect("the file is valid").file_descriptor_proto().clone()).collect()
});

struct Files(String);

impl FileResolver for Files {
    fn resolve_path(&self, _: &Path) -> Option<String> {
        None
    }

    fn open_file(&self, name: &str) -> Result<File, Error> {
        if name == NAME {
            return File::from_source(name, &self.0);
        }
        let file = IMPORTS.iter().find(|file| file.name() == name);
        let file = file.ok_or_else(|| Error::file_not_found(name))?;
        Ok(File::from_file_descriptor_proto(file.clone()))
    }
}

/// Reads and generates the rules of declarations in a package `shop.v1`.
///
/// # Panics
/// If the generator emits no Rust, or an error has no reason.
pub fn proto_rules(data: &[u8]) {
    let Ok(declarations) = std::str::from_utf8(data) else { return };
    if declarations.len() > MAX_BYTES {
        return;
    }
    let mut compiler = Compiler::with_file_resolver(Files(format!("{HEAD}{declarations}")));
    if compiler.open_file(NAME).is_err() {
        return;
    }
    let pool = compiler.descriptor_pool();
    let generated = Rules::read(&pool).and_then(|rules| {
        generate(&pool, &rules, |package| (package == "shop.v1").then(|| "super::shop".to_owned()))
    });
    match generated {
        Ok(code) => {
            if let Err(error) = syn::parse_file(&code) {
                panic!("{error} in the code of {declarations}: {code}");
            }
        }
        Err(error) => assert!(!error.field.is_empty() && !error.reason.is_empty(), "{error:?}"),
    }
}
