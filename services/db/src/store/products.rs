//! Reads the catalogue without a cache.

use merch_contract::grpc::assistant::v1::ErrorReason;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::Store;
use crate::{
    entity::products::{Column, Entity, Model},
    failure::Failure,
};

impl Store {
    pub(crate) async fn products(
        &self,
        category: Option<&str>,
        after: i32,
        limit: u64,
    ) -> Result<Vec<Model>, Failure> {
        let mut query = Entity::find().filter(Column::Id.gt(after));
        if let Some(category) = category {
            query = query.filter(Column::Category.eq(category));
        }
        let query = query.order_by_asc(Column::Id).limit(limit);
        self.read(|| query.clone().all(self.database.reader())).await
    }

    pub(crate) async fn product(&self, id: i32) -> Result<Model, Failure> {
        let product = self.read(|| Entity::find_by_id(id).one(self.database.reader())).await?;
        product.ok_or(Failure::Refused(ErrorReason::ProductNotFound))
    }
}
