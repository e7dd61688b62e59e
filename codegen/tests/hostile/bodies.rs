//! Bodies of the maximum length.

use super::fill;

/// Returns a body of each shape with its name. `members` are those of the operation.
pub fn all(members: &[&str], length: usize) -> Vec<(String, Vec<u8>)> {
    let mut bodies: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |what: String, body: String| bodies.push((what, body.into_bytes()));
    let object = |members: String| format!("{{{members}}}");
    let room = length - 2;

    let keys: [(&str, &dyn Fn(usize) -> String); 7] = [
        ("an empty key", &|_| String::new()),
        ("short keys", &|index| format!("{index:x}")),
        ("a key of tildes", &|_| "~".repeat(40)),
        ("keys of NULs", &|index| format!("{}{index}", "\\u0000".repeat(50))),
        ("keys of quotes", &|index| format!("{}{index}", "\\\"".repeat(300))),
        ("long keys", &|index| format!("{index}{}", "/".repeat(8000))),
        ("wide keys", &|index| format!("{}{index}", "😀".repeat(60))),
    ];
    for (what, key) in keys {
        for value in ["1", "{}", "[]", "\"\"", "null", "{\"\":1,\"\":1}"] {
            let all = fill(room, ",", |index| format!("\"{}\":{value}", key(index)));
            add(format!("members with {what} and {value}"), object(all));
        }
    }

    // A known attack: repeated members below a long key.
    for (name, key) in [("tildes", "~"), ("slashes", "/"), ("quotes", "\\\""), ("NULs", "\\u0000")]
    {
        for share in [2, 4, 8] {
            let key = key.repeat(length / share / key.len());
            let below = fill(room - key.len() - 5, ",", |_| "\"\":1".to_owned());
            let body = object(format!("\"{key}\":{{{below}}}"));
            add(format!("repeated members below 1/{share} of {name}"), body);
        }
    }

    for item in
        ["0", "[]", "{}", "\"\"", "null", "-1", "{\"\":0}", "{\"\":{\"\":0}}", "[[[]]]", "1.5"]
    {
        let items = fill(room, ",", |_| item.to_owned());
        add(format!("an array of {item}"), format!("[{items}]"));
        for member in members {
            let items = fill(room - member.len() - 5, ",", |_| item.to_owned());
            add(format!("`{member}` is an array of {item}"), format!("{{\"{member}\":[{items}]}}"));
        }
    }

    for (open, close) in [("[", "]"), ("{\"\":", "}"), ("{\"~\":[", "]}")] {
        for depth in [30, 31, 32, 63, 64, 65, 1000, length / (open.len() + close.len()) - 1] {
            if depth * (open.len() + close.len()) < length {
                let body = format!("{}0{}", open.repeat(depth), close.repeat(depth));
                add(format!("{depth} levels of {open}"), body);
            }
        }
        add(format!("{open} without an end"), open.repeat(length / open.len()));
    }
    let deep = 60;
    let long = "k".repeat(length / 2 / deep);
    let below = fill(length / 3, ",", |_| "\"\":1".to_owned());
    let body = format!("{}{{{below}}}{}", format!("{{\"{long}\":").repeat(deep), "}".repeat(deep));
    add("repeated members below deep and long keys".to_owned(), body);
    let below = fill(length / 3, ",", |_| "1".to_owned());
    let body = format!("{}[{below}]{}", format!("{{\"{long}\":").repeat(deep), "}".repeat(deep));
    add("an array below deep and long keys".to_owned(), body);

    for member in members {
        let room = room - member.len() - 6;
        for (what, value) in [
            ("long", "a".repeat(room)),
            ("of escapes", "\\u0000".repeat(room / 6)),
            ("of pairs of surrogates", "\\ud83d\\ude00".repeat(room / 12)),
            ("of letters of two bytes", "ä".repeat(room / 2)),
            ("of at signs", "@".repeat(room)),
            ("of dots", "a.".repeat(room / 2)),
        ] {
            add(format!("`{member}` is {what}"), format!("{{\"{member}\":\"{value}\"}}"));
        }
        let value = "9".repeat(room);
        add(format!("`{member}` is a long number"), format!("{{\"{member}\":{value}}}"));
        let all = fill(room, ",", |index| format!("\"{member}\":{index}"));
        add(format!("repeated `{member}`"), object(all));
        let escaped: String = member.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        let all = fill(room, ",", |_| format!("\"{escaped}\":\"\""));
        add(format!("repeated `{member}` in escapes"), object(all));
        let below = fill(room, ",", |index| format!("\"{index:x}\":{{}}"));
        add(format!("`{member}` is an object"), format!("{{\"{member}\":{{{below}}}}}"));
    }
    let all = fill(room, ",", |index| format!("\"{}\":[{index}]", members[index % members.len()]));
    add("all members repeated".to_owned(), object(all));

    add("spaces".to_owned(), " ".repeat(length));
    add("no JSON".to_owned(), "x".repeat(length));
    add("a long number".to_owned(), "1".repeat(length));
    add("a long fraction".to_owned(), format!("0.{}", "0".repeat(length - 2)));
    add("a long exponent".to_owned(), format!("1e{}", "9".repeat(length - 2)));
    add("a text without an end".to_owned(), format!("\"{}", "\\\\".repeat(length / 2 - 1)));
    add("more than is read".to_owned(), " ".repeat(length + 1));
    bodies.push(("not UTF-8 in the end".to_owned(), [vec![b' '; length - 1], vec![0xff]].concat()));
    bodies
}
