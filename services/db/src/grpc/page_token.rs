//! Opaque page tokens: base64url without padding of version, method, last key (big-endian), filter.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use merch_contract::grpc::assistant::v1::ErrorReason;
use uuid::Uuid;

use crate::{entity::orders::Status, failure::Failure};

const VERSION: u8 = 1;
const PRODUCTS: u8 = 1;
const ORDERS: u8 = 2;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProductsPage {
    /// 0 for the first page.
    pub(crate) after: i32,
    pub(crate) category: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OrdersPage {
    pub(crate) before: Option<Uuid>,
    pub(crate) status: Option<Status>,
}

impl ProductsPage {
    pub(crate) fn encode(&self) -> String {
        let mut bytes = vec![VERSION, PRODUCTS];
        bytes.extend(self.after.to_be_bytes());
        if let Some(category) = &self.category {
            bytes.push(1);
            bytes.extend(category.as_bytes());
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// An empty token is the first page.
    pub(crate) fn of(token: &str, category: Option<String>) -> Result<Self, Failure> {
        if token.is_empty() {
            return Ok(Self { after: 0, category });
        }
        let page = Self::decode(token).ok_or_else(invalid)?;
        if category.is_some() && category != page.category { Err(invalid()) } else { Ok(page) }
    }

    fn decode(token: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let rest = bytes.strip_prefix(&[VERSION, PRODUCTS])?;
        let (after, filter) = rest.split_first_chunk()?;
        let category = match filter.split_first() {
            None => None,
            Some((1, category)) => Some(String::from_utf8(category.to_vec()).ok()?),
            Some(_) => return None,
        };
        Some(Self { after: i32::from_be_bytes(*after), category })
    }
}

impl OrdersPage {
    pub(crate) fn encode(&self) -> String {
        let status = match self.status {
            None => 0,
            Some(Status::Placed) => 1,
            Some(Status::Cancelled) => 2,
        };
        let mut bytes = vec![VERSION, ORDERS];
        bytes.extend(self.before.unwrap_or(Uuid::max()).as_bytes());
        bytes.push(status);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(crate) fn of(token: &str, status: Option<Status>) -> Result<Self, Failure> {
        if token.is_empty() {
            return Ok(Self { before: None, status });
        }
        let page = Self::decode(token).ok_or_else(invalid)?;
        if status.is_some() && status != page.status { Err(invalid()) } else { Ok(page) }
    }

    fn decode(token: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let rest = bytes.strip_prefix(&[VERSION, ORDERS])?;
        let (before, filter) = rest.split_first_chunk()?;
        let status = match filter {
            [0] => None,
            [1] => Some(Status::Placed),
            [2] => Some(Status::Cancelled),
            _ => return None,
        };
        Some(Self { before: Some(Uuid::from_bytes(*before)), status })
    }
}

pub(crate) fn invalid() -> Failure {
    Failure::Refused(ErrorReason::InvalidPageToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_tokens_round_trip() {
        for category in [None, Some(String::new()), Some("Apparel".to_owned())] {
            let page = ProductsPage { after: 7, category };
            assert_eq!(ProductsPage::decode(&page.encode()), Some(page));
        }
        for status in [None, Some(Status::Placed), Some(Status::Cancelled)] {
            let page = OrdersPage { before: Some(Uuid::from_u128(7)), status };
            assert_eq!(OrdersPage::decode(&page.encode()), Some(page));
        }
    }

    #[test]
    fn other_page_tokens_are_refused() {
        let products = ProductsPage { after: 7, category: None }.encode();
        let orders = OrdersPage { before: Some(Uuid::from_u128(7)), status: None }.encode();
        assert_eq!(OrdersPage::decode(&products), None);
        assert_eq!(ProductsPage::decode(&orders), None);
        for token in
            ["!", "AQ", "AQE", "AgEAAAAH", "AQIAAAAAAAAAAAAAAAAAAAAABwM", &format!("{products}=")]
        {
            assert_eq!(ProductsPage::decode(token), None, "{token}");
            assert_eq!(OrdersPage::decode(token), None, "{token}");
        }
    }
}
