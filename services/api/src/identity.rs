//! Who somebody is and how they prove it: passwords, tokens, and how often one may try.

mod common_passwords;
mod hash_pool;
mod hmac_provider;
mod password;
mod revoked_tokens;
mod throttle;
mod token;

pub(crate) use hash_pool::{HashPool, Place, Purpose};
pub(crate) use merch_chassis::network;
pub use password::{Cost, InvalidCost};
pub(crate) use password::{HashFailure, Hasher, Password};
pub(crate) use revoked_tokens::RevokedTokens;
pub use throttle::Rate;
pub(crate) use throttle::Throttle;
pub(crate) use token::{Caller, Refusal, Tokens};
pub use token::{SigningKey, WeakKey};
