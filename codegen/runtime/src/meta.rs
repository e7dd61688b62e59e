//! Builders for poem-openapi's metadata: schemas, responses, tags and security schemes. Generated
//! code calls them.

use std::{collections::HashMap, marker::PhantomData};

use poem::{endpoint::BoxEndpoint, http::Method};
use poem_openapi::{
    OpenApi,
    registry::{
        MetaApi, MetaExternalDocument, MetaHeader, MetaMediaType, MetaResponse, MetaResponses,
        MetaSchema, MetaSchemaRef, MetaSecurityScheme, MetaTag, Registry,
    },
    types::Type,
};
use serde_json::Value;

use crate::Presence;

/// The schema of a Rust type, with further keywords. The type sets `type`, `format` and `enum`, or
/// a reference to a component.
pub struct Schema {
    schema: MetaSchemaRef,
    register: fn(&mut Registry),
}

/// Returns the schema of `T`.
#[must_use]
pub fn schema<T: Type>() -> Schema {
    Schema { schema: T::schema_ref(), register: T::register }
}

macro_rules! keywords {
    ($($(#[$doc:meta])* $name:ident: $kind:ty => $value:expr;)*) => {
        $($(#[$doc])* #[must_use] pub fn $name(self, $name: $kind) -> Self {
            self.with(|schema| schema.$name = $value)
        })*
    };
}

impl Schema {
    /// Changes an inline schema. A reference stays unchanged: OpenAPI 3.0 ignores its siblings, and
    /// the generator emits none.
    fn with(mut self, change: impl FnOnce(&mut MetaSchema)) -> Self {
        if let MetaSchemaRef::Inline(schema) = &mut self.schema {
            change(schema);
        }
        self
    }

    keywords! {
        /// `title`.
        title: &'static str => Some(title.to_owned());
        /// `description`, in CommonMark.
        description: &'static str => Some(description);
        /// `format`, if it differs from the Rust type's.
        format: &'static str => Some(format);
        /// `pattern`.
        pattern: &'static str => Some(pattern.to_owned());
        /// `minLength`, in characters.
        min_length: usize => Some(min_length);
        /// `maxLength`, in characters.
        max_length: usize => Some(max_length);
        /// `minimum`.
        minimum: f64 => Some(minimum);
        /// `exclusiveMinimum`.
        exclusive_minimum: bool => Some(exclusive_minimum);
        /// `maximum`.
        maximum: f64 => Some(maximum);
        /// `exclusiveMaximum`.
        exclusive_maximum: bool => Some(exclusive_maximum);
        /// `multipleOf`.
        multiple_of: f64 => Some(multiple_of);
        /// `minItems`.
        min_items: usize => Some(min_items);
        /// `maxItems`.
        max_items: usize => Some(max_items);
        /// `uniqueItems`.
        unique_items: bool => Some(unique_items);
        /// `minProperties`.
        min_properties: usize => Some(min_properties);
        /// `maxProperties`.
        max_properties: usize => Some(max_properties);
        /// `nullable`.
        nullable: bool => nullable;
        /// `deprecated`.
        deprecated: bool => deprecated;
    }

    /// `default`.
    #[must_use]
    pub fn default(self, default: impl Into<Value>) -> Self {
        self.with(|schema| schema.default = Some(default.into()))
    }

    /// `example`.
    #[must_use]
    pub fn example(self, example: impl Into<Value>) -> Self {
        self.with(|schema| schema.example = Some(example.into()))
    }

    /// `items`, for an array.
    #[must_use]
    pub fn items(self, items: Self) -> Self {
        self.with(|array| array.items = Some(Box::new(items.schema)))
    }

    /// `enum`, for a string.
    #[must_use]
    pub fn enum_values(self, values: &[&str]) -> Self {
        self.with(|schema| {
            schema.enum_items = values.iter().map(|value| Value::from(*value)).collect()
        })
    }

    /// `externalDocs`.
    #[must_use]
    pub fn external_docs(self, url: &str, description: Option<&str>) -> Self {
        self.with(|schema| schema.external_docs = Some(external_docs(url, description)))
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        (self.register)(registry);
    }
}

impl From<Schema> for MetaSchemaRef {
    fn from(schema: Schema) -> Self {
        schema.schema
    }
}

impl From<Schema> for MetaSchema {
    /// Returns an inline schema; wraps a reference into `allOf`.
    fn from(schema: Schema) -> Self {
        match schema.schema {
            MetaSchemaRef::Inline(schema) => *schema,
            reference @ MetaSchemaRef::Reference(_) => {
                Self { all_of: vec![reference], ..Self::ANY }
            }
        }
    }
}

fn external_docs(url: &str, description: Option<&str>) -> MetaExternalDocument {
    MetaExternalDocument { url: url.to_owned(), description: description.map(str::to_owned) }
}

/// A builder for the schema of an object.
pub struct Object<'r> {
    registry: &'r mut Registry,
    schema: MetaSchema,
}

/// Starts the schema of an object. Registers the types of its properties.
pub fn object(registry: &mut Registry) -> Object<'_> {
    Object { registry, schema: MetaSchema::new("object") }
}

impl Object<'_> {
    /// Adds a property.
    #[must_use]
    pub fn property(mut self, name: &'static str, presence: Presence, schema: Schema) -> Self {
        schema.register(self.registry);
        if presence == Presence::Required {
            self.schema.required.push(name);
        }
        self.schema.properties.push((name, schema.into()));
        self
    }

    /// Ends the list of properties; further keywords may follow.
    #[must_use]
    pub fn end(self) -> Schema {
        Schema { schema: MetaSchemaRef::Inline(Box::new(self.schema)), register: |_| () }
    }
}

/// A generated type with a schema in the document. [`component_type!`](crate::component_type) and
/// [`inline_type!`](crate::inline_type) implement poem-openapi's `Type` for it.
pub trait Component: Sized + Send + Sync + 'static {
    /// The name in the document, or the Rust name of an inline schema.
    const NAME: &'static str;
    /// Returns the schema and registers the types that it refers to.
    fn describe(registry: &mut Registry) -> Schema;
}

/// Implements poem-openapi's `Type` for a [`Component`] that is emitted as a reference.
#[macro_export]
macro_rules! component_type {
    ($type:ty) => {
        $crate::type_of!($type, {
            fn schema_ref() -> ::poem_openapi::registry::MetaSchemaRef {
                ::poem_openapi::registry::MetaSchemaRef::Reference(
                    <Self as $crate::Component>::NAME.to_owned(),
                )
            }

            fn register(registry: &mut ::poem_openapi::registry::Registry) {
                let name = <Self as $crate::Component>::NAME.to_owned();
                registry.create_schema::<Self, _>(name, |registry| {
                    <Self as $crate::Component>::describe(registry).into()
                });
            }
        });
    };
}

/// Implements poem-openapi's `Type` for a [`Component`] that is emitted inline.
#[macro_export]
macro_rules! inline_type {
    ($type:ty) => {
        $crate::type_of!($type, {
            fn schema_ref() -> ::poem_openapi::registry::MetaSchemaRef {
                <Self as $crate::Component>::describe(&mut ::poem_openapi::registry::Registry::new()).into()
            }
        });
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! type_of {
    ($type:ty, { $($items:item)* }) => {
        impl ::poem_openapi::types::Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> ::std::borrow::Cow<'static, str> {
                <Self as $crate::Component>::NAME.into()
            }

            $($items)*

            fn as_raw_value(&self) -> ::core::option::Option<&Self> {
                ::core::option::Option::Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> ::std::boxed::Box<dyn ::core::iter::Iterator<Item = &'a Self> + 'a> {
                ::std::boxed::Box::new(::core::iter::once(self))
            }
        }
    };
}

/// A builder for the responses of an operation.
#[derive(Default)]
pub struct Responses(Vec<MetaResponse>);

impl Responses {
    /// Creates an empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a response. Later headers and bodies belong to it.
    #[must_use]
    pub fn response(mut self, status: u16, description: &'static str) -> Self {
        self.0.push(MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content: Vec::new(),
            headers: Vec::new(),
        });
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(
        mut self,
        name: &str,
        presence: Presence,
        description: Option<&str>,
        schema: Schema,
    ) -> Self {
        if let Some(response) = self.0.last_mut() {
            response.headers.push(MetaHeader {
                name: name.to_owned(),
                description: description.map(str::to_owned),
                required: presence == Presence::Required,
                deprecated: false,
                schema: schema.into(),
            });
        }
        self
    }

    /// Adds the body.
    #[must_use]
    pub fn body<T: Type>(mut self, content_type: &'static str) -> Self {
        if let Some(response) = self.0.last_mut() {
            response.content.push(MetaMediaType { content_type, schema: T::schema_ref() });
        }
        self
    }

    /// Adds a response of `components.responses` under a status.
    #[must_use]
    pub fn shared(self, status: u16, describe: fn(Self, u16) -> Self) -> Self {
        describe(self, status)
    }
}

impl From<Responses> for MetaResponses {
    fn from(responses: Responses) -> Self {
        Self { responses: responses.0 }
    }
}

/// A tag of the document.
#[derive(Clone, Copy, Debug)]
pub struct Tag {
    /// `name`.
    pub name: &'static str,
    /// `description`, in CommonMark.
    pub description: Option<&'static str>,
    /// `externalDocs`: URL and description.
    pub external_docs: Option<(&'static str, Option<&'static str>)>,
}

impl From<Tag> for MetaTag {
    fn from(tag: Tag) -> Self {
        Self {
            name: tag.name,
            description: tag.description,
            external_docs: tag
                .external_docs
                .map(|(url, description)| external_docs(url, description)),
        }
    }
}

/// Returns a bearer security scheme.
#[must_use]
pub fn bearer_scheme(
    description: Option<&'static str>,
    bearer_format: Option<&'static str>,
) -> MetaSecurityScheme {
    MetaSecurityScheme {
        ty: "http",
        description,
        name: None,
        key_in: None,
        scheme: Some("bearer"),
        bearer_format,
        flows: None,
        openid_connect_url: None,
    }
}

/// The metadata of an API without an implementation, to emit its document.
pub struct SpecOnly<A>(PhantomData<A>);

impl<A> SpecOnly<A> {
    /// Creates the metadata of `A`.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<A> Default for SpecOnly<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: OpenApi> OpenApi for SpecOnly<A> {
    fn meta() -> Vec<MetaApi> {
        A::meta()
    }

    fn register(registry: &mut Registry) {
        A::register(registry);
    }

    fn add_routes(self, _: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {}
}
