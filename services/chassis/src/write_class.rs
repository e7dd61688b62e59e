//! The classes of changes by a user, which the api and the db service count separately.

/// What a change by a user counts as. Each class has places of its own, so that a stolen token with
/// many orders under way cannot keep its owner from voiding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteClass {
    /// Orders and changes of the user's data.
    Data,
    /// A change of the password.
    Password,
    /// What voids tokens: log-out and deactivation.
    Revocation,
}
