use sea_orm_migration::prelude::*;

use crate::dialect;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const INSERT_PRODUCTS: &str = "
INSERT INTO products (
    id, name, category, slogan, description, price_cents, currency, stock, version
) VALUES
    (1, 'SUSTech Hoodie', 'Apparel', 'Warmth for the long nights in the lab.',
     'A heavy cotton hoodie with the university''s crest on the chest, a lined \
     hood and a pocket deep enough for both hands and a snack.',
     4999, 'CNY', 500, 1),
    (2, 'SUSTech Water Bottle', 'Drinkware', 'From Lychee Hill to the last lecture.',
     'A 600 ml bottle of stainless steel with double walls: tea stays hot for the \
     morning, water stays cold through an August in Shenzhen.',
     1999, 'CNY', 500, 1),
    (3, 'SUSTech Notebook', 'Stationery', 'For ideas that cannot wait.',
     'An A5 notebook with 160 dotted pages of thick paper, a lay-flat binding and \
     an elastic band that keeps loose notes inside.',
     999, 'CNY', 500, 1)";

/// Sold products stay, as orders reference them.
const DELETE_UNSOLD: &str = "
DELETE FROM products
WHERE id IN (1, 2, 3)
    AND NOT EXISTS (SELECT 1 FROM orders WHERE orders.product_id = products.id)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::execute(manager, &[INSERT_PRODUCTS]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::execute(manager, &[DELETE_UNSOLD]).await
    }
}
