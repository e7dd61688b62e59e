//! What is printed of the messages that hold a password's hash: which they are, and nothing of what
//! is in them.

use std::fmt;

use crate::grpc::assistant::v1::{
    ChangePasswordRequest, CreateUserRequest, Credentials, GetCredentialsResponse,
    RecordLogInRequest,
};

macro_rules! redacted {
    ($($message:ident),+) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        }
    )+};
}

redacted!(
    ChangePasswordRequest,
    CreateUserRequest,
    Credentials,
    GetCredentialsResponse,
    RecordLogInRequest
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::assistant::v1::BeginPasswordCheckResponse;

    #[test]
    fn a_hash_is_not_printed() {
        let hash = || "$scrypt$secret".to_owned();
        let request = CreateUserRequest { password_hash: hash(), ..CreateUserRequest::default() };
        assert_eq!(format!("{request:?}"), "CreateUserRequest { .. }");
        let request = RecordLogInRequest { renewed_hash: hash(), ..RecordLogInRequest::default() };
        assert_eq!(format!("{request:?}"), "RecordLogInRequest { .. }");
        let credentials = Credentials { password_hash: hash(), ..Credentials::default() };
        assert_eq!(format!("{credentials:?}"), "Credentials { .. }");
        let response = BeginPasswordCheckResponse {
            credentials: Some(credentials),
            ..BeginPasswordCheckResponse::default()
        };
        assert!(!format!("{response:?}").contains("scrypt"), "{response:?}");
    }
}
