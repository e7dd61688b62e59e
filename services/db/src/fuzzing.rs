//! The page tokens of all methods, for fuzz targets. Exists with the feature `fuzzing` only.

use uuid::Uuid;

use crate::{
    entity::orders::Status,
    grpc::{
        admin::page_token::{UsersPage, everyone_after, read_everyone},
        page_token::{OrdersPage, ProductsPage},
    },
    store::admin::UserFilter,
};

/// A position in a list, with the filter of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// `ListProducts`
    Products {
        /// The last id.
        after: i32,
        /// The filter.
        category: Option<String>,
    },
    /// `ListOrders`
    Orders {
        /// The last id.
        before: Option<Uuid>,
        /// The filter: whether the orders are cancelled.
        cancelled: Option<bool>,
    },
    /// `ListUsers`
    Users {
        /// The last id.
        after: Uuid,
        /// The filter: a prefix of the usernames.
        prefix: Option<String>,
        /// The filter.
        active: Option<bool>,
    },
    /// `RevokeTokens` of all users
    Everyone {
        /// The last id.
        after: Uuid,
    },
}

impl Page {
    /// Returns the token.
    #[must_use]
    pub fn encode(&self) -> String {
        match self.clone() {
            Self::Products { after, category } => ProductsPage { after, category }.encode(),
            Self::Orders { before, cancelled } => {
                OrdersPage { before, status: cancelled.map(status) }.encode()
            }
            Self::Users { after, prefix, active } => {
                UsersPage { after, filter: UserFilter { prefix, active } }.encode()
            }
            Self::Everyone { after } => everyone_after(after),
        }
    }

    /// Returns what each method reads in a token; nothing if the method refuses it.
    #[must_use]
    pub fn decode(token: &str) -> Vec<Self> {
        let products = ProductsPage::of(token, None)
            .map(|ProductsPage { after, category }| Self::Products { after, category });
        let orders = OrdersPage::of(token, None).map(|OrdersPage { before, status }| {
            Self::Orders { before, cancelled: status.map(|status| status == Status::Cancelled) }
        });
        let users = UsersPage::of(token, UserFilter::default()).map(
            |UsersPage { after, filter: UserFilter { prefix, active } }| Self::Users {
                after,
                prefix,
                active,
            },
        );
        let everyone = read_everyone(token).map(|after| Self::Everyone { after });
        [products, orders, users, everyone].into_iter().filter_map(Result::ok).collect()
    }
}

fn status(cancelled: bool) -> Status {
    if cancelled { Status::Cancelled } else { Status::Placed }
}
