// @generated from openapi.yaml by poem-contract. Do not edit: change openapi.yaml and run `make gen`.

//! SUSTech Merch Store, version 1.0.0: traits to implement, types, and a poem-openapi service that
//! validates every request.

#![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, rustdoc::all)]

use ::poem_contract_runtime as runtime;

/// General information about the store.
pub trait Dialog: Send + Sync + 'static {
    /// Get store information
    ///
    /// Returns a greeting with the store's name, the version of the API, and links to its documentation.
    ///
    /// `GET /`
    fn greet(&self) -> impl ::std::future::Future<Output = GreetResponse> + Send;
}

/// Registration, log-in and user accounts. Users can access only their own accounts.
pub trait UserManager: Send + Sync + 'static {
    /// Register
    ///
    /// Creates a user. If another user has the same `sid`, `username` or `email`, ignoring case, the request fails with 409. The values of deactivated users stay taken.
    ///
    /// The server rejects the most common passwords, and the user's own sid, username or email as a password. It limits registrations for each client address.
    ///
    /// The response contains no token. To get one, call `POST /login`.
    ///
    /// `POST /users`
    fn register(
        &self,
        body: Registration,
    ) -> impl ::std::future::Future<Output = RegisterResponse> + Send;
    /// Log in
    ///
    /// Verifies a username and password, and returns a token. The response to an unknown username, a deactivated user and a wrong password is the same, after the same time.
    ///
    /// The server limits wrong passwords for each account at each client address. It also limits them for each account over all addresses from which the account has not logged in during the last 30 days. Log-ins are limited for each client address.
    ///
    /// `POST /login`
    fn log_in(
        &self,
        body: Credentials,
    ) -> impl ::std::future::Future<Output = LogInResponse> + Send;
    /// Log out
    ///
    /// Revokes every token of the user, on every device. Requests that start later fail with 401.
    ///
    /// `POST /logout`
    fn log_out(
        &self,
        bearer_auth: BearerAuth,
    ) -> impl ::std::future::Future<Output = LogOutResponse> + Send;
    /// Get a user
    ///
    /// Returns the caller's user. Any other id returns 404.
    ///
    /// `GET /users/{user_id}`
    fn get_user(
        &self,
        bearer_auth: BearerAuth,
        user_id: UserId,
        if_none_match: Option<String>,
    ) -> impl ::std::future::Future<Output = GetUserResponse> + Send;
    /// Deactivate a user
    ///
    /// Deactivates the caller's account permanently. All tokens are revoked, and a later log-in fails like that of an unknown user. The user's orders are kept.
    ///
    /// `DELETE /users/{user_id}`
    fn deactivate_user(
        &self,
        bearer_auth: BearerAuth,
        user_id: UserId,
    ) -> impl ::std::future::Future<Output = DeactivateUserResponse> + Send;
    /// Update a user
    ///
    /// Updates the members that are present in the body, and no others. With `If-Match`, the server updates the user only if one of the entity tags matches the current version. Without it, the server updates any version.
    ///
    /// `PATCH /users/{user_id}`
    fn update_user(
        &self,
        bearer_auth: BearerAuth,
        user_id: UserId,
        if_match: Option<String>,
        body: UserChange,
    ) -> impl ::std::future::Future<Output = UpdateUserResponse> + Send;
    /// Change the password
    ///
    /// Replaces the caller's password and revokes all of the caller's tokens, including the token of this request.
    ///
    /// The server rejects the most common passwords, and the user's own sid, username or email as a password. A wrong current password counts as a wrong password at `POST /login`.
    ///
    /// `PUT /users/{user_id}/password`
    fn change_password(
        &self,
        bearer_auth: BearerAuth,
        user_id: UserId,
        body: PasswordChange,
    ) -> impl ::std::future::Future<Output = ChangePasswordResponse> + Send;
}

/// The product catalogue. Responses show the current state of the database.
pub trait ProductManager: Send + Sync + 'static {
    /// List products
    ///
    /// Lists the products in ascending order of id, one page per request. For the next page, send `page_token` and optionally `limit`. The token contains the filter.
    ///
    /// `GET /products`
    fn list_products(
        &self,
        limit: i32,
        page_token: Option<String>,
        category: Option<Category>,
    ) -> impl ::std::future::Future<Output = ListProductsResponse> + Send;
    /// Get a product
    ///
    /// Returns a product with its current stock.
    ///
    /// `GET /products/{product_id}`
    fn get_product(
        &self,
        product_id: ProductId,
        if_none_match: Option<String>,
    ) -> impl ::std::future::Future<Output = GetProductResponse> + Send;
}

/// Orders of one to three pieces. The store never sells more than its stock. Users can access only their own orders.
pub trait OrderManager: Send + Sync + 'static {
    /// List orders
    ///
    /// Lists the caller's orders, newest first, one page per request. For the next page, send `page_token` and optionally `limit`. The token contains the filter.
    ///
    /// `GET /orders`
    fn list_orders(
        &self,
        bearer_auth: BearerAuth,
        limit: i32,
        page_token: Option<String>,
        status: Option<OrderStatus>,
    ) -> impl ::std::future::Future<Output = ListOrdersResponse> + Send;
    /// Place an order
    ///
    /// Buys one to three pieces of a product at the current price. The order is placed in full or not at all. The server responds after the order is stored on disk.
    ///
    /// A request with an `Idempotency-Key` is safe to retry. For at least 24 hours, the same key and body return the first order, with the same status, headers and body. A rejected order does not use up its key.
    ///
    /// `POST /orders`
    fn place_order(
        &self,
        bearer_auth: BearerAuth,
        idempotency_key: Option<String>,
        body: Purchase,
    ) -> impl ::std::future::Future<Output = PlaceOrderResponse> + Send;
    /// Get an order
    ///
    /// Returns one of the caller's orders. Any other id returns 404.
    ///
    /// `GET /orders/{order_id}`
    fn get_order(
        &self,
        bearer_auth: BearerAuth,
        order_id: OrderId,
        if_none_match: Option<String>,
    ) -> impl ::std::future::Future<Output = GetOrderResponse> + Send;
    /// Cancel an order
    ///
    /// Cancels one of the caller's orders and returns its pieces to the stock exactly once. A repeated cancellation changes nothing and returns the same order.
    ///
    /// `POST /orders/{order_id}/cancel`
    fn cancel_order(
        &self,
        bearer_auth: BearerAuth,
        order_id: OrderId,
    ) -> impl ::std::future::Future<Output = CancelOrderResponse> + Send;
}

/// The responses of `greet`.
#[derive(Clone, Debug, PartialEq)]
pub enum GreetResponse {
    /// The greeting.
    Ok {
        /// The body, `application/json`.
        body: runtime::Encoded<Greeting>,
    },
}

/// The responses of `register`.
#[derive(Clone, Debug, PartialEq)]
pub enum RegisterResponse {
    /// The new user.
    Created {
        /// The body, `application/json`.
        body: runtime::Encoded<User>,
        /// The URI reference of the new resource, relative to this server.
        location: String,
        /// The entity tag of the resource, derived from its version.
        etag: String,
    },
    /// The request is invalid. `code` is `invalid_request`. The member `errors` lists all faults with their locations, up to 32.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// Another user has this value. Nothing was changed. `code` is `sid_taken`, `username_taken` or `email_taken`.
    Conflict {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The body is larger than this server accepts. `code` is `body_too_large`.
    PayloadTooLarge {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The body's `Content-Type` is not JSON, or the body is compressed. `code` is `unsupported_media_type`.
    UnsupportedMediaType {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The new password is one of the most common ones, or it is the user's own sid, username or email. Nothing was changed. `code` is `guessable_password`.
    UnprocessableEntity {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// There were too many wrong passwords for this account, or too many log-ins or registrations from this client address. `code` is `too_many_attempts`. Retry after the time in `Retry-After`.
    TooManyRequests {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
    /// Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.
    InternalServerError {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.
    ServiceUnavailable {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
}

/// The responses of `log_in`.
#[derive(Clone, Debug, PartialEq)]
pub enum LogInResponse {
    /// A token. Send it as `Authorization: Bearer …`.
    Ok {
        /// The body, `application/json`.
        body: runtime::Encoded<AccessToken>,
    },
    /// The request is invalid. `code` is `invalid_request`. The member `errors` lists all faults with their locations, up to 32.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// Wrong username or password. `code` is `invalid_credentials`.
    Unauthorized {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The authentication scheme to use.
        www_authenticate: String,
    },
    /// The body is larger than this server accepts. `code` is `body_too_large`.
    PayloadTooLarge {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The body's `Content-Type` is not JSON, or the body is compressed. `code` is `unsupported_media_type`.
    UnsupportedMediaType {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// There were too many wrong passwords for this account, or too many log-ins or registrations from this client address. `code` is `too_many_attempts`. Retry after the time in `Retry-After`.
    TooManyRequests {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
    /// Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.
    InternalServerError {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.
    ServiceUnavailable {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
}

/// The responses of `log_out`.
#[derive(Clone, Debug, PartialEq)]
pub enum LogOutResponse {
    /// All tokens are revoked.
    NoContent,
    /// The token is missing, or it is invalid, expired or revoked. `code` is `token_missing` or `token_invalid`. Log in again.
    Unauthorized {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The authentication scheme to use.
        www_authenticate: String,
    },
    /// The user has too many changes in progress, or made too many within a minute. Nothing was changed. `code` is `too_many_writes`. Retry after the time in `Retry-After`.
    TooManyRequests {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
    /// Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.
    InternalServerError {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.
    ServiceUnavailable {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
}

/// The responses of `get_user`.
#[derive(Clone, Debug, PartialEq)]
pub enum GetUserResponse {
    /// The user.
    Ok {
        /// The body, `application/json`.
        body: runtime::Encoded<User>,
        /// The entity tag of the resource, derived from its version.
        etag: String,
    },
    /// The resource has not changed since the version that the client has.
    NotModified {
        /// The entity tag of the resource, derived from its version.
        etag: String,
    },
    /// The request is invalid. `code` is `invalid_request`. The member `errors` lists all faults with their locations, up to 32.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The token is missing, or it is invalid, expired or revoked. `code` is `token_missing` or `token_invalid`. Log in again.
    Unauthorized {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The authentication scheme to use.
        www_authenticate: String,
    },
    /// The user does not exist or is not the caller. `code` is `user_not_found`.
    NotFound {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.
    InternalServerError {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.
    ServiceUnavailable {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
}

/// The responses of `deactivate_user`.
#[derive(Clone, Debug, PartialEq)]
pub enum DeactivateUserResponse {
    /// The user is deactivated.
    NoContent,
    /// The request is invalid. `code` is `invalid_request`. The member `errors` lists all faults with their locations, up to 32.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The token is missing, or it is invalid, expired or revoked. `code` is `token_missing` or `token_invalid`. Log in again.
    Unauthorized {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The authentication scheme to use.
        www_authenticate: String,
    },
    /// The user does not exist or is not the caller. `code` is `user_not_found`.
    NotFound {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The user has too many changes in progress, or made too many within a minute. Nothing was changed. `code` is `too_many_writes`. Retry after the time in `Retry-After`.
    TooManyRequests {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
    /// Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.
    InternalServerError {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.
    ServiceUnavailable {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
}

/// The responses of `update_user`.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateUserResponse {
    /// The updated user.
    Ok {
        /// The body, `application/json`.
        body: runtime::Encoded<User>,
        /// The entity tag of the resource, derived from its version.
        etag: String,
    },
    /// The request is invalid. `code` is `invalid_request`. The member `errors` lists all faults with their locations, up to 32.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The token is missing, or it is invalid, expired or revoked. `code` is `token_missing` or `token_invalid`. Log in again.
    Unauthorized {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The authentication scheme to use.
        www_authenticate: String,
    },
    /// The user does not exist or is not the caller. `code` is `user_not_found`.
    NotFound {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// Another user has this value. Nothing was changed. `code` is `sid_taken`, `username_taken` or `email_taken`.
    Conflict {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// No entity tag in `If-Match` matches the user's current version. Nothing was changed. `code` is `version_mismatch`.
    PreconditionFailed {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The body is larger than this server accepts. `code` is `body_too_large`.
    PayloadTooLarge {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The body's `Content-Type` is not JSON, or the body is compressed. `code` is `unsupported_media_type`.
    UnsupportedMediaType {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The request exceeds a limit. Nothing was changed. `code` is `too_many_attempts` or `too_many_writes`. The first means too many wrong passwords for the account, or too many changes of names or passwords from the client's address. The second means that the user has too many changes in progress, or made too many within a minute. Retry after the time in `Retry-After`.
    TooManyRequests {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
    /// Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.
    InternalServerError {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.
    ServiceUnavailable {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
}

/// The responses of `change_password`.
#[derive(Clone, Debug, PartialEq)]
pub enum ChangePasswordResponse {
    /// The password is changed. Log in again.
    NoContent,
    /// The request is invalid. `code` is `invalid_request`. The member `errors` lists all faults with their locations, up to 32.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The token is missing, or it is invalid, expired or revoked. `code` is `token_missing` or `token_invalid`. Log in again.
    Unauthorized {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The authentication scheme to use.
        www_authenticate: String,
    },
    /// Wrong current password. Nothing was changed. `code` is `wrong_password`.
    Forbidden {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The user does not exist or is not the caller. `code` is `user_not_found`.
    NotFound {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The body is larger than this server accepts. `code` is `body_too_large`.
    PayloadTooLarge {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The body's `Content-Type` is not JSON, or the body is compressed. `code` is `unsupported_media_type`.
    UnsupportedMediaType {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The new password is one of the most common ones, or it is the user's own sid, username or email. Nothing was changed. `code` is `guessable_password`.
    UnprocessableEntity {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The request exceeds a limit. Nothing was changed. `code` is `too_many_attempts` or `too_many_writes`. The first means too many wrong passwords for the account, or too many changes of names or passwords from the client's address. The second means that the user has too many changes in progress, or made too many within a minute. Retry after the time in `Retry-After`.
    TooManyRequests {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
    /// Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.
    InternalServerError {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.
    ServiceUnavailable {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
}

/// The responses of `list_products`.
#[derive(Clone, Debug, PartialEq)]
pub enum ListProductsResponse {
    /// A page of products.
    Ok {
        /// The body, `application/json`.
        body: runtime::Encoded<ProductPage>,
    },
    /// The request is invalid. `code` is `invalid_request`. The member `errors` lists all faults with their locations, up to 32.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.
    InternalServerError {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.
    ServiceUnavailable {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
}

/// The responses of `get_product`.
#[derive(Clone, Debug, PartialEq)]
pub enum GetProductResponse {
    /// The product.
    Ok {
        /// The body, `application/json`.
        body: runtime::Encoded<Product>,
        /// The entity tag of the resource, derived from its version.
        etag: String,
    },
    /// The resource has not changed since the version that the client has.
    NotModified {
        /// The entity tag of the resource, derived from its version.
        etag: String,
    },
    /// The request is invalid. `code` is `invalid_request`. The member `errors` lists all faults with their locations, up to 32.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The product does not exist. `code` is `product_not_found`.
    NotFound {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.
    InternalServerError {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.
    ServiceUnavailable {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
}

/// The responses of `list_orders`.
#[derive(Clone, Debug, PartialEq)]
pub enum ListOrdersResponse {
    /// A page of orders.
    Ok {
        /// The body, `application/json`.
        body: runtime::Encoded<OrderPage>,
    },
    /// The request is invalid. `code` is `invalid_request`. The member `errors` lists all faults with their locations, up to 32.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The token is missing, or it is invalid, expired or revoked. `code` is `token_missing` or `token_invalid`. Log in again.
    Unauthorized {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The authentication scheme to use.
        www_authenticate: String,
    },
    /// Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.
    InternalServerError {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.
    ServiceUnavailable {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
}

/// The responses of `place_order`.
#[derive(Clone, Debug, PartialEq)]
pub enum PlaceOrderResponse {
    /// The order as it was placed.
    Created {
        /// The body, `application/json`.
        body: runtime::Encoded<Order>,
        /// The URI reference of the new resource, relative to this server.
        location: String,
        /// The entity tag of the resource, derived from its version.
        etag: String,
    },
    /// The request is invalid. `code` is `invalid_request`. The member `errors` lists all faults with their locations, up to 32.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The token is missing, or it is invalid, expired or revoked. `code` is `token_missing` or `token_invalid`. Log in again.
    Unauthorized {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The authentication scheme to use.
        www_authenticate: String,
    },
    /// The product does not exist. `code` is `product_not_found`.
    NotFound {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The stock is smaller than the requested quantity. Nothing was sold. `code` is `out_of_stock`.
    Conflict {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The body is larger than this server accepts. `code` is `body_too_large`.
    PayloadTooLarge {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The body's `Content-Type` is not JSON, or the body is compressed. `code` is `unsupported_media_type`.
    UnsupportedMediaType {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The key was used for another order. Nothing was sold. `code` is `idempotency_key_reused`.
    UnprocessableEntity {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The user has too many changes in progress, or made too many within a minute. Nothing was changed. `code` is `too_many_writes`. Retry after the time in `Retry-After`.
    TooManyRequests {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
    /// Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.
    InternalServerError {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.
    ServiceUnavailable {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
}

/// The responses of `get_order`.
#[derive(Clone, Debug, PartialEq)]
pub enum GetOrderResponse {
    /// The order.
    Ok {
        /// The body, `application/json`.
        body: runtime::Encoded<Order>,
        /// The entity tag of the resource, derived from its version.
        etag: String,
    },
    /// The resource has not changed since the version that the client has.
    NotModified {
        /// The entity tag of the resource, derived from its version.
        etag: String,
    },
    /// The request is invalid. `code` is `invalid_request`. The member `errors` lists all faults with their locations, up to 32.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The token is missing, or it is invalid, expired or revoked. `code` is `token_missing` or `token_invalid`. Log in again.
    Unauthorized {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The authentication scheme to use.
        www_authenticate: String,
    },
    /// The order does not exist or belongs to another user. `code` is `order_not_found`.
    NotFound {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.
    InternalServerError {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.
    ServiceUnavailable {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
}

/// The responses of `cancel_order`.
#[derive(Clone, Debug, PartialEq)]
pub enum CancelOrderResponse {
    /// The cancelled order.
    Ok {
        /// The body, `application/json`.
        body: runtime::Encoded<Order>,
        /// The entity tag of the resource, derived from its version.
        etag: String,
    },
    /// The request is invalid. `code` is `invalid_request`. The member `errors` lists all faults with their locations, up to 32.
    BadRequest {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The token is missing, or it is invalid, expired or revoked. `code` is `token_missing` or `token_invalid`. Log in again.
    Unauthorized {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The authentication scheme to use.
        www_authenticate: String,
    },
    /// The order does not exist or belongs to another user. `code` is `order_not_found`.
    NotFound {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The user has too many changes in progress, or made too many within a minute. Nothing was changed. `code` is `too_many_writes`. Retry after the time in `Retry-After`.
    TooManyRequests {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
    /// Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.
    InternalServerError {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
    },
    /// The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.
    ServiceUnavailable {
        /// The body, `application/problem+json`.
        body: runtime::Encoded<Problem>,
        /// The number of seconds to wait before a retry.
        retry_after: i32,
    },
}

/// A user's id, a UUIDv7.
pub type UserId = ::uuid::Uuid;

/// An order's id, a UUIDv7. Later orders have greater ids.
pub type OrderId = ::uuid::Uuid;

/// A product's id, a small positive integer.
pub type ProductId = i32;

/// The id issued by the university, in letters and digits. Unique, ignoring case.
pub type Sid = String;

/// The name for log-in, in letters, digits, `_`, `.` and `-`. Unique, ignoring case.
pub type Username = String;

/// An email address without spaces or control characters. Unique, ignoring case.
pub type Email = String;

/// The category of a product.
pub type Category = String;

/// The ISO 4217 code of the currency.
pub type Currency = String;

/// The status of an order.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    ::serde::Serialize,
    ::serde::Deserialize
)]
pub enum OrderStatus {
    /// `placed`
    #[serde(rename = "placed")]
    Placed,
    /// `cancelled`
    #[serde(rename = "cancelled")]
    Cancelled,
}

impl OrderStatus {
    /// Returns the value in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl ::std::fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// General information about the store.
#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
pub struct Greeting {
    /// A greeting in one sentence, for people.
    pub greeting: String,
    /// The version of this contract, equal to `info.version`.
    pub version: String,
    pub links: GreetingLinks,
}

/// Links to the documentation, relative to this server.
#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
pub struct GreetingLinks {
    /// The contract as an interactive page.
    pub docs: String,
    /// The contract as YAML.
    pub openapi_yaml: String,
    /// The contract as JSON.
    pub openapi_json: String,
}

/// A user to create.
#[derive(Clone, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    pub sid: Sid,
    pub username: Username,
    pub email: Email,
    /// The password: 8 to 128 characters, without U+0000. The most common passwords are rejected.
    pub password: String,
}

impl ::std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        f.debug_struct("Registration")
            .field("sid", &self.sid)
            .field("username", &self.username)
            .field("email", &self.email)
            .field("password", &"[redacted]")
            .finish()
    }
}

/// The credentials for log-in.
#[derive(Clone, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub username: Username,
    /// The password. Every wrong password returns the same response, even one that registration rejects.
    pub password: String,
}

impl ::std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &"[redacted]")
            .finish()
    }
}

/// The authentication scheme of the token.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    ::serde::Serialize,
    ::serde::Deserialize
)]
pub enum AccessTokenTokenType {
    /// `Bearer`
    #[serde(rename = "Bearer")]
    Bearer,
}

impl AccessTokenTokenType {
    /// Returns the value in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
        }
    }
}

impl ::std::fmt::Display for AccessTokenTokenType {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token with its type, lifetime and user.
#[derive(Clone, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
pub struct AccessToken {
    /// The token, a JWT. Send it as `Authorization: Bearer …`. Clients must treat it as opaque.
    pub access_token: String,
    /// The authentication scheme of the token.
    pub token_type: AccessTokenTokenType,
    /// The lifetime of the token in seconds, from the time of the response.
    pub expires_in: i32,
    pub user_id: UserId,
}

impl ::std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        f.debug_struct("AccessToken")
            .field("access_token", &"[redacted]")
            .field("token_type", &self.token_type)
            .field("expires_in", &self.expires_in)
            .field("user_id", &self.user_id)
            .finish()
    }
}

/// A registered user.
#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
pub struct User {
    pub id: UserId,
    pub sid: Sid,
    pub username: Username,
    pub email: Email,
    /// False after deactivation.
    pub active: bool,
    /// The time of registration, in UTC.
    #[serde(with = "::time::serde::rfc3339")]
    pub created_at: ::time::OffsetDateTime,
    /// The time of the last change, in UTC.
    #[serde(with = "::time::serde::rfc3339")]
    pub updated_at: ::time::OffsetDateTime,
}

/// The members to update. Absent members keep their values.
#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<Username>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
}

/// The current password and the new password.
#[derive(Clone, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// The current password.
    pub current_password: String,
    /// The new password: 8 to 128 characters, without U+0000. The most common passwords are rejected.
    pub new_password: String,
}

impl ::std::fmt::Debug for PasswordChange {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        f.debug_struct("PasswordChange")
            .field("current_password", &"[redacted]")
            .field("new_password", &"[redacted]")
            .finish()
    }
}

/// A product of the catalogue.
#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
pub struct Product {
    pub id: ProductId,
    /// The product's name.
    pub name: String,
    pub category: Category,
    /// A one-line slogan.
    pub slogan: String,
    /// A description in a few sentences.
    pub description: String,
    /// What one piece costs, in minor units of `currency`.
    pub price_cents: i64,
    pub currency: Currency,
    /// The number of pieces that can still be sold.
    pub stock: i32,
}

/// A page of products and the token of the next page.
#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
pub struct ProductPage {
    /// The products by ascending id.
    pub items: Vec<Product>,
    /// The `page_token` of the next page; null on the last page.
    #[serde(default)]
    pub next_page: Option<String>,
}

/// An order to place. The store sets the price.
#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purchase {
    pub product_id: ProductId,
    /// The number of pieces.
    pub quantity: i32,
}

/// One to three pieces of one product, bought by one user.
#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
pub struct Order {
    pub id: OrderId,
    pub user_id: UserId,
    pub product_id: ProductId,
    /// The number of pieces.
    pub quantity: i32,
    /// The price of one piece when the order was placed, in minor units of `currency`.
    pub unit_price_cents: i64,
    /// The price of all pieces together, in minor units of `currency`.
    pub total_price_cents: i64,
    pub currency: Currency,
    pub status: OrderStatus,
    /// The time when the order was placed, in UTC.
    #[serde(with = "::time::serde::rfc3339")]
    pub created_at: ::time::OffsetDateTime,
    /// The time of cancellation, in UTC; null while the order is placed.
    #[serde(with = "::time::serde::rfc3339::option")]
    pub cancelled_at: Option<::time::OffsetDateTime>,
}

/// A page of orders and the token of the next page.
#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
pub struct OrderPage {
    /// The orders, newest first.
    pub items: Vec<Order>,
    /// The `page_token` of the next page; null on the last page.
    #[serde(default)]
    pub next_page: Option<String>,
}

/// The body of every error response (RFC 9457). `code` is one of `invalid_request`, `token_missing`, `token_invalid`, `invalid_credentials`, `wrong_password`, `route_not_found`, `user_not_found`, `product_not_found`, `order_not_found`, `method_not_allowed`, `sid_taken`, `username_taken`, `email_taken`, `out_of_stock`, `version_mismatch`, `body_too_large`, `unsupported_media_type`, `idempotency_key_reused`, `guessable_password`, `too_many_attempts`, `too_many_writes`, `headers_too_large`, `internal_error` and `unavailable`. Later versions can add codes.
#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
pub struct Problem {
    /// The URI reference of the documentation of this problem type, relative to this server.
    pub r#type: String,
    /// A short summary of the problem type. It is the same for every problem with this `code`.
    pub title: String,
    /// The HTTP status code of the response.
    pub status: i32,
    /// An explanation of this occurrence and its remedy, for people.
    pub detail: String,
    /// The path of the request. A long path is truncated.
    pub instance: String,
    /// The problem type, for programs to match on. Handle an unknown code by its `status`.
    pub code: String,
    /// The `X-Request-Id` of the request. Include it when you contact the operator.
    pub request_id: String,
    /// The faults of the request, up to 32. Present only with `invalid_request`. If there are more faults, `detail` states their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<Fault>>,
}

/// The part of the request.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    ::serde::Serialize,
    ::serde::Deserialize
)]
pub enum FaultIn {
    /// `body`
    #[serde(rename = "body")]
    Body,
    /// `path`
    #[serde(rename = "path")]
    Path,
    /// `query`
    #[serde(rename = "query")]
    Query,
    /// `header`
    #[serde(rename = "header")]
    Header,
}

impl FaultIn {
    /// Returns the value in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

impl ::std::fmt::Display for FaultIn {
    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One fault of a request. It never contains the value that was sent.
#[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
pub struct Fault {
    /// The part of the request.
    pub r#in: FaultIn,
    /// The location in that part, a JSON Pointer (RFC 6901) of at most 256 bytes. A longer pointer is truncated and ends in `…`. In the body, the empty pointer is the whole body. In other parts, the pointer is `/` and the parameter's name. The server reports no further faults inside a member that is unknown or has another type.
    pub pointer: String,
    /// The value or format that was expected.
    pub detail: String,
}

/// The `access_token` from `POST /login`. It is valid for 24 hours unless it is revoked earlier.
///
/// The token as sent; the implementation verifies it. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct BearerAuth(runtime::Token);

impl BearerAuth {
    /// Returns the token.
    pub fn token(&self) -> &str {
        self.0.as_str()
    }
}

impl<'a> ::poem_openapi::ApiExtractor<'a> for BearerAuth {
    const TYPES: &'static [::poem_openapi::ApiExtractorType] = &[
        ::poem_openapi::ApiExtractorType::SecurityScheme,
    ];
    type ParamType = ();
    type ParamRawType = ();
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        registry
            .create_security_scheme(
                "bearerAuth",
                runtime::bearer_scheme(
                    Some(
                        "The `access_token` from `POST /login`. It is valid for 24 hours unless it is revoked earlier.",
                    ),
                    Some("JWT"),
                ),
            );
    }
    fn security_schemes() -> Vec<&'static str> {
        vec!["bearerAuth"]
    }
    async fn from_request(
        request: &'a ::poem::Request,
        _: &mut ::poem::RequestBody,
        _: ::poem_openapi::ExtractParamOptions<()>,
    ) -> ::poem::Result<Self> {
        runtime::token(request).map(Self)
    }
}

type Apis<T> = (
    DialogApi<T>,
    UserManagerApi<T>,
    ProductManagerApi<T>,
    OrderManagerApi<T>,
);

/// The routes of the document: method, path template, operation id.
pub const ROUTES: &[runtime::Route] = &[
    ("GET", "/", "greet"),
    ("POST", "/users", "register"),
    ("POST", "/login", "log_in"),
    ("POST", "/logout", "log_out"),
    ("GET", "/users/{user_id}", "get_user"),
    ("DELETE", "/users/{user_id}", "deactivate_user"),
    ("PATCH", "/users/{user_id}", "update_user"),
    ("PUT", "/users/{user_id}/password", "change_password"),
    ("GET", "/products", "list_products"),
    ("GET", "/products/{product_id}", "get_product"),
    ("GET", "/orders", "list_orders"),
    ("POST", "/orders", "place_order"),
    ("GET", "/orders/{order_id}", "get_order"),
    ("POST", "/orders/{order_id}/cancel", "cancel_order"),
];

/// Returns the server: `implementation`, with each request validated first.
///
/// `rejections` answers invalid requests (400, 401, 404, 405, 413, 415). HEAD is served
/// wherever GET is.
pub fn api<T>(
    implementation: ::std::sync::Arc<T>,
    rejections: ::std::sync::Arc<dyn runtime::RejectionHandler>,
    limits: runtime::Limits,
) -> impl ::poem::Endpoint<Output = ::poem::Response>
where
    T: Dialog + UserManager + ProductManager + OrderManager,
{
    runtime::ServiceEndpoint::new(
        service::<
            Apis<T>,
        >((
            DialogApi(::std::sync::Arc::clone(&implementation)),
            UserManagerApi(::std::sync::Arc::clone(&implementation)),
            ProductManagerApi(::std::sync::Arc::clone(&implementation)),
            OrderManagerApi(::std::sync::Arc::clone(&implementation)),
        )),
        ROUTES,
        rejections,
        limits,
    )
}

/// Returns the document that the server emits, as JSON.
pub fn spec_json<T>() -> String
where
    T: Dialog + UserManager + ProductManager + OrderManager,
{
    service(runtime::SpecOnly::<Apis<T>>::new()).spec()
}

fn service<A: ::poem_openapi::OpenApi>(
    apis: A,
) -> ::poem_openapi::OpenApiService<A, ()> {
    ::poem_openapi::OpenApiService::new(apis, "SUSTech Merch Store", "1.0.0")
        .description(
            "Buy a hoodie, a water bottle or a notebook: register, log in, place an order.\n\n**Errors.** Every response with status 400 or above has a `Problem` body (`application/problem+json`, RFC 9457). Programs match on its `code`, never on its text. An unknown path returns 404 `route_not_found`. A method that the path does not support returns 405 `method_not_allowed` with an `Allow` header. These two responses belong to no operation, so no operation declares them.\n\n**Request ids.** A client can send `X-Request-Id`: 1 to 128 letters, digits, `_`, `.`, `:` and `-`. If the header is absent or invalid, the server generates an id. Every response returns the id, and every log event of the request contains it.\n\n**Validation.** The server rejects undeclared members, duplicate members and duplicate parameters. An operation with query parameters also rejects undeclared ones. The error lists all faults, up to 32, and never repeats the value that was sent.\n\n**Size of errors.** An error response has at most 16 KiB, for any request. The values that it repeats from the request (`instance`, `pointer`) are truncated after 256 bytes and then end in `…`. In `instance`, this character is encoded as `%E2%80%A6`.\n\n**Conditional requests.** A single user, product or order has an `ETag`, derived from its version. Send it in `If-None-Match` to receive 304 while the resource is unchanged.\n\n**Money** is an integer number of minor units (`*_cents`). **Times** are RFC 3339 timestamps in UTC.",
        )
        .contact(
            ::poem_openapi::ContactObject::new()
                .name("The founders of the SUSTech Merch Store")
                .url("https://www.sustech.edu.cn/en/"),
        )
        .license(
            ::poem_openapi::LicenseObject::new("MIT OR Apache-2.0")
                .url("https://www.apache.org/licenses/LICENSE-2.0"),
        )
        .server(
            ::poem_openapi::ServerObject::new("/")
                .description("The server that returned this document."),
        )
}

fn check_greet<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::GREET)
}

fn check_register<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::REGISTER)
}

fn check_log_in<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::LOG_IN)
}

fn check_log_out<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::LOG_OUT)
}

fn check_get_user<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::GET_USER)
}

fn check_deactivate_user<E: ::poem::Endpoint>(
    endpoint: E,
) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::DEACTIVATE_USER)
}

fn check_update_user<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::UPDATE_USER)
}

fn check_change_password<E: ::poem::Endpoint>(
    endpoint: E,
) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::CHANGE_PASSWORD)
}

fn check_list_products<E: ::poem::Endpoint>(
    endpoint: E,
) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::LIST_PRODUCTS)
}

fn check_get_product<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::GET_PRODUCT)
}

fn check_list_orders<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::LIST_ORDERS)
}

fn check_place_order<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::PLACE_ORDER)
}

fn check_get_order<E: ::poem::Endpoint>(endpoint: E) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::GET_ORDER)
}

fn check_cancel_order<E: ::poem::Endpoint>(
    endpoint: E,
) -> runtime::ValidatedEndpoint<E> {
    runtime::ValidatedEndpoint::new(endpoint, &validators::CANCEL_ORDER)
}

struct DialogApi<T>(::std::sync::Arc<T>);

#[::poem_openapi::OpenApi]
impl<T: Dialog> DialogApi<T> {
    /**Get store information

Returns a greeting with the store's name, the version of the API, and links to its documentation.*/
    #[oai(
        path = "/",
        method = "get",
        operation_id = "greet",
        tag = "Tags::Dialog",
        transform = "check_greet"
    )]
    async fn greet(&self) -> GreetResponse {
        Dialog::greet(&*self.0).await
    }
}

struct UserManagerApi<T>(::std::sync::Arc<T>);

#[::poem_openapi::OpenApi]
impl<T: UserManager> UserManagerApi<T> {
    /**Register

Creates a user. If another user has the same `sid`, `username` or `email`, ignoring case, the request fails with 409. The values of deactivated users stay taken.

The server rejects the most common passwords, and the user's own sid, username or email as a password. It limits registrations for each client address.

The response contains no token. To get one, call `POST /login`.*/
    #[oai(
        path = "/users",
        method = "post",
        operation_id = "register",
        tag = "Tags::UserManager",
        transform = "check_register"
    )]
    async fn register(
        &self,
        /// The user to create.
        body: runtime::Body<Registration>,
    ) -> RegisterResponse {
        UserManager::register(&*self.0, body.0).await
    }
    /**Log in

Verifies a username and password, and returns a token. The response to an unknown username, a deactivated user and a wrong password is the same, after the same time.

The server limits wrong passwords for each account at each client address. It also limits them for each account over all addresses from which the account has not logged in during the last 30 days. Log-ins are limited for each client address.*/
    #[oai(
        path = "/login",
        method = "post",
        operation_id = "log_in",
        tag = "Tags::UserManager",
        transform = "check_log_in"
    )]
    async fn log_in(
        &self,
        /// The user's credentials.
        body: runtime::Body<Credentials>,
    ) -> LogInResponse {
        UserManager::log_in(&*self.0, body.0).await
    }
    /**Log out

Revokes every token of the user, on every device. Requests that start later fail with 401.*/
    #[oai(
        path = "/logout",
        method = "post",
        operation_id = "log_out",
        tag = "Tags::UserManager",
        transform = "check_log_out"
    )]
    async fn log_out(&self, bearer_auth: BearerAuth) -> LogOutResponse {
        UserManager::log_out(&*self.0, bearer_auth).await
    }
    /**Get a user

Returns the caller's user. Any other id returns 404.*/
    #[oai(
        path = "/users/:user_id",
        method = "get",
        operation_id = "get_user",
        tag = "Tags::UserManager",
        transform = "check_get_user"
    )]
    async fn get_user(
        &self,
        bearer_auth: BearerAuth,
        /// The user's id.
        #[oai(name = "user_id", explode = false)]
        user_id: runtime::Parameter<parameters::UserId>,
        /// Entity tags of the client's stored responses, or `*`. If one matches the current version, the server returns 304.
        #[oai(name = "If-None-Match", explode = false)]
        if_none_match: runtime::Parameter<parameters::IfNoneMatch>,
    ) -> GetUserResponse {
        UserManager::get_user(&*self.0, bearer_auth, user_id.0, if_none_match.0).await
    }
    /**Deactivate a user

Deactivates the caller's account permanently. All tokens are revoked, and a later log-in fails like that of an unknown user. The user's orders are kept.*/
    #[oai(
        path = "/users/:user_id",
        method = "delete",
        operation_id = "deactivate_user",
        tag = "Tags::UserManager",
        transform = "check_deactivate_user"
    )]
    async fn deactivate_user(
        &self,
        bearer_auth: BearerAuth,
        /// The user's id.
        #[oai(name = "user_id", explode = false)]
        user_id: runtime::Parameter<parameters::UserId>,
    ) -> DeactivateUserResponse {
        UserManager::deactivate_user(&*self.0, bearer_auth, user_id.0).await
    }
    /**Update a user

Updates the members that are present in the body, and no others. With `If-Match`, the server updates the user only if one of the entity tags matches the current version. Without it, the server updates any version.*/
    #[oai(
        path = "/users/:user_id",
        method = "patch",
        operation_id = "update_user",
        tag = "Tags::UserManager",
        transform = "check_update_user"
    )]
    async fn update_user(
        &self,
        bearer_auth: BearerAuth,
        /// The user's id.
        #[oai(name = "user_id", explode = false)]
        user_id: runtime::Parameter<parameters::UserId>,
        /// Entity tags, or `*`. If none matches the current version, the server changes nothing and returns 412.
        #[oai(name = "If-Match", explode = false)]
        if_match: runtime::Parameter<parameters::IfMatch>,
        /// The members to update.
        body: runtime::Body<UserChange>,
    ) -> UpdateUserResponse {
        UserManager::update_user(&*self.0, bearer_auth, user_id.0, if_match.0, body.0)
            .await
    }
    /**Change the password

Replaces the caller's password and revokes all of the caller's tokens, including the token of this request.

The server rejects the most common passwords, and the user's own sid, username or email as a password. A wrong current password counts as a wrong password at `POST /login`.*/
    #[oai(
        path = "/users/:user_id/password",
        method = "put",
        operation_id = "change_password",
        tag = "Tags::UserManager",
        transform = "check_change_password"
    )]
    async fn change_password(
        &self,
        bearer_auth: BearerAuth,
        /// The user's id.
        #[oai(name = "user_id", explode = false)]
        user_id: runtime::Parameter<parameters::UserId>,
        /// The current password and the new password.
        body: runtime::Body<PasswordChange>,
    ) -> ChangePasswordResponse {
        UserManager::change_password(&*self.0, bearer_auth, user_id.0, body.0).await
    }
}

struct ProductManagerApi<T>(::std::sync::Arc<T>);

#[::poem_openapi::OpenApi]
impl<T: ProductManager> ProductManagerApi<T> {
    /**List products

Lists the products in ascending order of id, one page per request. For the next page, send `page_token` and optionally `limit`. The token contains the filter.*/
    #[oai(
        path = "/products",
        method = "get",
        operation_id = "list_products",
        tag = "Tags::ProductManager",
        transform = "check_list_products"
    )]
    async fn list_products(
        &self,
        /// The maximum number of items in a page.
        #[oai(name = "limit")]
        limit: runtime::Parameter<parameters::Limit>,
        /// The `next_page` of the previous page. Omit it for the first page. Clients must treat it as opaque.
        #[oai(name = "page_token")]
        page_token: runtime::Parameter<parameters::PageToken>,
        /// Returns only products of exactly this category. With a `page_token`, omit it or repeat the category of the token.
        #[oai(name = "category")]
        category: runtime::Parameter<parameters::ListProductsCategory>,
    ) -> ListProductsResponse {
        ProductManager::list_products(&*self.0, limit.0, page_token.0, category.0).await
    }
    /**Get a product

Returns a product with its current stock.*/
    #[oai(
        path = "/products/:product_id",
        method = "get",
        operation_id = "get_product",
        tag = "Tags::ProductManager",
        transform = "check_get_product"
    )]
    async fn get_product(
        &self,
        /// The product's id.
        #[oai(name = "product_id", explode = false)]
        product_id: runtime::Parameter<parameters::GetProductProductId>,
        /// Entity tags of the client's stored responses, or `*`. If one matches the current version, the server returns 304.
        #[oai(name = "If-None-Match", explode = false)]
        if_none_match: runtime::Parameter<parameters::IfNoneMatch>,
    ) -> GetProductResponse {
        ProductManager::get_product(&*self.0, product_id.0, if_none_match.0).await
    }
}

struct OrderManagerApi<T>(::std::sync::Arc<T>);

#[::poem_openapi::OpenApi]
impl<T: OrderManager> OrderManagerApi<T> {
    /**List orders

Lists the caller's orders, newest first, one page per request. For the next page, send `page_token` and optionally `limit`. The token contains the filter.*/
    #[oai(
        path = "/orders",
        method = "get",
        operation_id = "list_orders",
        tag = "Tags::OrderManager",
        transform = "check_list_orders"
    )]
    async fn list_orders(
        &self,
        bearer_auth: BearerAuth,
        /// The maximum number of items in a page.
        #[oai(name = "limit")]
        limit: runtime::Parameter<parameters::Limit>,
        /// The `next_page` of the previous page. Omit it for the first page. Clients must treat it as opaque.
        #[oai(name = "page_token")]
        page_token: runtime::Parameter<parameters::PageToken>,
        /// Returns only orders with this status. With a `page_token`, omit it or repeat the status of the token.
        #[oai(name = "status")]
        status: runtime::Parameter<parameters::ListOrdersStatus>,
    ) -> ListOrdersResponse {
        OrderManager::list_orders(&*self.0, bearer_auth, limit.0, page_token.0, status.0)
            .await
    }
    /**Place an order

Buys one to three pieces of a product at the current price. The order is placed in full or not at all. The server responds after the order is stored on disk.

A request with an `Idempotency-Key` is safe to retry. For at least 24 hours, the same key and body return the first order, with the same status, headers and body. A rejected order does not use up its key.*/
    #[oai(
        path = "/orders",
        method = "post",
        operation_id = "place_order",
        tag = "Tags::OrderManager",
        transform = "check_place_order"
    )]
    async fn place_order(
        &self,
        bearer_auth: BearerAuth,
        /// A key that the client generates for each order, such as a UUID. Each user has a separate key space.
        #[oai(name = "Idempotency-Key", explode = false)]
        idempotency_key: runtime::Parameter<parameters::PlaceOrderIdempotencyKey>,
        /// The order to place.
        body: runtime::Body<Purchase>,
    ) -> PlaceOrderResponse {
        OrderManager::place_order(&*self.0, bearer_auth, idempotency_key.0, body.0).await
    }
    /**Get an order

Returns one of the caller's orders. Any other id returns 404.*/
    #[oai(
        path = "/orders/:order_id",
        method = "get",
        operation_id = "get_order",
        tag = "Tags::OrderManager",
        transform = "check_get_order"
    )]
    async fn get_order(
        &self,
        bearer_auth: BearerAuth,
        /// The order's id.
        #[oai(name = "order_id", explode = false)]
        order_id: runtime::Parameter<parameters::OrderId>,
        /// Entity tags of the client's stored responses, or `*`. If one matches the current version, the server returns 304.
        #[oai(name = "If-None-Match", explode = false)]
        if_none_match: runtime::Parameter<parameters::IfNoneMatch>,
    ) -> GetOrderResponse {
        OrderManager::get_order(&*self.0, bearer_auth, order_id.0, if_none_match.0).await
    }
    /**Cancel an order

Cancels one of the caller's orders and returns its pieces to the stock exactly once. A repeated cancellation changes nothing and returns the same order.*/
    #[oai(
        path = "/orders/:order_id/cancel",
        method = "post",
        operation_id = "cancel_order",
        tag = "Tags::OrderManager",
        transform = "check_cancel_order"
    )]
    async fn cancel_order(
        &self,
        bearer_auth: BearerAuth,
        /// The order's id.
        #[oai(name = "order_id", explode = false)]
        order_id: runtime::Parameter<parameters::OrderId>,
    ) -> CancelOrderResponse {
        OrderManager::cancel_order(&*self.0, bearer_auth, order_id.0).await
    }
}

#[derive(Clone, Copy)]
enum Tags {
    Dialog,
    UserManager,
    ProductManager,
    OrderManager,
}

impl Tags {
    fn metadata(self) -> runtime::Tag {
        match self {
            Self::Dialog => {
                runtime::Tag {
                    name: "Dialog",
                    description: Some("General information about the store."),
                    external_docs: None,
                }
            }
            Self::UserManager => {
                runtime::Tag {
                    name: "UserManager",
                    description: Some(
                        "Registration, log-in and user accounts. Users can access only their own accounts.",
                    ),
                    external_docs: None,
                }
            }
            Self::ProductManager => {
                runtime::Tag {
                    name: "ProductManager",
                    description: Some(
                        "The product catalogue. Responses show the current state of the database.",
                    ),
                    external_docs: None,
                }
            }
            Self::OrderManager => {
                runtime::Tag {
                    name: "OrderManager",
                    description: Some(
                        "Orders of one to three pieces. The store never sells more than its stock. Users can access only their own orders.",
                    ),
                    external_docs: None,
                }
            }
        }
    }
}

impl ::poem_openapi::Tags for Tags {
    fn register(&self, registry: &mut ::poem_openapi::registry::Registry) {
        registry.create_tag(self.metadata().into());
    }
    fn name(&self) -> &'static str {
        self.metadata().name
    }
}

/// The component schemas that requests refer to, as in the document.
static REQUEST_SCHEMAS: runtime::Schemas = runtime::Schemas::new(
    r##"{
  "UserId": {
    "description": "A user's id, a UUIDv7.",
    "type": "string",
    "format": "uuid",
    "example": "0198c0de-7e57-7000-8000-000000000001"
  },
  "OrderId": {
    "description": "An order's id, a UUIDv7. Later orders have greater ids.",
    "type": "string",
    "format": "uuid",
    "example": "0198c0de-7e57-7000-8000-000000000002"
  },
  "ProductId": {
    "description": "A product's id, a small positive integer.",
    "type": "integer",
    "format": "int32",
    "minimum": 1,
    "example": 1
  },
  "Sid": {
    "description": "The id issued by the university, in letters and digits. Unique, ignoring case.",
    "type": "string",
    "minLength": 1,
    "maxLength": 15,
    "pattern": "^[A-Za-z0-9]{1,15}$",
    "example": "12110301"
  },
  "Username": {
    "description": "The name for log-in, in letters, digits, `_`, `.` and `-`. Unique, ignoring case.",
    "type": "string",
    "minLength": 3,
    "maxLength": 50,
    "pattern": "^[A-Za-z0-9_.-]{3,50}$",
    "example": "alice"
  },
  "Email": {
    "description": "An email address without spaces or control characters. Unique, ignoring case.",
    "type": "string",
    "format": "email",
    "maxLength": 255,
    "pattern": "^[^\\x00-\\x20\\x7F-\\x9F]+$",
    "example": "alice@mail.example.com"
  },
  "Category": {
    "description": "The category of a product.",
    "type": "string",
    "minLength": 1,
    "maxLength": 50,
    "example": "Apparel"
  },
  "OrderStatus": {
    "description": "The status of an order.",
    "type": "string",
    "enum": [
      "placed",
      "cancelled"
    ],
    "example": "placed"
  },
  "Registration": {
    "description": "A user to create.",
    "type": "object",
    "additionalProperties": false,
    "required": [
      "sid",
      "username",
      "email",
      "password"
    ],
    "properties": {
      "sid": {
        "$ref": "#/components/schemas/Sid"
      },
      "username": {
        "$ref": "#/components/schemas/Username"
      },
      "email": {
        "$ref": "#/components/schemas/Email"
      },
      "password": {
        "description": "The password: 8 to 128 characters, without U+0000. The most common passwords are rejected.",
        "type": "string",
        "format": "password",
        "minLength": 8,
        "maxLength": 128,
        "pattern": "^[^\\x00]+$",
        "example": "correct horse battery staple"
      }
    }
  },
  "Credentials": {
    "description": "The credentials for log-in.",
    "type": "object",
    "additionalProperties": false,
    "required": [
      "username",
      "password"
    ],
    "properties": {
      "username": {
        "$ref": "#/components/schemas/Username"
      },
      "password": {
        "description": "The password. Every wrong password returns the same response, even one that registration rejects.",
        "type": "string",
        "format": "password",
        "minLength": 1,
        "maxLength": 128,
        "pattern": "^[^\\x00]+$",
        "example": "correct horse battery staple"
      }
    }
  },
  "UserChange": {
    "description": "The members to update. Absent members keep their values.",
    "type": "object",
    "additionalProperties": false,
    "properties": {
      "username": {
        "$ref": "#/components/schemas/Username"
      },
      "email": {
        "$ref": "#/components/schemas/Email"
      }
    }
  },
  "PasswordChange": {
    "description": "The current password and the new password.",
    "type": "object",
    "additionalProperties": false,
    "required": [
      "current_password",
      "new_password"
    ],
    "properties": {
      "current_password": {
        "description": "The current password.",
        "type": "string",
        "format": "password",
        "minLength": 1,
        "maxLength": 128,
        "pattern": "^[^\\x00]+$",
        "example": "correct horse battery staple"
      },
      "new_password": {
        "description": "The new password: 8 to 128 characters, without U+0000. The most common passwords are rejected.",
        "type": "string",
        "format": "password",
        "minLength": 8,
        "maxLength": 128,
        "pattern": "^[^\\x00]+$",
        "example": "a much longer battery staple"
      }
    }
  },
  "Purchase": {
    "description": "An order to place. The store sets the price.",
    "type": "object",
    "additionalProperties": false,
    "required": [
      "product_id",
      "quantity"
    ],
    "properties": {
      "product_id": {
        "$ref": "#/components/schemas/ProductId"
      },
      "quantity": {
        "description": "The number of pieces.",
        "type": "integer",
        "format": "int32",
        "minimum": 1,
        "maximum": 3,
        "example": 2
      }
    }
  }
}"##,
);

/// The validators of requests, one for each operation.
mod validators {
    use ::std::sync::LazyLock;
    use super::runtime;
    pub(super) static GREET: LazyLock<runtime::RequestValidator> = LazyLock::new(|| runtime::RequestValidator::new(
        "/",
        &super::REQUEST_SCHEMAS,
    ));
    pub(super) static REGISTER: LazyLock<runtime::RequestValidator> = LazyLock::new(|| {
        runtime::RequestValidator::new("/users", &super::REQUEST_SCHEMAS)
            .body(r##"{"$ref":"#/components/schemas/Registration"}"##)
    });
    pub(super) static LOG_IN: LazyLock<runtime::RequestValidator> = LazyLock::new(|| {
        runtime::RequestValidator::new("/login", &super::REQUEST_SCHEMAS)
            .body(r##"{"$ref":"#/components/schemas/Credentials"}"##)
    });
    pub(super) static LOG_OUT: LazyLock<runtime::RequestValidator> = LazyLock::new(|| {
        runtime::RequestValidator::new("/logout", &super::REQUEST_SCHEMAS).bearer()
    });
    pub(super) static GET_USER: LazyLock<runtime::RequestValidator> = LazyLock::new(|| {
        runtime::RequestValidator::new("/users/{user_id}", &super::REQUEST_SCHEMAS)
            .bearer()
            .parameter(
                runtime::Location::Path,
                "user_id",
                runtime::Presence::Required,
                r##"{"$ref":"#/components/schemas/UserId"}"##,
            )
            .parameter(
                runtime::Location::Header,
                "If-None-Match",
                runtime::Presence::Optional,
                r#"{"type":"string"}"#,
            )
    });
    pub(super) static DEACTIVATE_USER: LazyLock<runtime::RequestValidator> = LazyLock::new(||
    {
        runtime::RequestValidator::new("/users/{user_id}", &super::REQUEST_SCHEMAS)
            .bearer()
            .parameter(
                runtime::Location::Path,
                "user_id",
                runtime::Presence::Required,
                r##"{"$ref":"#/components/schemas/UserId"}"##,
            )
    });
    pub(super) static UPDATE_USER: LazyLock<runtime::RequestValidator> = LazyLock::new(||
    {
        runtime::RequestValidator::new("/users/{user_id}", &super::REQUEST_SCHEMAS)
            .bearer()
            .parameter(
                runtime::Location::Path,
                "user_id",
                runtime::Presence::Required,
                r##"{"$ref":"#/components/schemas/UserId"}"##,
            )
            .parameter(
                runtime::Location::Header,
                "If-Match",
                runtime::Presence::Optional,
                r#"{"type":"string"}"#,
            )
            .body(r##"{"$ref":"#/components/schemas/UserChange"}"##)
    });
    pub(super) static CHANGE_PASSWORD: LazyLock<runtime::RequestValidator> = LazyLock::new(||
    {
        runtime::RequestValidator::new(
                "/users/{user_id}/password",
                &super::REQUEST_SCHEMAS,
            )
            .bearer()
            .parameter(
                runtime::Location::Path,
                "user_id",
                runtime::Presence::Required,
                r##"{"$ref":"#/components/schemas/UserId"}"##,
            )
            .body(r##"{"$ref":"#/components/schemas/PasswordChange"}"##)
    });
    pub(super) static LIST_PRODUCTS: LazyLock<runtime::RequestValidator> = LazyLock::new(||
    {
        runtime::RequestValidator::new("/products", &super::REQUEST_SCHEMAS)
            .parameter(
                runtime::Location::Query,
                "limit",
                runtime::Presence::Optional,
                r#"{"type":"integer","format":"int32","minimum":1,"maximum":100,"default":20}"#,
            )
            .parameter(
                runtime::Location::Query,
                "page_token",
                runtime::Presence::Optional,
                r#"{"type":"string"}"#,
            )
            .parameter(
                runtime::Location::Query,
                "category",
                runtime::Presence::Optional,
                r##"{"$ref":"#/components/schemas/Category"}"##,
            )
    });
    pub(super) static GET_PRODUCT: LazyLock<runtime::RequestValidator> = LazyLock::new(||
    {
        runtime::RequestValidator::new("/products/{product_id}", &super::REQUEST_SCHEMAS)
            .parameter(
                runtime::Location::Path,
                "product_id",
                runtime::Presence::Required,
                r##"{"$ref":"#/components/schemas/ProductId"}"##,
            )
            .parameter(
                runtime::Location::Header,
                "If-None-Match",
                runtime::Presence::Optional,
                r#"{"type":"string"}"#,
            )
    });
    pub(super) static LIST_ORDERS: LazyLock<runtime::RequestValidator> = LazyLock::new(||
    {
        runtime::RequestValidator::new("/orders", &super::REQUEST_SCHEMAS)
            .bearer()
            .parameter(
                runtime::Location::Query,
                "limit",
                runtime::Presence::Optional,
                r#"{"type":"integer","format":"int32","minimum":1,"maximum":100,"default":20}"#,
            )
            .parameter(
                runtime::Location::Query,
                "page_token",
                runtime::Presence::Optional,
                r#"{"type":"string"}"#,
            )
            .parameter(
                runtime::Location::Query,
                "status",
                runtime::Presence::Optional,
                r##"{"$ref":"#/components/schemas/OrderStatus"}"##,
            )
    });
    pub(super) static PLACE_ORDER: LazyLock<runtime::RequestValidator> = LazyLock::new(||
    {
        runtime::RequestValidator::new("/orders", &super::REQUEST_SCHEMAS)
            .bearer()
            .parameter(
                runtime::Location::Header,
                "Idempotency-Key",
                runtime::Presence::Optional,
                r#"{"type":"string","minLength":1,"maxLength":255,"pattern":"^[!-~]{1,255}$"}"#,
            )
            .body(r##"{"$ref":"#/components/schemas/Purchase"}"##)
    });
    pub(super) static GET_ORDER: LazyLock<runtime::RequestValidator> = LazyLock::new(|| {
        runtime::RequestValidator::new("/orders/{order_id}", &super::REQUEST_SCHEMAS)
            .bearer()
            .parameter(
                runtime::Location::Path,
                "order_id",
                runtime::Presence::Required,
                r##"{"$ref":"#/components/schemas/OrderId"}"##,
            )
            .parameter(
                runtime::Location::Header,
                "If-None-Match",
                runtime::Presence::Optional,
                r#"{"type":"string"}"#,
            )
    });
    pub(super) static CANCEL_ORDER: LazyLock<runtime::RequestValidator> = LazyLock::new(||
    {
        runtime::RequestValidator::new(
                "/orders/{order_id}/cancel",
                &super::REQUEST_SCHEMAS,
            )
            .bearer()
            .parameter(
                runtime::Location::Path,
                "order_id",
                runtime::Presence::Required,
                r##"{"$ref":"#/components/schemas/OrderId"}"##,
            )
    });
}

/// Metadata of the parameters.
mod parameters {
    use super::runtime;
    /// The user's id.
    pub(super) struct UserId;
    impl runtime::ParameterSpec for UserId {
        const LOCATION: runtime::Location = runtime::Location::Path;
        const NAME: &'static str = "user_id";
        const PRESENCE: runtime::Presence = runtime::Presence::Required;
        type Value = super::UserId;
        fn schema() -> runtime::Schema {
            runtime::schema::<super::aliases::UserId>()
        }
    }
    /// Entity tags of the client's stored responses, or `*`. If one matches the current version, the server returns 304.
    pub(super) struct IfNoneMatch;
    impl runtime::ParameterSpec for IfNoneMatch {
        const LOCATION: runtime::Location = runtime::Location::Header;
        const NAME: &'static str = "If-None-Match";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = Option<String>;
        fn schema() -> runtime::Schema {
            runtime::schema::<String>()
        }
    }
    /// Entity tags, or `*`. If none matches the current version, the server changes nothing and returns 412.
    pub(super) struct IfMatch;
    impl runtime::ParameterSpec for IfMatch {
        const LOCATION: runtime::Location = runtime::Location::Header;
        const NAME: &'static str = "If-Match";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = Option<String>;
        fn schema() -> runtime::Schema {
            runtime::schema::<String>()
        }
    }
    /// The maximum number of items in a page.
    pub(super) struct Limit;
    impl runtime::ParameterSpec for Limit {
        const LOCATION: runtime::Location = runtime::Location::Query;
        const NAME: &'static str = "limit";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = i32;
        fn schema() -> runtime::Schema {
            runtime::schema::<i32>().minimum(1.0).maximum(100.0).default(20)
        }
    }
    /// The `next_page` of the previous page. Omit it for the first page. Clients must treat it as opaque.
    pub(super) struct PageToken;
    impl runtime::ParameterSpec for PageToken {
        const LOCATION: runtime::Location = runtime::Location::Query;
        const NAME: &'static str = "page_token";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = Option<String>;
        fn schema() -> runtime::Schema {
            runtime::schema::<String>()
        }
    }
    /// Returns only products of exactly this category. With a `page_token`, omit it or repeat the category of the token.
    pub(super) struct ListProductsCategory;
    impl runtime::ParameterSpec for ListProductsCategory {
        const LOCATION: runtime::Location = runtime::Location::Query;
        const NAME: &'static str = "category";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = Option<super::Category>;
        fn schema() -> runtime::Schema {
            runtime::schema::<super::aliases::Category>()
        }
    }
    /// The product's id.
    pub(super) struct GetProductProductId;
    impl runtime::ParameterSpec for GetProductProductId {
        const LOCATION: runtime::Location = runtime::Location::Path;
        const NAME: &'static str = "product_id";
        const PRESENCE: runtime::Presence = runtime::Presence::Required;
        type Value = super::ProductId;
        fn schema() -> runtime::Schema {
            runtime::schema::<super::aliases::ProductId>()
        }
    }
    /// Returns only orders with this status. With a `page_token`, omit it or repeat the status of the token.
    pub(super) struct ListOrdersStatus;
    impl runtime::ParameterSpec for ListOrdersStatus {
        const LOCATION: runtime::Location = runtime::Location::Query;
        const NAME: &'static str = "status";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = Option<super::OrderStatus>;
        fn schema() -> runtime::Schema {
            runtime::schema::<super::OrderStatus>()
        }
    }
    /// A key that the client generates for each order, such as a UUID. Each user has a separate key space.
    pub(super) struct PlaceOrderIdempotencyKey;
    impl runtime::ParameterSpec for PlaceOrderIdempotencyKey {
        const LOCATION: runtime::Location = runtime::Location::Header;
        const NAME: &'static str = "Idempotency-Key";
        const PRESENCE: runtime::Presence = runtime::Presence::Optional;
        type Value = Option<String>;
        fn schema() -> runtime::Schema {
            runtime::schema::<String>()
                .pattern("^[!-~]{1,255}$")
                .min_length(1)
                .max_length(255)
        }
    }
    /// The order's id.
    pub(super) struct OrderId;
    impl runtime::ParameterSpec for OrderId {
        const LOCATION: runtime::Location = runtime::Location::Path;
        const NAME: &'static str = "order_id";
        const PRESENCE: runtime::Presence = runtime::Presence::Required;
        type Value = super::OrderId;
        fn schema() -> runtime::Schema {
            runtime::schema::<super::aliases::OrderId>()
        }
    }
}

impl ::poem::IntoResponse for GreetResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Ok { body } => {
                runtime::ResponseBuilder::new(200).body("application/json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for GreetResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(200, "The greeting.")
            .body::<Greeting>("application/json")
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Greeting as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for RegisterResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Created { body, location, etag } => {
                runtime::ResponseBuilder::new(201)
                    .header::<String>("location", location)
                    .header::<String>("etag", etag)
                    .body("application/json", body)
            }
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::Conflict { body } => {
                runtime::ResponseBuilder::new(409).body("application/problem+json", body)
            }
            Self::PayloadTooLarge { body } => {
                runtime::ResponseBuilder::new(413).body("application/problem+json", body)
            }
            Self::UnsupportedMediaType { body } => {
                runtime::ResponseBuilder::new(415).body("application/problem+json", body)
            }
            Self::UnprocessableEntity { body } => {
                runtime::ResponseBuilder::new(422).body("application/problem+json", body)
            }
            Self::TooManyRequests { body, retry_after } => {
                runtime::ResponseBuilder::new(429)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
            Self::InternalServerError { body } => {
                runtime::ResponseBuilder::new(500).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { body, retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for RegisterResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(201, "The new user.")
            .header(
                "Location",
                runtime::Presence::Required,
                Some("The URI reference of the new resource, relative to this server."),
                runtime::schema::<String>().format("uri-reference"),
            )
            .header(
                "ETag",
                runtime::Presence::Required,
                Some("The entity tag of the resource, derived from its version."),
                runtime::schema::<String>().pattern("^\"[0-9]+\"$"),
            )
            .body::<User>("application/json")
            .shared(400, shared_responses::invalid_request)
            .shared(409, shared_responses::taken)
            .shared(413, shared_responses::body_too_large)
            .shared(415, shared_responses::unsupported_media_type)
            .shared(422, shared_responses::guessable_password)
            .shared(429, shared_responses::too_many_attempts)
            .shared(500, shared_responses::internal_error)
            .shared(503, shared_responses::unavailable)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Problem as ::poem_openapi::types::Type>::register(registry);
        <User as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for LogInResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Ok { body } => {
                runtime::ResponseBuilder::new(200).body("application/json", body)
            }
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::Unauthorized { body, www_authenticate } => {
                runtime::ResponseBuilder::new(401)
                    .header::<String>("www-authenticate", www_authenticate)
                    .body("application/problem+json", body)
            }
            Self::PayloadTooLarge { body } => {
                runtime::ResponseBuilder::new(413).body("application/problem+json", body)
            }
            Self::UnsupportedMediaType { body } => {
                runtime::ResponseBuilder::new(415).body("application/problem+json", body)
            }
            Self::TooManyRequests { body, retry_after } => {
                runtime::ResponseBuilder::new(429)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
            Self::InternalServerError { body } => {
                runtime::ResponseBuilder::new(500).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { body, retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for LogInResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(200, "A token. Send it as `Authorization: Bearer …`.")
            .body::<AccessToken>("application/json")
            .shared(400, shared_responses::invalid_request)
            .shared(401, shared_responses::invalid_credentials)
            .shared(413, shared_responses::body_too_large)
            .shared(415, shared_responses::unsupported_media_type)
            .shared(429, shared_responses::too_many_attempts)
            .shared(500, shared_responses::internal_error)
            .shared(503, shared_responses::unavailable)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <AccessToken as ::poem_openapi::types::Type>::register(registry);
        <Problem as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for LogOutResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::NoContent => runtime::ResponseBuilder::new(204).empty(),
            Self::Unauthorized { body, www_authenticate } => {
                runtime::ResponseBuilder::new(401)
                    .header::<String>("www-authenticate", www_authenticate)
                    .body("application/problem+json", body)
            }
            Self::TooManyRequests { body, retry_after } => {
                runtime::ResponseBuilder::new(429)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
            Self::InternalServerError { body } => {
                runtime::ResponseBuilder::new(500).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { body, retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for LogOutResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(204, "All tokens are revoked.")
            .shared(401, shared_responses::unauthenticated)
            .shared(429, shared_responses::too_many_writes)
            .shared(500, shared_responses::internal_error)
            .shared(503, shared_responses::unavailable)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Problem as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for GetUserResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Ok { body, etag } => {
                runtime::ResponseBuilder::new(200)
                    .header::<String>("etag", etag)
                    .body("application/json", body)
            }
            Self::NotModified { etag } => {
                runtime::ResponseBuilder::new(304).header::<String>("etag", etag).empty()
            }
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::Unauthorized { body, www_authenticate } => {
                runtime::ResponseBuilder::new(401)
                    .header::<String>("www-authenticate", www_authenticate)
                    .body("application/problem+json", body)
            }
            Self::NotFound { body } => {
                runtime::ResponseBuilder::new(404).body("application/problem+json", body)
            }
            Self::InternalServerError { body } => {
                runtime::ResponseBuilder::new(500).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { body, retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for GetUserResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(200, "The user.")
            .header(
                "ETag",
                runtime::Presence::Required,
                Some("The entity tag of the resource, derived from its version."),
                runtime::schema::<String>().pattern("^\"[0-9]+\"$"),
            )
            .body::<User>("application/json")
            .shared(304, shared_responses::not_modified)
            .shared(400, shared_responses::invalid_request)
            .shared(401, shared_responses::unauthenticated)
            .shared(404, shared_responses::user_not_found)
            .shared(500, shared_responses::internal_error)
            .shared(503, shared_responses::unavailable)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Problem as ::poem_openapi::types::Type>::register(registry);
        <User as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for DeactivateUserResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::NoContent => runtime::ResponseBuilder::new(204).empty(),
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::Unauthorized { body, www_authenticate } => {
                runtime::ResponseBuilder::new(401)
                    .header::<String>("www-authenticate", www_authenticate)
                    .body("application/problem+json", body)
            }
            Self::NotFound { body } => {
                runtime::ResponseBuilder::new(404).body("application/problem+json", body)
            }
            Self::TooManyRequests { body, retry_after } => {
                runtime::ResponseBuilder::new(429)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
            Self::InternalServerError { body } => {
                runtime::ResponseBuilder::new(500).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { body, retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for DeactivateUserResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(204, "The user is deactivated.")
            .shared(400, shared_responses::invalid_request)
            .shared(401, shared_responses::unauthenticated)
            .shared(404, shared_responses::user_not_found)
            .shared(429, shared_responses::too_many_writes)
            .shared(500, shared_responses::internal_error)
            .shared(503, shared_responses::unavailable)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Problem as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for UpdateUserResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Ok { body, etag } => {
                runtime::ResponseBuilder::new(200)
                    .header::<String>("etag", etag)
                    .body("application/json", body)
            }
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::Unauthorized { body, www_authenticate } => {
                runtime::ResponseBuilder::new(401)
                    .header::<String>("www-authenticate", www_authenticate)
                    .body("application/problem+json", body)
            }
            Self::NotFound { body } => {
                runtime::ResponseBuilder::new(404).body("application/problem+json", body)
            }
            Self::Conflict { body } => {
                runtime::ResponseBuilder::new(409).body("application/problem+json", body)
            }
            Self::PreconditionFailed { body } => {
                runtime::ResponseBuilder::new(412).body("application/problem+json", body)
            }
            Self::PayloadTooLarge { body } => {
                runtime::ResponseBuilder::new(413).body("application/problem+json", body)
            }
            Self::UnsupportedMediaType { body } => {
                runtime::ResponseBuilder::new(415).body("application/problem+json", body)
            }
            Self::TooManyRequests { body, retry_after } => {
                runtime::ResponseBuilder::new(429)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
            Self::InternalServerError { body } => {
                runtime::ResponseBuilder::new(500).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { body, retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for UpdateUserResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(200, "The updated user.")
            .header(
                "ETag",
                runtime::Presence::Required,
                Some("The entity tag of the resource, derived from its version."),
                runtime::schema::<String>().pattern("^\"[0-9]+\"$"),
            )
            .body::<User>("application/json")
            .shared(400, shared_responses::invalid_request)
            .shared(401, shared_responses::unauthenticated)
            .shared(404, shared_responses::user_not_found)
            .shared(409, shared_responses::taken)
            .shared(412, shared_responses::version_mismatch)
            .shared(413, shared_responses::body_too_large)
            .shared(415, shared_responses::unsupported_media_type)
            .shared(429, shared_responses::too_many_attempts_or_writes)
            .shared(500, shared_responses::internal_error)
            .shared(503, shared_responses::unavailable)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Problem as ::poem_openapi::types::Type>::register(registry);
        <User as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for ChangePasswordResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::NoContent => runtime::ResponseBuilder::new(204).empty(),
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::Unauthorized { body, www_authenticate } => {
                runtime::ResponseBuilder::new(401)
                    .header::<String>("www-authenticate", www_authenticate)
                    .body("application/problem+json", body)
            }
            Self::Forbidden { body } => {
                runtime::ResponseBuilder::new(403).body("application/problem+json", body)
            }
            Self::NotFound { body } => {
                runtime::ResponseBuilder::new(404).body("application/problem+json", body)
            }
            Self::PayloadTooLarge { body } => {
                runtime::ResponseBuilder::new(413).body("application/problem+json", body)
            }
            Self::UnsupportedMediaType { body } => {
                runtime::ResponseBuilder::new(415).body("application/problem+json", body)
            }
            Self::UnprocessableEntity { body } => {
                runtime::ResponseBuilder::new(422).body("application/problem+json", body)
            }
            Self::TooManyRequests { body, retry_after } => {
                runtime::ResponseBuilder::new(429)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
            Self::InternalServerError { body } => {
                runtime::ResponseBuilder::new(500).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { body, retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for ChangePasswordResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(204, "The password is changed. Log in again.")
            .shared(400, shared_responses::invalid_request)
            .shared(401, shared_responses::unauthenticated)
            .shared(403, shared_responses::wrong_password)
            .shared(404, shared_responses::user_not_found)
            .shared(413, shared_responses::body_too_large)
            .shared(415, shared_responses::unsupported_media_type)
            .shared(422, shared_responses::guessable_password)
            .shared(429, shared_responses::too_many_attempts_or_writes)
            .shared(500, shared_responses::internal_error)
            .shared(503, shared_responses::unavailable)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Problem as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for ListProductsResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Ok { body } => {
                runtime::ResponseBuilder::new(200).body("application/json", body)
            }
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::InternalServerError { body } => {
                runtime::ResponseBuilder::new(500).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { body, retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for ListProductsResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(200, "A page of products.")
            .body::<ProductPage>("application/json")
            .shared(400, shared_responses::invalid_request)
            .shared(500, shared_responses::internal_error)
            .shared(503, shared_responses::unavailable)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Problem as ::poem_openapi::types::Type>::register(registry);
        <ProductPage as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for GetProductResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Ok { body, etag } => {
                runtime::ResponseBuilder::new(200)
                    .header::<String>("etag", etag)
                    .body("application/json", body)
            }
            Self::NotModified { etag } => {
                runtime::ResponseBuilder::new(304).header::<String>("etag", etag).empty()
            }
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::NotFound { body } => {
                runtime::ResponseBuilder::new(404).body("application/problem+json", body)
            }
            Self::InternalServerError { body } => {
                runtime::ResponseBuilder::new(500).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { body, retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for GetProductResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(200, "The product.")
            .header(
                "ETag",
                runtime::Presence::Required,
                Some("The entity tag of the resource, derived from its version."),
                runtime::schema::<String>().pattern("^\"[0-9]+\"$"),
            )
            .body::<Product>("application/json")
            .shared(304, shared_responses::not_modified)
            .shared(400, shared_responses::invalid_request)
            .shared(404, shared_responses::product_not_found)
            .shared(500, shared_responses::internal_error)
            .shared(503, shared_responses::unavailable)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Problem as ::poem_openapi::types::Type>::register(registry);
        <Product as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for ListOrdersResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Ok { body } => {
                runtime::ResponseBuilder::new(200).body("application/json", body)
            }
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::Unauthorized { body, www_authenticate } => {
                runtime::ResponseBuilder::new(401)
                    .header::<String>("www-authenticate", www_authenticate)
                    .body("application/problem+json", body)
            }
            Self::InternalServerError { body } => {
                runtime::ResponseBuilder::new(500).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { body, retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for ListOrdersResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(200, "A page of orders.")
            .body::<OrderPage>("application/json")
            .shared(400, shared_responses::invalid_request)
            .shared(401, shared_responses::unauthenticated)
            .shared(500, shared_responses::internal_error)
            .shared(503, shared_responses::unavailable)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <OrderPage as ::poem_openapi::types::Type>::register(registry);
        <Problem as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for PlaceOrderResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Created { body, location, etag } => {
                runtime::ResponseBuilder::new(201)
                    .header::<String>("location", location)
                    .header::<String>("etag", etag)
                    .body("application/json", body)
            }
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::Unauthorized { body, www_authenticate } => {
                runtime::ResponseBuilder::new(401)
                    .header::<String>("www-authenticate", www_authenticate)
                    .body("application/problem+json", body)
            }
            Self::NotFound { body } => {
                runtime::ResponseBuilder::new(404).body("application/problem+json", body)
            }
            Self::Conflict { body } => {
                runtime::ResponseBuilder::new(409).body("application/problem+json", body)
            }
            Self::PayloadTooLarge { body } => {
                runtime::ResponseBuilder::new(413).body("application/problem+json", body)
            }
            Self::UnsupportedMediaType { body } => {
                runtime::ResponseBuilder::new(415).body("application/problem+json", body)
            }
            Self::UnprocessableEntity { body } => {
                runtime::ResponseBuilder::new(422).body("application/problem+json", body)
            }
            Self::TooManyRequests { body, retry_after } => {
                runtime::ResponseBuilder::new(429)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
            Self::InternalServerError { body } => {
                runtime::ResponseBuilder::new(500).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { body, retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for PlaceOrderResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(201, "The order as it was placed.")
            .header(
                "Location",
                runtime::Presence::Required,
                Some("The URI reference of the new resource, relative to this server."),
                runtime::schema::<String>().format("uri-reference"),
            )
            .header(
                "ETag",
                runtime::Presence::Required,
                Some("The entity tag of the resource, derived from its version."),
                runtime::schema::<String>().pattern("^\"[0-9]+\"$"),
            )
            .body::<Order>("application/json")
            .shared(400, shared_responses::invalid_request)
            .shared(401, shared_responses::unauthenticated)
            .shared(404, shared_responses::product_not_found)
            .shared(409, shared_responses::out_of_stock)
            .shared(413, shared_responses::body_too_large)
            .shared(415, shared_responses::unsupported_media_type)
            .shared(422, shared_responses::idempotency_key_reused)
            .shared(429, shared_responses::too_many_writes)
            .shared(500, shared_responses::internal_error)
            .shared(503, shared_responses::unavailable)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Order as ::poem_openapi::types::Type>::register(registry);
        <Problem as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for GetOrderResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Ok { body, etag } => {
                runtime::ResponseBuilder::new(200)
                    .header::<String>("etag", etag)
                    .body("application/json", body)
            }
            Self::NotModified { etag } => {
                runtime::ResponseBuilder::new(304).header::<String>("etag", etag).empty()
            }
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::Unauthorized { body, www_authenticate } => {
                runtime::ResponseBuilder::new(401)
                    .header::<String>("www-authenticate", www_authenticate)
                    .body("application/problem+json", body)
            }
            Self::NotFound { body } => {
                runtime::ResponseBuilder::new(404).body("application/problem+json", body)
            }
            Self::InternalServerError { body } => {
                runtime::ResponseBuilder::new(500).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { body, retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for GetOrderResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(200, "The order.")
            .header(
                "ETag",
                runtime::Presence::Required,
                Some("The entity tag of the resource, derived from its version."),
                runtime::schema::<String>().pattern("^\"[0-9]+\"$"),
            )
            .body::<Order>("application/json")
            .shared(304, shared_responses::not_modified)
            .shared(400, shared_responses::invalid_request)
            .shared(401, shared_responses::unauthenticated)
            .shared(404, shared_responses::order_not_found)
            .shared(500, shared_responses::internal_error)
            .shared(503, shared_responses::unavailable)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Order as ::poem_openapi::types::Type>::register(registry);
        <Problem as ::poem_openapi::types::Type>::register(registry);
    }
}

impl ::poem::IntoResponse for CancelOrderResponse {
    fn into_response(self) -> ::poem::Response {
        match self {
            Self::Ok { body, etag } => {
                runtime::ResponseBuilder::new(200)
                    .header::<String>("etag", etag)
                    .body("application/json", body)
            }
            Self::BadRequest { body } => {
                runtime::ResponseBuilder::new(400).body("application/problem+json", body)
            }
            Self::Unauthorized { body, www_authenticate } => {
                runtime::ResponseBuilder::new(401)
                    .header::<String>("www-authenticate", www_authenticate)
                    .body("application/problem+json", body)
            }
            Self::NotFound { body } => {
                runtime::ResponseBuilder::new(404).body("application/problem+json", body)
            }
            Self::TooManyRequests { body, retry_after } => {
                runtime::ResponseBuilder::new(429)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
            Self::InternalServerError { body } => {
                runtime::ResponseBuilder::new(500).body("application/problem+json", body)
            }
            Self::ServiceUnavailable { body, retry_after } => {
                runtime::ResponseBuilder::new(503)
                    .header::<i32>("retry-after", retry_after)
                    .body("application/problem+json", body)
            }
        }
    }
}

impl ::poem_openapi::ApiResponse for CancelOrderResponse {
    fn meta() -> ::poem_openapi::registry::MetaResponses {
        runtime::Responses::new()
            .response(200, "The cancelled order.")
            .header(
                "ETag",
                runtime::Presence::Required,
                Some("The entity tag of the resource, derived from its version."),
                runtime::schema::<String>().pattern("^\"[0-9]+\"$"),
            )
            .body::<Order>("application/json")
            .shared(400, shared_responses::invalid_request)
            .shared(401, shared_responses::unauthenticated)
            .shared(404, shared_responses::order_not_found)
            .shared(429, shared_responses::too_many_writes)
            .shared(500, shared_responses::internal_error)
            .shared(503, shared_responses::unavailable)
            .into()
    }
    fn register(registry: &mut ::poem_openapi::registry::Registry) {
        <Order as ::poem_openapi::types::Type>::register(registry);
        <Problem as ::poem_openapi::types::Type>::register(registry);
    }
}

/// Metadata of `components.responses`.
mod shared_responses {
    use super::runtime;
    pub(super) fn body_too_large(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The body is larger than this server accepts. `code` is `body_too_large`.",
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn guessable_password(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The new password is one of the most common ones, or it is the user's own sid, username or email. Nothing was changed. `code` is `guessable_password`.",
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn idempotency_key_reused(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The key was used for another order. Nothing was sold. `code` is `idempotency_key_reused`.",
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn internal_error(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "Internal server error. `code` is `internal_error`. Retry later, or report the `request_id` to the operator.",
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn invalid_credentials(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "Wrong username or password. `code` is `invalid_credentials`.",
            )
            .header(
                "WWW-Authenticate",
                runtime::Presence::Required,
                Some("The authentication scheme to use."),
                runtime::schema::<String>(),
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn invalid_request(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The request is invalid. `code` is `invalid_request`. The member `errors` lists all faults with their locations, up to 32.",
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn not_modified(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The resource has not changed since the version that the client has.",
            )
            .header(
                "ETag",
                runtime::Presence::Required,
                Some("The entity tag of the resource, derived from its version."),
                runtime::schema::<String>().pattern("^\"[0-9]+\"$"),
            )
    }
    pub(super) fn order_not_found(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The order does not exist or belongs to another user. `code` is `order_not_found`.",
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn out_of_stock(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The stock is smaller than the requested quantity. Nothing was sold. `code` is `out_of_stock`.",
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn product_not_found(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The product does not exist. `code` is `product_not_found`.",
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn taken(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "Another user has this value. Nothing was changed. `code` is `sid_taken`, `username_taken` or `email_taken`.",
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn too_many_attempts(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "There were too many wrong passwords for this account, or too many log-ins or registrations from this client address. `code` is `too_many_attempts`. Retry after the time in `Retry-After`.",
            )
            .header(
                "Retry-After",
                runtime::Presence::Required,
                Some("The number of seconds to wait before a retry."),
                runtime::schema::<i32>().minimum(1.0),
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn too_many_attempts_or_writes(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The request exceeds a limit. Nothing was changed. `code` is `too_many_attempts` or `too_many_writes`. The first means too many wrong passwords for the account, or too many changes of names or passwords from the client's address. The second means that the user has too many changes in progress, or made too many within a minute. Retry after the time in `Retry-After`.",
            )
            .header(
                "Retry-After",
                runtime::Presence::Required,
                Some("The number of seconds to wait before a retry."),
                runtime::schema::<i32>().minimum(1.0),
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn too_many_writes(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The user has too many changes in progress, or made too many within a minute. Nothing was changed. `code` is `too_many_writes`. Retry after the time in `Retry-After`.",
            )
            .header(
                "Retry-After",
                runtime::Presence::Required,
                Some("The number of seconds to wait before a retry."),
                runtime::schema::<i32>().minimum(1.0),
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn unauthenticated(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The token is missing, or it is invalid, expired or revoked. `code` is `token_missing` or `token_invalid`. Log in again.",
            )
            .header(
                "WWW-Authenticate",
                runtime::Presence::Required,
                Some("The authentication scheme to use."),
                runtime::schema::<String>(),
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn unavailable(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The server is overloaded, or a service that it depends on is unavailable. `code` is `unavailable`. Retry after the time in `Retry-After`; retry an order with the same `Idempotency-Key`.",
            )
            .header(
                "Retry-After",
                runtime::Presence::Required,
                Some("The number of seconds to wait before a retry."),
                runtime::schema::<i32>().minimum(1.0),
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn unsupported_media_type(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The body's `Content-Type` is not JSON, or the body is compressed. `code` is `unsupported_media_type`.",
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn user_not_found(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "The user does not exist or is not the caller. `code` is `user_not_found`.",
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn version_mismatch(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "No entity tag in `If-Match` matches the user's current version. Nothing was changed. `code` is `version_mismatch`.",
            )
            .body::<super::Problem>("application/problem+json")
    }
    pub(super) fn wrong_password(
        responses: runtime::Responses,
        status: u16,
    ) -> runtime::Responses {
        responses
            .response(
                status,
                "Wrong current password. Nothing was changed. `code` is `wrong_password`.",
            )
            .body::<super::Problem>("application/problem+json")
    }
}

impl runtime::Component for OrderStatus {
    const NAME: &'static str = "OrderStatus";
    fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::schema::<String>()
            .enum_values(&["placed", "cancelled"])
            .description("The status of an order.")
            .example("placed")
    }
}

runtime::component_type!(OrderStatus);

impl runtime::Component for Greeting {
    const NAME: &'static str = "Greeting";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "greeting",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description("A greeting in one sentence, for people.")
                    .example("Welcome to the SUSTech Merch Store!"),
            )
            .property(
                "version",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description(
                        "The version of this contract, equal to `info.version`.",
                    )
                    .example("1.0.0"),
            )
            .property(
                "links",
                runtime::Presence::Required,
                runtime::schema::<GreetingLinks>(),
            )
            .end()
            .description("General information about the store.")
    }
}

runtime::component_type!(Greeting);

impl runtime::Component for GreetingLinks {
    const NAME: &'static str = "GreetingLinks";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "docs",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description("The contract as an interactive page.")
                    .format("uri-reference")
                    .example("/docs"),
            )
            .property(
                "openapi_yaml",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description("The contract as YAML.")
                    .format("uri-reference")
                    .example("/openapi.yaml"),
            )
            .property(
                "openapi_json",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description("The contract as JSON.")
                    .format("uri-reference")
                    .example("/openapi.json"),
            )
            .end()
            .description("Links to the documentation, relative to this server.")
    }
}

runtime::component_type!(GreetingLinks);

impl runtime::Component for Registration {
    const NAME: &'static str = "Registration";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "sid",
                runtime::Presence::Required,
                runtime::schema::<aliases::Sid>(),
            )
            .property(
                "username",
                runtime::Presence::Required,
                runtime::schema::<aliases::Username>(),
            )
            .property(
                "email",
                runtime::Presence::Required,
                runtime::schema::<aliases::Email>(),
            )
            .property(
                "password",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description(
                        "The password: 8 to 128 characters, without U+0000. The most common passwords are rejected.",
                    )
                    .format("password")
                    .pattern("^[^\\x00]+$")
                    .min_length(8)
                    .max_length(128)
                    .example("correct horse battery staple"),
            )
            .end()
            .description("A user to create.")
    }
}

runtime::component_type!(Registration);

impl runtime::Component for Credentials {
    const NAME: &'static str = "Credentials";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "username",
                runtime::Presence::Required,
                runtime::schema::<aliases::Username>(),
            )
            .property(
                "password",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description(
                        "The password. Every wrong password returns the same response, even one that registration rejects.",
                    )
                    .format("password")
                    .pattern("^[^\\x00]+$")
                    .min_length(1)
                    .max_length(128)
                    .example("correct horse battery staple"),
            )
            .end()
            .description("The credentials for log-in.")
    }
}

runtime::component_type!(Credentials);

impl runtime::Component for AccessTokenTokenType {
    const NAME: &'static str = "AccessTokenTokenType";
    fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::schema::<String>()
            .enum_values(&["Bearer"])
            .description("The authentication scheme of the token.")
    }
}

runtime::inline_type!(AccessTokenTokenType);

impl runtime::Component for AccessToken {
    const NAME: &'static str = "AccessToken";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "access_token",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description(
                        "The token, a JWT. Send it as `Authorization: Bearer …`. Clients must treat it as opaque.",
                    )
                    .format("password")
                    .example("eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.e30.c2lnbmF0dXJl"),
            )
            .property(
                "token_type",
                runtime::Presence::Required,
                runtime::schema::<AccessTokenTokenType>()
                    .description("The authentication scheme of the token.")
                    .example("Bearer"),
            )
            .property(
                "expires_in",
                runtime::Presence::Required,
                runtime::schema::<i32>()
                    .description(
                        "The lifetime of the token in seconds, from the time of the response.",
                    )
                    .minimum(1.0)
                    .example(86400),
            )
            .property(
                "user_id",
                runtime::Presence::Required,
                runtime::schema::<aliases::UserId>(),
            )
            .end()
            .description("A token with its type, lifetime and user.")
    }
}

runtime::component_type!(AccessToken);

impl runtime::Component for User {
    const NAME: &'static str = "User";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "id",
                runtime::Presence::Required,
                runtime::schema::<aliases::UserId>(),
            )
            .property(
                "sid",
                runtime::Presence::Required,
                runtime::schema::<aliases::Sid>(),
            )
            .property(
                "username",
                runtime::Presence::Required,
                runtime::schema::<aliases::Username>(),
            )
            .property(
                "email",
                runtime::Presence::Required,
                runtime::schema::<aliases::Email>(),
            )
            .property(
                "active",
                runtime::Presence::Required,
                runtime::schema::<bool>()
                    .description("False after deactivation.")
                    .example(true),
            )
            .property(
                "created_at",
                runtime::Presence::Required,
                runtime::schema::<::time::OffsetDateTime>()
                    .description("The time of registration, in UTC.")
                    .example("2026-11-22T08:00:00.000000Z"),
            )
            .property(
                "updated_at",
                runtime::Presence::Required,
                runtime::schema::<::time::OffsetDateTime>()
                    .description("The time of the last change, in UTC.")
                    .example("2026-11-22T08:00:00.000000Z"),
            )
            .end()
            .description("A registered user.")
    }
}

runtime::component_type!(User);

impl runtime::Component for UserChange {
    const NAME: &'static str = "UserChange";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "username",
                runtime::Presence::Optional,
                runtime::schema::<aliases::Username>(),
            )
            .property(
                "email",
                runtime::Presence::Optional,
                runtime::schema::<aliases::Email>(),
            )
            .end()
            .description("The members to update. Absent members keep their values.")
    }
}

runtime::component_type!(UserChange);

impl runtime::Component for PasswordChange {
    const NAME: &'static str = "PasswordChange";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "current_password",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description("The current password.")
                    .format("password")
                    .pattern("^[^\\x00]+$")
                    .min_length(1)
                    .max_length(128)
                    .example("correct horse battery staple"),
            )
            .property(
                "new_password",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description(
                        "The new password: 8 to 128 characters, without U+0000. The most common passwords are rejected.",
                    )
                    .format("password")
                    .pattern("^[^\\x00]+$")
                    .min_length(8)
                    .max_length(128)
                    .example("a much longer battery staple"),
            )
            .end()
            .description("The current password and the new password.")
    }
}

runtime::component_type!(PasswordChange);

impl runtime::Component for Product {
    const NAME: &'static str = "Product";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "id",
                runtime::Presence::Required,
                runtime::schema::<aliases::ProductId>(),
            )
            .property(
                "name",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description("The product's name.")
                    .min_length(1)
                    .max_length(100)
                    .example("SUSTech Hoodie"),
            )
            .property(
                "category",
                runtime::Presence::Required,
                runtime::schema::<aliases::Category>(),
            )
            .property(
                "slogan",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description("A one-line slogan.")
                    .max_length(200)
                    .example("Warm through the longest night before the deadline."),
            )
            .property(
                "description",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description("A description in a few sentences.")
                    .max_length(2000)
                    .example(
                        "A heavy cotton hoodie with the university's name across the chest.",
                    ),
            )
            .property(
                "price_cents",
                runtime::Presence::Required,
                runtime::schema::<i64>()
                    .description("What one piece costs, in minor units of `currency`.")
                    .minimum(0.0)
                    .example(4999),
            )
            .property(
                "currency",
                runtime::Presence::Required,
                runtime::schema::<aliases::Currency>(),
            )
            .property(
                "stock",
                runtime::Presence::Required,
                runtime::schema::<i32>()
                    .description("The number of pieces that can still be sold.")
                    .minimum(0.0)
                    .example(500),
            )
            .end()
            .description("A product of the catalogue.")
    }
}

runtime::component_type!(Product);

impl runtime::Component for ProductPage {
    const NAME: &'static str = "ProductPage";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "items",
                runtime::Presence::Required,
                runtime::schema::<Vec<Product>>()
                    .description("The products by ascending id."),
            )
            .property(
                "next_page",
                runtime::Presence::Optional,
                runtime::schema::<String>()
                    .nullable(true)
                    .description(
                        "The `page_token` of the next page; null on the last page.",
                    )
                    .example("eyJ2IjoxfQ"),
            )
            .end()
            .description("A page of products and the token of the next page.")
    }
}

runtime::component_type!(ProductPage);

impl runtime::Component for Purchase {
    const NAME: &'static str = "Purchase";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "product_id",
                runtime::Presence::Required,
                runtime::schema::<aliases::ProductId>(),
            )
            .property(
                "quantity",
                runtime::Presence::Required,
                runtime::schema::<i32>()
                    .description("The number of pieces.")
                    .minimum(1.0)
                    .maximum(3.0)
                    .example(2),
            )
            .end()
            .description("An order to place. The store sets the price.")
    }
}

runtime::component_type!(Purchase);

impl runtime::Component for Order {
    const NAME: &'static str = "Order";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "id",
                runtime::Presence::Required,
                runtime::schema::<aliases::OrderId>(),
            )
            .property(
                "user_id",
                runtime::Presence::Required,
                runtime::schema::<aliases::UserId>(),
            )
            .property(
                "product_id",
                runtime::Presence::Required,
                runtime::schema::<aliases::ProductId>(),
            )
            .property(
                "quantity",
                runtime::Presence::Required,
                runtime::schema::<i32>()
                    .description("The number of pieces.")
                    .minimum(1.0)
                    .maximum(3.0)
                    .example(2),
            )
            .property(
                "unit_price_cents",
                runtime::Presence::Required,
                runtime::schema::<i64>()
                    .description(
                        "The price of one piece when the order was placed, in minor units of `currency`.",
                    )
                    .minimum(0.0)
                    .example(4999),
            )
            .property(
                "total_price_cents",
                runtime::Presence::Required,
                runtime::schema::<i64>()
                    .description(
                        "The price of all pieces together, in minor units of `currency`.",
                    )
                    .minimum(0.0)
                    .example(9998),
            )
            .property(
                "currency",
                runtime::Presence::Required,
                runtime::schema::<aliases::Currency>(),
            )
            .property(
                "status",
                runtime::Presence::Required,
                runtime::schema::<OrderStatus>(),
            )
            .property(
                "created_at",
                runtime::Presence::Required,
                runtime::schema::<::time::OffsetDateTime>()
                    .description("The time when the order was placed, in UTC.")
                    .example("2026-11-22T08:00:00.000000Z"),
            )
            .property(
                "cancelled_at",
                runtime::Presence::Required,
                runtime::schema::<::time::OffsetDateTime>()
                    .nullable(true)
                    .description(
                        "The time of cancellation, in UTC; null while the order is placed.",
                    )
                    .example(::serde_json::Value::Null),
            )
            .end()
            .description("One to three pieces of one product, bought by one user.")
    }
}

runtime::component_type!(Order);

impl runtime::Component for OrderPage {
    const NAME: &'static str = "OrderPage";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "items",
                runtime::Presence::Required,
                runtime::schema::<Vec<Order>>().description("The orders, newest first."),
            )
            .property(
                "next_page",
                runtime::Presence::Optional,
                runtime::schema::<String>()
                    .nullable(true)
                    .description(
                        "The `page_token` of the next page; null on the last page.",
                    )
                    .example("eyJ2IjoxfQ"),
            )
            .end()
            .description("A page of orders and the token of the next page.")
    }
}

runtime::component_type!(OrderPage);

impl runtime::Component for Problem {
    const NAME: &'static str = "Problem";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "type",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description(
                        "The URI reference of the documentation of this problem type, relative to this server.",
                    )
                    .format("uri-reference")
                    .example("/problems#out_of_stock"),
            )
            .property(
                "title",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description(
                        "A short summary of the problem type. It is the same for every problem with this `code`.",
                    )
                    .example("Out of stock"),
            )
            .property(
                "status",
                runtime::Presence::Required,
                runtime::schema::<i32>()
                    .description("The HTTP status code of the response.")
                    .minimum(400.0)
                    .maximum(599.0)
                    .example(409),
            )
            .property(
                "detail",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description(
                        "An explanation of this occurrence and its remedy, for people.",
                    )
                    .example(
                        "Fewer pieces are left than the order asks for. Nothing was sold.",
                    ),
            )
            .property(
                "instance",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description("The path of the request. A long path is truncated.")
                    .format("uri-reference")
                    .example("/orders"),
            )
            .property(
                "code",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description(
                        "The problem type, for programs to match on. Handle an unknown code by its `status`.",
                    )
                    .pattern("^[a-z][a-z0-9_]*$")
                    .example("out_of_stock"),
            )
            .property(
                "request_id",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description(
                        "The `X-Request-Id` of the request. Include it when you contact the operator.",
                    )
                    .example("0198c0de-7e57-7000-8000-00000000000f"),
            )
            .property(
                "errors",
                runtime::Presence::Optional,
                runtime::schema::<Vec<Fault>>()
                    .description(
                        "The faults of the request, up to 32. Present only with `invalid_request`. If there are more faults, `detail` states their number.",
                    )
                    .max_items(32),
            )
            .end()
            .description(
                "The body of every error response (RFC 9457). `code` is one of `invalid_request`, `token_missing`, `token_invalid`, `invalid_credentials`, `wrong_password`, `route_not_found`, `user_not_found`, `product_not_found`, `order_not_found`, `method_not_allowed`, `sid_taken`, `username_taken`, `email_taken`, `out_of_stock`, `version_mismatch`, `body_too_large`, `unsupported_media_type`, `idempotency_key_reused`, `guessable_password`, `too_many_attempts`, `too_many_writes`, `headers_too_large`, `internal_error` and `unavailable`. Later versions can add codes.",
            )
    }
}

runtime::component_type!(Problem);

impl runtime::Component for FaultIn {
    const NAME: &'static str = "FaultIn";
    fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::schema::<String>()
            .enum_values(&["body", "path", "query", "header"])
            .description("The part of the request.")
    }
}

runtime::inline_type!(FaultIn);

impl runtime::Component for Fault {
    const NAME: &'static str = "Fault";
    fn describe(registry: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
        runtime::object(registry)
            .property(
                "in",
                runtime::Presence::Required,
                runtime::schema::<FaultIn>()
                    .description("The part of the request.")
                    .example("body"),
            )
            .property(
                "pointer",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description(
                        "The location in that part, a JSON Pointer (RFC 6901) of at most 256 bytes. A longer pointer is truncated and ends in `…`. In the body, the empty pointer is the whole body. In other parts, the pointer is `/` and the parameter's name. The server reports no further faults inside a member that is unknown or has another type.",
                    )
                    .example("/quantity"),
            )
            .property(
                "detail",
                runtime::Presence::Required,
                runtime::schema::<String>()
                    .description("The value or format that was expected.")
                    .example("expected at most 3"),
            )
            .end()
            .description(
                "One fault of a request. It never contains the value that was sent.",
            )
    }
}

runtime::component_type!(Fault);

/// Component schemas that are aliases of Rust types. The emitted document refers to
/// them by name.
mod aliases {
    use super::runtime;
    pub(super) struct UserId;
    impl runtime::Component for UserId {
        const NAME: &'static str = "UserId";
        fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
            runtime::schema::<::uuid::Uuid>()
                .description("A user's id, a UUIDv7.")
                .example("0198c0de-7e57-7000-8000-000000000001")
        }
    }
    runtime::component_type!(UserId);
    pub(super) struct OrderId;
    impl runtime::Component for OrderId {
        const NAME: &'static str = "OrderId";
        fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
            runtime::schema::<::uuid::Uuid>()
                .description("An order's id, a UUIDv7. Later orders have greater ids.")
                .example("0198c0de-7e57-7000-8000-000000000002")
        }
    }
    runtime::component_type!(OrderId);
    pub(super) struct ProductId;
    impl runtime::Component for ProductId {
        const NAME: &'static str = "ProductId";
        fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
            runtime::schema::<i32>()
                .description("A product's id, a small positive integer.")
                .minimum(1.0)
                .example(1)
        }
    }
    runtime::component_type!(ProductId);
    pub(super) struct Sid;
    impl runtime::Component for Sid {
        const NAME: &'static str = "Sid";
        fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
            runtime::schema::<String>()
                .description(
                    "The id issued by the university, in letters and digits. Unique, ignoring case.",
                )
                .pattern("^[A-Za-z0-9]{1,15}$")
                .min_length(1)
                .max_length(15)
                .example("12110301")
        }
    }
    runtime::component_type!(Sid);
    pub(super) struct Username;
    impl runtime::Component for Username {
        const NAME: &'static str = "Username";
        fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
            runtime::schema::<String>()
                .description(
                    "The name for log-in, in letters, digits, `_`, `.` and `-`. Unique, ignoring case.",
                )
                .pattern("^[A-Za-z0-9_.-]{3,50}$")
                .min_length(3)
                .max_length(50)
                .example("alice")
        }
    }
    runtime::component_type!(Username);
    pub(super) struct Email;
    impl runtime::Component for Email {
        const NAME: &'static str = "Email";
        fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
            runtime::schema::<String>()
                .description(
                    "An email address without spaces or control characters. Unique, ignoring case.",
                )
                .format("email")
                .pattern("^[^\\x00-\\x20\\x7F-\\x9F]+$")
                .max_length(255)
                .example("alice@mail.example.com")
        }
    }
    runtime::component_type!(Email);
    pub(super) struct Category;
    impl runtime::Component for Category {
        const NAME: &'static str = "Category";
        fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
            runtime::schema::<String>()
                .description("The category of a product.")
                .min_length(1)
                .max_length(50)
                .example("Apparel")
        }
    }
    runtime::component_type!(Category);
    pub(super) struct Currency;
    impl runtime::Component for Currency {
        const NAME: &'static str = "Currency";
        fn describe(_: &mut ::poem_openapi::registry::Registry) -> runtime::Schema {
            runtime::schema::<String>()
                .description("The ISO 4217 code of the currency.")
                .pattern("^[A-Z]{3}$")
                .example("CNY")
        }
    }
    runtime::component_type!(Currency);
}
