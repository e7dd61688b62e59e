//! Reads and generates rules of small `.proto` files.

#![allow(clippy::unwrap_used, reason = "a panic names the line, and that is enough in a test")]

use std::{collections::BTreeMap, fs, path::Path};

use proto_rules::{
    Bounds, Constraint, FieldRules, Format, Ignore, MessageRules, RuleError, Rules, TextRules,
    generate,
};
use protox::{
    Compiler,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver},
    prost_reflect::DescriptorPool,
};
use sha2::{Digest as _, Sha256};

const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");

struct Text(String);

impl FileResolver for Text {
    fn resolve_path(&self, _: &Path) -> Option<String> {
        None
    }

    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name != "test.proto" {
            return Err(protox::Error::file_not_found(name));
        }
        File::from_source(name, &self.0)
    }
}

/// Compiles declarations in the package `shop.v1`.
fn compile(declarations: &str) -> DescriptorPool {
    compile_with("proto3", declarations)
}

fn compile_with(syntax: &str, declarations: &str) -> DescriptorPool {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Text(format!(
        "syntax = \"{syntax}\";\npackage shop.v1;\nimport \"buf/validate/validate.proto\";\n\
         import \"google/protobuf/timestamp.proto\";\nimport \"google/protobuf/empty.proto\";\n\
         {declarations}"
    )));
    resolver.add(IncludeFileResolver::new(PROTO.into()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.open_file("test.proto").unwrap_or_else(|error| panic!("{error:?}"));
    compiler.descriptor_pool()
}

/// Reads the rules of a message with one field.
fn read(field: &str) -> Result<FieldRules, RuleError> {
    let pool = compile(&format!(
        "enum Level {{ LEVEL_UNSPECIFIED = 0; LEVEL_LOW = 1; }}\n\
         message Item {{}}\nmessage Request {{ {field} }}"
    ));
    let rules = Rules::read(&pool)?;
    Ok(rules.messages["shop.v1.Request"].fields["value"].clone())
}

fn constraint(field: &str) -> Constraint {
    read(field).unwrap_or_else(|error| panic!("{error}")).constraint
}

fn bounds(min: impl Into<Option<i64>>, max: impl Into<Option<i64>>) -> Bounds {
    Bounds { min: min.into(), max: max.into() }
}

/// Generates the checks of a request with these fields.
fn generated(fields: &str) -> Result<String, RuleError> {
    let pool = compile(&format!(
        "enum Level {{ LEVEL_UNSPECIFIED = 0; LEVEL_LOW = 1; LEVEL_HIGH = 2; }}\n\
         message Item {{ string name = 1 [(buf.validate.field).string.max_len = 9]; }}\n\
         message Request {{ {fields} }}\nmessage Response {{}}\n\
         service Shop {{ rpc Call(Request) returns (Response); }}"
    ));
    let rules = Rules::read(&pool)?;
    generate(&pool, &rules, |package| (package == "shop.v1").then(|| "super::shop".to_owned()))
}

/// Returns the generated checks of `Request` without white space.
fn checks(fields: &str) -> String {
    let file = generated(fields).unwrap_or_else(|error| panic!("{error}"));
    let (_, request) =
        file.split_once("impl Validate for super::shop::Request {").expect("Request");
    request.split_whitespace().collect::<String>().replace(",)", ")")
}

#[test]
fn numbers_have_inclusive_bounds() {
    assert_eq!(
        constraint("int32 value = 1 [(buf.validate.field).int32 = {gte: 0, lte: 3}];"),
        Constraint::Number(bounds(0, 3))
    );
    assert_eq!(
        constraint("int64 value = 1 [(buf.validate.field).int64.gte = -1];"),
        Constraint::Number(bounds(-1, None))
    );
}

#[test]
fn texts_have_length_bytes_pattern_and_format() {
    assert_eq!(
        constraint(
            "string value = 1 [(buf.validate.field).string = \
             {min_len: 1, max_len: 9, max_bytes: 12, pattern: \"^[a-z]*$\"}];"
        ),
        Constraint::Text(TextRules {
            length: bounds(1, 9),
            max_bytes: Some(12),
            pattern: Some("^[a-z]*$".to_owned()),
            format: None,
        })
    );
    assert_eq!(
        constraint("string value = 1 [(buf.validate.field).string.len = 3];"),
        Constraint::Text(TextRules { length: bounds(3, 3), ..TextRules::default() })
    );
    for (option, format) in [("uuid", Format::Uuid), ("ip", Format::Ip)] {
        assert_eq!(
            constraint(&format!("string value = 1 [(buf.validate.field).string.{option} = true];")),
            Constraint::Text(TextRules { format: Some(format), ..TextRules::default() })
        );
    }
}

#[test]
fn bytes_and_enums_are_read() {
    assert_eq!(
        constraint("bytes value = 1 [(buf.validate.field).bytes.max_len = 64];"),
        Constraint::Bytes(bounds(None, 64))
    );
    assert_eq!(
        constraint(
            "Level value = 1 [(buf.validate.field).enum = {defined_only: true, not_in: [0]}];"
        ),
        Constraint::Enum { defined_only: true, not_in: vec![0] }
    );
}

#[test]
fn lists_and_maps_have_rules_of_their_items() {
    let item = FieldRules { ignore: Ignore::Always, ..FieldRules::default() };
    assert_eq!(
        constraint(
            "repeated Item value = 1 [(buf.validate.field).repeated = \
             {min_items: 1, max_items: 2, items: {ignore: IGNORE_ALWAYS}}];"
        ),
        Constraint::List { items: bounds(1, 2), item: Box::new(item) }
    );
    let text = |text| FieldRules { constraint: Constraint::Text(text), ..FieldRules::default() };
    assert_eq!(
        constraint(
            "map<string, string> value = 1 [(buf.validate.field).map = {max_pairs: 32, \
             keys: {string: {max_len: 5}}, values: {string: {max_bytes: 7}}}];"
        ),
        Constraint::Map {
            pairs: bounds(None, 32),
            keys: Box::new(text(TextRules { length: bounds(None, 5), ..TextRules::default() })),
            values: Box::new(text(TextRules { max_bytes: Some(7), ..TextRules::default() })),
        }
    );
}

#[test]
fn required_and_ignore_are_read() {
    let rules = read("Item value = 1 [(buf.validate.field).required = true];").unwrap();
    assert_eq!(rules, FieldRules { required: true, ..FieldRules::default() });
    let rules = read(
        "string value = 1 [(buf.validate.field).string.ip = true, \
         (buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE];",
    );
    assert_eq!(rules.unwrap().ignore, Ignore::IfZero);
    let pool = compile(
        "message Request { oneof by { option (buf.validate.oneof).required = true; \
         string name = 1; } }",
    );
    let rules = Rules::read(&pool).unwrap();
    let expected =
        MessageRules { required_oneofs: ["by".to_owned()].into(), ..MessageRules::default() };
    assert_eq!(rules.messages, BTreeMap::from([("shop.v1.Request".to_owned(), expected)]));
}

#[test]
fn files_without_options_have_no_rules() {
    let mut compiler = Compiler::with_file_resolver(GoogleFileResolver::new());
    compiler.open_file("google/protobuf/timestamp.proto").unwrap();
    assert_eq!(Rules::read(&compiler.descriptor_pool()).unwrap(), Rules::default());
}

#[test]
fn other_options_are_refused_by_name() {
    for (field, option) in [
        ("string value = 1 [(buf.validate.field).string.email = true];", "string.email"),
        ("string value = 1 [(buf.validate.field).string.const = \"a\"];", "string.const"),
        ("int32 value = 1 [(buf.validate.field).int32.gt = 0];", "int32.gt"),
        ("int32 value = 1 [(buf.validate.field).int32.in = 1];", "int32.in"),
        ("uint32 value = 1 [(buf.validate.field).uint32.gte = 1];", "uint32"),
        ("bytes value = 1 [(buf.validate.field).bytes.min_len = 1];", "bytes.min_len"),
        ("Level value = 1 [(buf.validate.field).enum.in = 1];", "enum.in"),
        (
            "repeated string value = 1 [(buf.validate.field).repeated.unique = true];",
            "repeated.unique",
        ),
        ("string value = 1 [(buf.validate.field).cel = {id: \"a\", expression: \"true\"}];", "cel"),
    ] {
        let error = read(field).expect_err(field);
        assert_eq!(error.field, "shop.v1.Request.value");
        assert!(
            error.reason.starts_with(&format!("the option {option} is not supported; use ")),
            "{error}"
        );
    }
    let pool = compile(
        "message Request { option (buf.validate.message).cel = {id: \"a\", expression: \"true\"}; }",
    );
    assert_eq!(Rules::read(&pool).expect_err("cel").field, "shop.v1.Request");
}

#[test]
fn options_of_another_type_are_refused() {
    for field in [
        "int32 value = 1 [(buf.validate.field).string.len = 1];",
        "int64 value = 1 [(buf.validate.field).int32.gte = 1];",
        "string value = 1 [(buf.validate.field).repeated.min_items = 1];",
        "repeated string value = 1 [(buf.validate.field).string.len = 1];",
        "map<string, string> value = 1 [(buf.validate.field).repeated.min_items = 1];",
        "string value = 1 [(buf.validate.field).required = true];",
        "repeated Item value = 1 [(buf.validate.field).required = true];",
        "oneof by { Item value = 1 [(buf.validate.field).required = true]; }",
        "Item value = 1 [(buf.validate.field).ignore = IGNORE_ALWAYS];",
        "optional string value = 1 [(buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE];",
        "oneof by { string value = 1 [(buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE]; }",
        "repeated string value = 1 [(buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE];",
        "repeated Item value = 1 [(buf.validate.field).repeated.items.string.max_len = 5];",
        "repeated string value = 1 [(buf.validate.field).repeated.items.int32.gte = 5];",
        "map<string, int32> value = 1 [(buf.validate.field).map.keys.int32.gte = 5];",
        "map<string, int32> value = 1 [(buf.validate.field).map.values.string.len = 5];",
    ] {
        let error = read(field).expect_err(field);
        assert!(error.reason.ends_with("does not fit the field's type"), "{field}: {error}");
    }
}

#[test]
fn rules_that_no_value_meets_are_refused() {
    for field in [
        "int32 value = 1 [(buf.validate.field).int32 = {gte: 3, lte: 1}];",
        "string value = 1 [(buf.validate.field).string = {min_len: 3, max_len: 1}];",
        "repeated string value = 1 [(buf.validate.field).repeated = {min_items: 3, max_items: 1}];",
        "map<string, int32> value = 1 [(buf.validate.field).map = {min_pairs: 3, max_pairs: 1}];",
    ] {
        let error = read(field).expect_err(field);
        assert!(error.reason.ends_with("3 is above 1"), "{field}: {error}");
    }
    let error =
        read("string value = 1 [(buf.validate.field).string.min_len = 9223372036854775808];");
    assert!(error.expect_err("64 bits").reason.ends_with("is not a number of 64 bits"));
}

#[test]
fn patterns_mean_the_same_in_both_engines() {
    for (pattern, reason) in [
        ("[", "is not a regular expression"),
        (r"^\\d$", r"has \d, which RE2 and Rust read differently"),
        ("^[a-z&&b]$", "has &&, which"),
        ("^[[:alpha:]]$", "has [[, which"),
    ] {
        let field =
            format!("string value = 1 [(buf.validate.field).string.pattern = \"{pattern}\"];");
        let error = read(&field).expect_err(pattern);
        assert!(
            error.reason.starts_with("string.pattern ") && error.reason.contains(reason),
            "{error}"
        );
    }
}

#[test]
fn predefined_rules_are_refused() {
    let pool = compile_with(
        "proto2",
        "extend buf.validate.StringRules { optional bool lower = 1900 \
         [(buf.validate.predefined).cel = {id: \"lower\", expression: \"true\"}]; }\n\
         message Request { optional string value = 1 \
         [(buf.validate.field).string.(shop.v1.lower) = true]; }",
    );
    let error = Rules::read(&pool).expect_err("predefined");
    assert!(error.reason.starts_with("the option (shop.v1.lower) is not supported"), "{error}");
}

#[test]
fn absence_is_accepted_by_the_rules_of_zero() {
    for (field, accepted) in [
        ("int32 value = 1 [(buf.validate.field).int32.gte = 0];", true),
        ("int32 value = 1 [(buf.validate.field).int32.gte = 1];", false),
        ("int32 value = 1 [(buf.validate.field).int32.lte = -1];", false),
        ("string value = 1 [(buf.validate.field).string.max_len = 1];", true),
        ("string value = 1 [(buf.validate.field).string.min_len = 1];", false),
        ("string value = 1 [(buf.validate.field).string.uuid = true];", false),
        ("string value = 1 [(buf.validate.field).string.pattern = \"^[a-z]*$\"];", true),
        ("string value = 1 [(buf.validate.field).string.pattern = \"^[a-z]+$\"];", false),
        (
            "string value = 1 [(buf.validate.field).string.min_len = 1, \
             (buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE];",
            true,
        ),
        ("Level value = 1 [(buf.validate.field).enum.not_in = 0];", false),
        ("Level value = 1 [(buf.validate.field).enum.defined_only = true];", true),
        ("repeated string value = 1 [(buf.validate.field).repeated.min_items = 1];", false),
        ("map<string, int32> value = 1 [(buf.validate.field).map.max_pairs = 1];", true),
    ] {
        assert_eq!(read(field).unwrap().accept_absence(false), accepted, "{field}");
    }
    let optional = "optional string value = 1 [(buf.validate.field).string.min_len = 1];";
    assert!(read(optional).unwrap().accept_absence(true));
    let required = "Item value = 1 [(buf.validate.field).required = true];";
    assert!(!read(required).unwrap().accept_absence(true));
}

#[test]
fn checks_compare_values_with_their_bounds() {
    for (field, check) in [
        (
            "int32 a = 1 [(buf.validate.field).int32 = {gte: 0, lte: 1000}];",
            r#"violations.require("a",(0..=1000).contains(&self.a),"0to1,000");"#,
        ),
        (
            "optional int32 a = 1 [(buf.validate.field).int32.gte = 1];",
            r#"ifletSome(value)=&self.a{violations.require("a",(1..).contains(value),"atleast1");}"#,
        ),
        (
            "string a = 1 [(buf.validate.field).string = {len: 2, pattern: \"^[a-z]*$\"}];",
            r#"violations.require("a",has_length(&self.a,2..=2)&&PATTERN_1.is_match(&self.a),"2charactersof[a-z]");"#,
        ),
        (
            "string a = 1 [(buf.validate.field).string.uuid = true, \
             (buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE];",
            r#"violations.require("a",self.a.is_empty()||is_uuid(&self.a),"aUUIDinitstextformof36characters,orempty");"#,
        ),
        (
            "bytes a = 1 [(buf.validate.field).bytes.max_len = 64];",
            r#"violations.require("a",(..=64).contains(&self.a.len()),"atmost64bytes");"#,
        ),
        (
            "Level a = 1 [(buf.validate.field).enum = {defined_only: true, not_in: [0]}];",
            r#"violations.require("a",matches!(self.a,1|2),"LEVEL_LOWorLEVEL_HIGH");"#,
        ),
        (
            "Item a = 1 [(buf.validate.field).required = true];",
            r#"violations.check_message("a",self.a.as_ref(),true);"#,
        ),
        ("Item a = 1;", r#"violations.check_message("a",self.a.as_ref(),false);"#),
        (
            "google.protobuf.Timestamp a = 1;",
            r#"violations.require("a",self.a.as_ref().is_none_or(is_timestamp),"atimeintheyears0001to9999");"#,
        ),
        (
            "string type = 1 [(buf.validate.field).string.max_len = 1];",
            "has_length(&self.r#type,..=1)",
        ),
        (
            "string self = 1 [(buf.validate.field).string.max_len = 1];",
            "has_length(&self.self_,..=1)",
        ),
        (
            "oneof by { string self = 1 [(buf.validate.field).string.max_len = 1]; string _1 = 2; }",
            "super::shop::request::By::Self_(value)",
        ),
        (
            "int32 a = 1 [(buf.validate.field).int32.gte = 5, \
             (buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE];",
            r#"violations.require("a",self.a==0||(5..).contains(&self.a),"atleast5,or0");"#,
        ),
        (
            "Level a = 1 [(buf.validate.field).enum.not_in = 0];",
            r#"violations.require("a",!matches!(self.a,0),"avalueotherthanLEVEL_UNSPECIFIED");"#,
        ),
        ("map<string, string> a = 1;", "fncheck(&self,violations:&mutViolations){}"),
    ] {
        let checks = checks(field);
        assert!(checks.contains(check), "{field}\n{checks}");
    }
}

#[test]
fn items_of_too_many_are_not_checked() {
    assert!(
        checks("repeated Item a = 1 [(buf.validate.field).repeated.max_items = 2];").contains(
            r#"ifviolations.require("a",(..=2).contains(&self.a.len()),"atmost2items"){violations.check_items("a",&self.a);}"#
        )
    );
    assert!(checks("repeated Item a = 1;").contains(r#"violations.check_items("a",&self.a);"#));
    assert!(
        checks("repeated string a = 1 [(buf.validate.field).repeated.items.string.max_bytes = 4];")
            .contains(r#"self.a.iter().all(|value|value.len()<=4),"items,eachatmost4bytes""#)
    );
    let ignored =
        "repeated Item a = 1 [(buf.validate.field).repeated.items.ignore = IGNORE_ALWAYS];";
    assert!(!checks(ignored).contains("check_items"));
    let map = checks(
        "map<string, string> a = 1 [(buf.validate.field).map = \
         {min_pairs: 1, keys: {string: {max_bytes: 3}}}];",
    );
    assert!(
        map.contains(r#"self.a.keys().all(|value|value.len()<=3),"keys,eachatmost3bytes""#),
        "{map}"
    );
    assert!(!map.contains("values()"), "{map}");
}

#[test]
fn each_choice_of_a_oneof_is_checked() {
    let checks = checks(
        "oneof by { option (buf.validate.oneof).required = true; \
         string name = 1 [(buf.validate.field).string.max_bytes = 4]; Item item = 2; bool any = 3; }",
    );
    for check in [
        r#"Some(super::shop::request::By::Name(value))=>{violations.require("name",value.len()<=4,"atmost4bytes");}"#,
        r#"Some(super::shop::request::By::Item(value))=>{violations.check_message("item",Some(value),true);}"#,
        "Some(super::shop::request::By::Any(_))=>{}",
        r#"None=>{violations.require("by",false,"exactlyoneofname,itemandany");}"#,
    ] {
        assert!(checks.contains(check), "{check}\n{checks}");
    }
}

#[test]
fn only_messages_of_requests_have_checks() {
    let file = generated("Item item = 1;").unwrap();
    assert!(file.contains("super::shop::Request") && file.contains("super::shop::Item"), "{file}");
    assert!(!file.contains("Response"), "{file}");
}

#[test]
fn messages_without_a_module_are_refused() {
    let error = generated("google.protobuf.Empty a = 1;").expect_err("no module");
    assert_eq!(error.field, "google.protobuf.Empty");
    let error = generated("message Inner {} Inner a = 1;").expect_err("nested");
    assert_eq!(error.field, "shop.v1.Request.Inner");
    for field in [
        "map<string, Item> a = 1;",
        "repeated google.protobuf.Timestamp a = 1;",
        "oneof by { google.protobuf.Timestamp a = 1; }",
    ] {
        let error = generated(field).expect_err(field);
        assert_eq!(error.field, "shop.v1.Request.a");
        assert!(error.reason.contains("is not supported in requests"), "{error}");
    }
}

/// `proto/buf/validate/validate.proto` is the file of a release, unchanged.
#[test]
fn copy_of_protovalidate_is_version_1_2_2() {
    const VERSION_1_2_2: &str = "a1dc1163ebac930b3b070655b91f2bc78df8b4aea940021661fe5ec7904a7b88";
    let file = fs::read(Path::new(PROTO).join("buf/validate/validate.proto")).unwrap();
    let sum: String = Sha256::digest(file).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sum, VERSION_1_2_2, "for another release, change this sum and the test's name");
}
