//! The documentation's links, anchors, shell snippets, commands and settings.

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
    };
    let (mut heading, mut block) = (None::<String>, None::<(String, String)>);
    for event in Parser::new_ext(&text, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push(dest_url.into_string());
            }
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
                page.code.push(code.into_string());
            }
            Event::Text(text) => match (&mut block, &mut heading) {
                (Some((_, code)), _) => code.push_str(&text),
                (None, Some(heading)) => heading.push_str(&text),
                (None, None) => {}
            },
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
    Regex::new(pattern).unwrap().captures_iter(text).map(|found| found[1].to_owned()).collect()
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
