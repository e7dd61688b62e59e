// @generated from proto/ by proto-rules through build.rs. Do not edit: change proto/ and run `make gen`.
use std::sync::LazyLock;
use regex::Regex;
use crate::validation::{
    Validate, Violations, has_length, is_ip, is_timestamp, is_uuid, regex,
};
static PATTERN_1: LazyLock<Regex> = LazyLock::new(|| regex("^[A-Za-z0-9_.-]*$"));
static PATTERN_2: LazyLock<Regex> = LazyLock::new(|| regex("^[!-~]*$"));
static PATTERN_3: LazyLock<Regex> = LazyLock::new(|| regex("^\\$scrypt\\$[!-~]*$"));
static PATTERN_4: LazyLock<Regex> = LazyLock::new(|| regex("^[A-Za-z0-9]*$"));
static PATTERN_5: LazyLock<Regex> = LazyLock::new(|| regex(
    "^[^\\x00-\\x20\\x7F-\\x9F]*$",
));
static PATTERN_6: LazyLock<Regex> = LazyLock::new(|| regex("^[0-9a-f]*$"));
static PATTERN_7: LazyLock<Regex> = LazyLock::new(|| regex(
    "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]*$",
));
static PATTERN_8: LazyLock<Regex> = LazyLock::new(|| regex(
    "^[a-z][a-z0-9]*(_[a-z0-9]+)*$",
));
static PATTERN_9: LazyLock<Regex> = LazyLock::new(|| regex(
    "^(anonymous|operator|user:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$",
));
static PATTERN_10: LazyLock<Regex> = LazyLock::new(|| regex(
    "^((user|order):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|product:[0-9]{1,19})$",
));
impl Validate for super::admin::v1::DeactivateUserRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("context", self.context.as_ref(), false);
        violations.check_message("user", self.user.as_ref(), true);
    }
}
impl Validate for super::admin::v1::Everyone {
    fn check(&self, violations: &mut Violations) {}
}
impl Validate for super::admin::v1::ListUsersRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("context", self.context.as_ref(), false);
        violations.require("page_size", (1..=100).contains(&self.page_size), "1 to 100");
        if let Some(value) = &self.username_prefix {
            violations
                .require(
                    "username_prefix",
                    has_length(value, 1..=50) && PATTERN_1.is_match(value),
                    "1 to 50 characters of [A-Za-z0-9_.-]",
                );
        }
    }
}
impl Validate for super::admin::v1::RestockRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("context", self.context.as_ref(), false);
        violations
            .require(
                "idempotency_key",
                has_length(&self.idempotency_key, 1..=255)
                    && PATTERN_2.is_match(&self.idempotency_key),
                "1 to 255 visible ASCII characters",
            );
        match &self.change {
            Some(super::admin::v1::restock_request::Change::Add(value)) => {
                violations
                    .require(
                        "add",
                        (1..=1000000000).contains(value),
                        "1 to 1,000,000,000",
                    );
            }
            Some(super::admin::v1::restock_request::Change::Set(value)) => {
                violations
                    .require(
                        "set",
                        (0..=1000000000).contains(value),
                        "0 to 1,000,000,000",
                    );
            }
            None => {
                violations.require("change", false, "exactly one of add and set");
            }
        }
    }
}
impl Validate for super::admin::v1::RevokeTokensRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("context", self.context.as_ref(), false);
        match &self.whose {
            Some(super::admin::v1::revoke_tokens_request::Whose::User(value)) => {
                violations.check_message("user", Some(value), true);
            }
            Some(super::admin::v1::revoke_tokens_request::Whose::Everyone(value)) => {
                violations.check_message("everyone", Some(value), true);
            }
            None => {
                violations.require("whose", false, "exactly one of user and everyone");
            }
        }
    }
}
impl Validate for super::admin::v1::SetPriceRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("context", self.context.as_ref(), false);
        violations
            .require(
                "price_cents",
                (0..=1000000000000).contains(&self.price_cents),
                "0 to 1,000,000,000,000",
            );
    }
}
impl Validate for super::admin::v1::UserRef {
    fn check(&self, violations: &mut Violations) {
        match &self.by {
            Some(super::admin::v1::user_ref::By::UserId(value)) => {
                violations
                    .require(
                        "user_id",
                        is_uuid(value),
                        "a UUID in its text form of 36 characters",
                    );
            }
            Some(super::admin::v1::user_ref::By::Username(value)) => {
                violations
                    .require(
                        "username",
                        has_length(value, 3..=50) && PATTERN_1.is_match(value),
                        "3 to 50 characters of [A-Za-z0-9_.-]",
                    );
            }
            None => {
                violations.require("by", false, "exactly one of user_id and username");
            }
        }
    }
}
impl Validate for super::assistant::v1::BeginPasswordCheckRequest {
    fn check(&self, violations: &mut Violations) {
        match &self.by {
            Some(
                super::assistant::v1::begin_password_check_request::By::Username(value),
            ) => {
                violations
                    .require(
                        "username",
                        has_length(value, 3..=50) && PATTERN_1.is_match(value),
                        "3 to 50 characters of [A-Za-z0-9_.-]",
                    );
            }
            Some(
                super::assistant::v1::begin_password_check_request::By::Caller(value),
            ) => {
                violations.check_message("caller", Some(value), true);
            }
            None => {
                violations.require("by", false, "exactly one of username and caller");
            }
        }
        violations
            .require(
                "client_network",
                self.client_network.is_empty() || is_ip(&self.client_network),
                "an IP address in text form, or empty",
            );
    }
}
impl Validate for super::assistant::v1::Caller {
    fn check(&self, violations: &mut Violations) {
        violations
            .require(
                "user_id",
                is_uuid(&self.user_id),
                "a UUID in its text form of 36 characters",
            );
    }
}
impl Validate for super::assistant::v1::CancelOrderRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("context", self.context.as_ref(), false);
        violations.check_message("caller", self.caller.as_ref(), true);
        violations
            .require(
                "order_id",
                is_uuid(&self.order_id),
                "a UUID in its text form of 36 characters",
            );
    }
}
impl Validate for super::assistant::v1::CancelPasswordCheckRequest {
    fn check(&self, violations: &mut Violations) {
        violations
            .require(
                "reservation",
                (..=64).contains(&self.reservation.len()),
                "at most 64 bytes",
            );
    }
}
impl Validate for super::assistant::v1::ChangePasswordRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("context", self.context.as_ref(), false);
        violations.check_message("caller", self.caller.as_ref(), true);
        violations
            .require(
                "user_id",
                is_uuid(&self.user_id),
                "a UUID in its text form of 36 characters",
            );
        violations
            .require(
                "password_hash",
                self.password_hash.len() <= 512
                    && PATTERN_3.is_match(&self.password_hash),
                "a text that matches ^\\$scrypt\\$[!-~]*$, at most 512 bytes",
            );
        violations
            .require(
                "client_network",
                self.client_network.is_empty() || is_ip(&self.client_network),
                "an IP address in text form, or empty",
            );
        violations
            .require(
                "reservation",
                (..=64).contains(&self.reservation.len()),
                "at most 64 bytes",
            );
    }
}
impl Validate for super::assistant::v1::CheckAvailabilityRequest {
    fn check(&self, violations: &mut Violations) {
        violations
            .require(
                "sid",
                has_length(&self.sid, 1..=15) && PATTERN_4.is_match(&self.sid),
                "1 to 15 letters and digits",
            );
        violations
            .require(
                "username",
                has_length(&self.username, 3..=50) && PATTERN_1.is_match(&self.username),
                "3 to 50 characters of [A-Za-z0-9_.-]",
            );
        violations
            .require(
                "email",
                has_length(&self.email, 1..=255) && PATTERN_5.is_match(&self.email),
                "1 to 255 characters of [^\\x00-\\x20\\x7F-\\x9F]",
            );
    }
}
impl Validate for super::assistant::v1::CreateUserRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("context", self.context.as_ref(), false);
        violations
            .require(
                "sid",
                has_length(&self.sid, 1..=15) && PATTERN_4.is_match(&self.sid),
                "1 to 15 letters and digits",
            );
        violations
            .require(
                "username",
                has_length(&self.username, 3..=50) && PATTERN_1.is_match(&self.username),
                "3 to 50 characters of [A-Za-z0-9_.-]",
            );
        violations
            .require(
                "email",
                has_length(&self.email, 1..=255) && PATTERN_5.is_match(&self.email),
                "1 to 255 characters of [^\\x00-\\x20\\x7F-\\x9F]",
            );
        violations
            .require(
                "password_hash",
                self.password_hash.len() <= 512
                    && PATTERN_3.is_match(&self.password_hash),
                "a text that matches ^\\$scrypt\\$[!-~]*$, at most 512 bytes",
            );
        violations
            .require(
                "client_network",
                self.client_network.is_empty() || is_ip(&self.client_network),
                "an IP address in text form, or empty",
            );
    }
}
impl Validate for super::assistant::v1::DeactivateUserRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("context", self.context.as_ref(), false);
        violations.check_message("caller", self.caller.as_ref(), true);
        violations
            .require(
                "user_id",
                is_uuid(&self.user_id),
                "a UUID in its text form of 36 characters",
            );
    }
}
impl Validate for super::assistant::v1::GetClockRequest {
    fn check(&self, violations: &mut Violations) {}
}
impl Validate for super::assistant::v1::GetCredentialsRequest {
    fn check(&self, violations: &mut Violations) {
        match &self.by {
            Some(super::assistant::v1::get_credentials_request::By::Username(_)) => {}
            Some(super::assistant::v1::get_credentials_request::By::Caller(value)) => {
                violations.check_message("caller", Some(value), true);
            }
            None => {
                violations.require("by", false, "exactly one of username and caller");
            }
        }
    }
}
impl Validate for super::assistant::v1::GetOrderRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("caller", self.caller.as_ref(), true);
        violations
            .require(
                "order_id",
                is_uuid(&self.order_id),
                "a UUID in its text form of 36 characters",
            );
    }
}
impl Validate for super::assistant::v1::GetProductRequest {
    fn check(&self, violations: &mut Violations) {}
}
impl Validate for super::assistant::v1::GetUserRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("caller", self.caller.as_ref(), true);
        violations
            .require(
                "user_id",
                is_uuid(&self.user_id),
                "a UUID in its text form of 36 characters",
            );
    }
}
impl Validate for super::assistant::v1::ListOrdersRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("caller", self.caller.as_ref(), true);
        violations.require("page_size", (1..=100).contains(&self.page_size), "1 to 100");
        violations
            .require(
                "status",
                matches!(self.status, 0 | 1 | 2),
                "ORDER_STATUS_UNSPECIFIED, ORDER_STATUS_PLACED or ORDER_STATUS_CANCELLED",
            );
    }
}
impl Validate for super::assistant::v1::ListProductsRequest {
    fn check(&self, violations: &mut Violations) {
        violations.require("page_size", (1..=100).contains(&self.page_size), "1 to 100");
        if let Some(value) = &self.category {
            violations
                .require("category", has_length(value, 1..=50), "1 to 50 characters");
        }
    }
}
impl Validate for super::assistant::v1::NewOrder {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("context", self.context.as_ref(), false);
        violations.check_message("caller", self.caller.as_ref(), true);
        violations.require("quantity", (1..=3).contains(&self.quantity), "1 to 3");
        violations
            .require(
                "idempotency_key",
                self.idempotency_key.is_empty()
                    || (has_length(&self.idempotency_key, 1..=255)
                        && PATTERN_2.is_match(&self.idempotency_key)),
                "1 to 255 visible ASCII characters, or empty",
            );
        if let Some(value) = &self.time_left_ms {
            violations.require("time_left_ms", (0..).contains(value), "at least 0");
        }
    }
}
impl Validate for super::assistant::v1::PlaceOrdersRequest {
    fn check(&self, violations: &mut Violations) {
        violations
            .require("orders", (1..=256).contains(&self.orders.len()), "1 to 256 items");
    }
}
impl Validate for super::assistant::v1::RecordLogInRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("context", self.context.as_ref(), false);
        violations.check_message("caller", self.caller.as_ref(), true);
        violations
            .require(
                "client_network",
                self.client_network.is_empty() || is_ip(&self.client_network),
                "an IP address in text form, or empty",
            );
        violations
            .require(
                "reservation",
                (..=64).contains(&self.reservation.len()),
                "at most 64 bytes",
            );
        violations
            .require(
                "renewed_hash",
                self.renewed_hash.is_empty()
                    || (self.renewed_hash.len() <= 512
                        && PATTERN_3.is_match(&self.renewed_hash)),
                "a text that matches ^\\$scrypt\\$[!-~]*$, at most 512 bytes, or empty",
            );
    }
}
impl Validate for super::assistant::v1::RequestContext {
    fn check(&self, violations: &mut Violations) {
        violations
            .require(
                "request_id",
                has_length(&self.request_id, ..=128)
                    && PATTERN_2.is_match(&self.request_id),
                "at most 128 visible ASCII characters",
            );
        violations
            .require(
                "trace_id",
                self.trace_id.is_empty()
                    || (has_length(&self.trace_id, 32..=32)
                        && PATTERN_6.is_match(&self.trace_id)),
                "32 lower-case hexadecimal digits, or empty",
            );
    }
}
impl Validate for super::assistant::v1::RevokeTokensRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("context", self.context.as_ref(), false);
        violations.check_message("caller", self.caller.as_ref(), true);
    }
}
impl Validate for super::assistant::v1::UpdateUserRequest {
    fn check(&self, violations: &mut Violations) {
        violations.check_message("context", self.context.as_ref(), false);
        violations.check_message("caller", self.caller.as_ref(), true);
        violations
            .require(
                "user_id",
                is_uuid(&self.user_id),
                "a UUID in its text form of 36 characters",
            );
        if let Some(value) = &self.username {
            violations
                .require(
                    "username",
                    has_length(value, 3..=50) && PATTERN_1.is_match(value),
                    "3 to 50 characters of [A-Za-z0-9_.-]",
                );
        }
        if let Some(value) = &self.email {
            violations
                .require(
                    "email",
                    has_length(value, 1..=255) && PATTERN_5.is_match(value),
                    "1 to 255 characters of [^\\x00-\\x20\\x7F-\\x9F]",
                );
        }
    }
}
impl Validate for super::logging::v1::LogMessage {
    fn check(&self, violations: &mut Violations) {
        violations
            .require(
                "id",
                is_uuid(&self.id) && PATTERN_7.is_match(&self.id),
                "a UUID in its text form of 36 characters, a text that matches ^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]*$",
            );
        violations
            .require(
                "time",
                self.time.as_ref().is_some_and(is_timestamp),
                "a time in the years 0001 to 9999",
            );
        violations
            .require("service", has_length(&self.service, 1..=64), "1 to 64 characters");
        violations
            .require(
                "instance",
                has_length(&self.instance, 1..=128),
                "1 to 128 characters",
            );
        violations
            .require(
                "level",
                matches!(self.level, 1 | 2 | 3 | 4),
                "LEVEL_DEBUG, LEVEL_INFO, LEVEL_WARN or LEVEL_ERROR",
            );
        violations
            .require(
                "event",
                has_length(&self.event, ..=64) && PATTERN_8.is_match(&self.event),
                "a text that matches ^[a-z][a-z0-9]*(_[a-z0-9]+)*$, at most 64 characters",
            );
        violations
            .require(
                "actor",
                PATTERN_9.is_match(&self.actor),
                "a text that matches ^(anonymous|operator|user:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$",
            );
        violations
            .require(
                "subject",
                self.subject.is_empty() || PATTERN_10.is_match(&self.subject),
                "a text that matches ^((user|order):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|product:[0-9]{1,19})$, or empty",
            );
        violations
            .require(
                "trace_id",
                self.trace_id.is_empty()
                    || (has_length(&self.trace_id, 32..=32)
                        && PATTERN_6.is_match(&self.trace_id)),
                "32 lower-case hexadecimal digits, or empty",
            );
        if violations
            .require(
                "attributes",
                (..=32).contains(&self.attributes.len()),
                "at most 32 entries",
            )
        {
            violations
                .require(
                    "attributes",
                    self.attributes.keys().all(|value| PATTERN_8.is_match(value)),
                    "keys, each a text that matches ^[a-z][a-z0-9]*(_[a-z0-9]+)*$",
                );
            violations
                .require(
                    "attributes",
                    self.attributes.values().all(|value| value.len() <= 1024),
                    "values, each at most 1,024 bytes",
                );
        }
    }
}
impl Validate for super::logging::v1::StreamLogsRequest {
    fn check(&self, violations: &mut Violations) {
        if violations
            .require(
                "messages",
                (1..=1000).contains(&self.messages.len()),
                "1 to 1,000 items",
            )
        {
            violations.check_items("messages", &self.messages);
        }
    }
}
