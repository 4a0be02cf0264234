//! Lists below the nodes of other lists: the issues that a polled pull request closes, and the pull
//! requests that contain the commit of a close event. They are asked for in requests of their own,
//! many with each, because a document that asks for them below a list costs as much as if every
//! node had one. A list that GitHub cannot answer about beside others is asked for alone.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::client::Github;
use super::extras::MAX_PAGES;
use super::queries::{self, ListBelow};
use super::schema::{Below, Connection, alias_answer, hidden_node};
use crate::core::failure::ServiceError;
use crate::core::text::quoted;

impl Github {
    /// Reads lists to their ends. Fails if GitHub as a whole does, or the run ends; lists that are
    /// not read then may be read by a later request.
    pub(super) fn read_lists<T: DeserializeOwned>(
        &mut self,
        list: ListBelow,
        lists: &mut [&mut Below<T>],
    ) -> Result<(), ServiceError> {
        loop {
            let open = lists.iter_mut().filter(|one| !one.is_read);
            let mut open: Vec<&mut Below<T>> =
                open.take(self.lists.next()).map(|one| &mut **one).collect();
            if open.is_empty() {
                return Ok(());
            }
            self.read_first_pages(list, &mut open)?;
        }
    }

    /// Asks for the first pages of these lists at once, and then for their further pages. Those that
    /// are too heavy together stay unread.
    fn read_first_pages<T: DeserializeOwned>(
        &mut self,
        list: ListBelow,
        open: &mut [&mut Below<T>],
    ) -> Result<(), ServiceError> {
        let count = open.len();
        let ids = open.iter().enumerate();
        let variables: Map<String, Value> = ids
            .map(|(index, one)| (format!("l{index}"), one.id.as_str().into()))
            .collect();
        let query = queries::lists_query(list, count);
        let (mut data, errors) = match (self.query(&query, &variables.into()), &mut *open) {
            (Ok(answer), _) => answer,
            (Err(error), [one]) => {
                let reason = self.only_this_fails(error)?;
                self.lists.allow_growth();
                one.end(Some(reason));
                return Ok(());
            }
            (Err(error), _) => {
                let reason = self.why_smaller(error)?;
                self.lists.shrink(count, &reason);
                return Ok(());
            }
        };
        let mut heavy = None;
        for (index, one) in open.iter_mut().enumerate() {
            let alias = format!("l{index}");
            match alias_answer(&mut data, &errors, &alias) {
                Ok(mut node) => {
                    let first = node.get_mut(list.field()).map_or(Value::Null, Value::take);
                    let first = serde_json::from_value(first).ok();
                    one.begin(first, hidden_node(&errors, &alias));
                }
                Err(error) if error.is_too_heavy() && count > 1 => heavy = Some(error.message),
                Err(error) if error.is_too_heavy() || error.is_hidden() => {
                    one.end(Some(error.describe()));
                }
                Err(_) => {}
            }
        }
        if let Some(reason) = heavy {
            self.lists.shrink(count, &reason);
            return Ok(());
        }
        self.lists.grow(count);
        for one in open.iter_mut().filter(|one| !one.is_read) {
            self.complete(list, one)?;
        }
        Ok(())
    }

    /// Reads what a list lacks: its further pages, or all of it if GitHub put null in its place.
    fn complete<T: DeserializeOwned>(
        &mut self,
        list: ListBelow,
        one: &mut Below<T>,
    ) -> Result<(), ServiceError> {
        for _ in 0..MAX_PAGES {
            one.list.take_if(|list| !list.is_usable());
            let after = one.list.as_ref().map(Connection::next);
            if after == Some(None) {
                one.end(None);
                return Ok(());
            }
            match (
                self.list_page(list, &one.id, after.flatten())?,
                &mut one.list,
            ) {
                (Err(reason), _) => {
                    one.end(Some(reason));
                    return Ok(());
                }
                (Ok(page), Some(list)) => list.append(page),
                (Ok(page), list) => *list = Some(page),
            }
        }
        one.end(Some(format!("there are more than {MAX_PAGES} pages")));
        Ok(())
    }

    /// Asks for one page of a list; returns it, or the reason why there is none.
    fn list_page<T: DeserializeOwned>(
        &mut self,
        list: ListBelow,
        id: &str,
        after: Option<String>,
    ) -> Result<Result<Connection<T>, String>, ServiceError> {
        let variables = json!({ "id": id, "after": after });
        let (mut data, errors) = match self.query(queries::LIST_PAGE, &variables) {
            Ok(answer) => answer,
            Err(error) => return self.only_this_fails(error).map(Err),
        };
        let mut node = match alias_answer(&mut data, &errors, "node") {
            Ok(node) => node,
            Err(error) => return Ok(Err(error.describe())),
        };
        let page = node.get_mut(list.field()).map_or(Value::Null, Value::take);
        let page = serde_json::from_value(page).map_err(|error| quoted(&error.to_string()));
        Ok(page.and_then(|page: Connection<T>| match page.is_usable() {
            true => Ok(page),
            false => Err("null in its place".to_owned()),
        }))
    }
}
