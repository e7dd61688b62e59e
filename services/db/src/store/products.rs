//! The catalogue, read straight from the database: never stale.

use merch_contract::grpc::assistant::v1::ErrorReason;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::{Store, plain};
use crate::entity::products::{Column, Entity, Model};
use crate::failure::Failure;

impl Store {
    /// Up to `limit` products with ids above `after`, ascending; of one category, if it is given.
    pub(crate) async fn products(&self, category: Option<&str>, after: i32, limit: u64) -> Result<Vec<Model>, Failure> {
        let mut query = Entity::find().filter(Column::Id.gt(after));
        if let Some(category) = category {
            query = query.filter(Column::Category.eq(category));
        }
        query.order_by_asc(Column::Id).limit(limit).all(self.database.reader()).await.map_err(plain)
    }

    pub(crate) async fn product(&self, id: i32) -> Result<Model, Failure> {
        let product = Entity::find_by_id(id).one(self.database.reader()).await.map_err(plain)?;
        product.ok_or(Failure::Refused(ErrorReason::ProductNotFound))
    }
}
