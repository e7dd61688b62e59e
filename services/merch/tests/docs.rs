//! The documentation's links, anchors, shell snippets, commands and settings, and its pictures of
//! crates and modules.

#![allow(clippy::unwrap_used, reason = "a panic names the line, and that is enough in a test")]
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use regex::Regex;

struct Page {
    path: PathBuf,
    links: Vec<String>,
    /// The anchors that GitHub and mdBook derive from the headings.
    anchors: BTreeSet<String>,
    snippets: Vec<String>,
    /// Code spans, and the lines of code blocks in `sh` and in no language.
    code: Vec<String>,
    /// Links to source files, each with a code span that follows: ``[a.rs](a.rs), `function` ``.
    items: Vec<(String, String)>,
}

static PAGES: LazyLock<Vec<Page>> = LazyLock::new(|| {
    let mut files = Vec::new();
    collect(root(), &mut |path| path.extension().is_some_and(|it| it == "md"), &mut files);
    let pages: Vec<_> = files.into_iter().map(|path| read(&path)).collect();
    assert!(pages.iter().any(|page| page.path.ends_with("docs/settings.md")), "pages were found");
    pages
});

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("services/merch is in it")
}

/// Collects the wanted files of a directory, without generated ones.
fn collect(dir: &Path, wanted: &mut impl FnMut(&Path) -> bool, files: &mut Vec<PathBuf>) {
    const GENERATED: [&str; 5] = [".git", "target", "node_modules", "merch-data", "__pycache__"];
    let mut entries: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_symlink() || GENERATED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            collect(&path, wanted, files);
        } else if wanted(&path) {
            files.push(path);
        }
    }
}

fn read(path: &Path) -> Page {
    let text = fs::read_to_string(path).unwrap();
    let mut page = Page {
        path: path.strip_prefix(root()).unwrap().to_owned(),
        links: vec![],
        anchors: BTreeSet::new(),
        snippets: vec![],
        code: vec![],
        items: vec![],
    };
    let separators = Regex::new("^(,|;|:| and| or|[ ])*$").unwrap();
    // The source file that code spans belong to, and the last one.
    let (mut source, mut last_source, mut in_link) = (None::<String>, None, false);
    let (mut heading, mut block) = (None::<String>, None::<(String, String)>);
    for event in Parser::new_ext(&text, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                source = dest_url.ends_with(".rs").then(|| dest_url.to_string());
                last_source = source.clone().or(last_source);
                in_link = true;
                page.links.push(dest_url.into_string());
            }
            Event::End(TagEnd::Link) => in_link = false,
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let anchor = anchor(&heading.take().unwrap());
                let mut unique = anchor.clone();
                let mut number = 0;
                while !page.anchors.insert(unique.clone()) {
                    number += 1;
                    unique = format!("{anchor}-{number}");
                }
            }
            Event::Start(Tag::CodeBlock(kind)) => {
                let language = match kind {
                    CodeBlockKind::Fenced(language) => language.into_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                block = Some((language, String::new()));
            }
            Event::End(TagEnd::CodeBlock) => {
                let (language, code) = block.take().unwrap();
                if language == "sh" || language.is_empty() {
                    page.code.extend(code.replace("\\\n", " ").lines().map(str::to_owned));
                }
                if language == "sh" {
                    page.snippets.push(code);
                }
            }
            Event::Code(code) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&code);
                }
                if let Some(source) = source.clone().filter(|_| !in_link) {
                    page.items.push((source, code.to_string()));
                }
                page.code.push(code.into_string());
            }
            Event::Text(text) => {
                if text.starts_with("the same,") {
                    source.clone_from(&last_source);
                } else if !in_link && !separators.is_match(&text) {
                    source = None;
                }
                match (&mut block, &mut heading) {
                    (Some((_, code)), _) => code.push_str(&text),
                    (None, Some(heading)) => heading.push_str(&text),
                    (None, None) => {}
                }
            }
            Event::End(TagEnd::TableCell | TagEnd::Paragraph | TagEnd::Item) => source = None,
            Event::InlineHtml(html) | Event::Html(html) => {
                page.anchors.extend(captures(r#"\bid="([^"]+)""#, &html));
                page.links.extend(captures(r#"\b(?:src|href)="([^"]+)""#, &html));
            }
            _ => {}
        }
    }
    page
}

fn captures(pattern: &str, text: &str) -> Vec<String> {
    first_groups(&Regex::new(pattern).unwrap(), text)
}

fn first_groups(pattern: &Regex, text: &str) -> Vec<String> {
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter_map(|character| match character {
            ' ' => Some('-'),
            '-' | '_' => Some(character),
            _ => character.is_alphanumeric().then(|| character.to_ascii_lowercase()),
        })
        .collect()
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Pages name a function after the link to its file.
#[test]
fn named_items_are_in_the_linked_files() {
    let (mut faults, mut checked) = (Vec::new(), 0);
    let declaration = Regex::new(r"\b(?:fn|const|static|struct|enum|trait|mod) +(\w+)").unwrap();
    for page in PAGES.iter().filter(|page| page.path.starts_with("docs")) {
        for (link, item) in &page.items {
            let name = item.rsplit("::").next().unwrap();
            let is_name =
                name.chars().all(|character| character.is_alphanumeric() || character == '_');
            // The macro of the crate `simulator` declares it.
            if name == "promises_hold" || !is_name {
                continue;
            }
            checked += 1;
            let file = root().join(page.path.parent().unwrap()).join(link);
            let text = fs::read_to_string(&file).unwrap();
            if !declaration.captures_iter(&text).any(|declared| &declared[1] == name) {
                faults.push(format!("{}: {link} has no {name}", page.path.display()));
            }
        }
    }
    assert!(checked > 100, "only {checked} items were found");
    assert_none(&faults);
}

#[test]
fn links_lead_to_files_and_headings() {
    let anchors: BTreeMap<_, _> = PAGES.iter().map(|page| (&*page.path, &page.anchors)).collect();
    let mut faults = Vec::new();
    for page in &*PAGES {
        for link in &page.links {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.path.clone()
            } else {
                normal(&page.path.parent().unwrap().join(file))
            };
            let fault = if !root().join(&target).exists() {
                "there is no such file"
            } else if !fragment.is_empty()
                && anchors.get(&*target).is_some_and(|anchors| !anchors.contains(fragment))
            {
                "there is no such heading"
            } else {
                continue;
            };
            faults.push(format!("{}: {link}: {fault}", page.path.display()));
        }
    }
    assert_none(&faults);
}

/// Resolves `..` and `.` without links.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => assert!(normal.pop(), "{}", path.display()),
            std::path::Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

#[test]
fn the_table_of_contents_has_every_page() {
    let summary =
        PAGES.iter().find(|page| page.path == Path::new("docs/SUMMARY.md")).expect("mdBook's file");
    let listed: BTreeSet<_> =
        summary.links.iter().map(|link| normal(&Path::new("docs").join(link))).collect();
    let faults: Vec<_> = PAGES
        .iter()
        .map(|page| &page.path)
        .filter(|path| path.starts_with("docs") && **path != summary.path)
        .filter(|path| !listed.contains(*path))
        .map(|path| format!("docs/SUMMARY.md does not list {}", path.display()))
        .collect();
    assert_none(&faults);
}

#[test]
fn shell_snippets_parse() {
    let mut faults = Vec::new();
    for page in &*PAGES {
        for snippet in &page.snippets {
            let mut bash = Command::new("bash")
                .arg("-n")
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            bash.stdin.take().unwrap().write_all(snippet.as_bytes()).unwrap();
            let output = bash.wait_with_output().unwrap();
            if !output.status.success() {
                let error = String::from_utf8_lossy(&output.stderr);
                faults.push(format!("{}: {error}\n{snippet}", page.path.display()));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn make_targets_exist() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let targets: BTreeSet<_> = captures(r"(?m)^([a-z-]+):", &makefile).into_iter().collect();
    let mut faults = Vec::new();
    for page in &*PAGES {
        for code in &page.code {
            for target in captures(r"^(?:[A-Z_]+=\S+ )*make ([a-z-]+)", code) {
                if !targets.contains(&target) {
                    faults.push(format!("{}: make {target}", page.path.display()));
                }
            }
        }
    }
    assert_none(&faults);
}

/// Subcommands and long options, from `--help`.
fn help(path: &[String]) -> (BTreeSet<String>, BTreeSet<String>) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_merch")).args(path).arg("--help").output().unwrap();
    assert!(output.status.success(), "merch {} --help", path.join(" "));
    let text = String::from_utf8(output.stdout).unwrap();
    let commands = text.split("\nCommands:\n").nth(1).map_or_else(BTreeSet::new, |commands| {
        let commands = commands.split("\n\n").next().unwrap();
        captures(r"(?m)^  ([a-z][a-z-]*)(?: |$)", commands).into_iter().collect()
    });
    let options = captures(r"(?m)^ +(?:-\w, )?--([a-z][a-z-]*)", &text).into_iter().collect();
    (commands, options)
}

#[test]
fn commands_of_merch_and_their_options_exist() {
    let mut known = BTreeMap::new();
    let mut faults = Vec::new();
    let start = Regex::new(
        r"^(?:[A-Z_]+=\S+ )*(?:cargo run --release -- |target/release/merch |merch )(.*)$",
    )
    .unwrap();
    for page in &*PAGES {
        for code in &page.code {
            let Some(found) = start.captures(code) else { continue };
            let command = found[1].split(['|', '>', '#', ';', '&']).next().unwrap();
            let mut path = Vec::<String>::new();
            let mut has_operand = false;
            for word in command.split_whitespace() {
                let (commands, options): &(_, _) =
                    known.entry(path.clone()).or_insert_with(|| help(&path));
                if let Some(option) = word.strip_prefix("--") {
                    let name = option.split('=').next().unwrap();
                    has_operand = true; // the option's value, perhaps
                    if !name.is_empty() && !options.contains(name) {
                        faults.push(format!("{}: {code}: --{name}", page.path.display()));
                    }
                } else if commands.contains(word) {
                    path.push(word.to_owned());
                } else if path.is_empty() && !has_operand && word.starts_with(char::is_lowercase) {
                    faults.push(format!("{}: {code}: {word}", page.path.display()));
                } else {
                    has_operand = true;
                }
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn settings_exist() {
    let mut sources = Vec::new();
    let is_source = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy();
        !name.ends_with(".md") && !name.ends_with(".png") && !name.ends_with(".lock")
    };
    collect(root(), &mut |path| is_source(path), &mut sources);
    let mut known = BTreeSet::new();
    for source in sources {
        if let Ok(text) = fs::read_to_string(source) {
            known.extend(captures(r"\b(MERCH_[A-Z_]*[A-Z])\b", &text));
        }
    }
    let mut faults = Vec::new();
    for page in &*PAGES {
        for code in &page.code {
            for name in captures(r"\b(MERCH_[A-Z_]*[A-Z])\b", code) {
                // Any secret can be in a file.
                let of_file = name.strip_suffix("_FILE").unwrap_or(&name);
                if !known.contains(&name) && !known.contains(of_file) {
                    faults.push(format!("{}: {name}", page.path.display()));
                }
            }
        }
    }
    assert_none(&faults);
}

/// Names, each with the names that it depends on.
type Dependencies = BTreeMap<String, BTreeSet<String>>;

fn reachable<'d>(dependencies: &'d Dependencies, from: &str) -> BTreeSet<&'d str> {
    let mut found = BTreeSet::new();
    let mut waiting: Vec<&str> = dependencies[from].iter().map(String::as_str).collect();
    while let Some(next) = waiting.pop() {
        if found.insert(next) {
            waiting.extend(dependencies[next].iter().map(String::as_str));
        }
    }
    found
}

/// The crates of the workspace.
struct Workspace {
    /// Each crate's directory in the repository.
    directories: BTreeMap<String, PathBuf>,
    normal: Dependencies,
    build: Dependencies,
}

static WORKSPACE: LazyLock<Workspace> = LazyLock::new(|| {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let directories: BTreeMap<_, _> = packages
        .iter()
        .map(|package| {
            let directory = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
            (package["name"].as_str().unwrap().to_owned(), directory.to_owned())
        })
        .collect();
    let of_kind = |kind: Option<&str>| -> Dependencies {
        let of = |package: &serde_json::Value| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            dependencies
                .filter(|dependency| dependency["kind"].as_str() == kind)
                .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                .filter(|name| directories.contains_key(name))
                .collect()
        };
        packages
            .iter()
            .map(|package| (package["name"].as_str().unwrap().to_owned(), of(package)))
            .collect()
    };
    let (normal, build) = (of_kind(None), of_kind(Some("build")));
    Workspace { directories, normal, build }
});

/// Returns the text below a heading of docs/architecture.md.
fn architecture(heading: &str) -> String {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (_, section) = text
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("docs/architecture.md has no heading {heading:?}"));
    section.split("\n## ").next().unwrap().to_owned()
}

#[test]
fn picture_of_the_crates_agrees_with_cargo() {
    let Workspace { directories, normal, build } = &*WORKSPACE;
    let mut expected = BTreeSet::new();
    for (name, dependencies) in normal {
        for dependency in dependencies {
            let is_implied = dependencies
                .iter()
                .any(|other| reachable(normal, other).contains(dependency.as_str()));
            if !is_implied {
                expected.insert(format!("{name} --> {dependency}"));
            }
        }
    }
    for (name, dependencies) in build {
        let arrow = |dependency| format!("{name} -.-> {dependency}");
        expected.extend(dependencies.iter().map(arrow));
    }
    let picture = architecture("The crates");
    let drawn: BTreeSet<_> =
        captures(r"(?m)^ +(\S+ (?:-->|-\.->) \S+)$", &picture).into_iter().collect();
    let crates: BTreeSet<_> =
        captures(r#"(?m)^ +(\S+)\[".+<br/>.+"\]$"#, &picture).into_iter().collect();

    let page = "docs/architecture.md, The crates";
    let mut faults = Vec::new();
    for name in directories.keys().filter(|name| !crates.contains(*name)) {
        faults.push(format!("{page}: add the crate: {name}[\"{name}<br/>its purpose\"]"));
    }
    for name in crates.iter().filter(|name| !directories.contains_key(*name)) {
        faults.push(format!("{page}: remove {name}, which is no crate of the workspace"));
    }
    for arrow in expected.difference(&drawn) {
        faults.push(format!("{page}: add the dependency: {arrow}"));
    }
    for arrow in drawn.difference(&expected) {
        faults.push(format!(
            "{page}: remove {arrow}: there is no such dependency, or other arrows imply it"
        ));
    }
    assert_none(&faults);
}

/// The modules at the top of a crate, each with those that its code uses. Tests do not count.
fn modules(source: &Path) -> Dependencies {
    let top = ["lib.rs", "main.rs"]
        .map(|file| fs::read_to_string(source.join(file)).unwrap_or_default())
        .concat();
    let names: BTreeSet<_> = captures(r"(?m)^(?:pub )?mod (\w+);", &top).into_iter().collect();
    let mut exports = BTreeMap::new();
    let export = Regex::new(r"(?m)^pub use (\w+)::([^;]*);").unwrap();
    for found in export.captures_iter(&top).filter(|found| names.contains(&found[1])) {
        for item in captures(r"(\w+)", &found[2]) {
            exports.insert(item, found[1].to_owned());
        }
    }
    let [tests, comment, path, group, inner_group, item] = [
        r"(?ms)^#\[cfg\([^\n]*\btest\b[^\n]*\)\]\n(?:#[^\n]*\n)*mod tests\b.*",
        r"(?m)^\s*//.*$",
        r"\bcrate::(\w+)",
        r"(?s)\bcrate::\{(.*?)\};",
        r"\{[^{}]*\}",
        r"(?:^|,)\s*(\w+)",
    ]
    .map(|pattern| Regex::new(pattern).unwrap());
    let mut modules = Dependencies::new();
    for name in &names {
        let (file, directory) = (source.join(format!("{name}.rs")), source.join(name));
        let is_code = |path: &Path| {
            (path == file || path.starts_with(&directory))
                && path.extension().is_some_and(|it| it == "rs")
                && !path.ends_with("tests.rs")
        };
        let mut files = Vec::new();
        collect(source, &mut |path| is_code(path), &mut files);
        let mut used = Vec::new();
        for file in files {
            let text = fs::read_to_string(file).unwrap();
            let text = comment.replace_all(&tests.replace(&text, ""), "").into_owned();
            used.extend(first_groups(&path, &text));
            for mut items in first_groups(&group, &text) {
                while inner_group.is_match(&items) {
                    items = inner_group.replace_all(&items, "").into_owned();
                }
                used.extend(first_groups(&item, &items));
            }
        }
        let used = used
            .into_iter()
            .filter_map(|item| names.get(&item).or_else(|| exports.get(&item)))
            .filter(|module| *module != name)
            .cloned()
            .collect();
        modules.insert(name.clone(), used);
    }
    modules
}

#[test]
fn modules_of_a_crate_have_no_circles() {
    let mut faults = Vec::new();
    let mut count = 0;
    for (name, directory) in &WORKSPACE.directories {
        let modules = modules(&directory.join("src"));
        count += modules.len();
        let circular: Vec<_> = modules
            .keys()
            .filter(|module| reachable(&modules, module).contains(module.as_str()))
            .map(String::as_str)
            .collect();
        if !circular.is_empty() {
            faults.push(format!(
                "{name}: the modules {} use each other; move what they share to a lower one",
                circular.join(", ")
            ));
        }
    }
    assert!(count > 100, "modules were found: {count}");
    assert_none(&faults);
}

#[test]
fn modules_of_the_services_are_listed_in_their_order() {
    let page = "docs/architecture.md, The modules of the services";
    let section = architecture("The modules of the services");
    let row = Regex::new(r"(?m)^\| `(services/\w+)` \| (.*) \|$").unwrap();
    let mut faults = Vec::new();
    let mut rows = 0;
    for found in row.captures_iter(&section) {
        rows += 1;
        let service = &found[1];
        let listed = captures(r"`(\w+)`", &found[2]);
        let modules = modules(&root().join(service).join("src"));
        let place = |module: &str| listed.iter().position(|it| it == module);
        for module in listed.iter().filter(|module| !modules.contains_key(*module)) {
            faults.push(format!("{page}: {service}: remove {module}, which is no module"));
        }
        for (module, used) in &modules {
            let Some(at) = place(module) else {
                faults.push(format!("{page}: {service}: add the module {module}"));
                continue;
            };
            for used in used {
                if place(used).is_some_and(|place| place < at) {
                    faults.push(format!(
                        "{page}: {service}: {module} uses {used}: move {module} before it"
                    ));
                }
            }
        }
    }
    assert_eq!(rows, 4, "rows of services");
    assert_none(&faults);
}
