//! Parsers of settings. Their errors say what was expected.

use std::{
    ffi::OsString, fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr,
    time::Duration,
};

use clap::builder::{OsStringValueParser, TypedValueParser};
use merch_api::{CorsOrigins, InvalidOrigin, InvalidProxy, TrustedProxies};
use merch_chassis::grpc::{ListenAddress, path_of_url};
use merch_logging::topic_admin::{Retention, RetentionBytes};
use zeroize::Zeroizing;

/// A setting that is never printed, and zeroed on drop. It is validated where it is used, because
/// clap would print it in an error.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned().into())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// A whole number in a range.
pub(crate) fn integer<T: FromStr + fmt::Display + PartialOrd + Clone>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        Ok(_) | Err(_) => {
            Err(format!("expected a whole number from {} to {}", range.start(), range.end()))
        }
    }
}

/// A path in any encoding.
pub(crate) fn path(what: &'static str) -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(move |path: OsString| {
        if path.is_empty() {
            Err(format!("expected the path of a {what}"))
        } else {
            Ok(PathBuf::from(path))
        }
    })
}

/// An RFC 3339 time in UTC.
pub(crate) fn time(text: &str) -> Result<String, String> {
    match humantime::parse_rfc3339(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("expected a time such as 2026-01-31T12:00:00Z".to_owned()),
    }
}

/// `127.0.0.1:8080`, `[::1]:8080`; port 0 is any free port.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 (reachable from \
         other machines) or 127.0.0.1:0 (any free port)"
            .to_owned()
    })
}

/// `10s`, `500ms`, `2m`: more than zero, at most an hour.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = "expected a time such as 500ms, 10s or 2m, more than 0 and at most 1h";
    let duration = humantime::parse_duration(text).map_err(|_| expected.to_owned())?;
    if duration.is_zero() || duration > Duration::from_secs(3600) {
        Err(expected.to_owned())
    } else {
        Ok(duration)
    }
}

/// `0s`, `5s`, `1m`: at most an hour.
pub(crate) fn delay(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(delay) if delay <= Duration::from_secs(3600) => Ok(delay),
        Ok(_) | Err(_) => Err("expected a time such as 0s, 5s or 1m, at most 1h".to_owned()),
    }
}

/// From 1 KiB to 64 MiB: `65536`, `64KiB`.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    parse_bytes(text)
        .filter(|bytes| (1024..=64 * 1024 * 1024).contains(bytes))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| {
            "expected a number of bytes such as 65536, 64KiB or 1MiB, from 1KiB to 64MiB".to_owned()
        })
}

fn parse_bytes(text: &str) -> Option<u64> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let (digits, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
        .unwrap_or((text, 0));
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `127.0.0.1:50051`, `unix:/path`
pub(crate) fn listen(text: &str) -> Result<ListenAddress, String> {
    if !text.starts_with("unix:") {
        return address(text)
            .map(ListenAddress::Tcp)
            .map_err(|expected| format!("{expected}, or unix:/path"));
    }
    path_of_url(text)
        .map(ListenAddress::Unix)
        .ok_or_else(|| "expected unix:/path, percent-encoded".to_owned())
}

/// `http://host:port` or `https://host:port`
fn endpoint(text: &str) -> Result<String, String> {
    let expected = || {
        "expected the address of a gRPC server such as https://db:50051, http://127.0.0.1:50051 or \
         unix:/path"
            .to_owned()
    };
    let (scheme, authority) = text
        .split_once("://")
        .filter(|(scheme, _)| ["http", "https"].contains(scheme))
        .ok_or_else(expected)?;
    let authority = authority.trim_end_matches('/');
    let (host, port) = authority.rsplit_once(':').ok_or_else(expected)?;
    if host.is_empty()
        || authority.contains(['/', '@', '?', '#', ' '])
        || port.parse::<u16>().is_err()
    {
        return Err(expected());
    }
    Ok(format!("{scheme}://{authority}"))
}

/// `10.0.0.0/8,192.0.2.1,nginx`
pub(crate) fn proxies(text: &str) -> Result<TrustedProxies, String> {
    text.parse().map_err(|error: InvalidProxy| error.to_string())
}

/// `https://shop.example,http://127.0.0.1:3000`, `*`
pub(crate) fn origins(text: &str) -> Result<CorsOrigins, String> {
    text.parse().map_err(|error: InvalidOrigin| error.to_string())
}

/// `api:9101`, `127.0.0.1:9101`
pub(crate) fn host_and_port(text: &str) -> Result<String, String> {
    let text = text.trim();
    if is_host_and_port(text) {
        Ok(text.to_owned())
    } else {
        Err("expected host:port, several separated by commas, such as api:9101,db:9102".to_owned())
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(['/', ' ']) && port.parse::<u16>().is_ok()
    })
}

/// `https://host:port[,https://host:port…]`, `unix:/path`
pub(crate) fn endpoints(text: &str) -> Result<String, String> {
    if path_of_url(text).is_some() {
        return Ok(text.to_owned());
    }
    let each: Result<Vec<String>, String> =
        text.split(',').map(|one| endpoint(one.trim())).collect();
    each.map(|each| each.join(","))
        .map_err(|expected| format!("{expected}, several separated by commas"))
}

/// `host:port[,host:port…]`
pub(crate) fn brokers(text: &str) -> Result<String, String> {
    if text.split(',').all(|broker| is_host_and_port(broker.trim())) {
        Ok(text.split(',').map(str::trim).collect::<Vec<_>>().join(","))
    } else {
        Err("expected Kafka's bootstrap servers as host:port, several separated by commas, such as \
             kafka-1:9092,kafka-2:9092"
            .to_owned())
    }
}

/// `7d`, `12h`, `forever`
pub(crate) fn retention(text: &str) -> Result<Retention, String> {
    if text == "forever" {
        return Ok(Retention::Forever);
    }
    at_least_a_minute(text, Duration::from_secs(100 * 366 * 86_400)).map(Retention::For).ok_or_else(
        || "expected a time such as 12h, 7d or 1y, from 1m to 100y, or `forever`".to_owned(),
    )
}

/// `90d`, `1y`
pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    at_least_a_minute(text, Duration::from_secs(10 * 366 * 86_400))
        .ok_or_else(|| "expected a time such as 12h, 90d or 1y, from 1m to 10y".to_owned())
}

fn at_least_a_minute(text: &str, most: Duration) -> Option<Duration> {
    humantime::parse_duration(text)
        .ok()
        .filter(|time| (Duration::from_secs(60)..=most).contains(time))
}

/// `1GiB`, `500MiB`, `unlimited`
pub(crate) fn retention_bytes(text: &str) -> Result<RetentionBytes, String> {
    if text == "unlimited" {
        return Ok(RetentionBytes::Unlimited);
    }
    parse_bytes(text)
        .filter(|bytes| (1 << 20..=1 << 50).contains(bytes))
        .map(RetentionBytes::Limit)
        .ok_or_else(|| {
            "expected a number of bytes such as 500MiB, 1GiB or 2TiB, from 1MiB to 1024TiB, or \
             `unlimited`"
                .to_owned()
        })
}

pub(crate) fn one_of(
    words: &'static [&'static str],
) -> impl Fn(&str) -> Result<&'static str, String> + Clone {
    move |text| {
        words
            .iter()
            .find(|word| **word == text)
            .copied()
            .ok_or_else(|| format!("expected one of {}", words.join(", ")))
    }
}

/// `true` or `false`
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "expected `true` or `false`".to_owned())
}

/// Kafka's rule: `[a-zA-Z0-9._-]{1,249}`, not `.` or `..`.
pub(crate) fn topic(text: &str) -> Result<String, String> {
    let fits = (1..=249).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && text != "."
        && text != "..";
    if fits {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a Kafka topic: 1 to 249 of the letters a-z and A-Z, digits, `.`, \
             `_` and `-`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_values_are_parsed() {
        assert_eq!((integer(10..=22_u8)("10"), integer(10..=22_u8)("22")), (Ok(10), Ok(22)));
        assert_eq!(address("127.0.0.1:0"), Ok(([127, 0, 0, 1], 0).into()));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!((delay("0s"), delay("1m")), (Ok(Duration::ZERO), Ok(Duration::from_secs(60))));
        assert_eq!(bytes("65536"), Ok(65536));
        assert_eq!(bytes("64KiB"), Ok(65536));
        assert_eq!(endpoint("http://db:50051/"), Ok("http://db:50051".to_owned()));
        assert_eq!(endpoint("https://[::1]:50051"), Ok("https://[::1]:50051".to_owned()));
        assert_eq!(endpoints("unix:/a%20b/db.sock"), Ok("unix:/a%20b/db.sock".to_owned()));
        assert_eq!(listen("unix:/a%20b"), Ok(ListenAddress::Unix("/a b".into())));
        assert_eq!(listen("127.0.0.1:1"), Ok(ListenAddress::Tcp(([127, 0, 0, 1], 1).into())));
        assert_eq!(lifetime("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(
            endpoints("http://db-1:1, http://db-2:2/"),
            Ok("http://db-1:1,http://db-2:2".to_owned())
        );
        assert_eq!(brokers("a:9092, b:9092"), Ok("a:9092,b:9092".to_owned()));
        assert_eq!(topic("log-channel"), Ok("log-channel".to_owned()));
        assert_eq!(retention("7d"), Ok(Retention::For(Duration::from_secs(604_800))));
        assert_eq!(retention("forever"), Ok(Retention::Forever));
        assert_eq!(retention_bytes("unlimited"), Ok(RetentionBytes::Unlimited));
        assert_eq!(retention_bytes("1GiB"), Ok(RetentionBytes::Limit(1 << 30)));
        assert_eq!(retention_bytes("1048576"), Ok(RetentionBytes::Limit(1 << 20)));
        assert_eq!(one_of(&["tls", "plaintext"])("tls"), Ok("tls"));
        assert_eq!((boolean("true"), boolean("false")), (Ok(true), Ok(false)));
    }

    #[test]
    fn invalid_values_are_answered_with_the_expected_form() {
        for wrong in ["9", "23", "x", "", "1e1", "-10", "10.0"] {
            assert_eq!(
                integer(10..=22_u8)(wrong),
                Err("expected a whole number from 10 to 22".to_owned()),
                "{wrong}"
            );
        }
        for wrong in ["8080", "localhost:8080", ""] {
            assert!(
                address(wrong).unwrap_err().starts_with("expected an IP address and a port"),
                "{wrong}"
            );
        }
        for wrong in ["10", "0s", "2h", "soon"] {
            assert!(duration(wrong).unwrap_err().starts_with("expected a time such as"), "{wrong}");
        }
        for wrong in ["5", "-1s", "2h", "soon"] {
            assert!(delay(wrong).unwrap_err().starts_with("expected a time such as"), "{wrong}");
        }
        for wrong in ["1", "65MiB", "1GiB", "64KB", "-1", "99999999999999999999MiB"] {
            assert!(bytes(wrong).unwrap_err().starts_with("expected a number of bytes"), "{wrong}");
        }
        for wrong in [
            "127.0.0.1:50051",
            "grpc://db:1",
            "http://db",
            "http://:1",
            "http://a/b:1",
            "http://u@h:1",
        ] {
            assert!(
                endpoint(wrong).unwrap_err().starts_with("expected the address of a gRPC server"),
                "{wrong}"
            );
        }
        for wrong in ["", "http://db:1,", "http://db:1;http://db:2", "http://db:1,db:2"] {
            assert!(
                endpoints(wrong).unwrap_err().starts_with("expected the address of a gRPC server"),
                "{wrong}"
            );
        }
        for wrong in ["db:1", "unix:", "unix:/%zz"] {
            assert!(listen(wrong).unwrap_err().starts_with("expected"), "{wrong}");
        }
        for wrong in ["90", "1s", "11y"] {
            assert!(
                lifetime(wrong).unwrap_err().starts_with("expected a time such as 12h"),
                "{wrong}"
            );
        }
        for wrong in ["", "kafka", "a:9092,", "kafka://a:9092"] {
            assert!(
                brokers(wrong).unwrap_err().starts_with("expected Kafka's bootstrap servers"),
                "{wrong}"
            );
        }
        for wrong in ["https://shop.example/", "shop.example", "*,https://shop.example"] {
            assert!(
                origins(wrong)
                    .unwrap_err()
                    .starts_with("expected origins such as https://shop.example"),
                "{wrong}"
            );
        }
        for wrong in ["7", "1s", "101y", "never"] {
            assert!(
                retention(wrong).unwrap_err().starts_with("expected a time such as 12h"),
                "{wrong}"
            );
        }
        for wrong in ["1", "1023KiB", "2000TiB", "1GB", "-1", "99999999999999999999TiB", "much"] {
            assert!(
                retention_bytes(wrong)
                    .unwrap_err()
                    .starts_with("expected a number of bytes such as 500MiB"),
                "{wrong}"
            );
        }
        assert_eq!(
            one_of(&["tls", "plaintext"])("ssl"),
            Err("expected one of tls, plaintext".to_owned())
        );
        assert_eq!(boolean("yes"), Err("expected `true` or `false`".to_owned()));
        for wrong in ["", "..", "log channel"] {
            assert!(
                topic(wrong).unwrap_err().starts_with("expected the name of a Kafka topic"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(format!("{:?}", Secret::from("hush")), "(secret)");
    }
}
