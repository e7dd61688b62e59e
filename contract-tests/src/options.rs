//! Options of a run, shared with the command line.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use clap::Args;
use reqwest::Url;
use tokio_util::sync::CancellationToken;

use crate::document::Document;

/// Options of a run.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// URL of the implementation. Its path is a prefix of every path of the document
    #[arg(long, env = "MERCH_URL", value_name = "URL", value_parser = url)]
    pub url: Url,

    /// Run only the cases of this tag or operation; may be repeated
    #[arg(long, value_name = "TAG|OPERATION")]
    pub only: Vec<String>,

    /// An expired token of this implementation; without one, expired tokens are not tested. Prefer
    /// the variable: other users of this machine can see options
    #[arg(
        long,
        env = "MERCH_EXPIRED_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        value_parser = token
    )]
    pub expired_token: Option<String>,

    /// Also run the cases that buy a product until it is sold out. They cancel these orders;
    /// until then, other customers cannot buy the product
    #[arg(long)]
    pub exhaust_stock: bool,

    /// Number of parallel cases
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = jobs)]
    pub jobs: usize,

    /// Time limit of one request
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub timeout: Duration,

    /// Print progress to standard error.
    #[arg(skip)]
    pub progress: bool,

    /// Cancels the run: only cleanup requests follow.
    #[arg(skip)]
    pub stop: CancellationToken,
}

/// Output and document of a run.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct Output {
    /// Document to test against [default: the openapi.yaml of this build]
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,

    /// Write a JUnit XML report, for CI
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// Print a JSON report instead of the table
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// Options with the defaults of the command line.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            only: Vec::new(),
            expired_token: None,
            exhaust_stock: false,
            jobs: 8,
            timeout: Duration::from_secs(15),
            progress: false,
            stop: CancellationToken::new(),
        }
    }

    /// The ids of the selected operations.
    ///
    /// # Errors
    /// If an item of `only` is neither a tag nor an operation; the message lists them.
    pub fn selected(&self, document: &Document) -> Result<BTreeSet<String>, String> {
        let all = document.operations().iter();
        if self.only.is_empty() {
            return Ok(all.map(|operation| operation.id.clone()).collect());
        }
        let mut selected = BTreeSet::new();
        for name in &self.only {
            let found: Vec<String> = all
                .clone()
                .filter(|operation| {
                    operation.id == *name || operation.tag.eq_ignore_ascii_case(name)
                })
                .map(|operation| operation.id.clone())
                .collect();
            if found.is_empty() {
                let tags: Vec<&str> = document.tags().into_iter().collect();
                let ids: Vec<&str> = all.clone().map(|operation| operation.id.as_str()).collect();
                return Err(format!(
                    "--only {name:?}: expected a tag ({}) or an operation ({}) of the document",
                    tags.join(", "),
                    ids.join(", ")
                ));
            }
            selected.extend(found);
        }
        Ok(selected)
    }
}

fn url(text: &str) -> Result<Url, String> {
    let expected = "expected an address such as http://127.0.0.1:8080";
    let url = Url::parse(text).map_err(|error| format!("{error}; {expected}"))?;
    if !matches!(url.scheme(), "http" | "https")
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(expected.to_owned());
    }
    Ok(url)
}

/// Refuses an empty variable: it would count as a tested token.
fn token(text: &str) -> Result<String, String> {
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("expected a token: letters, digits and `-._~+/=`".to_owned());
    }
    Ok(token.to_owned())
}

fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=64) => Ok(jobs),
        Ok(_) | Err(_) => Err("expected a whole number from 1 to 64".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=600) => Ok(Duration::from_secs(seconds)),
        Ok(_) | Err(_) => Err("expected a whole number of seconds from 1 to 600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(only: &[&str]) -> Result<Vec<String>, String> {
        let mut options = Options::new("http://h:1".parse().unwrap());
        options.only = only.iter().map(|name| (*name).to_owned()).collect();
        options.selected(&Document::embedded()).map(|selected| selected.into_iter().collect())
    }

    #[test]
    fn unknown_tags_and_operations_are_refused() {
        assert_eq!(selected(&[]).unwrap().len(), 14);
        assert_eq!(selected(&["Dialog"]).unwrap(), ["greet"]);
        assert_eq!(
            selected(&["productmanager", "greet", "get_product"]).unwrap(),
            ["get_product", "greet", "list_products"]
        );
        let refused = selected(&["greet", "orders"]).unwrap_err();
        assert!(
            refused.contains("\"orders\"")
                && refused.contains("OrderManager")
                && refused.contains("place_order"),
            "{refused}"
        );
    }

    #[test]
    fn invalid_values_are_refused() {
        assert!(url("https://shop.example/merch/").is_ok());
        for wrong in ["127.0.0.1:8080", "ftp://x", "http://x/?a", ""] {
            assert!(url(wrong).unwrap_err().contains("expected an address such as"), "{wrong}");
        }
        assert_eq!(token(" a.b.c\n"), Ok("a.b.c".to_owned()));
        assert!(token(" ").is_err() && token("a b").is_err());
        assert_eq!((jobs("64"), seconds("600")), (Ok(64), Ok(Duration::from_secs(600))));
        assert!(
            jobs("0").is_err()
                && jobs("65").is_err()
                && seconds("0").is_err()
                && seconds("1.5").is_err()
        );
    }
}
