//! A request as a curl command that can be pasted into a shell.

use super::Request;

/// Bytes of a body that stand in the command as they are.
const LONGEST: usize = 4 * 1024;

/// The same byte so many times is told as a number.
const LONGEST_RUN: usize = 256;

pub(super) fn command(request: &Request) -> String {
    let mut command = String::from("curl -sS -i --globoff");
    match request.method.as_str() {
        "GET" if request.body.is_none() => {}
        "HEAD" => command.push_str(" --head"),
        method => command.push_str(&format!(" -X {}", quoted(method.as_bytes()))),
    }
    command.push_str(&format!(" {}", quoted(request.url.as_bytes())));
    for (name, value) in &request.headers {
        // curl takes `Name:` for a header that it is not to send, and `Name;` for an empty one.
        let mut header = name.as_str().as_bytes().to_vec();
        if value.is_empty() {
            header.push(b';');
        } else {
            header.extend_from_slice(b": ");
            header.extend_from_slice(value.as_bytes());
        }
        command.push_str(&format!(" \\\n  -H {}", quoted(&header)));
    }
    let Some(body) = &request.body else { return command };
    if request.header("content-type").is_none()
        && !request.headers.iter().any(|(name, _)| name == "content-type")
    {
        // curl would say that it is a form.
        command.push_str(" \\\n  -H 'Content-Type:'");
    }
    // `--data-binary` takes a value that begins with `@` for the name of a file.
    if body.len() <= LONGEST && !body.contains(&0) && !body.starts_with(b"@") {
        return format!("{command} \\\n  --data-binary {}", quoted(body));
    }
    match pieces(body) {
        Some(pieces) => format!("{{ {pieces}; }} |\n{command} \\\n  --data-binary @-"),
        None => format!(
            "{command} \\\n  --data-binary @body\n# the file `body` has to hold the {} bytes that were sent; they are too many to show",
            body.len()
        ),
    }
}

/// Commands that print the body, if it is short but for runs of the same byte.
fn pieces(body: &[u8]) -> Option<String> {
    let mut commands: Vec<String> = Vec::new();
    let (mut plain, mut at) = (Vec::new(), 0);
    while at < body.len() {
        let run = body[at..].iter().take_while(|byte| **byte == body[at]).count();
        if run >= LONGEST_RUN || body[at] == 0 {
            commands.extend(print(&std::mem::take(&mut plain)));
            commands.push(format!("head -c {run} /dev/zero | tr '\\0' {}", octal(body[at])));
        } else {
            plain.extend_from_slice(&body[at..at + run]);
        }
        at += run;
        if plain.len() > LONGEST || commands.len() > 32 {
            return None;
        }
    }
    commands.extend(print(&plain));
    Some(commands.join("; "))
}

fn print(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| format!("printf %s {}", quoted(bytes)))
}

fn octal(byte: u8) -> String {
    format!("'\\{byte:03o}'")
}

/// One word of a POSIX shell; of bash where there are bytes that cannot be shown.
fn quoted(bytes: &[u8]) -> String {
    let plain = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.chars().all(|character| character == '\n' || !character.is_control()));
    if let Some(text) = plain {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut word = String::from("$'");
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => {
                word.push('\\');
                word.push(char::from(*byte));
            }
            b' '..=b'~' => word.push(char::from(*byte)),
            other => word.push_str(&format!("\\x{other:02x}")),
        }
    }
    word.push('\'');
    word
}
