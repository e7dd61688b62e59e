/// The class of a user's write request. Each has its own concurrency limit: a stolen token with
/// many open orders cannot stop its owner from revoking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteClass {
    /// Orders and changes of user data.
    Data,
    /// Password changes.
    Password,
    /// Log-out and deactivation.
    Revocation,
}
