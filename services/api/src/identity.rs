//! Who somebody is and how they prove it: passwords, tokens, and how often one may try.

mod hmac_provider;
mod password;
mod throttle;
mod token;

pub use password::{Cost, InvalidCost};
pub(crate) use password::{HashFailure, Hasher, Password};
pub use throttle::Rate;
pub(crate) use throttle::{Throttle, network};
pub(crate) use token::{Caller, Refusal, Tokens};
pub use token::{SigningKey, WeakKey};
