use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use command_output::print;
use merch_chassis::StartError;
use serde_json::Value;

use crate::{
    command_error::CommandError,
    run_file::{self, reachable},
    settings::Health,
};

const TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) fn run(settings: &Health) -> Result<(), CommandError> {
    let admin = match settings.admin_listen {
        Some(address) => reachable(address),
        None => {
            let admin = run_file::read(&settings.data.data_dir)?.admin;
            admin.trim_start_matches("http://").parse().map_err(|_| {
                StartError::new(format!(
                    "run.json contains the invalid admin address `{admin}`; restart `merch`"
                ))
            })?
        }
    };
    Ok(print(check(admin)?)?)
}

fn check(admin: SocketAddr) -> Result<String, StartError> {
    let answer = get(admin, "/readyz").map_err(|error| {
        StartError::new(format!(
            "no response from the admin address {admin}: {error}; check that the store runs"
        ))
    })?;
    parse_readiness(admin, &answer)
}

/// HTTP/1.0: the response is not chunked and ends with the connection.
fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&address, TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    write!(connection, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

fn parse_readiness(admin: SocketAddr, answer: &str) -> Result<String, StartError> {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let body: Value = answer
        .split_once("\r\n\r\n")
        .and_then(|(_, body)| serde_json::from_str(body).ok())
        .unwrap_or_default();
    match (status, body["ready"].as_bool()) {
        ("200", Some(true)) if body["status"] == "degraded" => {
            Ok(format!("ready, but degraded at {admin}: {}", reasons(&body)))
        }
        ("200", Some(true)) => Ok(format!("ready at {admin}")),
        ("503", Some(false)) => {
            Err(StartError::new(format!("not ready at {admin}: {}", reasons(&body))))
        }
        _ => Err(StartError::new(format!(
            "{admin} is not the admin address of a store: it responded to /readyz with `{}`",
            answer.lines().next().unwrap_or_default()
        ))),
    }
}

pub(crate) fn reasons(body: &Value) -> String {
    let reasons = body["reasons"].as_array().into_iter().flatten();
    let reasons: Vec<_> = reasons
        .map(|reason| format!("{}: {}", text(&reason["part"]), text(&reason["reason"])))
        .collect();
    reasons.join("; ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_formatted_as_one_line() {
        let admin = ([127, 0, 0, 1], 9).into();
        assert_eq!(
            parse_readiness(admin, "HTTP/1.0 200 OK\r\n\r\n{\"ready\":true}\n"),
            Ok("ready at 127.0.0.1:9".to_owned())
        );
        let degraded = "HTTP/1.0 200 OK\r\n\r\n\
                        {\"ready\":true,\"reasons\":[{\"part\":\"events\",\"reason\":\"they wait\"}],\"status\":\"degraded\"}";
        assert_eq!(
            parse_readiness(admin, degraded),
            Ok("ready, but degraded at 127.0.0.1:9: events: they wait".to_owned())
        );
        let not_ready = "HTTP/1.0 503 Service Unavailable\r\n\r\n\
                         {\"ready\":false,\"reasons\":[{\"part\":\"db\",\"reason\":\"starting\"},{\"part\":\"kafka\",\"reason\":\"gone\"}]}";
        assert_eq!(
            parse_readiness(admin, not_ready).unwrap_err().to_string(),
            "not ready at 127.0.0.1:9: db: starting; kafka: gone"
        );
        assert!(
            parse_readiness(admin, "HTTP/1.1 200 OK\r\n\r\n<html>")
                .unwrap_err()
                .to_string()
                .contains("is not the admin address of a store")
        );
    }
}
