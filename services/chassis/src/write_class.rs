//! Classes of write requests, which the api and the db service limit separately.

/// The class of a user's write request. Each class has its own concurrency limit, so that a stolen
/// token with many open orders cannot stop its owner from revoking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteClass {
    /// Orders and changes of the user's data.
    Data,
    /// Password changes.
    Password,
    /// Token revocation: log-out and deactivation.
    Revocation,
}
