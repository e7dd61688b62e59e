mod guard;
pub(crate) mod page_token;

use merch_contract::grpc::{
    admin::{v1 as proto, v1::admin_service_server::AdminService},
    assistant::v1::RequestContext,
};
use proto::{restock_request::Change as ProtoChange, revoke_tokens_request::Whose, user_ref::By};
use tonic::Request;

pub(crate) use self::guard::Guarded;
use self::page_token::UsersPage;
use super::{Answer, Traced, answer, read};
use crate::{
    failure::Failure,
    store::{
        Store,
        admin::{Restock, StockChange, UserFilter, UserRef},
    },
};

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
    let context = read::context(request.context);
    let change = match request.change {
        Some(ProtoChange::Add(pieces)) => StockChange::Add(pieces),
        Some(ProtoChange::Set(pieces)) => StockChange::Set(pieces),
        None => return Err(read::unchecked("change")),
    };
    let restock = Restock {
        idempotency_key: request.idempotency_key,
        product_id: request.product_id,
        change,
    };
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
    let context = read::context(request.context);
    let (product, previous_price_cents) =
        store.set_price(&context, request.product_id, request.price_cents).await?;
    Ok(proto::SetPriceResponse { product: Some(product.into()), previous_price_cents })
}

async fn list_users(
    store: &Store,
    request: proto::ListUsersRequest,
) -> Result<proto::ListUsersResponse, Failure> {
    let context = read::context(request.context);
    let size = read::page_size(request.page_size)?;
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
    let context = read::context(request.context);
    let user = user_ref(request.user)?;
    let (user, changed) = store.deactivate(&context, &user).await?;
    Ok(proto::DeactivateUserResponse { user: Some(user.into()), changed })
}

async fn revoke_tokens(
    store: &Store,
    request: proto::RevokeTokensRequest,
) -> Result<proto::RevokeTokensResponse, Failure> {
    let context = read::context(request.context);
    match request.whose {
        None => Err(read::unchecked("whose")),
        Some(Whose::User(user)) => {
            store.revoke_tokens_of(&context, &user_ref(Some(user))?).await?;
            Ok(proto::RevokeTokensResponse { users: 1, next_page_token: String::new() })
        }
        Some(Whose::Everyone(everyone)) => {
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

fn user_ref(user: Option<proto::UserRef>) -> Result<UserRef, Failure> {
    match user.and_then(|user| user.by) {
        Some(By::UserId(id)) => Ok(UserRef::Id(read::id("user.user_id", &id)?)),
        Some(By::Username(name)) => Ok(UserRef::Username(name)),
        None => Err(read::unchecked("user.by")),
    }
}
