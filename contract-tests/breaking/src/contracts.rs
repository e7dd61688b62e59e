//! Reads `openapi.yaml` and `proto/` of a directory.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use prost_types::FileDescriptorSet;
use proto_rules::{RuleError, Rules};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use semver::Version;
use serde_json::Value;
use thiserror::Error;

/// A contract that cannot be read.
#[derive(Debug, Error)]
pub enum ContractError {
    #[error("failed to read {path}: {error}", path = path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{path} is not valid YAML: {error}", path = path.display())]
    Yaml { path: PathBuf, error: serde_norway::Error },
    #[error("{path}: expected a semantic version such as \"1.2.3\" at info.version, found {found}", path = path.display())]
    Version { path: PathBuf, found: Value },
    #[error("{path} does not compile: {error}", path = path.display())]
    Proto { path: PathBuf, error: Box<protox::Error> },
    #[error("{path}: {error}", path = path.display())]
    Rule { path: PathBuf, error: RuleError },
}

/// The options of protovalidate, which the contracts import and do not own.
const OPTIONS: &str = "buf/";

/// The compiled `.proto` files, without those that only declare options.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CompiledProtos {
    /// The files with their comments, without their options.
    pub descriptors: FileDescriptorSet,
    /// The rules of fields.
    pub rules: Rules,
}

/// The contracts of a directory.
#[derive(Clone, Debug)]
pub struct Contracts {
    directory: PathBuf,
    /// The text of `openapi.yaml`.
    pub openapi_text: String,
    /// The parsed `openapi.yaml`.
    pub openapi: Value,
    /// The texts of the `.proto` files by their import paths, for example
    /// `merch/logging/v1/logging.proto`.
    pub proto: BTreeMap<String, String>,
}

impl Contracts {
    /// Reads `openapi.yaml` and every `.proto` below `proto/`.
    ///
    /// # Errors
    /// If a file cannot be read, or `openapi.yaml` is not valid YAML.
    pub fn read(directory: &Path) -> Result<Self, ContractError> {
        let path = directory.join("openapi.yaml");
        let openapi_text = fs::read_to_string(&path)
            .map_err(|error| ContractError::File { path: path.clone(), error })?;
        let openapi = serde_norway::from_str(&openapi_text)
            .map_err(|error| ContractError::Yaml { path, error })?;
        let mut proto = BTreeMap::new();
        read_protos(&directory.join("proto"), "", &mut proto)?;
        Ok(Self { directory: directory.to_owned(), openapi_text, openapi, proto })
    }

    /// Writes the contracts into a directory and replaces those that are there.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("openapi.yaml"), &self.openapi_text)?;
        let protos = directory.join("proto");
        if protos.exists() {
            fs::remove_dir_all(&protos)?;
        }
        for (name, text) in &self.proto {
            let path = protos.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&protos))?;
            fs::write(path, text)?;
        }
        Ok(())
    }

    /// Returns `info.version`.
    ///
    /// # Errors
    /// If it is not a semantic version.
    pub fn version(&self) -> Result<Version, ContractError> {
        let found = &self.openapi["info"]["version"];
        found.as_str().and_then(|text| Version::parse(text).ok()).ok_or_else(|| {
            ContractError::Version {
                path: self.directory.join("openapi.yaml"),
                found: found.clone(),
            }
        })
    }

    /// Compiles the `.proto` files, with their comments.
    ///
    /// # Errors
    /// If they do not compile, or have an option that is not supported.
    pub fn compile(&self) -> Result<CompiledProtos, ContractError> {
        let compile = || {
            let mut resolver = ChainFileResolver::new();
            resolver.add(Texts(self.proto.clone()));
            resolver.add(GoogleFileResolver::new());
            let mut compiler = protox::Compiler::with_file_resolver(resolver);
            compiler.include_source_info(true);
            compiler.open_files(self.proto.keys().filter(|name| !name.starts_with(OPTIONS)))?;
            Ok(compiler)
        };
        let path = || self.directory.join("proto");
        let compiler = compile()
            .map_err(|error| ContractError::Proto { path: path(), error: Box::new(error) })?;
        let rules = Rules::read(&compiler.descriptor_pool())
            .map_err(|error| ContractError::Rule { path: path(), error })?;
        Ok(CompiledProtos { descriptors: compiler.file_descriptor_set(), rules })
    }

    /// Returns the texts of all files by their paths below the directory.
    pub(crate) fn files(&self) -> BTreeMap<String, &str> {
        let protos = self.proto.iter().map(|(name, text)| (format!("proto/{name}"), text.as_str()));
        protos.chain([("openapi.yaml".to_owned(), self.openapi_text.as_str())]).collect()
    }
}

/// `.proto` files in memory.
struct Texts(BTreeMap<String, String>);

impl FileResolver for Texts {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        path.to_str().filter(|name| self.0.contains_key(*name)).map(str::to_owned)
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let text = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, text)
    }
}

fn read_protos(
    directory: &Path,
    prefix: &str,
    protos: &mut BTreeMap<String, String>,
) -> Result<(), ContractError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| ContractError::File { path, error }
    };
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        // Imports are UTF-8, so no file with another name can be imported.
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.is_dir() {
            read_protos(&path, &format!("{prefix}{name}/"), protos)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            let text = fs::read_to_string(&path).map_err(failed(&path))?;
            protos.insert(format!("{prefix}{name}"), text);
        }
    }
    Ok(())
}
