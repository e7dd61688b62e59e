//! The context of a case: document, users, products and requests.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use reqwest::Method;
use serde_json::Value;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{
    Answer, Call, Failure, Lease, User,
    ledger::{Incident, Ledger},
    pool::{self, Pool},
};
use crate::{
    document::Document,
    http::{RecordedExchange, Transport},
    options::Options,
};

const MAX_RECORDED: usize = 3;

const PAGES: usize = 1_000;

/// The context of a case. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    run: Arc<Run>,
    /// The last exchanges of this case.
    last: Arc<Mutex<Vec<Arc<RecordedExchange>>>>,
    /// For cleanup: works after an interrupt and fills no cell.
    cleaning: bool,
}

pub(super) struct Run {
    pub(super) document: Arc<Document>,
    pub(super) transport: Transport,
    pub(super) options: Options,
    pub(super) ledger: Ledger,
    pub(super) pool: Pool,
    pub(super) requests: AtomicUsize,
    product: OnceCell<Product>,
}

/// A product, as it was when the run began.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Product {
    /// The id.
    pub id: i64,
    /// Unit price in minor units.
    pub price_cents: i64,
    /// ISO 4217.
    pub currency: String,
    /// The category.
    pub category: String,
    /// The stock.
    pub stock: i64,
}

impl Context {
    pub(super) fn new(document: Arc<Document>, transport: Transport, options: Options) -> Self {
        let run = Run {
            document,
            transport,
            options,
            ledger: Ledger::default(),
            pool: Pool::default(),
            requests: AtomicUsize::new(0),
            product: OnceCell::new(),
        };
        Self { run: Arc::new(run), last: Arc::default(), cleaning: false }
    }

    pub(super) fn for_case(&self) -> Self {
        Self { run: Arc::clone(&self.run), last: Arc::default(), cleaning: false }
    }

    pub(super) fn for_cleanup(&self) -> Self {
        Self { run: Arc::clone(&self.run), last: Arc::default(), cleaning: true }
    }

    /// The document to test against.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.run.document
    }

    /// A logged-in user that all cases share. Do not change it or log it out.
    ///
    /// # Errors
    /// If registration or log-in fails.
    pub async fn user(&self) -> Result<User, Failure> {
        self.run.pool.shared(0, self).await
    }

    /// Another shared user, to test access to other users' resources.
    ///
    /// # Errors
    /// If registration or log-in fails.
    pub async fn other_user(&self, than: &User) -> Result<User, Failure> {
        let other = self.run.pool.shared(1, self).await?;
        if other.id == than.id { self.user().await } else { Ok(other) }
    }

    /// A user that only this case uses, until the lease is dropped. The user may have cancelled
    /// orders of other cases.
    ///
    /// # Errors
    /// If registration or log-in fails.
    pub async fn own_user(&self) -> Result<Lease, Failure> {
        self.run.pool.lease(self).await
    }

    /// A new user that is not reused: for deactivation. Each costs the server half a second and 128
    /// MiB.
    ///
    /// # Errors
    /// If registration or log-in fails.
    pub async fn disposable_user(&self) -> Result<User, Failure> {
        pool::new_user(self).await
    }

    /// Starts a request to an operation.
    pub fn call(&self, operation_id: &str) -> Call {
        match self.document().operation(operation_id) {
            Some(operation) => Call::new(self, operation.method.clone(), operation.path.clone()),
            None => Call::new(self, Method::GET, "/".to_owned())
                .invalid(format!("the document has no operation {operation_id:?}")),
        }
    }

    /// Starts any other request; the path may have a query.
    pub fn raw(&self, method: Method, path: &str) -> Call {
        Call::new(self, method, path.to_owned())
    }

    /// The product with the largest stock, read once.
    ///
    /// # Errors
    /// If the catalogue cannot be read or is sold out.
    pub async fn product(&self) -> Result<Product, Failure> {
        let found = self.run.product.get_or_try_init(|| async {
            let products = self.products().await?;
            let most = products.into_iter().max_by_key(|product| product.stock);
            match most {
                Some(product) if product.stock > 0 => Ok(product),
                Some(_) | None => Err(Failure::new(
                    "expected a product with stock in the catalogue, got none: restock one",
                )),
            }
        });
        found.await.cloned()
    }

    /// The current catalogue, by ascending id.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn products(&self) -> Result<Vec<Product>, Failure> {
        let (mut products, mut token, mut tokens) = (Vec::new(), None::<String>, BTreeSet::new());
        for _ in 0..PAGES {
            let mut call = self.call("list_products").query("limit", 100);
            if let Some(token) = &token {
                call = call.query("page_token", token);
            }
            let answer = call.tolerant().expect(200).await?;
            let items = answer.json()["items"].as_array();
            products.extend(items.into_iter().flatten().filter_map(Product::read));
            token = answer.json()["next_page"].as_str().map(str::to_owned);
            if token.is_none() {
                products.sort_by_key(|product| product.id);
                return Ok(products);
            }
            if !tokens.insert(token.clone()) {
                return Err(answer.fail(
                    "expected the last page of the catalogue, got the same `next_page` again",
                ));
            }
        }
        Err(Failure::new(format!("expected a catalogue of at most {PAGES} pages")))
    }

    /// The expired token; cases with `Requirement::ExpiredToken` have one.
    #[must_use]
    pub fn expired_token(&self) -> Option<&str> {
        self.run.options.expired_token.as_deref()
    }

    /// A new name, valid as sid and username.
    #[must_use]
    pub fn fresh_name(&self) -> String {
        // The last digits of a random UUID; a sid has at most 15.
        format!("t{}", &Uuid::new_v4().simple().to_string()[18..])
    }

    /// An unused id.
    #[must_use]
    pub fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }

    /// Follows the `Location` of a response; a fault is recorded as a separate failure.
    pub(super) async fn follow_location(&self, answer: &Answer, token: &str) {
        if let Err(failure) = super::call::follow(self, answer, token).await
            && !self.stopped()
            && let Some(operation) = self
                .document()
                .operation_of(answer.request().method.as_str(), &answer.request().path)
        {
            self.ledger().incident(Incident {
                operation: operation.id.clone(),
                status: answer.status,
                failure,
            });
        }
    }

    pub(super) fn run(&self) -> &Run {
        &self.run
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.run.ledger
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.run.pool
    }

    pub(super) fn is_cleanup(&self) -> bool {
        self.cleaning
    }

    pub(super) fn stopped(&self) -> bool {
        !self.cleaning && self.run.options.stop.is_cancelled()
    }

    pub(super) fn remember(&self, exchange: &Arc<RecordedExchange>) {
        self.run.requests.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == MAX_RECORDED {
            last.remove(0);
        }
        last.push(Arc::clone(exchange));
    }

    pub(super) fn last(&self) -> Vec<Arc<RecordedExchange>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Context")
            .field("url", &self.run.options.url.as_str())
            .finish_non_exhaustive()
    }
}

impl Product {
    /// `None` if the item is not a product, which the check has reported.
    fn read(item: &Value) -> Option<Self> {
        let text = |member: &str| item[member].as_str().unwrap_or_default().to_owned();
        Some(Self {
            id: item["id"].as_i64()?,
            price_cents: item["price_cents"].as_i64()?,
            currency: text("currency"),
            category: text("category"),
            stock: item["stock"].as_i64()?,
        })
    }
}
