//! Paged lists: complete, ordered, filtered, and with invalid tokens.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    expectations::{self, FaultLocation},
    members::Extent,
    target::{RequestPlan, Target, plain},
};
use crate::{
    document::{Location, Parameter},
    suite::{Answer, Case, Context, Failure, Lease, User},
};

/// Items that a list gets before it is read, if the document can create some.
const MIN_ITEMS: usize = 3;

/// Maximum of pages per list: page sizes grow with the list.
const MAX_PAGES: usize = 200;

const INVALID_TOKENS: [&str; 6] =
    ["nonsense!", "-", "null", "\u{1F98A}", "../../etc/passwd", "' OR 1=1 --"];

pub(super) fn cases(target: &Target) -> Vec<Case> {
    let paged = |schema: &Value| {
        schema["properties"]["items"].is_object() && schema["properties"]["next_page"].is_object()
    };
    if !target.success_schema().is_some_and(paged)
        || target.operation().parameter(Location::Query, "page_token").is_none()
    {
        return Vec::new();
    }
    let mut cases = vec![
        target.case(target.success(), "pages of one item contain each item once", walked),
        target.case(target.success(), "the page size may change between pages", other_sizes),
        target.case(target.success(), "a page has the default limit", default_limit),
    ];
    if let Some(order) = Order::of(target) {
        cases.push(
            target.case(
                target.success(),
                format!("the order is {}", order.as_str()),
                move |context, target, case| async move {
                    ordered(&context, &target, order, &case).await
                },
            ),
        );
    }
    for filter in filters(target) {
        let carried = filter.clone();
        let name = format!("page tokens carry the filter {}", filter.name);
        cases.push(target.case(target.success(), name, move |context, target, case| async move {
            filtered(&context, &target, &carried, &case).await
        }));
        let name = format!("query page_token: with another {} than the token's", filter.name);
        cases.push(target.case(400, name, move |context, target, case| async move {
            contradicted(&context, &target, &filter, &case).await
        }));
    }
    for token in INVALID_TOKENS {
        cases.push(target.case(
            400,
            format!("query page_token: the invalid token {token:?}"),
            move |context, target, case| async move {
                let user = context.user().await?;
                let answer = page(&context, &target, &user, &[("page_token", token)]).await?;
                expectations::refused(
                    &answer,
                    &case,
                    &[FaultLocation::parameter(Location::Query, "page_token")],
                    None,
                )
            },
        ));
    }
    for (what, change) in ALTERED_TOKENS {
        cases.push(
            target.case(
                400,
                format!("query page_token: {what}, accepted or refused"),
                move |context, target, case| async move {
                    broken(&context, &target, change, &case).await
                },
            ),
        );
    }
    if target.operation().secured {
        cases.push(target.case(
            400,
            "query page_token: another user's token does not show that user's items",
            another_users_token,
        ));
    }
    cases
}

type Change = fn(&str) -> String;

/// Altered tokens. Tokens are opaque, so some of them may still be valid.
const ALTERED_TOKENS: [(&str, Change); 5] = [
    ("empty", |_| String::new()),
    ("cut short", |token| token.chars().take(token.chars().count() / 2).collect()),
    ("with trailing text", |token| format!("{token}A")),
    ("with its first character changed", |token| {
        format!(
            "{}{}",
            if token.starts_with('A') { 'B' } else { 'A' },
            token.get(1..).unwrap_or_default()
        )
    }),
    ("four times", |token| token.repeat(4)),
];

/// The reader of the list: a user with some items, or no user where the operation needs no token.
async fn reader(context: &Context, target: &Target) -> Result<Lease, Failure> {
    let user = context.own_user().await?;
    if target.operation().secured
        && let Some(maker) = target.maker()
    {
        let existing = items(&page(context, target, &user, &[("limit", "100")]).await?)?.len();
        for _ in existing..MIN_ITEMS {
            let request =
                maker.valid(context, RequestPlan::without_effect(&user), Extent::Required).await?;
            request.call(context).expect(201).await?;
        }
    }
    Ok(user)
}

async fn page(
    context: &Context,
    target: &Target,
    user: &User,
    query: &[(&str, &str)],
) -> Result<Answer, Failure> {
    let mut request =
        target.valid(context, RequestPlan::without_effect(user), Extent::Required).await?;
    for (name, value) in query {
        request.set(Location::Query, name, value);
    }
    request.call(context).send().await
}

fn items(page: &Answer) -> Result<&Vec<Value>, Failure> {
    if page.status != 200 {
        return Err(page.fail(format!("expected a page, got {}", page.status)));
    }
    page.json()["items"].as_array().ok_or_else(|| page.fail("expected a page with `items`"))
}

fn next(page: &Answer) -> Option<&str> {
    page.json()["next_page"].as_str()
}

fn ids<'i>(items: impl IntoIterator<Item = &'i Value>) -> Vec<String> {
    items.into_iter().map(|item| plain(&item["id"])).collect()
}

/// All items of a list. Only the first request has the filter. `limit` returns each page's limit.
async fn walk(
    context: &Context,
    target: &Target,
    user: &User,
    filter: Option<(&str, &str)>,
    limit: impl Fn(usize) -> usize,
) -> Result<Vec<Value>, Failure> {
    let (mut all, mut tokens, mut token) = (Vec::new(), BTreeSet::new(), None::<String>);
    for number in 0.. {
        let most = limit(number);
        let limit = most.to_string();
        let mut query = vec![("limit", limit.as_str())];
        match &token {
            Some(token) => query.push(("page_token", token)),
            None => query.extend(filter),
        }
        let page = page(context, target, user, &query).await?;
        let items = items(&page)?;
        if items.len() > most {
            return Err(page.fail(format!(
                "expected at most {most} items, as `limit` says, got {}",
                items.len()
            )));
        }
        all.extend(items.iter().cloned());
        let Some(next) = next(&page) else { break };
        if !tokens.insert(next.to_owned()) {
            return Err(page.fail(format!(
                "expected a new `next_page`, got {next:?} again: the list has no end"
            )));
        }
        if items.is_empty() && number > 0 {
            return Err(page.fail("expected no `next_page` on a page without items"));
        }
        if number > MAX_PAGES + MIN_ITEMS + 100 {
            return Err(page
                .fail(format!("expected the last page after about {MAX_PAGES} pages, got more")));
        }
        token = Some(next.to_owned());
    }
    Ok(all)
}

/// The page size that reads the list within [`MAX_PAGES`].
fn step(all: usize) -> usize {
    all.div_ceil(MAX_PAGES).max(1)
}

async fn walked(context: Context, target: Target, case: String) -> Result<(), Failure> {
    let user = reader(&context, &target).await?;
    let all = walk(&context, &target, &user, None, |_| 100).await?;
    let one_by_one = walk(&context, &target, &user, None, |_| step(all.len())).await?;
    same_ids(&case, &all, &one_by_one)
}

async fn other_sizes(context: Context, target: Target, case: String) -> Result<(), Failure> {
    let user = reader(&context, &target).await?;
    let all = walk(&context, &target, &user, None, |_| 100).await?;
    let in_other_sizes =
        walk(&context, &target, &user, None, |number| step(all.len()) + number % 2).await?;
    same_ids(&case, &all, &in_other_sizes)
}

fn same_ids(case: &str, all: &[Value], walked: &[Value]) -> Result<(), Failure> {
    let (expected, got) = (ids(all), ids(walked));
    let once: BTreeSet<&String> = got.iter().collect();
    if once.len() != got.len() {
        return Err(Failure::new(format!(
            "{case}: expected each id once ({expected:?}), got {got:?}"
        )));
    }
    if expected != got {
        return Err(Failure::new(format!(
            "{case}: expected the ids {expected:?} in this order, got {got:?}"
        )));
    }
    Ok(())
}

async fn default_limit(context: Context, target: Target, case: String) -> Result<(), Failure> {
    let user = reader(&context, &target).await?;
    let page = page(&context, &target, &user, &[]).await?;
    let limit = target
        .operation()
        .parameter(Location::Query, "limit")
        .map(|limit| target.document().resolve(&limit.schema)["default"].clone());
    let Some(most) = limit.and_then(|limit| limit.as_u64()) else { return Ok(()) };
    let got = items(&page)?.len() as u64;
    if got > most || (got < most && next(&page).is_some()) {
        return Err(
            page.fail(format!("{case}: expected {most} items or the whole list, got {got} items"))
        );
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    AscendingId,
    NewestFirst,
}

impl Order {
    fn of(target: &Target) -> Option<Self> {
        let words =
            target.success_schema()?["properties"]["items"]["description"].as_str()?.to_lowercase();
        match (words.contains("ascending id"), words.contains("newest first")) {
            (true, _) => Some(Self::AscendingId),
            (false, true) => Some(Self::NewestFirst),
            (false, false) => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::AscendingId => "by ascending id",
            Self::NewestFirst => "newest first",
        }
    }

    fn allows(self, one: &Value, next: &Value) -> bool {
        match (self, one["id"].as_i64().zip(next["id"].as_i64())) {
            (Self::AscendingId, Some((one, next))) => one < next,
            (Self::AscendingId, None) => one["id"].as_str() < next["id"].as_str(),
            // UTC times with equally many digits compare as strings; ids grow with time and are
            // unique.
            (Self::NewestFirst, _) => {
                let at = |item: &Value| {
                    item["created_at"].as_str().map(|at| at.trim_end_matches('Z').to_owned())
                };
                let id = |item: &Value| item["id"].as_str().map(str::to_lowercase);
                at(one) >= at(next) && id(one) > id(next)
            }
        }
    }
}

async fn ordered(
    context: &Context,
    target: &Target,
    order: Order,
    case: &str,
) -> Result<(), Failure> {
    let user = reader(context, target).await?;
    let page = page(context, target, &user, &[("limit", "100")]).await?;
    let items = items(&page)?;
    match items.windows(2).find(|pair| !order.allows(&pair[0], &pair[1])) {
        Some(pair) => {
            Err(page.fail(format!("{case}: {} comes before {}", pair[0]["id"], pair[1]["id"])))
        }
        None => Ok(()),
    }
}

/// Query parameters that filter: items have a member of that name.
fn filters(target: &Target) -> Vec<Parameter> {
    let item = target.success_schema().map(|schema| {
        target.document().resolve(&schema["properties"]["items"]["items"])["properties"].clone()
    });
    let is_member = |parameter: &&Parameter| {
        item.as_ref().is_some_and(|item| item[parameter.name.as_str()].is_object())
    };
    target.parameters(Location::Query).filter(is_member).cloned().collect()
}

fn values(target: &Target, filter: &Parameter, items: &[Value]) -> Vec<String> {
    let of_enum = target.document().resolve(&filter.schema)["enum"]
        .as_array()
        .map(|values| values.iter().map(plain).collect::<BTreeSet<_>>());
    let of_items =
        || items.iter().map(|item| plain(&item[filter.name.as_str()])).collect::<BTreeSet<_>>();
    of_enum.unwrap_or_else(of_items).into_iter().take(5).collect()
}

async fn filtered(
    context: &Context,
    target: &Target,
    filter: &Parameter,
    case: &str,
) -> Result<(), Failure> {
    let user = reader(context, target).await?;
    let all = walk(context, target, &user, None, |_| 100).await?;
    for value in values(target, filter, &all) {
        let wanted = |item: &&Value| plain(&item[filter.name.as_str()]) == value;
        let expected = ids(all.iter().filter(wanted));
        let got =
            walk(context, target, &user, Some((&filter.name, &value)), |_| step(all.len())).await?;
        let got = ids(&got);
        if got != expected {
            let message = format!(
                "{case}: {}={value}: expected the matching ids {expected:?}, got {got:?}",
                filter.name
            );
            return Err(Failure::new(message));
        }
    }
    Ok(())
}

/// A token is valid with its own filter; a different filter contradicts it.
async fn contradicted(
    context: &Context,
    target: &Target,
    filter: &Parameter,
    case: &str,
) -> Result<(), Failure> {
    let user = reader(context, target).await?;
    let first = page(context, target, &user, &[("limit", "1")]).await?;
    let all = walk(context, target, &user, None, |_| 100).await?;
    let values = values(target, filter, &all);
    let locations = [
        FaultLocation::parameter(Location::Query, "page_token"),
        FaultLocation::parameter(Location::Query, &filter.name),
    ];
    // A token without a filter.
    if let (Some(token), Some(value)) = (next(&first), values.first()) {
        refused_for_either(
            &page(context, target, &user, &[("page_token", token), (&filter.name, value)]).await?,
            case,
            &locations,
        )?;
    }
    for value in &values {
        let first = page(context, target, &user, &[("limit", "1"), (&filter.name, value)]).await?;
        let Some(token) = next(&first) else { continue };
        let without =
            page(context, target, &user, &[("limit", "1"), ("page_token", token)]).await?;
        let with = page(
            context,
            target,
            &user,
            &[("limit", "1"), ("page_token", token), (&filter.name, value)],
        )
        .await?;
        if ids(items(&without)?) != ids(items(&with)?) {
            return Err(with
                .fail(format!("{case}: expected the same page with and without the token's filter"))
                .and(without.exchange()));
        }
        if let Some(other) = values.iter().find(|other| *other != value) {
            refused_for_either(
                &page(context, target, &user, &[("page_token", token), (&filter.name, other)])
                    .await?,
                case,
                &locations,
            )?;
        }
    }
    Ok(())
}

/// Either of two contradicting parameters may be reported.
fn refused_for_either(
    answer: &Answer,
    case: &str,
    locations: &[FaultLocation; 2],
) -> Result<(), Failure> {
    let [one, other] = locations;
    expectations::refused(answer, case, std::slice::from_ref(one), None).or_else(|failure| {
        expectations::refused(answer, case, std::slice::from_ref(other), None).map_err(|_| failure)
    })
}

async fn broken(
    context: &Context,
    target: &Target,
    change: Change,
    case: &str,
) -> Result<(), Failure> {
    let user = reader(context, target).await?;
    let first = page(context, target, &user, &[("limit", "1")]).await?;
    let Some(token) = next(&first) else { return Ok(()) };
    let answer = page(context, target, &user, &[("page_token", &change(token))]).await?;
    expectations::accepted_or_refused(
        &answer,
        case,
        &FaultLocation::parameter(Location::Query, "page_token"),
    )
}

async fn another_users_token(
    context: Context,
    target: Target,
    case: String,
) -> Result<(), Failure> {
    let owner = reader(&context, &target).await?;
    let first = page(&context, &target, &owner, &[("limit", "1")]).await?;
    let Some(token) = next(&first) else { return Ok(()) };
    let owners_ids: BTreeSet<String> =
        ids(&walk(&context, &target, &owner, None, |_| 100).await?).into_iter().collect();
    let user = context.user().await?;
    let answer = page(&context, &target, &user, &[("page_token", token)]).await?;
    expectations::accepted_or_refused(
        &answer,
        &case,
        &FaultLocation::parameter(Location::Query, "page_token"),
    )?;
    match answer.json()["items"]
        .as_array()
        .and_then(|items| ids(items).into_iter().find(|id| owners_ids.contains(id)))
    {
        Some(id) => Err(answer.fail(format!("{case}: {id} is another user's"))),
        None => Ok(()),
    }
}
