//! Lists read to their end.

use std::collections::HashSet;

use serde_json::Value;

use super::steps::text;
use crate::suite::{Answer, Call, Context, Failure, User};

/// No list of a user of this suite is longer; a list without an end must not keep the suite for
/// ever.
const AT_MOST: usize = 2_000;

/// All pages of a list, as they came.
pub(super) struct Pages(Vec<Answer>);

impl Pages {
    /// Reads a list to its end. The first page is asked for with `filter` and `limit`, the others
    /// with `page_token` and `limit`: the token carries the filter.
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
                "each page must lead to another one, but `next_page` {token:?} has come before"
            );
            ensure!(
                pages.len() < AT_MOST,
                page,
                "the list must have an end, but it goes on after {AT_MOST} pages"
            );
            pages.push(first().query("limit", limit).query("page_token", token).expect(200).await?);
        }
        Ok(Self(pages))
    }

    /// All products, or those of a category.
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

    /// All orders of a user, or those of a status.
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

    /// All items, each with the page that shows it.
    pub(super) fn items(&self) -> impl Iterator<Item = (&Answer, &Value)> {
        self.0.iter().flat_map(|page| {
            page.json()["items"].as_array().into_iter().flatten().map(move |item| (page, item))
        })
    }

    /// The ids of all items, as they stand in the list.
    pub(super) fn ids(&self) -> Vec<&Value> {
        self.items().map(|(_, item)| &item["id"]).collect()
    }

    /// The item that an answer described, if it is in the list.
    pub(super) fn find(&self, thing: &Answer) -> Result<Option<&Value>, Failure> {
        let id = text(thing, "id")?;
        Ok(self.items().map(|(_, item)| item).find(|item| item["id"] == id))
    }

    /// Fails unless the list shows `thing` exactly as the answer does.
    pub(super) fn expect(&self, thing: &Answer, which: &str) -> Result<(), Failure> {
        let found = self.find(thing)?;
        ensure!(
            found == Some(thing.json()),
            self.last(),
            "{which} must show {}, but {}",
            thing.json(),
            found
                .map_or_else(|| "it is not there".to_owned(), |item| format!("there it is {item}"))
        );
        Ok(())
    }

    /// Fails if the list shows `thing`.
    pub(super) fn expect_not(&self, thing: &Answer, which: &str) -> Result<(), Failure> {
        ensure!(
            self.find(thing)?.is_none(),
            self.last(),
            "{which} must not show {}",
            thing.json()["id"]
        );
        Ok(())
    }

    /// The last page, as the exchange to show.
    pub(super) fn last(&self) -> &Answer {
        self.0.last().expect("a list that was read has one page at least")
    }
}
