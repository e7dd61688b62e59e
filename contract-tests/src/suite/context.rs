//! What a case is given: the document, users, a product, and calls.

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
    http::{Exchanged, Transport},
    options::Options,
};

/// Exchanges of a case that are remembered for its failure.
const REMEMBERED: usize = 3;

/// Pages of the catalogue that are looked at.
const PAGES: usize = 1_000;

/// What a case is given. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    run: Arc<Run>,
    /// The last exchanges of this case.
    last: Arc<Mutex<Vec<Arc<Exchanged>>>>,
    /// Of the end of a run: goes on after the run was told to stop, and fills no cell.
    cleaning: bool,
}

/// What all cases of a run share.
pub(super) struct Run {
    pub(super) document: Arc<Document>,
    pub(super) transport: Transport,
    pub(super) options: Options,
    pub(super) ledger: Ledger,
    pub(super) pool: Pool,
    pub(super) requests: AtomicUsize,
    product: OnceCell<Product>,
}

/// A product of the catalogue, as it was when the run began.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Product {
    /// Its id.
    pub id: i64,
    /// What one piece costs, in minor units.
    pub price_cents: i64,
    /// ISO 4217.
    pub currency: String,
    /// Its kind.
    pub category: String,
    /// How many pieces were there.
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

    /// The same run, for another case.
    pub(super) fn for_case(&self) -> Self {
        Self { run: Arc::clone(&self.run), last: Arc::default(), cleaning: false }
    }

    /// The same run, for what has to be done at its end.
    pub(super) fn for_cleaning(&self) -> Self {
        Self { run: Arc::clone(&self.run), last: Arc::default(), cleaning: true }
    }

    /// What the implementation is held against.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.run.document
    }

    /// A user that all cases share, logged in. Do it no harm: neither log it out nor change it.
    ///
    /// # Errors
    /// When nobody can register or log in.
    pub async fn user(&self) -> Result<User, Failure> {
        self.run.pool.shared(0, self).await
    }

    /// Another user that all cases share, for what is somebody else's.
    ///
    /// # Errors
    /// When nobody can register or log in.
    pub async fn other_user(&self, than: &User) -> Result<User, Failure> {
        let other = self.run.pool.shared(1, self).await?;
        if other.id == than.id { self.user().await } else { Ok(other) }
    }

    /// A user for this case alone, until the lease is dropped: for log-outs, changes of the
    /// password and the username, and lists of orders. It may have orders of other cases, which are
    /// cancelled.
    ///
    /// # Errors
    /// When nobody can register or log in.
    pub async fn own_user(&self) -> Result<Lease, Failure> {
        self.run.pool.lease(self).await
    }

    /// A newly registered user, logged in, that nobody uses again: for deactivation. Each costs the
    /// server half a second and 128 MiB.
    ///
    /// # Errors
    /// When nobody can register or log in.
    pub async fn disposable_user(&self) -> Result<User, Failure> {
        pool::new_user(self).await
    }

    /// Begins a request of an operation of the document: its method and its path.
    pub fn call(&self, operation_id: &str) -> Call {
        match self.document().operation(operation_id) {
            Some(operation) => Call::new(self, operation.method.clone(), operation.path.clone()),
            None => Call::new(self, Method::GET, "/".to_owned())
                .impossible(format!("the document has no operation {operation_id:?}")),
        }
    }

    /// Begins any other request; the path may have a query.
    pub fn raw(&self, method: Method, path: &str) -> Call {
        Call::new(self, method, path.to_owned())
    }

    /// The product with the most pieces, looked up once.
    ///
    /// # Errors
    /// When the catalogue cannot be read, or has nothing to buy.
    pub async fn product(&self) -> Result<Product, Failure> {
        let found = self.run.product.get_or_try_init(|| async {
            let products = self.products().await?;
            let most = products.into_iter().max_by_key(|product| product.stock);
            match most {
                Some(product) if product.stock > 0 => Ok(product),
                Some(_) | None => {
                    Err(Failure::new("expected a product with stock in the catalogue: put some in"))
                }
            }
        });
        found.await.cloned()
    }

    /// The whole catalogue as it is now, by ascending id.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn products(&self) -> Result<Vec<Product>, Failure> {
        let (mut products, mut token, mut tokens) = (Vec::new(), None::<String>, BTreeSet::new());
        for _ in 0..PAGES {
            let mut call = self.call("list_products").query("limit", 100);
            if let Some(token) = &token {
                call = call.query("page_token", token);
            }
            let answer = call.leniently().expect(200).await?;
            let items = answer.json()["items"].as_array();
            products.extend(items.into_iter().flatten().filter_map(Product::read));
            token = answer.json()["next_page"].as_str().map(str::to_owned);
            if token.is_none() {
                products.sort_by_key(|product| product.id);
                return Ok(products);
            }
            if !tokens.insert(token.clone()) {
                return Err(answer.fail("expected the last page of the catalogue at some time, and a `next_page` comes again"));
            }
        }
        Err(Failure::new(format!("expected a catalogue of at most {PAGES} pages")))
    }

    /// A token that has expired, if there is one: cases of `Need::ExpiredToken` have it.
    #[must_use]
    pub fn expired_token(&self) -> Option<&str> {
        self.run.options.expired_token.as_deref()
    }

    /// A name that nobody has, valid as a sid and as a username.
    #[must_use]
    pub fn fresh_name(&self) -> String {
        // The last digits of a random UUID; a sid has at most 15.
        format!("t{}", &Uuid::new_v4().simple().to_string()[18..])
    }

    /// An id that nothing has.
    #[must_use]
    pub fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }

    /// Follows the `Location` of an answer outside of any case: what is wrong with it is a failure
    /// of its own.
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

    pub(super) fn is_cleaning(&self) -> bool {
        self.cleaning
    }

    /// Whether this context sends no more requests.
    pub(super) fn stopped(&self) -> bool {
        !self.cleaning && self.run.options.stop.is_cancelled()
    }

    pub(super) fn remember(&self, exchange: &Arc<Exchanged>) {
        self.run.requests.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == REMEMBERED {
            last.remove(0);
        }
        last.push(Arc::clone(exchange));
    }

    /// The last exchanges of this case.
    pub(super) fn last(&self) -> Vec<Arc<Exchanged>> {
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
    /// `None` for what is no product: the check of the answer has said so.
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
