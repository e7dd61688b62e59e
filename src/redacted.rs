//! `Debug` for messages with a password hash. It shows the message's name only.

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
    fn debug_redacts_password_hashes() {
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
