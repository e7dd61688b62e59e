pub(crate) mod orders;
pub(crate) mod products;
pub(crate) mod users;
