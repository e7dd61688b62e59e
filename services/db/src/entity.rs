//! The tables as sea-orm models; their constraints are in `merch-migration`.

pub(crate) mod orders;
pub(crate) mod products;
pub(crate) mod users;
