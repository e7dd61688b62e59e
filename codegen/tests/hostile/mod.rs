//! Requests that cost a server more than their sender: a corpus and random requests, for the
//! operations that a document declares.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

mod bodies;
mod random;

pub use random::Random;

/// An operation, as the document shows it to an attacker.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub method: &'static str,
    /// A valid path; the parts in braces may be replaced.
    pub path: &'static str,
    pub members: &'static [&'static str],
    pub query: &'static [&'static str],
    pub headers: &'static [&'static str],
}

impl Operation {
    /// Returns the path with each `{…}` replaced.
    fn path_with(&self, value: &str) -> String {
        let mut path = String::new();
        for (index, part) in self.path.split(['{', '}']).enumerate() {
            path.push_str(if index % 2 == 1 { value } else { part });
        }
        path
    }

    fn good_path(&self) -> String {
        self.path.replace(['{', '}'], "")
    }
}

/// The server's limits, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub body: usize,
    /// The request line and headers together.
    pub head: usize,
}

/// A request to send unchanged.
#[derive(Clone, Debug)]
pub struct Hostile {
    pub what: String,
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Hostile {
    fn new(operation: &Operation, what: &str) -> Self {
        Self {
            what: format!("{} {}: {what}", operation.method, operation.path),
            method: operation.method.to_owned(),
            target: operation.good_path(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn target(mut self, target: impl Into<String>) -> Self {
        self.target = target.into();
        self
    }

    fn method(mut self, method: impl Into<String>) -> Self {
        self.method = method.into();
        self
    }

    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }
}

/// Joins `piece(0)`, `piece(1)`, … up to `length` bytes.
fn fill(length: usize, separator: &str, piece: impl Fn(usize) -> String) -> String {
    let mut filled = String::new();
    for index in 0.. {
        let piece = piece(index);
        if filled.len() + separator.len() + piece.len() > length {
            break;
        }
        if index > 0 {
            filled.push_str(separator);
        }
        filled.push_str(&piece);
    }
    filled
}

/// Returns each shape for each operation, at the server's limits.
pub fn corpus(operations: &[Operation], bounds: Bounds) -> Vec<Hostile> {
    let mut corpus = Vec::new();
    for operation in operations {
        if !operation.members.is_empty() {
            for (what, body) in bodies::all(operation.members, bounds.body) {
                corpus.push(Hostile::new(operation, &what).body(body));
            }
        }
        corpus.extend(queries(operation, bounds.head));
        corpus.extend(headers(operation, bounds.head));
        corpus.extend(paths(operation, bounds.head));
        for length in [20, 1000, bounds.head / 2] {
            let what = format!("a method of {length} bytes");
            corpus.push(Hostile::new(operation, &what).method("M".repeat(length)));
        }
        corpus.push(Hostile::new(operation, "another method").method("OPTIONS"));
    }
    corpus
}

/// Returns the bytes left for the attacked part of the head.
fn room(head: usize) -> usize {
    head - 1024
}

fn queries(operation: &Operation, head: usize) -> Vec<Hostile> {
    let room = room(head);
    let path = operation.good_path();
    let mut queries = vec![
        ("many short names", fill(room, "&", |index| format!("{index:x}"))),
        ("one repeated name", fill(room, "&", |_| "a".to_owned())),
        ("many names of NULs", fill(room, "&", |index| format!("%00{index:x}=1"))),
        ("many names that are not UTF-8", fill(room, "&", |index| format!("%ff{index:x}"))),
        ("many broken escapes", fill(room, "&", |index| format!("%{index:x}%z"))),
        ("a long name", "n".repeat(room)),
        ("a long name of escapes", "%7E".repeat(room / 3)),
        ("many long names", fill(room, "&", |index| format!("{index}{}", "%22".repeat(200)))),
        ("ampersands", "&".repeat(room)),
        ("equals signs", "=".repeat(room)),
        ("pluses", "+&".repeat(room / 2)),
        ("percents", "%".repeat(room)),
    ];
    let known: Vec<(&str, String)> = operation
        .query
        .iter()
        .flat_map(|name| {
            [
                ("a repeated parameter", fill(room, "&", |index| format!("{name}={index}"))),
                ("a long value", format!("{name}={}", "1".repeat(room - name.len() - 1))),
                ("a long value of escapes", format!("{name}={}", "%00".repeat(room / 3 - 20))),
                ("a value of brackets", format!("{name}={}", "[".repeat(room - name.len() - 1))),
            ]
        })
        .collect();
    queries.extend(known);
    let request = |(what, query)| {
        Hostile::new(operation, &format!("a query of {what}")).target(format!("{path}?{query}"))
    };
    queries.into_iter().map(request).collect()
}

fn headers(operation: &Operation, head: usize) -> Vec<Hostile> {
    let room = room(head);
    let mut requests = Vec::new();
    let mut many = Hostile::new(operation, "many headers");
    let mut cookies = Hostile::new(operation, "many cookies");
    for index in 0..200 {
        many = many.header(&format!("x-{index}"), "v".repeat(room / 200 - 12));
        cookies = cookies.header("cookie", "a=b; ".repeat(room / 200 / 5 - 3));
    }
    requests.extend([many, cookies]);
    let names =
        ["authorization", "content-type", "content-encoding", "x-request-id", "traceparent"]
            .into_iter()
            .chain([
                "x-forwarded-for",
                "cookie",
                "accept",
                "user-agent",
                "origin",
                "forwarded",
                "range",
            ])
            .chain(operation.headers.iter().copied());
    for name in names {
        for (what, value) in [
            ("long", "x".repeat(room)),
            ("long, of quotes", "\"".repeat(room)),
            ("of commas", ",".repeat(room)),
            ("of empty tags", fill(room, ",", |_| "\"\"".to_owned())),
            ("of tags", fill(room, ", ", |index| format!("\"{index}\""))),
            ("of addresses", fill(room, ", ", |_| "::1".to_owned())),
            ("a token", format!("Bearer {}", "e".repeat(room - 10))),
            // JWT headers with thousands of empty strings.
            ("a token of certificates", signed("eyJhbGciOiJIUzI1NiIsIng1YyI6WyAg", room - 10)),
            ("a token of extensions", signed("eyJhbGciOiJIUzI1NiIsImNyaXQiOlsg", room - 10)),
            ("a token of dots", format!("Bearer {}", ".".repeat(room - 10))),
            ("a token of equals signs", format!("Bearer {}", "=".repeat(room - 10))),
        ] {
            let what = format!("a header {name} {what}");
            requests.push(Hostile::new(operation, &what).header(name, value));
        }
        let mut repeated = Hostile::new(operation, &format!("a repeated header {name}"));
        for index in 0..200 {
            repeated = repeated.header(name, format!("\"{index}\""));
        }
        requests.push(repeated);
    }
    requests
}

/// Returns a token of about `length` bytes: Base64 of an object up to `[`, empty strings, and its
/// end.
fn signed(begin: &str, length: usize) -> String {
    format!("Bearer {begin}{}IiJdfQ.e30.c2ln", "IiIs".repeat((length - 100) / 4))
}

fn paths(operation: &Operation, head: usize) -> Vec<Hostile> {
    let room = room(head);
    let good = operation.good_path();
    let mut paths = vec![
        ("a long path".to_owned(), format!("/{}", "p".repeat(room))),
        ("a path over the limit of the head".to_owned(), format!("/{}", "p".repeat(head * 3))),
        ("slashes".to_owned(), "/".repeat(room)),
        ("NULs".to_owned(), format!("/{}", "%00".repeat(room / 3))),
        ("broken escapes".to_owned(), format!("/{}", "%".repeat(room))),
        ("dots".to_owned(), "/..".repeat(room / 3)),
        ("quotes".to_owned(), format!("/{}", "\"".repeat(room))),
        ("the path with more segments".to_owned(), format!("{good}/{}", "a/".repeat(room / 2))),
    ];
    if operation.path.contains('{') {
        for (what, value) in [
            ("long", "1".repeat(room / 2)),
            ("of NULs", "%00".repeat(room / 6)),
            ("of quotes", "%22".repeat(room / 6)),
            ("of broken escapes", "%".repeat(room / 2)),
            ("that is not UTF-8", "%ff".repeat(room / 6)),
        ] {
            paths.push((format!("a segment {what}"), operation.path_with(&value)));
        }
    }
    let request = |(what, path): (String, String)| Hostile::new(operation, &what).target(path);
    paths.into_iter().map(request).collect()
}
