//! Converts problems to the responses that each operation declares.

use merch_contract::rest::server::{
    CancelOrderResponse, ChangePasswordResponse, DeactivateUserResponse, GetOrderResponse,
    GetProductResponse, GetUserResponse, ListOrdersResponse, ListProductsResponse, LogInResponse,
    LogOutResponse, PlaceOrderResponse, RegisterResponse, UpdateUserResponse,
};
use poem::http::StatusCode;

use crate::problem::Problem;

/// All operations declare 500 and 503. An undeclared status is a bug: it is logged and becomes 500.
macro_rules! problem_responses {
    ($($response:ident: $($status:ident)*;)*) => {
        $(impl From<Problem> for $response {
            fn from(problem: Problem) -> Self {
                match problem.code().status() {
                    $(problem_responses!(@status $status) => {
                        problem_responses!(@respond $status problem)
                    })*
                    StatusCode::SERVICE_UNAVAILABLE => {
                        problem_responses!(@respond ServiceUnavailable problem)
                    }
                    StatusCode::INTERNAL_SERVER_ERROR => {
                        problem_responses!(@respond InternalServerError problem)
                    }
                    undeclared => {
                        let response = stringify!($response);
                        let cause = format!("openapi.yaml declares no {undeclared} for {response}");
                        Self::InternalServerError { body: Problem::internal(cause).body().into() }
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
    (@respond Unauthorized $problem:ident) => {
        Self::Unauthorized {
            www_authenticate: $problem.challenge().to_owned(),
            body: $problem.body().into(),
        }
    };
    (@respond TooManyRequests $problem:ident) => {
        Self::TooManyRequests { retry_after: $problem.retry_after(), body: $problem.body().into() }
    };
    (@respond ServiceUnavailable $problem:ident) => {
        Self::ServiceUnavailable { retry_after: $problem.retry_after(), body: $problem.body().into() }
    };
    (@respond $status:ident $problem:ident) => { Self::$status { body: $problem.body().into() } };
}

problem_responses! {
    RegisterResponse: BadRequest Conflict UnprocessableEntity TooManyRequests;
    LogInResponse: BadRequest Unauthorized TooManyRequests;
    LogOutResponse: Unauthorized TooManyRequests;
    GetUserResponse: BadRequest Unauthorized NotFound;
    UpdateUserResponse:
        BadRequest Unauthorized NotFound Conflict PreconditionFailed TooManyRequests;
    ChangePasswordResponse:
        BadRequest Unauthorized Forbidden NotFound UnprocessableEntity TooManyRequests;
    DeactivateUserResponse: BadRequest Unauthorized NotFound TooManyRequests;
    ListProductsResponse: BadRequest;
    GetProductResponse: BadRequest NotFound;
    PlaceOrderResponse:
        BadRequest Unauthorized NotFound Conflict UnprocessableEntity TooManyRequests;
    ListOrdersResponse: BadRequest Unauthorized;
    GetOrderResponse: BadRequest Unauthorized NotFound;
    CancelOrderResponse: BadRequest Unauthorized NotFound TooManyRequests;
}

#[cfg(test)]
mod tests {
    use poem::IntoResponse as _;

    use super::*;
    use crate::problem::Code;

    #[test]
    fn undeclared_statuses_become_500() {
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
