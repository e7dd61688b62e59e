//! The schema, message and table that describe one entity.

/// An entity that several layers have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entity {
    /// The name in `openapi.yaml`, if it is there.
    pub(crate) name: &'static str,
    /// A schema of `openapi.yaml`.
    pub(crate) schema: Option<&'static str>,
    /// An operation whose parameters belong to it: path and method.
    pub(crate) operation: Option<(&'static str, &'static str)>,
    /// A message of `proto/`.
    pub(crate) message: Option<&'static str>,
    /// A table. All columns of a resource count; of a request, only columns named like its fields.
    pub(crate) table: Option<&'static str>,
    pub(crate) is_resource: bool,
    /// Names that differ in one layer, with the common name.
    pub(crate) aliases: &'static [(&'static str, &'static str)],
}

const NOTHING: Entity = Entity {
    name: "",
    schema: None,
    operation: None,
    message: None,
    table: None,
    is_resource: false,
    aliases: &[],
};

/// A table internal to the db service: both databases agree.
const fn internal(name: &'static str, table: &'static str) -> Entity {
    Entity { name, table: Some(table), is_resource: true, ..NOTHING }
}

/// Resources, then requests, then infrastructure.
pub(crate) const ENTITIES: [Entity; 16] = [
    Entity {
        name: "User",
        schema: Some("User"),
        message: Some("merch.assistant.v1.User"),
        table: Some("users"),
        is_resource: true,
        aliases: &[("is_active", "active")],
        ..NOTHING
    },
    Entity {
        name: "Product",
        schema: Some("Product"),
        message: Some("merch.assistant.v1.Product"),
        table: Some("products"),
        is_resource: true,
        ..NOTHING
    },
    Entity {
        name: "Order",
        schema: Some("Order"),
        message: Some("merch.assistant.v1.Order"),
        table: Some("orders"),
        is_resource: true,
        ..NOTHING
    },
    Entity {
        name: "Registration",
        schema: Some("Registration"),
        message: Some("merch.assistant.v1.CreateUserRequest"),
        table: Some("users"),
        ..NOTHING
    },
    Entity {
        name: "UserChange",
        schema: Some("UserChange"),
        message: Some("merch.assistant.v1.UpdateUserRequest"),
        table: Some("users"),
        ..NOTHING
    },
    Entity {
        name: "PasswordChange",
        schema: Some("PasswordChange"),
        message: Some("merch.assistant.v1.ChangePasswordRequest"),
        ..NOTHING
    },
    Entity {
        name: "Credentials",
        schema: Some("Credentials"),
        message: Some("merch.assistant.v1.BeginPasswordCheckRequest"),
        table: Some("users"),
        ..NOTHING
    },
    Entity {
        name: "Purchase",
        schema: Some("Purchase"),
        operation: Some(("/orders", "post")),
        message: Some("merch.assistant.v1.NewOrder"),
        table: Some("orders"),
        aliases: &[("Idempotency-Key", "idempotency_key")],
        ..NOTHING
    },
    Entity {
        name: "ListProducts",
        operation: Some(("/products", "get")),
        message: Some("merch.assistant.v1.ListProductsRequest"),
        table: Some("products"),
        aliases: &[("page_size", "limit")],
        ..NOTHING
    },
    Entity {
        name: "ListOrders",
        operation: Some(("/orders", "get")),
        message: Some("merch.assistant.v1.ListOrdersRequest"),
        table: Some("orders"),
        aliases: &[("page_size", "limit")],
        ..NOTHING
    },
    Entity {
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

/// Events and the outbox table.
pub(crate) const EVENTS: Entity = Entity {
    name: "LogMessage",
    message: Some("merch.logging.v1.LogMessage"),
    table: Some("outbox"),
    is_resource: true,
    ..NOTHING
};

impl Entity {
    /// The common name of a field.
    pub(crate) fn field(&self, name: &str) -> String {
        self.aliases
            .iter()
            .find(|(alias, _)| *alias == name)
            .map_or(name, |(_, field)| field)
            .to_owned()
    }
}
