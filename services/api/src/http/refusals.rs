//! Problems as each operation declares them: exactly its statuses, with their headers.

use merch_contract::rest::server::{
    CancelOrderResponse, ChangePasswordResponse, DeactivateUserResponse, GetOrderResponse,
    GetProductResponse, GetUserResponse, ListOrdersResponse, ListProductsResponse, LogInResponse,
    LogOutResponse, PlaceOrderResponse, RegisterResponse, UpdateUserResponse,
};
use poem::http::StatusCode;

use crate::problem::Problem;

/// One arm a status that the operation declares beside 500 and 503, which all of these do. What an
/// operation does not declare it does not send: that its use-case came to such a problem is a bug,
/// logged and answered as one.
macro_rules! refusals {
    ($($operation:ident: $($status:ident)*;)*) => {
        $(impl From<Problem> for $operation {
            fn from(problem: Problem) -> Self {
                match problem.code().status() {
                    $(refusals!(@status $status) => refusals!(@answer $status problem),)*
                    StatusCode::SERVICE_UNAVAILABLE => Self::ServiceUnavailable { retry_after: problem.retry_after(), body: problem.body() },
                    StatusCode::INTERNAL_SERVER_ERROR => Self::InternalServerError { body: problem.body() },
                    undeclared => {
                        let cause = format!("{} came to {undeclared}, which the document does not declare", stringify!($operation));
                        Self::InternalServerError { body: Problem::internal(cause).body() }
                    }
                }
            }
        })*
    };
    (@status BadRequest) => { StatusCode::BAD_REQUEST };
    (@status Unauthorized) => { StatusCode::UNAUTHORIZED };
    (@status Forbidden) => { StatusCode::FORBIDDEN };
    (@status NotFound) => { StatusCode::NOT_FOUND };
    (@status Conflict) => { StatusCode::CONFLICT };
    (@status PreconditionFailed) => { StatusCode::PRECONDITION_FAILED };
    (@status UnprocessableEntity) => { StatusCode::UNPROCESSABLE_ENTITY };
    (@status TooManyRequests) => { StatusCode::TOO_MANY_REQUESTS };
    (@answer Unauthorized $problem:ident) => { Self::Unauthorized { www_authenticate: $problem.challenge().to_owned(), body: $problem.body() } };
    (@answer TooManyRequests $problem:ident) => { Self::TooManyRequests { retry_after: $problem.retry_after(), body: $problem.body() } };
    (@answer $status:ident $problem:ident) => { Self::$status { body: $problem.body() } };
}

refusals! {
    RegisterResponse: BadRequest Conflict UnprocessableEntity TooManyRequests;
    LogInResponse: BadRequest Unauthorized TooManyRequests;
    LogOutResponse: Unauthorized TooManyRequests;
    GetUserResponse: BadRequest Unauthorized NotFound;
    UpdateUserResponse: BadRequest Unauthorized NotFound Conflict PreconditionFailed TooManyRequests;
    ChangePasswordResponse: BadRequest Unauthorized Forbidden NotFound UnprocessableEntity TooManyRequests;
    DeactivateUserResponse: BadRequest Unauthorized NotFound TooManyRequests;
    ListProductsResponse: BadRequest;
    GetProductResponse: BadRequest NotFound;
    PlaceOrderResponse: BadRequest Unauthorized NotFound Conflict UnprocessableEntity TooManyRequests;
    ListOrdersResponse: BadRequest Unauthorized;
    GetOrderResponse: BadRequest Unauthorized NotFound;
    CancelOrderResponse: BadRequest Unauthorized NotFound TooManyRequests;
}

#[cfg(test)]
mod tests {
    use poem::IntoResponse as _;

    use super::*;
    use crate::problem::Code;

    /// Every code, as one operation sends it: its own status if it is declared, else 500.
    #[test]
    fn what_is_not_declared_is_a_bug() {
        for code in Code::ALL {
            let response = LogInResponse::from(Problem::from(*code)).into_response();
            let declared = matches!(code.status().as_u16(), 400 | 401 | 429 | 500 | 503);
            assert_eq!(
                response.status(),
                if declared { code.status() } else { StatusCode::INTERNAL_SERVER_ERROR },
                "{code:?}"
            );
            assert_eq!(
                response.headers().contains_key("www-authenticate"),
                code.status() == StatusCode::UNAUTHORIZED,
                "{code:?}"
            );
            assert_eq!(
                response.headers().contains_key("retry-after"),
                matches!(code.status().as_u16(), 429 | 503),
                "{code:?}"
            );
        }
    }
}
