//! What is printed of the messages that hold a password's hash: which they are, and nothing of what is in them.

use std::fmt;

use crate::grpc::assistant::v1::{ChangePasswordRequest, CreateUserRequest, GetCredentialsResponse};

macro_rules! redacted {
    ($($message:ident),+) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        }
    )+};
}

redacted!(ChangePasswordRequest, CreateUserRequest, GetCredentialsResponse);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_not_printed() {
        let request = CreateUserRequest { password_hash: "$scrypt$secret".to_owned(), ..CreateUserRequest::default() };
        assert_eq!(format!("{request:?}"), "CreateUserRequest { .. }");
    }
}
