//! Opaque page tokens: base64url without padding of version, method, last id, filter.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{failure::Failure, grpc::page_token::invalid, store::admin::UserFilter};

const VERSION: u8 = 1;
const USERS: u8 = 3;
const EVERYONE: u8 = 4;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UsersPage {
    /// Nil for the first page.
    pub(crate) after: Uuid,
    pub(crate) filter: UserFilter,
}

impl UsersPage {
    pub(crate) fn encode(&self) -> String {
        let mut bytes = vec![VERSION, USERS];
        bytes.extend(self.after.as_bytes());
        bytes.push(match self.filter.active {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        });
        bytes.extend(self.filter.prefix.iter().flat_map(|prefix| prefix.bytes()));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// An empty token is the first page.
    pub(crate) fn of(token: &str, filter: UserFilter) -> Result<Self, Failure> {
        if token.is_empty() {
            return Ok(Self { after: Uuid::nil(), filter });
        }
        let page = Self::decode(token).ok_or_else(invalid)?;
        let same = (filter.prefix.is_none() || filter.prefix == page.filter.prefix)
            && (filter.active.is_none() || filter.active == page.filter.active);
        if same { Ok(page) } else { Err(invalid()) }
    }

    fn decode(token: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (after, rest) = bytes.strip_prefix(&[VERSION, USERS])?.split_first_chunk()?;
        let (active, prefix) = rest.split_first()?;
        let active = match active {
            0 => None,
            1 => Some(false),
            2 => Some(true),
            _ => return None,
        };
        if !prefix.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let prefix = String::from_utf8(prefix.to_vec()).ok().filter(|prefix| !prefix.is_empty());
        Some(Self { after: Uuid::from_bytes(*after), filter: UserFilter { prefix, active } })
    }
}

pub(crate) fn everyone_after(id: Uuid) -> String {
    let mut bytes = vec![VERSION, EVERYONE];
    bytes.extend(id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Nil if the token is empty.
pub(crate) fn read_everyone(token: &str) -> Result<Uuid, Failure> {
    if token.is_empty() {
        return Ok(Uuid::nil());
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let id = bytes
        .as_deref()
        .and_then(|bytes| bytes.strip_prefix(&[VERSION, EVERYONE]))
        .and_then(|id| Uuid::from_slice(id).ok());
    id.ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_tokens_round_trip() {
        for prefix in [None, Some("ada_".to_owned())] {
            for active in [None, Some(true), Some(false)] {
                let page = UsersPage {
                    after: Uuid::from_u128(7),
                    filter: UserFilter { prefix: prefix.clone(), active },
                };
                assert_eq!(UsersPage::decode(&page.encode()), Some(page));
            }
        }
        assert_eq!(
            read_everyone(&everyone_after(Uuid::from_u128(7))).ok(),
            Some(Uuid::from_u128(7))
        );
        assert_eq!(read_everyone("").ok(), Some(Uuid::nil()));
    }

    #[test]
    fn other_page_tokens_are_refused() {
        let users = UsersPage { after: Uuid::from_u128(7), filter: UserFilter::default() };
        let everyone = everyone_after(Uuid::from_u128(7));
        assert_eq!(UsersPage::decode(&everyone), None);
        assert!(read_everyone(&users.encode()).is_err());
        for token in
            ["!", "AQ", "AQM", "AQQ", &format!("{everyone}A"), &format!("{}=", users.encode())]
        {
            assert_eq!(UsersPage::decode(token), None, "{token}");
            assert!(read_everyone(token).is_err(), "{token}");
        }
        let other = UserFilter { prefix: Some("bob".to_owned()), active: None };
        assert!(UsersPage::of(&users.encode(), other).is_err(), "a token is for its own filter");
    }
}
