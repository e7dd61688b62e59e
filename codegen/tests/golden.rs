//! Compares the generator's output with golden files, which reviewers read. `UPDATE_GOLDEN=1 cargo
//! test -p poem-contract` writes them, unless `CI` is set.

use std::{env, fs, path::Path};

fn golden(name: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let document = fs::read_to_string(dir.join(format!("{name}.yaml"))).expect("the document");
    let options = poem_contract::Options {
        source: format!("{name}.yaml"),
        command: "UPDATE_GOLDEN=1 cargo test -p poem-contract".to_owned(),
    };
    let generated = poem_contract::generate_with(&document, &options)
        .unwrap_or_else(|error| panic!("{name}.yaml does not compile:\n{error}"));
    let path = dir.join(format!("{name}.rs"));
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if generated == expected {
        return;
    }
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    if is_set("UPDATE_GOLDEN") && !is_set("CI") {
        fs::write(&path, generated).expect("the golden file can be written");
        return;
    }
    let (line, (new, old)) = generated
        .lines()
        .map(Some)
        .chain(std::iter::repeat(None))
        .zip(expected.lines().map(Some).chain(std::iter::repeat(None)))
        .enumerate()
        .find(|(_, (new, old))| new != old)
        .expect("the texts differ");
    panic!(
        "tests/golden/{name}.rs is stale. First difference, line {}:\n  generated: {}\n  golden:    {}\n\
         Run `UPDATE_GOLDEN=1 cargo test -p poem-contract` without CI, and read the difference with `git diff`.",
        line + 1,
        new.unwrap_or("(ends)"),
        old.unwrap_or("(ends)")
    );
}

#[test]
fn library_matches_its_golden_file() {
    golden("library");
}

#[test]
fn minimal_matches_its_golden_file() {
    golden("minimal");
}

#[test]
fn json_input_equals_yaml_input() {
    let yaml = include_str!("golden/minimal.yaml");
    let value: serde_json::Value = serde_norway::from_str(yaml).expect("YAML");
    let json = serde_json::to_string(&value).expect("JSON");
    assert_eq!(poem_contract::generate(&json), poem_contract::generate(yaml));
}
