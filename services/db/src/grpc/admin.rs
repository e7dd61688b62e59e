mod guard;
mod page_token;

use merch_contract::grpc::{
    admin::{v1 as proto, v1::admin_service_server::AdminService},
    assistant::v1::RequestContext,
};
use proto::{restock_request::Change as ProtoChange, revoke_tokens_request::Whose, user_ref::By};
use tonic::Request;
use uuid::Uuid;

pub(crate) use self::guard::Guarded;
use self::page_token::UsersPage;
use super::{
    Answer, Traced, answer,
    fields::{Fields, is_visible},
};
use crate::{
    failure::Failure,
    store::{
        Store,
        admin::{MAX_STOCK, Restock, StockChange, UserFilter, UserRef},
    },
};

/// Per piece; three pieces are far below the maximum of an int64.
const MAX_PRICE_CENTS: i64 = 1_000_000_000_000;

pub(crate) struct Admin {
    pub(crate) store: Store,
}

macro_rules! traced {
    ($($request:ident),+) => {
        $(impl Traced for proto::$request {
            fn context(&self) -> Option<&RequestContext> {
                self.context.as_ref()
            }
        })+
    };
}

traced! {
    RestockRequest, SetPriceRequest, ListUsersRequest, DeactivateUserRequest, RevokeTokensRequest
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn restock(
        &self,
        request: Request<proto::RestockRequest>,
    ) -> Answer<proto::RestockResponse> {
        answer(request, |request| restock(&self.store, request)).await
    }

    async fn set_price(
        &self,
        request: Request<proto::SetPriceRequest>,
    ) -> Answer<proto::SetPriceResponse> {
        answer(request, |request| set_price(&self.store, request)).await
    }

    async fn list_users(
        &self,
        request: Request<proto::ListUsersRequest>,
    ) -> Answer<proto::ListUsersResponse> {
        answer(request, |request| list_users(&self.store, request)).await
    }

    async fn deactivate_user(
        &self,
        request: Request<proto::DeactivateUserRequest>,
    ) -> Answer<proto::DeactivateUserResponse> {
        answer(request, |request| deactivate_user(&self.store, request)).await
    }

    async fn revoke_tokens(
        &self,
        request: Request<proto::RevokeTokensRequest>,
    ) -> Answer<proto::RevokeTokensResponse> {
        answer(request, |request| revoke_tokens(&self.store, request)).await
    }
}

async fn restock(
    store: &Store,
    request: proto::RestockRequest,
) -> Result<proto::RestockResponse, Failure> {
    let mut fields = Fields::default();
    let context = fields.context(request.context);
    let key = request.idempotency_key;
    fields.check(
        "idempotency_key",
        (1..=255).contains(&key.len()) && is_visible(&key),
        "1 to 255 visible ASCII characters",
    );
    let change = match request.change {
        Some(ProtoChange::Add(pieces)) => {
            fields.check("add", (1..=MAX_STOCK).contains(&pieces), "1 to 1,000,000,000 pieces");
            StockChange::Add(pieces)
        }
        Some(ProtoChange::Set(pieces)) => {
            fields.check("set", (0..=MAX_STOCK).contains(&pieces), "0 to 1,000,000,000 pieces");
            StockChange::Set(pieces)
        }
        None => {
            fields.check("change", false, "exactly one of add and set; one must be set");
            StockChange::Set(0)
        }
    };
    let restock =
        fields.finish(Restock { idempotency_key: key, product_id: request.product_id, change })?;
    let done = store.restock(&context, &restock).await?;
    Ok(proto::RestockResponse {
        stock: done.stock,
        difference: done.difference,
        replayed: done.replayed,
    })
}

async fn set_price(
    store: &Store,
    request: proto::SetPriceRequest,
) -> Result<proto::SetPriceResponse, Failure> {
    let mut fields = Fields::default();
    let context = fields.context(request.context);
    fields.check(
        "price_cents",
        (0..=MAX_PRICE_CENTS).contains(&request.price_cents),
        "0 to 1,000,000,000,000 minor units",
    );
    fields.finish(())?;
    let (product, previous_price_cents) =
        store.set_price(&context, request.product_id, request.price_cents).await?;
    Ok(proto::SetPriceResponse { product: Some(product.into()), previous_price_cents })
}

async fn list_users(
    store: &Store,
    request: proto::ListUsersRequest,
) -> Result<proto::ListUsersResponse, Failure> {
    let mut fields = Fields::default();
    let context = fields.context(request.context);
    let size = fields.page_size("page_size", request.page_size);
    if let Some(prefix) = &request.username_prefix {
        let holds = (1..=50).contains(&prefix.len())
            && prefix
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
        fields.check("username_prefix", holds, "1 to 50 of letters, digits, _ . and -");
    }
    let size = fields.finish(size)?;
    let prefix = request.username_prefix.map(|prefix| prefix.to_lowercase());
    let page = UsersPage::of(&request.page_token, UserFilter { prefix, active: request.active })?;
    let shown = usize::try_from(size).unwrap_or(usize::MAX);
    let (users, more) = store.list_users(&context, &page.filter, page.after, shown).await?;
    let next_page_token = match users.last() {
        Some(last) if more => UsersPage { after: last.id, ..page }.encode(),
        Some(_) | None => String::new(),
    };
    Ok(proto::ListUsersResponse {
        users: users.into_iter().map(Into::into).collect(),
        next_page_token,
    })
}

async fn deactivate_user(
    store: &Store,
    request: proto::DeactivateUserRequest,
) -> Result<proto::DeactivateUserResponse, Failure> {
    let mut fields = Fields::default();
    let context = fields.context(request.context);
    let user = user_ref(&mut fields, "user", request.user);
    let user = fields.finish(user)?;
    let (user, changed) = store.deactivate(&context, &user).await?;
    Ok(proto::DeactivateUserResponse { user: Some(user.into()), changed })
}

async fn revoke_tokens(
    store: &Store,
    request: proto::RevokeTokensRequest,
) -> Result<proto::RevokeTokensResponse, Failure> {
    let mut fields = Fields::default();
    let context = fields.context(request.context);
    match request.whose {
        None => Err(Failure::invalid("whose", "exactly one of user and everyone; one must be set")),
        Some(Whose::User(user)) => {
            let user = user_ref(&mut fields, "user", Some(user));
            let user = fields.finish(user)?;
            store.revoke_tokens_of(&context, &user).await?;
            Ok(proto::RevokeTokensResponse { users: 1, next_page_token: String::new() })
        }
        Some(Whose::Everyone(everyone)) => {
            fields.finish(())?;
            let after = page_token::read_everyone(&everyone.page_token)?;
            let (users, last) = store.revoke_a_page_of_tokens(&context, after).await?;
            let users = i64::try_from(users).unwrap_or(i64::MAX);
            Ok(proto::RevokeTokensResponse {
                users,
                next_page_token: last.map(page_token::everyone_after).unwrap_or_default(),
            })
        }
    }
}

fn user_ref(fields: &mut Fields, field: &str, user: Option<proto::UserRef>) -> UserRef {
    match user.and_then(|user| user.by) {
        Some(By::UserId(id)) => UserRef::Id(fields.id(&format!("{field}.user_id"), &id)),
        Some(By::Username(name)) => {
            UserRef::Username(fields.username(&format!("{field}.username"), name))
        }
        None => {
            fields.check(field, false, "exactly one of user_id and username; one must be set");
            UserRef::Id(Uuid::nil())
        }
    }
}
