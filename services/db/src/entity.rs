//! The tables `orders`, `products` and `users`, for sea-orm.

pub(crate) mod orders;
pub(crate) mod products;
pub(crate) mod users;
