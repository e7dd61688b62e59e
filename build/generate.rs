//! Generates the files of `gen/` in memory; updates the directory or reports stale files.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use protox::prost_reflect::{DescriptorPool, prost_types::FileDescriptorSet};

use crate::{
    Error, REGENERATE_COMMAND,
    checksums::{self, walk},
};

/// A generated file, with its path below `gen/`.
struct GeneratedFile {
    path: &'static str,
    text: String,
}

/// Generates all files and writes those that differ.
pub(crate) fn run(root: &Path) -> Result<(), Error> {
    let mut files = rest_files(root)?;
    files.extend(grpc_files(root)?);
    files.push(checksum_file(root, &files)?);

    let stale: Vec<&GeneratedFile> = files
        .iter()
        .filter(|file| {
            fs::read_to_string(root.join("gen").join(file.path)).ok().as_deref() != Some(&file.text)
        })
        .collect();
    let orphans = orphans(&root.join("gen"), &files)?;
    if stale.is_empty() && orphans.is_empty() {
        return Ok(());
    }
    if let Some(reason) = read_only_reason(root) {
        let mut names: Vec<String> = stale
            .iter()
            .map(|file| format!("gen/{} is not what the contracts generate", file.path))
            .collect();
        names.extend(orphans.iter().map(|path| {
            format!("{} has no generator", path.strip_prefix(root).unwrap_or(path).display())
        }));
        return Err(format!(
            "{}\n{reason}, so nothing was written. Run `{REGENERATE_COMMAND}` in a checkout, review \
             `git diff gen`, and commit it.",
            names.join("\n")
        )
        .into());
    }

    // cargo reruns the build script for a file newer than its last run.
    let newest_input = newest(&[
        root.join("openapi.yaml"),
        root.join("proto"),
        root.join("build.rs"),
        root.join("build"),
    ])?;
    for file in stale {
        let path = root.join("gen").join(file.path);
        fs::create_dir_all(path.parent().ok_or("a generated file has no parent directory")?)?;
        fs::write(&path, &file.text)?;
        fs::File::options().write(true).open(&path)?.set_modified(newest_input)?;
    }
    for path in orphans {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn read_only_reason(root: &Path) -> Option<&'static str> {
    if env::var("CI").is_ok_and(|value| !value.is_empty()) {
        return Some("CI is set");
    }
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    if cargo_home.is_some_and(|home| root.starts_with(home)) {
        return Some("This package is a copy in cargo's registry");
    }
    // `cargo package` builds a copy below the target directory.
    root.components()
        .zip(root.components().skip(1))
        .any(|(a, b)| a.as_os_str() == "target" && b.as_os_str() == "package")
        .then_some("This package is a copy of `cargo package`")
}

/// Returns the files below `gen/` that no generator creates.
fn orphans(directory: &Path, files: &[GeneratedFile]) -> Result<Vec<PathBuf>, Error> {
    Ok(walk(directory)?
        .into_iter()
        .filter(|path| !files.iter().any(|file| directory.join(file.path) == *path))
        .collect())
}

fn newest(inputs: &[PathBuf]) -> Result<SystemTime, Error> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for input in inputs {
        for file in walk(input)? {
            newest = newest.max(fs::metadata(file)?.modified()?);
        }
    }
    Ok(newest)
}

/// Returns the checksums of the contracts and of the generated files.
fn checksum_file(root: &Path, files: &[GeneratedFile]) -> Result<GeneratedFile, Error> {
    let mut sums = BTreeMap::new();
    for contract in checksums::contracts(root)? {
        sums.insert(
            contract.display().to_string(),
            checksums::sum(&fs::read(root.join(&contract))?),
        );
    }
    sums.extend(
        files
            .iter()
            .map(|file| (format!("gen/{}", file.path), checksums::sum(file.text.as_bytes()))),
    );
    let path =
        checksums::CHECKSUM_FILE.strip_prefix("gen/").ok_or("the checksum file is not in gen/")?;
    // The format of `sha256sum`, sorted by name.
    Ok(GeneratedFile {
        path,
        text: sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect(),
    })
}

fn banner(source: &str, generator: &str) -> String {
    format!(
        "// @generated from {source} by {generator} through build.rs. Do not edit: change {source} and run `{REGENERATE_COMMAND}`.\n"
    )
}

/// Generates from `openapi.yaml`: the server, and progenitor's client, command line and mocks.
fn rest_files(root: &Path) -> Result<Vec<GeneratedFile>, Error> {
    let path = root.join("openapi.yaml");
    let document =
        fs::read_to_string(&path).map_err(|error| format!("cannot read openapi.yaml: {error}"))?;
    let options = poem_contract::Options {
        source: "openapi.yaml".to_owned(),
        command: REGENERATE_COMMAND.to_owned(),
    };
    let server = poem_contract::generate_with(&document, &options)
        .map_err(|error| format!("cannot compile openapi.yaml to a server:\n{error}"))?;

    let mut raw: serde_json::Value = serde_norway::from_str(&document)?;
    rename_problem_json(&mut raw);
    let spec: openapiv3::OpenAPI = serde_json::from_value(raw)?;
    // progenitor's command line requires the builder interface.
    let mut settings = progenitor::GenerationSettings::new();
    settings
        .with_interface(progenitor::InterfaceStyle::Builder)
        .with_tag(progenitor::TagStyle::Merged);
    // `src/sdk.rs` adds the token and retries.
    settings.with_inner_type(quote::quote!(crate::sdk::Session));
    let mut generator = progenitor::Generator::new(&settings);
    let client = client(generator.generate_tokens(&spec)?)?;
    let cli = pretty(generator.cli(&spec, "crate::rest::client_for_cli")?)?;
    let mock = pretty(generator.httpmock(&spec, "crate::rest::client")?)?;

    let banner = banner("openapi.yaml", "progenitor");
    Ok(vec![
        GeneratedFile { path: "rest/server.rs", text: server },
        GeneratedFile { path: "rest/client.rs", text: format!("{banner}{client}") },
        GeneratedFile { path: "rest/cli.rs", text: format!("{banner}{cli}") },
        GeneratedFile { path: "rest/mock.rs", text: format!("{banner}{mock}") },
    ])
}

/// Renames `application/problem+json` to `application/json`, because progenitor types only the
/// latter.
fn rename_problem_json(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            if let Some(problem) = members.remove("application/problem+json") {
                members.insert("application/json".to_owned(), problem);
            }
            members.values_mut().for_each(rename_problem_json);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(rename_problem_json),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

/// Returns progenitor's client, with redacted passwords and without a proxy for loopback URLs.
fn client(tokens: impl ToString) -> Result<String, Error> {
    let mut file = syn::parse_file(&tokens.to_string())?;
    redact_passwords(&mut file.items)?;
    without_proxy_on_loopback(&prettyplease::unparse(&file))
}

/// progenitor's `Client::new` uses the environment's proxies for every host.
fn without_proxy_on_loopback(client: &str) -> Result<String, Error> {
    let (pattern, replacement) =
        ("reqwest::ClientBuilder::new()", "crate::loopback::client_builder(baseurl)");
    // One for WebAssembly, which has no proxies, and one for other targets.
    if client.matches(pattern).count() != 2 {
        return Err(format!(
            "progenitor's client no longer contains `{pattern}` twice; find where it builds its \
             HTTP client, and update build/generate.rs"
        )
        .into());
    }
    Ok(client.replacen(pattern, replacement, 1))
}

/// Replaces `Debug` of each password type. progenitor names these types after the member.
fn redact_passwords(items: &mut Vec<syn::Item>) -> Result<(), Error> {
    let mut redacted = Vec::new();
    for item in items.iter_mut() {
        match item {
            syn::Item::Mod(syn::ItemMod { content: Some((_, inner)), .. }) => {
                redact_passwords(inner)?
            }
            syn::Item::Struct(item)
                if item.ident.to_string().ends_with("Password")
                    && matches!(item.fields, syn::Fields::Unnamed(_)) =>
            {
                for attribute in
                    item.attrs.iter_mut().filter(|attribute| attribute.path().is_ident("derive"))
                {
                    type Paths = syn::punctuated::Punctuated<syn::Path, syn::Token![,]>;
                    let derived = attribute.parse_args_with(Paths::parse_terminated)?;
                    let kept = derived.iter().filter(|path| !path.is_ident("Debug"));
                    *attribute = syn::parse_quote!(#[derive(#(#kept),*)]);
                }
                let (name, shown) = (&item.ident, format!("{}(redacted)", item.ident));
                redacted.push(syn::parse_quote! {
                    impl ::std::fmt::Debug for #name {
                        fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                            formatter.write_str(#shown)
                        }
                    }
                });
            }
            _ => {}
        }
    }
    items.extend(redacted);
    Ok(())
}

fn pretty(tokens: impl ToString) -> Result<String, Error> {
    Ok(prettyplease::unparse(&syn::parse_file(&tokens.to_string())?))
}

/// Generates from `proto/`: tonic's clients and servers, the JSON mapping of log events, and
/// descriptors for reflection.
fn grpc_files(root: &Path) -> Result<Vec<GeneratedFile>, Error> {
    use prost::Message as _;

    let directory = root.join("proto");
    let protos: Vec<PathBuf> = walk(&directory)?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "proto"))
        .collect();
    let mut compiler = protox::Compiler::new([&directory])?;
    compiler.include_source_info(true).include_imports(true).open_files(&protos)?;
    let validation = validation(&compiler.descriptor_pool())?;
    let mut descriptors = compiler.file_descriptor_set();
    without_options(&mut descriptors);

    let out =
        PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?)
            .join("grpc");
    fs::create_dir_all(&out)?;
    tonic_prost_build::configure()
        .out_dir(&out)
        .extern_path(".google.protobuf", "::pbjson_types")
        // Sorted keys give each event a unique JSON text.
        .btree_map(".merch.logging.v1.LogMessage")
        .compile_well_known_types(true)
        // Messages with a password hash: src/redacted.rs implements `Debug`.
        .skip_debug([
            ".merch.assistant.v1.CreateUserRequest",
            ".merch.assistant.v1.GetCredentialsResponse",
            ".merch.assistant.v1.ChangePasswordRequest",
            ".merch.assistant.v1.Credentials",
            ".merch.assistant.v1.RecordLogInRequest",
        ])
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors.clone())?;

    let mut reflected = descriptors.clone();
    for file in &mut reflected.file {
        file.source_code_info = None;
    }
    let with_admin = reflected.encode_to_vec();
    // A server without the operator's service must not reflect it.
    reflected.file.retain(|file| file.package() != "merch.admin.v1");
    let without_admin = reflected.encode_to_vec();

    let json = SharedBuffer::default();
    pbjson_build::Builder::new()
        .register_descriptors(&descriptors.encode_to_vec())?
        .btree_map([".merch.logging.v1.LogMessage"])
        // A newer sender may add members.
        .ignore_unknown_fields()
        .generate(&[".merch.logging"], |_| Ok(json.clone()))?;
    let json = String::from_utf8(json.0.take())?;

    let banner = banner("proto/", "tonic-prost-build and pbjson-build");
    let read = |name: &str| {
        fs::read_to_string(out.join(name))
            .map_err(|error| format!("proto/ generated no {name}: {error}"))
    };
    let descriptor = format!(
        "{banner}{}{}",
        constant(
            "FILE_DESCRIPTOR_SET",
            "`proto/` without the operator's service, for gRPC reflection",
            &without_admin
        ),
        constant(
            "FILE_DESCRIPTOR_SET_WITH_ADMIN",
            "all of `proto/`, for gRPC reflection where the operator's service is offered",
            &with_admin
        ),
    );
    Ok(vec![
        GeneratedFile {
            path: "grpc/merch.admin.v1.rs",
            text: format!("{banner}{}", read("merch.admin.v1.rs")?),
        },
        GeneratedFile {
            path: "grpc/merch.assistant.v1.rs",
            text: format!("{banner}{}", read("merch.assistant.v1.rs")?),
        },
        GeneratedFile {
            path: "grpc/merch.logging.v1.rs",
            text: format!("{banner}{}", read("merch.logging.v1.rs")?),
        },
        GeneratedFile {
            path: "grpc/merch.logging.v1.serde.rs",
            text: format!("{banner}use super::v1::*;\n{json}"),
        },
        GeneratedFile { path: "grpc/descriptor.rs", text: descriptor },
        GeneratedFile { path: "grpc/validation.rs", text: validation },
    ])
}

/// Generates the checks of requests from the `buf.validate` options.
fn validation(pool: &DescriptorPool) -> Result<String, Error> {
    let rules = proto_rules::Rules::read(pool)?;
    let checks = proto_rules::generate(pool, &rules, |package| {
        Some(format!("super::{}", package.strip_prefix("merch.")?.replace('.', "::")))
    })?;
    Ok(format!("{}{checks}", banner("proto/", "proto-rules")))
}

/// Removes `buf/validate/validate.proto` and the files that it alone imports. The generated code
/// has no use for the options, and prost does not decode them.
fn without_options(descriptors: &mut FileDescriptorSet) {
    const OPTIONS: &str = "buf/validate/validate.proto";
    let mut needed = BTreeSet::new();
    // A file comes after the files that it imports.
    for file in descriptors.file.iter_mut().rev() {
        if file.package().starts_with("merch.") || needed.contains(file.name()) {
            file.dependency.retain(|dependency| dependency != OPTIONS);
            needed.extend(file.dependency.iter().cloned());
            needed.insert(file.name().to_owned());
        }
    }
    descriptors.file.retain(|file| needed.contains(file.name()));
}

/// Returns a constant with encoded descriptors. A text file can have a banner.
fn constant(name: &str, what: &str, bytes: &[u8]) -> String {
    let literal: String =
        bytes.iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
    format!(
        "/// The encoded `google.protobuf.FileDescriptorSet` of {what}.\npub const {name}: &[u8] = b\"{literal}\";\n"
    )
}

/// A shared buffer: pbjson-build takes ownership of each package's writer.
#[derive(Clone, Default)]
struct SharedBuffer(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

impl std::io::Write for SharedBuffer {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
