// @generated from library.yaml by poem-contract. Do not edit: change library.yaml and run `UPDATE_GOLDEN=1 cargo test -p poem-contract`.

//! A lending library, version 2.1.0: traits to implement, types, and a poem-openapi service that
//! validates every request.

#![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, rustdoc::all)]

use ::poem_contract_runtime as runtime;

/// Books, to look at.
pub trait ReadingRoom: Send + Sync + 'static {
    /// List books
    ///
    /// A page at a time.
    ///
    ///     an indented line stays indented
    ///
    /// * and so does a list
    ///
    /// `GET /books`
    fn list_books(
        &self,
        limit: i32,
        since: Option<::time::OffsetDateTime>,
        shelf: Option<i64>,
        genre: Option<Genre>,
        sort: ListBooksSort,
        r#type: Option<String>,
        available: bool,
    ) -> impl ::std::future::Future<Output = ListBooksResponse> + Send;
    /// Add a book
    ///
    /// `POST /books`
    fn add_book(
        &self,
        reader_card: ReaderCard,
        body: NewBook,
    ) -> impl ::std::future::Future<Output = AddBookResponse> + Send;
    /// Look at a book
    ///
    /// `GET /books/{book_id}`
    fn get_book(
        &self,
        book_id: BookId,
        if_none_match: Option<String>,
    ) -> impl ::std::future::Future<Output = GetBookResponse> + Send;
}

/// Books, to take home.
pub trait Loans: Send + Sync + 'static {
    /// Lend a whole shelf
    ///
    /// `PUT /shelves/{shelf}/{genre}/loans`
    #[deprecated]
    fn lend(
        &self,
        reader_card: ReaderCard,
        genre: Genre,
        shelf: i32,
        reader: String,
        x_desk: Option<i32>,
        receipt_key: Option<String>,
        body: Loan,
    ) -> impl ::std::future::Future<Output = LendResponse> + Send;
}

/// The responses of `listBooks`.
#[derive(Clone, Debug, PartialEq)]
pub enum ListBooksResponse {
    /// Some books.
    Ok {
        /// The body, `application/json`.
        body: runtime::Encoded<BookPage>,
        /// How many there are.
        x_total: Option<i64>,
    },
    /// The request is not what is expected.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
}

/// The responses of `add_book`.
#[derive(Clone, Debug, PartialEq)]
pub enum AddBookResponse {
    /// Added.
    Created {
        /// The body, `application/json`.
        body: runtime::Encoded<Book>,
        /// Where it is.
        location: String,
        /// Its version.
        etag: String,
    },
    /// The request is not what is expected.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// No card.
    Unauthorized {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The header `WWW-Authenticate`.
        www_authenticate: String,
    },
    /// Too much at once.
    PayloadTooLarge {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// Not JSON.
    UnsupportedMediaType {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
}

/// The responses of `get_book`.
#[derive(Clone, Debug, PartialEq)]
pub enum GetBookResponse {
    /// The book.
    Ok {
        /// The body, `application/json`.
        body: runtime::Encoded<Book>,
    },
    /// It has not changed.
    NotModified {
        /// Its version.
        etag: String,
    },
    /// The request is not what is expected.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// No such book.
    NotFound {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
}

/// The responses of `lend`.
#[derive(Clone, Debug, PartialEq)]
pub enum LendResponse {
    /// Lent.
    NoContent,
    /// The request is not what is expected.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// No card.
    Unauthorized {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The header `WWW-Authenticate`.
        www_authenticate: String,
    },
    /// Too much at once.
    PayloadTooLarge {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// Not JSON.
    UnsupportedMediaType {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The desk is closed.
    ServiceUnavailable {
        /// After how many seconds to ask again.
        retry_after: i32,
    },
}

/// The number of a book.
pub type BookId = ::uuid::Uuid;

/// What kind of book.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    ::serde::Serialize,
    ::serde::Deserialize
)]
pub enum Genre {
    /// `prose`
    #[serde(rename = "prose")]
    Prose,
    /// `poetry`
    #[serde(rename = "poetry")]
    Poetry,
    /// `non-fiction`
    #[serde(rename = "non-fiction")]
    NonFiction,
}

impl Genre {
    /// Returns the value in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prose => "prose",
            Self::Poetry => "poetry",
            Self::NonFiction => "non-fiction",
        }
    }
}

impl ::std::fmt::Display for Genre {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        f.write_str(self.as_str())
    }
}

pub type Title = String;

#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    ::serde::Serialize,
    ::serde::Deserialize
)]
pub enum NewBookType {
    /// `book`
    #[serde(rename = "book")]
    Book,
    /// `map`
    #[serde(rename = "map")]
    Map,
}

impl NewBookType {
    /// Returns the value in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Book => "book",
            Self::Map => "map",
        }
    }
}

impl ::std::fmt::Display for NewBookType {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A book that is not there yet.
#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBook {
    pub title: Title,
    /// Where it is put.
    pub shelf: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub genre: Option<Genre>,
    pub r#type: NewBookType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
pub struct Book {
    pub id: BookId,
    pub title: Title,
    pub genre: Genre,
    pub shelf: i64,
    /// When it came.
    #[serde(with = "::time::serde::rfc3339")]
    pub added_at: ::time::OffsetDateTime,
    /// When it comes back; null while it is here.
    #[serde(with = "::time::serde::rfc3339::option")]
    pub lent_until: Option<::time::OffsetDateTime>,
    /// When it came back the last time.
    #[serde(with = "::time::serde::rfc3339::option")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_at: Option<::time::OffsetDateTime>,
    pub r#type: String,
}

#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
pub struct BookPage {
    /// By title.
    pub items: Vec<Book>,
    #[serde(default)]
    pub next_page: Option<String>,
}

#[derive(Clone, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loan {
    pub days: i32,
    /// The secret of the card.
    pub pin: String,
    pub note: Option<String>,
    pub to: Reader,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    #[serde(with = "::time::serde::rfc3339::option")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<::time::OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<bool>,
}

impl ::std::fmt::Debug for Loan {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        f.debug_struct("Loan")
            .field("days", &self.days)
            .field("pin", &"[redacted]")
            .field("note", &self.note)
            .field("to", &self.to)
            .field("weight", &self.weight)
            .field("due", &self.due)
            .field("silent", &self.silent)
            .finish()
    }
}

#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    pub email: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cards: Option<Vec<::uuid::Uuid>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

/// What was wrong.
#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
pub struct Problem {
    pub code: String,
    pub faults: Vec<String>,
}

#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    ::serde::Serialize,
    ::serde::Deserialize
)]
pub enum ListBooksSort {
    /// `title`
    #[serde(rename = "title")]
    Title,
    /// `by-age`
    #[serde(rename = "by-age")]
    ByAge,
    /// `type`
    #[serde(rename = "type")]
    Type,
}

impl ListBooksSort {
    /// Returns the value in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::ByAge => "by-age",
            Self::Type => "type",
        }
    }
}

impl ::std::fmt::Display for ListBooksSort {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The number on the card.
///
/// The token as sent; the implementation verifies it. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct ReaderCard(runtime::Token);

impl ReaderCard {
    /// Returns the token.
    pub fn token(&self) -> &str {
        self.0.as_str()
    }
}

impl<'a> ::poem_openapi::ApiExtractor<'a> for ReaderCard {
    const TYPES: &'static [::poem_openapi::ApiExtractorType] = &[
        ::poem_openapi::ApiExtractorType::SecurityScheme,
    ];
    type ParamType = ();
    type ParamRawType = ();
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        registry
            .create_security_scheme(
                "readerCard",
                runtime::bearer_scheme(Some("The number on the card."), Some("opaque")),
            );
    }
    fn security_schemes() -> Vec<&'static str> {
        vec!["readerCard"]
    }
    async fn from_request(
        request: &'a ::poem::Request,
        _: &mut ::poem::RequestBody,
        _: ::poem_openapi::ExtractParamOptions<()>,
    ) -> ::poem::Result<Self> {
        runtime::token(request).map(Self)
    }
}

type Apis<T> = (ReadingRoomApi<T>, LoansApi<T>);

/// The routes of the document: method, path template, operation id.
pub const ROUTES: &[runtime::Route] = &[
    ("GET", "/books", "listBooks"),
    ("POST", "/books", "add_book"),
    ("GET", "/books/{book_id}", "get_book"),
    ("PUT", "/shelves/{shelf}/{genre}/loans", "lend"),
];

/// Returns the server: `implementation`, with each request validated first.
///
/// `rejections` answers invalid requests (400, 401, 404, 405, 413, 415). HEAD is served
/// wherever GET is.
pub fn api<T>(
    implementation: ::std::sync::Arc<T>,
    rejections: ::std::sync::Arc<dyn runtime::RejectionHandler>,
    limits: runtime::Limits,
) -> impl ::poem::Endpoint<Output = ::poem::Response>
where
    T: ReadingRoom + Loans,
{
    runtime::ServiceEndpoint::new(
        service::<
            Apis<T>,
        >((
            ReadingRoomApi(::std::sync::Arc::clone(&implementation)),
            LoansApi(::std::sync::Arc::clone(&implementation)),
        )),
        ROUTES,
        rejections,
        limits,
    )
}

/// Returns the document that the server emits, as JSON.
pub fn spec_json<T>() -> String
where
    T: ReadingRoom + Loans,
{
    service(runtime::SpecOnly::<Apis<T>>::new()).spec()
}

fn service<A: ::poem_openapi::OpenApi>(
    apis: A,
) -> ::poem_openapi::OpenApiService<A, ()> {
    ::poem_openapi::OpenApiService::new(apis, "A lending library", "2.1.0")
        .description(
            "Books, and who has them.\n\n  - two spaces in front of this mean something in CommonMark",
        )
        .terms_of_service("https://library.example/terms")
        .contact(
            ::poem_openapi::ContactObject::new()
                .name("The librarians")
                .url("https://library.example/")
                .email("desk@library.example"),
        )
        .license(
            ::poem_openapi::LicenseObject::new("MIT")
                .url("https://opensource.org/license/mit"),
        )
        .server(::poem_openapi::ServerObject::new("/").description("Here."))
        .external_document(
            ::poem_openapi::ExternalDocumentObject::new("https://library.example/docs")
                .description("How lending works."),
        )
}

fn check_list_books<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::LIST_BOOKS)
}

fn check_add_book<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::ADD_BOOK)
}

fn check_get_book<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::GET_BOOK)
}

fn check_lend<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::LEND)
}

struct ReadingRoomApi<T>(::std::sync::Arc<T>);

#[::poem_openapi::OpenApi]
impl<T: ReadingRoom> ReadingRoomApi<T> {
    /**List books

A page at a time.

    an indented line stays indented

* and so does a list*/
    #[oai(
        path = "/books",
        method = "get",
        operation_id = "listBooks",
        tag = "Tags::ReadingRoom",
        transform = "check_list_books",
        external_docs = "https://library.example/lists"
    )]
    async fn list_books(
        &self,
        /// How many at most.
        #[oai(name = "limit")]
        limit: runtime::Parameter<parameters::Limit>,
        /// Only books that came later.
        #[oai(name = "since")]
        since: runtime::Parameter<parameters::ListBooksSince>,
        /// Only books of this shelf.
        #[oai(name = "shelf", deprecated)]
        shelf: runtime::Parameter<parameters::ListBooksShelf>,
        #[oai(name = "genre")]
        genre: runtime::Parameter<parameters::ListBooksGenre>,
        /// By what.
        #[oai(name = "sort")]
        sort: runtime::Parameter<parameters::ListBooksSort>,
        /**A word of Rust's as a name.

  - and a list*/
        #[oai(name = "type")]
        r#type: runtime::Parameter<parameters::ListBooksType>,
        #[oai(name = "available")]
        available: runtime::Parameter<parameters::ListBooksAvailable>,
    ) -> ListBooksResponse {
        ReadingRoom::list_books(
                &*self.0,
                limit.0,
                since.0,
                shelf.0,
                genre.0,
                sort.0,
                r#type.0,
                available.0,
            )
            .await
    }
    /// Add a book
    #[oai(
        path = "/books",
        method = "post",
        operation_id = "add_book",
        tag = "Tags::ReadingRoom",
        transform = "check_add_book"
    )]
    async fn add_book(
        &self,
        reader_card: ReaderCard,
        /// The book to add.
        body: runtime::Body<NewBook>,
    ) -> AddBookResponse {
        ReadingRoom::add_book(&*self.0, reader_card, body.0).await
    }
    /// Look at a book
    #[oai(
        path = "/books/:book_id",
        method = "get",
        operation_id = "get_book",
        tag = "Tags::ReadingRoom",
        transform = "check_get_book"
    )]
    async fn get_book(
        &self,
        /// Which book.
        #[oai(name = "book_id", explode = false)]
        book_id: runtime::Parameter<parameters::BooksBookId>,
        /// Versions that the reader has.
        #[oai(name = "If-None-Match", explode = false)]
        if_none_match: runtime::Parameter<parameters::GetBookIfNoneMatch>,
    ) -> GetBookResponse {
        ReadingRoom::get_book(&*self.0, book_id.0, if_none_match.0).await
    }
}

struct LoansApi<T>(::std::sync::Arc<T>);

#[::poem_openapi::OpenApi]
impl<T: Loans> LoansApi<T> {
    /// Lend a whole shelf
    #[allow(deprecated)]
    #[oai(
        path = "/shelves/:shelf/:genre/loans",
        method = "put",
        operation_id = "lend",
        tag = "Tags::Loans",
        transform = "check_lend",
        deprecated
    )]
    async fn lend(
        &self,
        reader_card: ReaderCard,
        #[oai(name = "genre", explode = false)]
        genre: runtime::Parameter<parameters::LendGenre>,
        /// Which shelf.
        #[oai(name = "shelf", explode = false)]
        shelf: runtime::Parameter<parameters::LendShelf>,
        /// The reader's name, as on the card.
        #[oai(name = "reader")]
        reader: runtime::Parameter<parameters::LendReader>,
        /// At which desk.
        #[oai(name = "X-Desk", explode = false)]
        x_desk: runtime::Parameter<parameters::LendXDesk>,
        #[oai(name = "Receipt-Key", explode = false)]
        receipt_key: runtime::Parameter<parameters::LendReceiptKey>,
        /// For how long, and to whom.
        body: runtime::Body<Loan>,
    ) -> LendResponse {
        Loans::lend(
                &*self.0,
                reader_card,
                genre.0,
                shelf.0,
                reader.0,
                x_desk.0,
                receipt_key.0,
                body.0,
            )
            .await
    }
}

#[derive(Clone, Copy)]
enum Tags {
    ReadingRoom,
    Loans,
}

impl Tags {
    fn metadata(self) -> runtime::Tag {
        match self {
            Self::ReadingRoom => {
                runtime::Tag {
                    name: "Reading room",
                    description: Some("Books, to look at."),
                    external_docs: Some((
                        "https://library.example/books",
                        Some("The catalogue on paper."),
                    )),
                }
            }
            Self::Loans => {
                runtime::Tag {
                    name: "Loans",
                    description: Some("Books, to take home."),
                    external_docs: None,
                }
            }
        }
    }
}

impl ::poem_openapi::Tags for Tags {
    fn register(&self, registry: &mut ::poem_openapi::registry::Registry) {
        registry.create_tag(self.metadata().into());
    }
    fn name(&self) -> &'static str {
        self.metadata().name
    }
}

/// The component schemas that requests refer to, as in the document.
static REQUEST_SCHEMAS: runtime::Schemas = runtime::Schemas::new(
    r##"{
  "BookId": {
    "type": "string",
    "format": "uuid",
    "description": "The number of a book."
  },
  "Genre": {
    "description": "What kind of book.",
    "type": "string",
    "enum": [
      "prose",
      "poetry",
      "non-fiction"
    ]
  },
  "Title": {
    "type": "string",
    "minLength": 1,
    "maxLength": 100,
    "title": "The title",
    "example": "Momo"
  },
  "NewBook": {
    "description": "A book that is not there yet.",
    "type": "object",
    "additionalProperties": false,
    "required": [
      "title",
      "shelf",
      "type"
    ],
    "externalDocs": {
      "url": "https://library.example/new"
    },
    "properties": {
      "title": {
        "$ref": "#/components/schemas/Title"
      },
      "shelf": {
        "description": "Where it is put.",
        "type": "integer",
        "format": "int64",
        "minimum": 0,
        "x-unit": "metres"
      },
      "genre": {
        "$ref": "#/components/schemas/Genre"
      },
      "type": {
        "type": "string",
        "enum": [
          "book",
          "map"
        ]
      },
      "link": {
        "type": "string",
        "format": "uri",
        "deprecated": true
      }
    }
  },
  "Loan": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "days",
      "pin",
      "note",
      "to"
    ],
    "minProperties": 4,
    "properties": {
      "days": {
        "type": "integer",
        "format": "int32",
        "minimum": 0,
        "exclusiveMinimum": true,
        "maximum": 28,
        "multipleOf": 7
      },
      "pin": {
        "description": "The secret of the card.",
        "type": "string",
        "format": "password",
        "minLength": 4,
        "maxLength": 8
      },
      "note": {
        "type": "string",
        "nullable": true,
        "maxLength": 10
      },
      "to": {
        "$ref": "#/components/schemas/Reader"
      },
      "weight": {
        "type": "integer",
        "format": "int32"
      },
      "due": {
        "type": "string",
        "format": "date-time"
      },
      "silent": {
        "type": "boolean"
      }
    }
  },
  "Reader": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "email"
    ],
    "properties": {
      "email": {
        "type": "string",
        "format": "email",
        "maxLength": 30
      },
      "cards": {
        "type": "array",
        "minItems": 1,
        "maxItems": 3,
        "uniqueItems": true,
        "items": {
          "type": "string",
          "format": "uuid"
        }
      },
      "tags": {
        "type": "array",
        "items": {
          "type": "string",
          "minLength": 1,
          "maxLength": 5,
          "pattern": "^[a-z]+$"
        }
      }
    }
  }
}"##,
);

/// The validators of requests, one for each operation.
mod validators {
    use ::std::sync::LazyLock;
    use super::runtime;
    pub(super) static LIST_BOOKS: LazyLock<runtime::RequestValidator> = LazyLock::new(|| {
        runtime::RequestValidator::new("/books", &super::REQUEST_SCHEMAS)
            .parameter(
                runtime::Location::Query,
                "limit",
                runtime::Presence::Optional,
                r#"{"type":"integer","format":"int32","minimum":1,"maximum":100,"default":20}"#,
            )
            .parameter(
                runtime::Location::Query,
                "since",
                runtime::Presence::Optional,
                r#"{"type":"string","format":"date-time"}"#,
            )
            .parameter(
                runtime::Location::Query,
                "shelf",
                runtime::Presence::Optional,
                r#"{"type":"integer","format":"int64","minimum":0}"#,
            )
            .parameter(
                runtime::Location::Query,
                "genre",
                runtime::Presence::Optional,
                r##"{"$ref":"#/components/schemas/Genre"}"##,
            )
            .parameter(
                runtime::Location::Query,
                "sort",
                runtime::Presence::Optional,
                r#"{"type":"string","enum":["title","by-age","type"],"default":"title"}"#,
            )
            .parameter(
                runtime::Location::Query,
                "type",
                runtime::Presence::Optional,
                r#"{"type":"string","maxLength":5}"#,
            )
            .parameter(
                runtime::Location::Query,
                "available",
                runtime::Presence::Optional,
                r#"{"type":"boolean","default":false}"#,
            )
    });
    pub(super) static ADD_BOOK: LazyLock<runtime::RequestValidator> = LazyLock::new(|| {
        runtime::RequestValidator::new("/books", &super::REQUEST_SCHEMAS)
            .bearer()
            .body(r##"{"$ref":"#/components/schemas/NewBook"}"##)
    });
    pub(super) static GET_BOOK: LazyLock<runtime::RequestValidator> = LazyLock::new(|| {
        runtime::RequestValidator::new("/books/{book_id}", &super::REQUEST_SCHEMAS)
            .parameter(
                runtime::Location::Path,
                "book_id",
                runtime::Presence::Required,
                r##"{"$ref":"#/components/schemas/BookId"}"##,
            )
            .parameter(
                runtime::Location::Header,
                "If-None-Match",
                runtime::Presence::Optional,
                r#"{"type":"string"}"#,
            )
    });
    pub(super) static LEND: LazyLock<runtime::RequestValidator> = LazyLock::new(|| {
        runtime::RequestValidator::new(
                "/shelves/{shelf}/{genre}/loans",
                &super::REQUEST_SCHEMAS,
            )
            .bearer()
            .parameter(
                runtime::Location::Path,
                "genre",
                runtime::Presence::Required,
                r##"{"$ref":"#/components/schemas/Genre"}"##,
            )
            .parameter(
                runtime::Location::Path,
                "shelf",
                runtime::Presence::Required,
                r#"{"type":"integer","format":"int32","minimum":1}"#,
            )
            .parameter(
                runtime::Location::Query,
                "reader",
                runtime::Presence::Required,
                r#"{"type":"string","minLength":2,"maxLength":20,"pattern":"^\\p{Lu}[\\p{L} ]*$"}"#,
            )
            .parameter(
                runtime::Location::Header,
                "X-Desk",
                runtime::Presence::Optional,
                r#"{"type":"integer","format":"int32","minimum":1,"maximum":9,"exclusiveMaximum":true}"#,
            )
            .parameter(
                runtime::Location::Header,
                "Receipt-Key",
                runtime::Presence::Optional,
                r#"{"type":"string","minLength":1,"maxLength":5,"pattern":"^[!-~]+$"}"#,
            )
            .body(r##"{"$ref":"#/components/schemas/Loan"}"##)
    });
}

/// Metadata of the parameters.
mod parameters {
    use super::runtime;
    /// How many at most.
    pub(super) struct Limit;
    impl runtime::ParameterSpec for Limit {
        const LOCATION: runtime::Location = runtime::Location::Query;
        const NAME: &'static str = "limit";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = i32;
        fn schema() -> runtime::Schema {
            runtime::schema::<i32>().minimum(1.0).maximum(100.0).default(20)
        }
    }
    /// Only books that came later.
    pub(super) struct ListBooksSince;
    impl runtime::ParameterSpec for ListBooksSince {
        const LOCATION: runtime::Location = runtime::Location::Query;
        const NAME: &'static str = "since";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = Option<::time::OffsetDateTime>;
        fn schema() -> runtime::Schema {
            runtime::schema::<::time::OffsetDateTime>()
        }
        fn read(
            value: &::serde_json::Value,
        ) -> Result<Self::Value, ::serde_json::Error> {
            ::time::serde::rfc3339::option::deserialize(value)
        }
    }
    /// Only books of this shelf.
    pub(super) struct ListBooksShelf;
    impl runtime::ParameterSpec for ListBooksShelf {
        const LOCATION: runtime::Location = runtime::Location::Query;
        const NAME: &'static str = "shelf";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = Option<i64>;
        fn schema() -> runtime::Schema {
            runtime::schema::<i64>().minimum(0.0)
        }
    }
    /// genre
    pub(super) struct ListBooksGenre;
    impl runtime::ParameterSpec for ListBooksGenre {
        const LOCATION: runtime::Location = runtime::Location::Query;
        const NAME: &'static str = "genre";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = Option<super::Genre>;
        fn schema() -> runtime::Schema {
            runtime::schema::<super::Genre>()
        }
    }
    /// By what.
    pub(super) struct ListBooksSort;
    impl runtime::ParameterSpec for ListBooksSort {
        const LOCATION: runtime::Location = runtime::Location::Query;
        const NAME: &'static str = "sort";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = super::ListBooksSort;
        fn schema() -> runtime::Schema {
            runtime::schema::<super::ListBooksSort>().default("title")
        }
    }
    /// A word of Rust's as a name.
    ///
    ///   - and a list
    pub(super) struct ListBooksType;
    impl runtime::ParameterSpec for ListBooksType {
        const LOCATION: runtime::Location = runtime::Location::Query;
        const NAME: &'static str = "type";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = Option<String>;
        fn schema() -> runtime::Schema {
            runtime::schema::<String>().max_length(5)
        }
    }
    /// available
    pub(super) struct ListBooksAvailable;
    impl runtime::ParameterSpec for ListBooksAvailable {
        const LOCATION: runtime::Location = runtime::Location::Query;
        const NAME: &'static str = "available";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = bool;
        fn schema() -> runtime::Schema {
            runtime::schema::<bool>().default(false)
        }
    }
    /// Which book.
    pub(super) struct BooksBookId;
    impl runtime::ParameterSpec for BooksBookId {
        const LOCATION: runtime::Location = runtime::Location::Path;
        const NAME: &'static str = "book_id";
        const PRESENCE: runtime::Presence = runtime::Presence::Required;
        type Value = super::BookId;
        fn schema() -> runtime::Schema {
            runtime::schema::<super::aliases::BookId>()
        }
    }
    /// Versions that the reader has.
    pub(super) struct GetBookIfNoneMatch;
    impl runtime::ParameterSpec for GetBookIfNoneMatch {
        const LOCATION: runtime::Location = runtime::Location::Header;
        const NAME: &'static str = "If-None-Match";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = Option<String>;
        fn schema() -> runtime::Schema {
            runtime::schema::<String>()
        }
    }
    /// genre
    pub(super) struct LendGenre;
    impl runtime::ParameterSpec for LendGenre {
        const LOCATION: runtime::Location = runtime::Location::Path;
        const NAME: &'static str = "genre";
        const PRESENCE: runtime::Presence = runtime::Presence::Required;
        type Value = super::Genre;
        fn schema() -> runtime::Schema {
            runtime::schema::<super::Genre>()
        }
    }
    /// Which shelf.
    pub(super) struct LendShelf;
    impl runtime::ParameterSpec for LendShelf {
        const LOCATION: runtime::Location = runtime::Location::Path;
        const NAME: &'static str = "shelf";
        const PRESENCE: runtime::Presence = runtime::Presence::Required;
        type Value = i32;
        fn schema() -> runtime::Schema {
            runtime::schema::<i32>().minimum(1.0)
        }
    }
    /// The reader's name, as on the card.
    pub(super) struct LendReader;
    impl runtime::ParameterSpec for LendReader {
        const LOCATION: runtime::Location = runtime::Location::Query;
        const NAME: &'static str = "reader";
        const PRESENCE: runtime::Presence = runtime::Presence::Required;
        type Value = String;
        fn schema() -> runtime::Schema {
            runtime::schema::<String>()
                .pattern("^\\p{Lu}[\\p{L} ]*$")
                .min_length(2)
                .max_length(20)
        }
    }
    /// At which desk.
    pub(super) struct LendXDesk;
    impl runtime::ParameterSpec for LendXDesk {
        const LOCATION: runtime::Location = runtime::Location::Header;
        const NAME: &'static str = "X-Desk";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = Option<i32>;
        fn schema() -> runtime::Schema {
            runtime::schema::<i32>().minimum(1.0).maximum(9.0).exclusive_maximum(true)
        }
    }
    /// Receipt-Key
    pub(super) struct LendReceiptKey;
    impl runtime::ParameterSpec for LendReceiptKey {
        const LOCATION: runtime::Location = runtime::Location::Header;
        const NAME: &'static str = "Receipt-Key";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = Option<String>;
        fn schema() -> runtime::Schema {
            runtime::schema::<String>().pattern("^[!-~]+$").min_length(1).max_length(5)
        }
    }
}

impl ::poem::IntoResponse for ListBooksResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Ok { body, x_total } => {
                runtime::ResponseBuilder::new(200)
                    .header::<i64>("x-total", x_total)
                    .body("application/json", body)
            }
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for ListBooksResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(200, "Some books.")
            .header(
                "X-Total",
                runtime::Presence::Optional,
                Some("How many there are."),
                runtime::schema::<i64>().minimum(0.0),
            )
            .body::<BookPage>("application/json")
            .shared(400, shared_responses::invalid)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <BookPage as ::poem_openapi::types::Type>::register(registry);
        <Problem as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for AddBookResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Created { body, location, etag } => {
                runtime::ResponseBuilder::new(201)
                    .header::<String>("location", location)
                    .header::<String>("etag", etag)
                    .body("application/json", body)
            }
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::Unauthorized { body, www_authenticate } => {
                runtime::ResponseBuilder::new(401)
                    .header::<String>("www-authenticate", www_authenticate)
                    .body("application/problem+json", body)
            }
            Self::PayloadTooLarge { body } => {
                runtime::ResponseBuilder::new(413).body("application/problem+json", body)
            }
            Self::UnsupportedMediaType { body } => {
                runtime::ResponseBuilder::new(415).body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for AddBookResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(201, "Added.")
            .header(
                "Location",
                runtime::Presence::Required,
                Some("Where it is."),
                runtime::schema::<String>().format("uri-reference").example("/books/1"),
            )
            .header(
                "ETag",
                runtime::Presence::Required,
                Some("Its version."),
                runtime::schema::<String>().pattern("^\"[0-9]+\"$"),
            )
            .body::<Book>("application/json")
            .shared(400, shared_responses::invalid)
            .shared(401, shared_responses::no_card)
            .shared(413, shared_responses::too_large)
            .shared(415, shared_responses::not_json)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Book as ::poem_openapi::types::Type>::register(registry);
        <Problem as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for GetBookResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Ok { body } => {
                runtime::ResponseBuilder::new(200).body("application/json", body)
            }
            Self::NotModified { etag } => {
                runtime::ResponseBuilder::new(304).header::<String>("etag", etag).empty()
            }
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::NotFound { body } => {
                runtime::ResponseBuilder::new(404).body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for GetBookResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(200, "The book.")
            .body::<Book>("application/json")
            .response(304, "It has not changed.")
            .header(
                "ETag",
                runtime::Presence::Required,
                Some("Its version."),
                runtime::schema::<String>(),
            )
            .shared(400, shared_responses::invalid)
            .response(404, "No such book.")
            .body::<Problem>("application/problem+json")
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Book as ::poem_openapi::types::Type>::register(registry);
        <Problem as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for LendResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::NoContent => runtime::ResponseBuilder::new(204).empty(),
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::Unauthorized { body, www_authenticate } => {
                runtime::ResponseBuilder::new(401)
                    .header::<String>("www-authenticate", www_authenticate)
                    .body("application/problem+json", body)
            }
            Self::PayloadTooLarge { body } => {
                runtime::ResponseBuilder::new(413).body("application/problem+json", body)
            }
            Self::UnsupportedMediaType { body } => {
                runtime::ResponseBuilder::new(415).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .empty()
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for LendResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(204, "Lent.")
            .shared(400, shared_responses::invalid)
            .shared(401, shared_responses::no_card)
            .shared(413, shared_responses::too_large)
            .shared(415, shared_responses::not_json)
            .response(503, "The desk is closed.")
            .header(
                "Retry-After",
                runtime::Presence::Required,
                Some("After how many seconds to ask again."),
                runtime::schema::<i32>().minimum(1.0),
            )
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Problem as ::poem_openapi::types::Type>::register(registry);
    }
}

/// Metadata of `components.responses`.
mod shared_responses {
    use super::runtime;
    pub(super) fn invalid(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(status, "The request is not what is expected.")
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn no_card(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(status, "No card.")
            .header(
                "WWW-Authenticate",
                runtime::Presence::Required,
                None,
                runtime::schema::<String>(),
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn not_json(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(status, "Not JSON.")
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn too_large(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(status, "Too much at once.")
            .body::<super::Problem>("application/problem+json")
    }
}

impl runtime::Component for Genre {
    const NAME: &'static str = "Genre";
    fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::schema::<String>()
            .enum_values(&["prose", "poetry", "non-fiction"])
            .description("What kind of book.")
    }
}

runtime::component_type!(Genre);

impl runtime::Component for NewBookType {
    const NAME: &'static str = "NewBookType";
    fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::schema::<String>().enum_values(&["book", "map"])
    }
}

runtime::inline_type!(NewBookType);

impl runtime::Component for NewBook {
    const NAME: &'static str = "NewBook";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "title",
                runtime::Presence::Required,
                runtime::schema::<aliases::Title>(),
            )
            .property(
                "shelf",
                runtime::Presence::Required,
                runtime::schema::<i64>().description("Where it is put.").minimum(0.0),
            )
            .property("genre", runtime::Presence::Optional, runtime::schema::<Genre>())
            .property(
                "type",
                runtime::Presence::Required,
                runtime::schema::<NewBookType>(),
            )
            .property(
                "link",
                runtime::Presence::Optional,
                runtime::schema::<String>().format("uri").deprecated(true),
            )
            .end()
            .description("A book that is not there yet.")
            .external_docs("https://library.example/new", None)
    }
}

runtime::component_type!(NewBook);

impl runtime::Component for Book {
    const NAME: &'static str = "Book";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "id",
                runtime::Presence::Required,
                runtime::schema::<aliases::BookId>(),
            )
            .property(
                "title",
                runtime::Presence::Required,
                runtime::schema::<aliases::Title>(),
            )
            .property("genre", runtime::Presence::Required, runtime::schema::<Genre>())
            .property("shelf", runtime::Presence::Required, runtime::schema::<i64>())
            .property(
                "added_at",
                runtime::Presence::Required,
                runtime::schema::<::time::OffsetDateTime>().description("When it came."),
            )
            .property(
                "lent_until",
                runtime::Presence::Required,
                runtime::schema::<::time::OffsetDateTime>()
                    .nullable(true)
                    .description("When it comes back; null while it is here.")
                    .example(::serde_json::Value::Null),
            )
            .property(
                "returned_at",
                runtime::Presence::Optional,
                runtime::schema::<::time::OffsetDateTime>()
                    .description("When it came back the last time."),
            )
            .property("type", runtime::Presence::Required, runtime::schema::<String>())
            .end()
            .example(
                ::serde_json::from_str::<
                    ::serde_json::Value,
                >(r#"{"id":"0198c0de-7e57-7000-8000-000000000001"}"#)
                    .expect("the generator emits JSON"),
            )
    }
}

runtime::component_type!(Book);

impl runtime::Component for BookPage {
    const NAME: &'static str = "BookPage";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "items",
                runtime::Presence::Required,
                runtime::schema::<Vec<Book>>().description("By title."),
            )
            .property(
                "next_page",
                runtime::Presence::Optional,
                runtime::schema::<String>().nullable(true),
            )
            .end()
    }
}

runtime::component_type!(BookPage);

impl runtime::Component for Loan {
    const NAME: &'static str = "Loan";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "days",
                runtime::Presence::Required,
                runtime::schema::<i32>()
                    .minimum(0.0)
                    .maximum(28.0)
                    .multiple_of(7.0)
                    .exclusive_minimum(true),
            )
            .property(
                "pin",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description("The secret of the card.")
                    .format("password")
                    .min_length(4)
                    .max_length(8),
            )
            .property(
                "note",
                runtime::Presence::Required,
                runtime::schema::<String>().nullable(true).max_length(10),
            )
            .property("to", runtime::Presence::Required, runtime::schema::<Reader>())
            .property("weight", runtime::Presence::Optional, runtime::schema::<i32>())
            .property(
                "due",
                runtime::Presence::Optional,
                runtime::schema::<::time::OffsetDateTime>(),
            )
            .property("silent", runtime::Presence::Optional, runtime::schema::<bool>())
            .end()
            .min_properties(4)
    }
}

runtime::component_type!(Loan);

impl runtime::Component for Reader {
    const NAME: &'static str = "Reader";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "email",
                runtime::Presence::Required,
                runtime::schema::<String>().format("email").max_length(30),
            )
            .property(
                "cards",
                runtime::Presence::Optional,
                runtime::schema::<Vec<::uuid::Uuid>>()
                    .min_items(1)
                    .max_items(3)
                    .unique_items(true),
            )
            .property(
                "tags",
                runtime::Presence::Optional,
                runtime::schema::<Vec<String>>()
                    .items(
                        runtime::schema::<String>()
                            .pattern("^[a-z]+$")
                            .min_length(1)
                            .max_length(5),
                    ),
            )
            .end()
    }
}

runtime::component_type!(Reader);

impl runtime::Component for Problem {
    const NAME: &'static str = "Problem";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property("code", runtime::Presence::Required, runtime::schema::<String>())
            .property(
                "faults",
                runtime::Presence::Required,
                runtime::schema::<Vec<String>>(),
            )
            .end()
            .description("What was wrong.")
    }
}

runtime::component_type!(Problem);

impl runtime::Component for ListBooksSort {
    const NAME: &'static str = "ListBooksSort";
    fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::schema::<String>().enum_values(&["title", "by-age", "type"])
    }
}

runtime::inline_type!(ListBooksSort);

/// Component schemas that are aliases of Rust types. The emitted document refers to
/// them by name.
mod aliases {
    use super::runtime;
    pub(super) struct BookId;
    impl runtime::Component for BookId {
        const NAME: &'static str = "BookId";
        fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
            runtime::schema::<::uuid::Uuid>().description("The number of a book.")
        }
    }
    runtime::component_type!(BookId);
    pub(super) struct Title;
    impl runtime::Component for Title {
        const NAME: &'static str = "Title";
        fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
            runtime::schema::<String>()
                .title("The title")
                .min_length(1)
                .max_length(100)
                .example("Momo")
        }
    }
    runtime::component_type!(Title);
}
