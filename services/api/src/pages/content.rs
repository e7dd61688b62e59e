//! The content of a page, and its encoding in a response: plain, or compressed as in the binary.

use std::{io::Read as _, sync::OnceLock};

use bytes::Bytes;
use flate2::read::GzDecoder;
use sha2::{Digest as _, Sha256};

/// The bytes of a file. All responses share them, so a download needs no copy.
pub(super) enum Content {
    Plain(Bytes),
    /// Compressed with gzip. Decompressed when the first client needs the plain form, which is then
    /// kept.
    Gzip {
        packed: Bytes,
        plain: OnceLock<Bytes>,
    },
}

/// A content in one encoding.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) body: Bytes,
    pub(super) gzip: bool,
}

impl Content {
    pub(super) const fn plain(bytes: &'static [u8]) -> Self {
        Self::Plain(Bytes::from_static(bytes))
    }

    pub(super) const fn gzip(packed: &'static [u8]) -> Self {
        Self::Gzip { packed: Bytes::from_static(packed), plain: OnceLock::new() }
    }

    /// Returns whether the response depends on `Accept-Encoding`.
    pub(super) const fn varies(&self) -> bool {
        matches!(self, Self::Gzip { .. })
    }

    /// Returns a digest that all encodings share, in hexadecimal digits.
    pub(super) fn digest(&self) -> String {
        let (Self::Plain(bytes) | Self::Gzip { packed: bytes, .. }) = self;
        Sha256::digest(bytes)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the encoding for a client that sent this `Accept-Encoding`.
    pub(super) fn form(&self, accepted: Option<&str>) -> Form {
        match self {
            Self::Plain(bytes) => Form { body: bytes.clone(), gzip: false },
            Self::Gzip { packed, .. } if accepts_gzip(accepted) => {
                Form { body: packed.clone(), gzip: true }
            }
            Self::Gzip { packed, plain } => {
                Form { body: plain.get_or_init(|| unpack(packed)).clone(), gzip: false }
            }
        }
    }
}

fn unpack(packed: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    GzDecoder::new(packed)
        .read_to_end(&mut plain)
        .expect("build.rs packed it, so it can be unpacked");
    plain.into()
}

/// Returns whether a client accepts gzip (RFC 9110 §12.5.3). Without the header, the client may be
/// a program that does not decompress.
fn accepts_gzip(accepted: Option<&str>) -> bool {
    let mut any = false;
    for named in accepted.unwrap_or_default().split(',') {
        let (coding, parameters) = named.split_once(';').unwrap_or((named, ""));
        let weight = parameters
            .trim()
            .to_ascii_lowercase()
            .strip_prefix("q=")
            .map_or(1.0, |q| q.trim().parse::<f32>().unwrap_or(0.0));
        match coding.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => return weight > 0.0,
            "*" => any = weight > 0.0,
            _other => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn gzip_requires_accept_encoding() {
        for yes in [
            "gzip",
            "deflate, gzip;q=1.0, *;q=0.5",
            "GZIP",
            "x-gzip",
            "*",
            "br, *;q=0.1",
            "gzip ; q=0.001",
        ] {
            assert!(accepts_gzip(Some(yes)), "{yes}");
        }
        for no in
            ["", "identity", "br", "gzip;q=0", "*, gzip;q=0.000", "*;q=0", "gzip;q=no", "gzipped"]
        {
            assert!(!accepts_gzip(Some(no)), "{no}");
        }
        assert!(!accepts_gzip(None));
    }

    #[test]
    fn each_client_gets_an_accepted_encoding() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(b"text").unwrap();
        let packed = Bytes::from(encoder.finish().unwrap());
        let content = Content::Gzip { packed: packed.clone(), plain: OnceLock::new() };
        assert_eq!(content.form(Some("gzip")), Form { body: packed, gzip: true });
        assert_eq!(content.form(None), Form { body: Bytes::from_static(b"text"), gzip: false });
        assert!(content.varies() && !Content::plain(b"text").varies());
        assert_eq!(
            Content::plain(b"text").form(Some("gzip")),
            Form { body: Bytes::from_static(b"text"), gzip: false }
        );
    }
}
