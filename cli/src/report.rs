use std::{
    cell::{Cell, RefCell},
    fmt::{Debug, Write as _},
    rc::Rc,
};

use command_output::{OutputError, eprint_line, print};
use merch_contract::rest::cli::{CliCommand, CliConfig};
use progenitor_client::{Error, ResponseValue};
use reqwest::{
    StatusCode,
    header::{ETAG, HeaderMap, LOCATION, RETRY_AFTER},
};
use serde::Serialize;
use serde_json::Value;

const REQUEST_ID: &str = "x-request-id";

#[derive(Clone)]
pub(crate) struct Report(Rc<State>);

struct State {
    operation: CliCommand,
    /// Print only this member.
    raw: Option<String>,
    verbose: bool,
    /// Printed only if no page fails.
    items: RefCell<Vec<Value>>,
    failed: Cell<bool>,
    /// Nothing is printed after the first error.
    output: RefCell<Option<OutputError>>,
    /// Whether the generated code's error has been printed.
    reported: Cell<bool>,
}

impl Report {
    /// Prints only the member `raw`, if set; `verbose` adds status and headers on standard error.
    pub(crate) fn new(operation: CliCommand, raw: Option<String>, verbose: bool) -> Self {
        let (items, output) = (RefCell::default(), RefCell::default());
        Self(Rc::new(State {
            operation,
            raw,
            verbose,
            items,
            output,
            failed: Cell::new(false),
            reported: Cell::new(false),
        }))
    }

    /// With what the operation had changed.
    pub(crate) fn output_error(&self) -> Option<OutputError> {
        self.0.output.take()
    }

    pub(crate) fn failed(&self) -> bool {
        self.0.failed.get()
    }

    /// Whether the generated code's error has been printed, or was "304 Not Modified".
    pub(crate) fn reported(&self) -> bool {
        self.0.reported.get()
    }

    fn fail(&self, text: &str) {
        eprint_line(format_args!("error: {text}"));
        self.0.failed.set(true);
    }

    fn print<T: Serialize>(&self, value: &T) {
        match serde_json::to_value(value)
            .map_err(|error| error.to_string())
            .and_then(|value| render(&value, self.0.raw.as_deref()))
        {
            Ok(text) => {
                let mut output = self.0.output.borrow_mut();
                if output.is_none() {
                    *output = print(text).err().map(|error| match change(self.0.operation) {
                        Some(done) => error.after(done),
                        None => error,
                    });
                }
            }
            Err(reason) => self.fail(&reason),
        }
    }

    fn headers(&self, status: StatusCode, headers: &HeaderMap) {
        if self.0.verbose {
            let mut text = format!("status: {status}");
            for name in [ETAG.as_str(), LOCATION.as_str(), REQUEST_ID] {
                if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
                    let _ = write!(text, "\n{name}: {value}"); // writing to a String cannot fail
                }
            }
            eprint_line(text);
        }
    }
}

impl CliConfig for Report {
    fn success_item<T: Serialize + Debug>(&self, value: &ResponseValue<T>) {
        self.headers(value.status(), value.headers());
        self.print(value.as_ref());
    }

    fn success_no_item(&self, value: &ResponseValue<()>) {
        self.headers(value.status(), value.headers());
    }

    fn error<T: Serialize + Debug>(&self, error: &Error<T>) {
        self.0.reported.set(true);
        match error {
            // The response to `--if-none-match`.
            Error::UnexpectedResponse(response)
                if response.status() == StatusCode::NOT_MODIFIED =>
            {
                self.headers(response.status(), response.headers());
                eprint_line("not modified");
            }
            Error::ErrorResponse(response) => {
                self.headers(response.status(), response.headers());
                self.fail(&problem(response.status(), response.headers(), response.as_ref()));
            }
            Error::UnexpectedResponse(response) => {
                self.fail(&format!(
                    "the store responded with {}, which the contract does not declare; check the \
                     store's address (--url){}",
                    response.status(),
                    request_id(response.headers())
                ));
            }
            Error::CommunicationError(error)
            | Error::InvalidUpgrade(error)
            | Error::ResponseBodyError(error) => {
                self.fail(&format!("the store is unreachable: {}", error_chain(error)))
            }
            Error::InvalidResponsePayload(_, error) => self.fail(&format!(
                "the response violates the contract ({error}); check the store's address (--url)"
            )),
            Error::InvalidRequest(reason) | Error::Custom(reason) => self.fail(reason),
        }
    }

    fn list_start<T: Serialize + Debug>(&self) {
        self.0.items.borrow_mut().clear();
    }

    fn list_item<T: Serialize + Debug>(&self, value: &T) {
        match serde_json::to_value(value) {
            Ok(value) => self.0.items.borrow_mut().push(value),
            Err(error) => self.fail(&error.to_string()),
        }
    }

    fn list_end_success<T: Serialize + Debug>(&self) {
        if self.0.raw.is_some() {
            for item in self.0.items.borrow().iter() {
                self.print(item);
            }
        } else {
            self.print(&*self.0.items.borrow());
        }
    }

    fn list_end_error<T: Serialize + Debug>(&self, error: &Error<T>) {
        self.error(error);
    }
}

/// Indented JSON, or one member: a string without quotes, other types as JSON.
fn render(value: &Value, raw: Option<&str>) -> Result<String, String> {
    let Some(member) = raw else {
        return serde_json::to_string_pretty(value).map_err(|error| error.to_string());
    };
    match value.get(member) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Ok(other.to_string()),
        None => {
            let members: Vec<_> =
                value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            Err(format!(
                "the response has no member `{member}` (--raw); it has {}",
                members.join(", ")
            ))
        }
    }
}

/// The detail, each fault, and the request id.
fn problem<T: Serialize>(status: StatusCode, headers: &HeaderMap, body: &T) -> String {
    let body = serde_json::to_value(body).unwrap_or_default();
    let member = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut text = format!("{} ({})", member("detail"), member("code"));
    for fault in body.get("errors").and_then(Value::as_array).into_iter().flatten() {
        let part = |name: &str| fault.get(name).and_then(Value::as_str).unwrap_or_default();
        let _ = write!(text, "\n  {} {}: {}", part("in"), part("pointer"), part("detail")); // writing to a String cannot fail
    }
    if let Some(seconds) = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()) {
        let _ = write!(text, "\n  retry in {seconds} s");
    }
    let _ = write!(text, "\n  status {}, request id {}", status.as_u16(), member("request_id"));
    if status == StatusCode::UNAUTHORIZED && member("code").starts_with("token_") {
        text.push_str(
            "\n  log in with `export MERCH_TOKEN=$(merch-cli --raw access_token log-in --username \
             …)`",
        );
    }
    text
}

fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .map(|id| format!(" (request id {id})"))
        .unwrap_or_default()
}

/// reqwest alone says only "error sending request".
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}"); // writing to a String cannot fail
        cause = error.source();
    }
    text
}

/// `None` if the operation only reads.
fn change(operation: CliCommand) -> Option<&'static str> {
    match operation {
        CliCommand::Greet
        | CliCommand::LogIn
        | CliCommand::GetUser
        | CliCommand::ListProducts
        | CliCommand::GetProduct
        | CliCommand::ListOrders
        | CliCommand::GetOrder => None,
        CliCommand::Register => Some("the user was registered"),
        CliCommand::LogOut => Some("the user was logged out"),
        CliCommand::DeactivateUser => Some("the user was deactivated"),
        CliCommand::UpdateUser => Some("the user was updated"),
        CliCommand::ChangePassword => Some("the password was changed"),
        CliCommand::PlaceOrder => Some("the order was placed; `merch-cli list-orders` shows it"),
        CliCommand::CancelOrder => Some("the order was cancelled"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn raw_prints_one_member_unquoted() {
        let value = json!({ "access_token": "abc", "expires_in": 86400 });
        assert_eq!(render(&value, Some("access_token")), Ok("abc".to_owned()));
        assert_eq!(render(&value, Some("expires_in")), Ok("86400".to_owned()));
        assert_eq!(
            render(&value, Some("token")),
            Err("the response has no member `token` (--raw); it has access_token, expires_in"
                .to_owned())
        );
    }

    #[test]
    fn problem_shows_every_fault_and_the_request_id() {
        let body = json!({
            "code": "invalid_request", "detail": "The request is not as it should be.", "request_id": "r-1",
            "errors": [{ "in": "body", "pointer": "/quantity", "detail": "must be at most 3" }]
        });
        let text = problem(StatusCode::BAD_REQUEST, &HeaderMap::new(), &body);
        assert_eq!(
            text,
            "The request is not as it should be. (invalid_request)\n  body /quantity: must be at \
             most 3\n  status 400, request id r-1"
        );
    }
}
