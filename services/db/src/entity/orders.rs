use sea_orm::entity::prelude::*;
use time::OffsetDateTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub(crate) enum Status {
    #[sea_orm(string_value = "placed")]
    Placed,
    #[sea_orm(string_value = "cancelled")]
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "orders")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) product_id: i32,
    pub(crate) quantity: i32,
    pub(crate) unit_price_cents: i64,
    pub(crate) total_price_cents: i64,
    pub(crate) currency: String,
    pub(crate) status: Status,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) cancelled_at: Option<OffsetDateTime>,
    pub(crate) version: i64,
}

impl Model {
    /// Returns the order as it was when it was placed.
    pub(crate) fn into_placed(self) -> Self {
        Self { status: Status::Placed, cancelled_at: None, version: 1, ..self }
    }
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
