//! The tables as sea-orm sees them; their rules stand in `merch-migration`.

pub(crate) mod orders;
pub(crate) mod products;
pub(crate) mod users;
