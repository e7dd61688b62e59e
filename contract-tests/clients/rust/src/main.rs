//! Runs the journey with the Rust client. ../README.md describes the steps and the output.

mod compare;
mod operations;
mod values;

use std::{env, process::ExitCode, time::Duration};

use merch_contract::sdk::StoreClient;
use serde_json::{Map, Value};

use crate::{operations::Outcome, values::Variables};

/// Why the journey ends early.
enum Stop {
    /// A response differs from the expectation.
    Difference(String),
    /// The journey or the arguments are invalid.
    Invalid(String),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run_journey().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Difference(what)) => {
            eprintln!("{what}");
            ExitCode::from(1)
        }
        Err(Stop::Invalid(what)) => {
            eprintln!("{what}");
            ExitCode::from(2)
        }
    }
}

async fn run_journey() -> Result<(), Stop> {
    let path = variable("MERCH_JOURNEY")?;
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Stop::Invalid(format!("failed to read the journey {path}: {error}")))?;
    let journey: Value = serde_json::from_str(&text)
        .map_err(|error| Stop::Invalid(format!("expected JSON in the journey {path}: {error}")))?;
    let steps = journey["steps"]
        .as_array()
        .ok_or_else(|| Stop::Invalid("the journey has no `steps`".to_owned()))?;
    let sold_out = variable("MERCH_SOLD_OUT_PRODUCT")?;
    let sold_out: i64 = sold_out.parse().map_err(|_| {
        Stop::Invalid(format!("MERCH_SOLD_OUT_PRODUCT: expected an id, got {sold_out:?}"))
    })?;
    let mut variables = Variables::default();
    for (name, value) in
        [("unique", Value::from(variable("MERCH_UNIQUE")?)), ("sold_out_product", sold_out.into())]
    {
        variables.set(name, value).map_err(Stop::Invalid)?;
    }
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build();
    let http = http.map_err(|error| Stop::Invalid(format!("no HTTP client: {error}")))?;
    let store = StoreClient::builder(variable("MERCH_URL")?)
        .http(http)
        .build()
        .map_err(|error| Stop::Invalid(error.to_string()))?;

    for (number, step) in (1..).zip(steps) {
        let step =
            Step::read(step).map_err(|what| Stop::Invalid(format!("step {number}: {what}")))?;
        if let Some(reason) = &step.not_here {
            println!("skipped {number} {} {reason}", step.operation);
            continue;
        }
        step.take(&store, &mut variables).await.map_err(|stop| match stop {
            Stop::Difference(what) => Stop::Difference(format!(
                "step {number}, {} {:?}: {what}",
                step.operation, step.name
            )),
            Stop::Invalid(what) => {
                Stop::Invalid(format!("step {number}, {} {:?}: {what}", step.operation, step.name))
            }
        })?;
        println!("ok {number} {} {} {}", step.operation, step.status, step.name);
    }
    Ok(())
}

fn variable(name: &str) -> Result<String, Stop> {
    env::var(name).map_err(|_| {
        Stop::Invalid(format!("{name} is not set; see contract-tests/clients/README.md"))
    })
}

struct Step<'j> {
    name: &'j str,
    operation: &'j str,
    status: u16,
    not_here: Option<&'j str>,
    all: &'j Map<String, Value>,
}

const MEMBERS: [&str; 12] = [
    "name",
    "operation",
    "token",
    "path",
    "query",
    "header",
    "body",
    "walk",
    "expect",
    "keep",
    "events",
    "not_in",
];
const EXPECTED: [&str; 4] = ["status", "code", "headers", "body"];

impl<'j> Step<'j> {
    fn read(value: &'j Value) -> Result<Self, String> {
        let all = value.as_object().ok_or("expected an object")?;
        let expect = value["expect"].as_object().ok_or("expected `expect`")?;
        for (members, known) in [(all, &MEMBERS[..]), (expect, &EXPECTED[..])] {
            if let Some(unknown) = members.keys().find(|member| !known.contains(&member.as_str())) {
                return Err(format!("the member {unknown:?} is not known"));
            }
        }
        let text = |member: &str| {
            all.get(member).and_then(Value::as_str).ok_or_else(|| format!("expected `{member}`"))
        };
        let status =
            expect.get("status").and_then(Value::as_u64).and_then(|status| status.try_into().ok());
        Ok(Self {
            name: text("name")?,
            operation: text("operation")?,
            status: status.ok_or("expected `expect.status`")?,
            not_here: value["not_in"]["rust"].as_str(),
            all,
        })
    }

    /// Sends, compares the status, stores variables, compares headers and body.
    async fn take(&self, store: &StoreClient, variables: &mut Variables) -> Result<(), Stop> {
        let store = match self.all.get("token") {
            Some(token) => {
                let token = variables.fill(token).map_err(Stop::Invalid)?;
                let token = token
                    .as_str()
                    .ok_or_else(|| Stop::Invalid("the token is not a string".to_owned()))?;
                store.with_token(token).map_err(|error| Stop::Invalid(error.to_string()))?
            }
            None => store.clone(),
        };
        let mut arguments = values::Arguments::read(self.all, variables).map_err(Stop::Invalid)?;
        let outcome = match self.all.get("walk") {
            Some(walk) => operations::walk(&store, self.operation, &mut arguments, walk).await?,
            None => operations::call(&store, self.operation, &mut arguments).await?,
        };
        arguments.all_taken().map_err(Stop::Invalid)?;
        if outcome.status != self.status {
            return Err(Stop::Difference(format!(
                "expected status {}, got {}",
                self.status,
                outcome.described()
            )));
        }
        for (name, place) in self.all.get("keep").and_then(Value::as_object).into_iter().flatten() {
            let place = place
                .as_str()
                .ok_or_else(|| Stop::Invalid(format!("`keep` of {name:?} is not a string")))?;
            let value = outcome.at(place).ok_or_else(|| {
                Stop::Difference(format!("expected {place} to keep, got nothing"))
            })?;
            variables.set(name, value).map_err(Stop::Invalid)?;
        }
        compare::all(&self.all["expect"], &outcome, variables)
    }
}

impl Outcome {
    fn described(&self) -> String {
        match (&self.body["code"], &self.body["detail"]) {
            (Value::String(code), Value::String(detail)) => {
                format!("{} (code {code}: {detail})", self.status)
            }
            (_, _) => self.status.to_string(),
        }
    }

    fn at(&self, place: &str) -> Option<Value> {
        if place.starts_with('/') {
            self.body.pointer(place).filter(|value| !value.is_null()).cloned()
        } else {
            self.headers.get(place).and_then(|value| value.to_str().ok()).map(Value::from)
        }
    }
}
