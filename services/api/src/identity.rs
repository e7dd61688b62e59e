//! Authentication: passwords, tokens, and the rate limits of attempts.

mod common_passwords;
mod hash_pool;
mod hmac_provider;
mod password;
mod rate_limits;
mod revoked_tokens;
mod token;

pub(crate) use hash_pool::{HashError, HashPool, Purpose, QueueSlot};
pub(crate) use merch_chassis::network;
pub use password::{Cost, InvalidCost};
pub(crate) use password::{Hasher, Password};
pub use rate_limits::Rate;
pub(crate) use rate_limits::RateLimits;
pub(crate) use revoked_tokens::RevokedTokens;
pub(crate) use token::{Caller, TokenError, Tokens};
pub use token::{SigningKey, WeakKey};
