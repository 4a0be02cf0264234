//! Lists below the nodes of other lists: the issues that a polled pull request closes, and the pull
//! requests that contain the commit of a close event. What the document of the outer list does not
//! bring is asked for alone, so that it holds up nothing else.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::Github;
use super::extras::MAX_PAGES;
use super::queries;
use super::schema::{Connection, Pages, Source, TimelineItem, alias_answer};
use crate::core::failure::{FailureKind, ServiceError};
use crate::core::text::quoted;

impl Github {
    /// Reads what `list` lacks: its further pages, or all of it if GitHub put null in its place. It
    /// is the field `name` of the node with this id. Returns the reason why something is still
    /// missing.
    pub(super) fn complete<T: DeserializeOwned>(
        &mut self,
        list: &mut Option<Connection<T>>,
        name: &str,
        id: &str,
    ) -> Result<Option<String>, ServiceError> {
        for _ in 0..MAX_PAGES {
            list.take_if(|list| !list.is_usable());
            let after = list.as_ref().map(Connection::next);
            if after == Some(None) {
                return Ok(None);
            }
            match (self.page_below(name, id, after.flatten())?, list.as_mut()) {
                (Err(reason), _) => return Ok(Some(reason)),
                (Ok(page), Some(list)) => list.append(page),
                (Ok(page), None) => *list = Some(page),
            }
        }
        Ok(Some(format!("there are more than {MAX_PAGES} pages")))
    }

    /// Asks for one page of a list; returns it, or the reason why there is none.
    fn page_below<T: DeserializeOwned>(
        &mut self,
        name: &str,
        id: &str,
        after: Option<String>,
    ) -> Result<Result<Connection<T>, String>, ServiceError> {
        let variables = json!({ "id": id, "after": after });
        let (mut data, errors) = match self.query(queries::LIST_BELOW, &variables) {
            Ok(answer) => answer,
            Err(error) => return self.only_this_fails(error).map(Err),
        };
        let mut node = match alias_answer(&mut data, &errors, "node") {
            Ok(node) => node,
            Err(error) => return Ok(Err(error.describe())),
        };
        let page = node.get_mut(name).map_or(Value::Null, Value::take);
        let page = serde_json::from_value(page).map_err(|error| quoted(&error.to_string()));
        Ok(page.and_then(|page: Connection<T>| match page.is_usable() {
            true => Ok(page),
            false => Err("null in its place".to_owned()),
        }))
    }

    /// Completes the lists of pull requests with the commits that closed the issue. What is missing
    /// then counts as hidden.
    pub(super) fn complete_closers(&mut self, pages: &mut Pages) -> Result<(), ServiceError> {
        let events = pages
            .timeline_items
            .iter_mut()
            .flat_map(|page| page.nodes.iter_mut().flatten().flatten());
        for event in events {
            let TimelineItem::ClosedEvent {
                closer:
                    Some(Source::Commit {
                        id,
                        associated_pull_requests: list,
                    }),
            } = event
            else {
                continue;
            };
            let missing = match self.complete(list, "associatedPullRequests", id) {
                Err(error) if error.kind == FailureKind::OutOfTime => Some(error.message),
                missing => missing?,
            };
            if let Some(reason) = missing {
                pages.hidden.get_or_insert(reason);
            }
        }
        Ok(())
    }
}
