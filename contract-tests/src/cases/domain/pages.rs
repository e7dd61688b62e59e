//! Lists read to their end.

use std::collections::HashSet;

use serde_json::Value;

use super::steps::text;
use crate::suite::{Answer, Call, Context, Failure, User};

/// Limit against endless lists; no user of the suite has more items.
const MAX_PAGES: usize = 2_000;

/// All pages of a list.
pub(super) struct Pages(Vec<Answer>);

impl Pages {
    /// Only the first request has `filter`: the token carries it.
    pub(super) async fn read(
        first: impl Fn() -> Call,
        filter: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Self, Failure> {
        let mut call = first().query("limit", limit);
        if let Some((name, value)) = filter {
            call = call.query(name, value);
        }
        let mut pages = vec![call.expect(200).await?];
        let mut tokens = HashSet::new();
        while let Some(page) = pages.last()
            && let Some(token) = page.json()["next_page"].as_str().map(str::to_owned)
        {
            ensure!(
                tokens.insert(token.clone()),
                page,
                "expected a new `next_page`, got {token:?} again"
            );
            ensure!(
                pages.len() < MAX_PAGES,
                page,
                "expected the last page within {MAX_PAGES} pages, got more"
            );
            pages.push(first().query("limit", limit).query("page_token", token).expect(200).await?);
        }
        Ok(Self(pages))
    }

    pub(super) async fn of_products(
        context: &Context,
        category: Option<&str>,
    ) -> Result<Self, Failure> {
        Self::read(
            || context.call("list_products"),
            category.map(|category| ("category", category)),
            100,
        )
        .await
    }

    pub(super) async fn of_orders(
        context: &Context,
        user: &User,
        status: Option<&str>,
    ) -> Result<Self, Failure> {
        Self::read(
            || context.call("list_orders").as_user(user),
            status.map(|status| ("status", status)),
            100,
        )
        .await
    }

    pub(super) fn items(&self) -> impl Iterator<Item = (&Answer, &Value)> {
        self.0.iter().flat_map(|page| {
            page.json()["items"].as_array().into_iter().flatten().map(move |item| (page, item))
        })
    }

    pub(super) fn ids(&self) -> Vec<&Value> {
        self.items().map(|(_, item)| &item["id"]).collect()
    }

    pub(super) fn find(&self, thing: &Answer) -> Result<Option<&Value>, Failure> {
        let id = text(thing, "id")?;
        Ok(self.items().map(|(_, item)| item).find(|item| item["id"] == id))
    }

    pub(super) fn expect(&self, thing: &Answer, which: &str) -> Result<(), Failure> {
        let found = self.find(thing)?;
        ensure!(
            found == Some(thing.json()),
            self.last(),
            "expected {which} to contain {}, got {}",
            thing.json(),
            found.map_or_else(|| "no such item".to_owned(), ToString::to_string)
        );
        Ok(())
    }

    pub(super) fn expect_not(&self, thing: &Answer, which: &str) -> Result<(), Failure> {
        ensure!(
            self.find(thing)?.is_none(),
            self.last(),
            "expected {which} not to contain {}",
            thing.json()["id"]
        );
        Ok(())
    }

    pub(super) fn last(&self) -> &Answer {
        self.0.last().expect("a list that was read has one page at least")
    }
}
