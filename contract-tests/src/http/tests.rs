//! URLs, `Location` and curl commands.

use std::process::Command;

use super::*;

fn request(method: &str, headers: &[(&str, &[u8])], body: Option<&[u8]>) -> Request {
    Request {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        path: "/orders?limit=1".to_owned(),
        url: "http://127.0.0.1:1/orders?limit=1".to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| {
                (HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value).unwrap())
            })
            .collect(),
        body: body.map(Bytes::copy_from_slice),
    }
}

/// The arguments and the standard input that bash passes to `curl`.
fn pasted(command: &str) -> (Vec<String>, Vec<u8>) {
    // A shell function that prints its arguments.
    let script = format!(
        "curl() {{ printf '%s\\0' \"$@\"; printf '\\1'; if [ \"${{!#}}\" = @- ]; then cat; fi; }}\n\
         {command}\n"
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let at = output.stdout.iter().position(|byte| *byte == 1).unwrap();
    let arguments = output.stdout[..at]
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned());
    let mut arguments: Vec<String> = arguments.collect();
    arguments.pop();
    (arguments, output.stdout[at + 1..].to_vec())
}

#[test]
fn curl_has_one_line_per_header() {
    let (arguments, input) = pasted(
        &request("GET", &[("authorization", b"Bearer it's"), ("x-empty", b"")], None).curl(),
    );
    let expected = [
        "-sS",
        "-i",
        "--globoff",
        "http://127.0.0.1:1/orders?limit=1",
        "-H",
        "authorization: Bearer it's",
        "-H",
        "x-empty;",
    ];
    assert_eq!(arguments, expected);
    assert!(input.is_empty());
    assert!(pasted(&request("HEAD", &[], None).curl()).0.contains(&"--head".to_owned()));
    let delete = pasted(&request("DELETE", &[], None).curl()).0;
    assert_eq!(delete[3..5], ["-X", "DELETE"]);
}

#[test]
fn bodies_survive_the_shell() {
    let json = [("content-type", &b"application/json"[..])];
    for body in
        [&br#"{"a":"it's \"$HOME\" `date` \\"}"#[..], b"line\nbreak", b"", "汉字".as_bytes()]
    {
        let (arguments, _) = pasted(&request("POST", &json, Some(body)).curl());
        let at = arguments.iter().position(|argument| argument == "--data-binary").unwrap();
        assert_eq!(arguments[at + 1].as_bytes(), body);
    }
    for body in [
        b"@file".to_vec(),
        b"a\0b".to_vec(),
        vec![b'x'; 70_000],
        [b"{\"a\":\"", &[b'y'; 66_000][..], b"'\"}"].concat(),
    ] {
        let command = request("POST", &json, Some(&body)).curl();
        assert!(command.len() < 1_000, "{command}");
        let (arguments, input) = pasted(&command);
        assert_eq!(arguments.last().unwrap(), "@-");
        assert!(input == body, "{command}");
    }
}

#[test]
fn binary_bytes_are_escaped() {
    let (arguments, _) = pasted(&request("GET", &[("x-raw", b"\xff'\\")], None).curl());
    assert!(
        request("GET", &[("x-raw", b"\xff'\\")], None).curl().contains(r"$'x-raw: \xff\'\\'"),
        "{arguments:?}"
    );
    let command = request("POST", &[], Some(b"\xc3\x28")).curl();
    assert!(
        command.contains(r"--data-binary $'\xc3('") && command.contains("-H 'Content-Type:'"),
        "{command}"
    );
}

#[test]
fn long_bodies_are_read_from_a_file() {
    let body: Vec<u8> = (0..20_000_u32).flat_map(u32::to_be_bytes).map(|byte| byte | 1).collect();
    let command = request("POST", &[], Some(&body)).curl();
    assert!(
        command.contains(
            "--data-binary @body\n# first write the 80000 bytes that were sent to the file `body`"
        ),
        "{command}"
    );
}

#[test]
fn control_characters_are_escaped() {
    let received = RawResponse {
        status: 404,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"a\x1b[2J\0\r\n\xff"),
    };
    assert_eq!(received.raw(), "HTTP/1.1 404 Not Found\n\na\\u{1b}[2J\\u{0}\\u{d}\n\u{FFFD}");
    let long = RawResponse {
        status: 200,
        headers: HeaderMap::new(),
        body: vec![b'x'; MAX_SHOWN + 5].into(),
    };
    assert!(long.raw().ends_with("x\n… and 5 more bytes"));
}

#[test]
fn locations_resolve_with_or_without_the_prefix() {
    for (base, location, path) in [
        ("http://h:1", "/orders/1", Ok("/orders/1")),
        ("http://h:1", "http://h:1/orders/1?x=y", Ok("/orders/1?x=y")),
        ("http://h:1/merch/", "/merch/orders/1", Ok("/orders/1")),
        ("http://h:1/merch", "/orders/1", Ok("/orders/1")),
        ("http://h:1/merch", "orders/1", Ok("/orders/1")),
        ("http://h:1", "http://elsewhere/orders/1", Err(())),
        ("http://h:1", "https://h:1/orders/1", Err(())),
        ("http://h:1", "//elsewhere/orders/1", Err(())),
        ("http://h:1", "http://", Err(())),
    ] {
        let transport = Transport::new(base.parse().unwrap(), Duration::from_secs(1)).unwrap();
        let mut asked = request("POST", &[], None);
        asked.url = transport.url("/orders");
        let located = transport.resolve_location(&asked, location);
        assert_eq!(located.as_deref().map_err(|_| ()), path, "{base} {location}: {located:?}");
    }
    let transport =
        Transport::new("http://h:1/merch/".parse().unwrap(), Duration::from_secs(1)).unwrap();
    for (path, sent) in [
        ("/orders?limit=1", "/orders?limit=1"),
        ("/a/../🦊", "/%F0%9F%A6%8A"),
        ("//twice", "//twice"),
        ("/%zz", "/%zz"),
    ] {
        assert_eq!(
            transport.address(path),
            Ok((format!("http://h:1/merch{sent}"), sent.to_owned()))
        );
    }
    assert_eq!(
        (transport.url("/orders").as_str(), transport.prefix()),
        ("http://h:1/merch/orders", "/merch")
    );
}
