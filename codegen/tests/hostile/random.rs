//! Random requests that prefer long, deep, repeated or malformed parts.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{Bounds, Hostile, Operation};

/// Generates random requests. Equal seeds give equal requests.
pub struct Random<'a> {
    rng: StdRng,
    operations: &'a [Operation],
    bounds: Bounds,
}

impl<'a> Random<'a> {
    pub fn new(seed: u64, operations: &'a [Operation], bounds: Bounds) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), operations, bounds }
    }

    pub fn request(&mut self) -> Hostile {
        let operation = *self.operations.choose(&mut self.rng).expect("operations");
        let mut request = Hostile::new(&operation, "random");
        if self.rng.random_bool(0.2) {
            let value = self.text(self.bounds.head / 3).replace(char::is_whitespace, "");
            request.target = operation.path_with(&percent(&value));
        }
        let mut head = self.bounds.head.saturating_sub(request.target.len() + 512);
        if self.rng.random_bool(0.4) {
            let query = self.query(&operation, head);
            head = head.saturating_sub(query.len());
            request.target = format!("{}?{query}", request.target);
        }
        if self.rng.random_bool(0.4) {
            for _ in 0..self.rng.random_range(1..100) {
                let Some(name) = operation.headers.choose(&mut self.rng) else { break };
                let value: String =
                    self.text(300).chars().filter(|c| (' '..='~').contains(c)).collect();
                if value.len() + name.len() + 4 > head {
                    break;
                }
                head -= value.len() + name.len() + 4;
                request.headers.push(((*name).to_owned(), value.trim().to_owned()));
            }
        }
        if !operation.members.is_empty() {
            let mut body = String::new();
            self.value(&operation, 0, self.bounds.body, &mut body);
            self.damage(&mut body);
            request.body = body.into_bytes();
            request.body.truncate(self.bounds.body);
        }
        request
    }

    fn query(&mut self, operation: &Operation, room: usize) -> String {
        let mut query = String::new();
        let length = self.length(room);
        let name = self.text(30);
        while query.len() < length {
            let pair = match (self.rng.random_range(0..4), operation.query.choose(&mut self.rng)) {
                (0, Some(known)) => format!("{known}={}", percent(&self.text(40))),
                (1, _) => percent(&name),
                (2, _) => format!("{}={}", percent(&self.text(400)), percent(&self.text(40))),
                _ => format!("{:x}", self.rng.random::<u16>()),
            };
            if query.len() + pair.len() + 1 > room {
                break;
            }
            query.push('&');
            query.push_str(&pair);
        }
        query
    }

    /// Returns a length up to `most`, often a short one.
    fn length(&mut self, most: usize) -> usize {
        let exponent = self.rng.random_range(0.0..=1.0);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rough size"
        )]
        let length = (most as f64).powf(exponent) as usize;
        length.min(most)
    }

    fn text(&mut self, most: usize) -> String {
        let alphabets =
            ["a", "~/", "\"\\", "\0\u{1}\n", "äß", "😀", "0123456789", "@.-", " ,;=", "az/~\0é😀"];
        let alphabet: Vec<char> =
            alphabets.choose(&mut self.rng).expect("alphabets").chars().collect();
        let length = self.length(most);
        let mut text = String::new();
        while text.len() < length {
            text.push(*alphabet.choose(&mut self.rng).expect("characters"));
        }
        text
    }

    /// Writes a value of about `room` bytes.
    fn value(&mut self, operation: &Operation, depth: usize, room: usize, out: &mut String) {
        let most = out.len() + room;
        let kind =
            if depth == 0 { self.rng.random_range(0..8) } else { self.rng.random_range(0..14) };
        match kind {
            0..=4 => {
                out.push('{');
                // Either one repeated name or a new name for each member.
                let name = self.text((room / 4).max(1));
                let again = self.rng.random_bool(0.3);
                let members = self.length(room / 4);
                for index in 0..members {
                    if index > 0 {
                        out.push(',');
                    }
                    let known = operation
                        .members
                        .choose(&mut self.rng)
                        .filter(|_| self.rng.random_bool(0.4));
                    let name = match known {
                        Some(known) => (*known).to_owned(),
                        None if again => name.clone(),
                        None => self.text(20),
                    };
                    out.push_str(&serde_json::to_string(&name).expect("text"));
                    out.push(':');
                    let left = most.saturating_sub(out.len());
                    let room = self.length(left.max(1));
                    self.value(operation, depth + 1, room, out);
                    if out.len() >= most {
                        break;
                    }
                }
                out.push('}');
            }
            5..=7 => {
                out.push('[');
                let items = self.length(room / 2);
                for index in 0..items {
                    if index > 0 {
                        out.push(',');
                    }
                    let left = most.saturating_sub(out.len());
                    let room = self.length(left.clamp(1, 100));
                    self.value(operation, depth + 1, room, out);
                    if out.len() >= most {
                        break;
                    }
                }
                out.push(']');
            }
            8 => out.push_str("null"),
            9 => out.push_str("true"),
            10 => out.push_str(&self.rng.random::<i64>().to_string()),
            11 => out.push_str(&self.rng.random::<f64>().to_string()),
            12 => out.push_str(&"[".repeat(self.rng.random_range(1..100))),
            _ => {
                let text = self.text(room);
                out.push_str(&serde_json::to_string(&text).expect("text"));
            }
        }
    }

    fn damage(&mut self, body: &mut String) {
        let at = |length: usize, rng: &mut StdRng| rng.random_range(0..=length);
        match self.rng.random_range(0..10) {
            0 => {
                let mut end = at(body.len(), &mut self.rng);
                while !body.is_char_boundary(end) {
                    end -= 1;
                }
                body.truncate(end);
            }
            1 => body.push_str(&"}".repeat(3)),
            2 => {
                let twice = body.clone();
                body.push_str(&twice);
            }
            _ => {}
        }
    }
}

/// Percent-encodes bytes that a request line cannot carry, and some others.
fn percent(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$'()*,;:@/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
