//! Which schema, which message and which table say the same.

/// Something that several layers know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// What it is called here: as in `openapi.yaml`, where it is known there.
    pub(crate) name: &'static str,
    /// A schema of `openapi.yaml`.
    pub(crate) schema: Option<&'static str>,
    /// An operation of `openapi.yaml` whose parameters belong to it: path and method.
    pub(crate) operation: Option<(&'static str, &'static str)>,
    /// A message of `proto/`.
    pub(crate) message: Option<&'static str>,
    /// A table. Of a resource every column counts; of a request, those that are called like one of
    /// its fields.
    pub(crate) table: Option<&'static str>,
    pub(crate) is_resource: bool,
    /// Fields that one layer calls otherwise, and what they are called here.
    pub(crate) aliases: &'static [(&'static str, &'static str)],
}

const NOTHING: Shape = Shape {
    name: "",
    schema: None,
    operation: None,
    message: None,
    table: None,
    is_resource: false,
    aliases: &[],
};

/// A table of the db service's own: only the databases know it, and they agree.
const fn internal(name: &'static str, table: &'static str) -> Shape {
    Shape { name, table: Some(table), is_resource: true, ..NOTHING }
}

/// All of them: resources first, then requests, then what is not of the store's data.
pub(crate) const SHAPES: [Shape; 16] = [
    Shape {
        name: "User",
        schema: Some("User"),
        message: Some("merch.assistant.v1.User"),
        table: Some("users"),
        is_resource: true,
        aliases: &[("is_active", "active")],
        ..NOTHING
    },
    Shape {
        name: "Product",
        schema: Some("Product"),
        message: Some("merch.assistant.v1.Product"),
        table: Some("products"),
        is_resource: true,
        ..NOTHING
    },
    Shape {
        name: "Order",
        schema: Some("Order"),
        message: Some("merch.assistant.v1.Order"),
        table: Some("orders"),
        is_resource: true,
        ..NOTHING
    },
    Shape {
        name: "Registration",
        schema: Some("Registration"),
        message: Some("merch.assistant.v1.CreateUserRequest"),
        table: Some("users"),
        ..NOTHING
    },
    Shape {
        name: "UserChange",
        schema: Some("UserChange"),
        message: Some("merch.assistant.v1.UpdateUserRequest"),
        table: Some("users"),
        ..NOTHING
    },
    Shape {
        name: "PasswordChange",
        schema: Some("PasswordChange"),
        message: Some("merch.assistant.v1.ChangePasswordRequest"),
        ..NOTHING
    },
    Shape {
        name: "Credentials",
        schema: Some("Credentials"),
        message: Some("merch.assistant.v1.BeginPasswordCheckRequest"),
        table: Some("users"),
        ..NOTHING
    },
    Shape {
        name: "Purchase",
        schema: Some("Purchase"),
        operation: Some(("/orders", "post")),
        message: Some("merch.assistant.v1.NewOrder"),
        table: Some("orders"),
        aliases: &[("Idempotency-Key", "idempotency_key")],
        ..NOTHING
    },
    Shape {
        name: "ListProducts",
        operation: Some(("/products", "get")),
        message: Some("merch.assistant.v1.ListProductsRequest"),
        table: Some("products"),
        aliases: &[("page_size", "limit")],
        ..NOTHING
    },
    Shape {
        name: "ListOrders",
        operation: Some(("/orders", "get")),
        message: Some("merch.assistant.v1.ListOrdersRequest"),
        table: Some("orders"),
        aliases: &[("page_size", "limit")],
        ..NOTHING
    },
    Shape {
        name: "IdempotencyKey",
        operation: Some(("/orders", "post")),
        table: Some("idempotency_keys"),
        is_resource: true,
        aliases: &[("Idempotency-Key", "key")],
        ..NOTHING
    },
    internal("AdminRequest", "admin_requests"),
    internal("KnownNetwork", "known_networks"),
    internal("LogInAttempt", "log_in_attempts"),
    internal("OutboxLease", "outbox_lease"),
    internal("SchemaRequirement", "schema_requirements"),
];

/// The events and the table that they wait in.
pub(crate) const EVENTS: Shape = Shape {
    name: "LogMessage",
    message: Some("merch.logging.v1.LogMessage"),
    table: Some("outbox"),
    is_resource: true,
    ..NOTHING
};

impl Shape {
    /// What a field is called here.
    pub(crate) fn field(&self, name: &str) -> String {
        self.aliases
            .iter()
            .find(|(alias, _)| *alias == name)
            .map_or(name, |(_, field)| field)
            .to_owned()
    }
}
