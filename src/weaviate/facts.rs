//! Facts that Weaviate tells about itself and about our key.

use serde::Serialize;
use serde_json::Value;

use super::client::Weaviate;
use crate::core::agira_object::CLASS;
use crate::core::failure::{FailureKind, ServiceError};

/// Rights that a run needs once the class exists (README.md, "Rights in Weaviate").
const WRITES: [&str; 2] = ["create_data", "update_data"];

/// Facts about the server and the key; `None` is what it does not say.
#[derive(Debug, Default, Serialize)]
pub struct Facts {
    /// Version of the server.
    pub version: Option<String>,
    /// Name of the key's user.
    pub user: Option<String>,
    /// The key may write our objects.
    pub may_write: Option<bool>,
}

impl Weaviate {
    /// Reads the facts, with two requests.
    ///
    /// # Errors
    /// Fails if Weaviate does not answer or refuses the key.
    pub fn facts(&mut self) -> Result<Facts, ServiceError> {
        let server = known(self.send("/v1/meta", |client, url| client.get(url)), 401)?;
        // Without a key there is no user (401), and servers before 1.30 do not have this page.
        let user = known(
            self.send("/v1/users/own-info", |client, url| client.get(url)),
            0,
        )?;
        Ok(Facts {
            version: server["version"].as_str().map(str::to_owned),
            user: user["username"].as_str().map(str::to_owned),
            may_write: may_write(&user),
        })
    }
}

/// Returns null if the server has no such page, or refuses only this page; a status that means more
/// stays an error.
fn known(answer: Result<Value, ServiceError>, error: u16) -> Result<Value, ServiceError> {
    match answer {
        Err(refused) if refused.kind == FailureKind::Refused && refused.status != Some(error) => {
            Ok(Value::Null)
        }
        Err(rejected) if rejected.kind == FailureKind::Rejected => Ok(Value::Null),
        answer => answer,
    }
}

/// Returns whether the roles of a user allow every write; `None` if it has no roles.
fn may_write(user: &Value) -> Option<bool> {
    let roles = user["roles"].as_array().filter(|roles| !roles.is_empty())?;
    let permissions = roles
        .iter()
        .filter_map(|role| role["permissions"].as_array());
    let permissions: Vec<&Value> = permissions.flatten().collect();
    let allows = |right: &str| {
        permissions.iter().any(|one| {
            let collection = one["data"]["collection"].as_str().unwrap_or("*");
            let is_ours = match collection.strip_suffix('*') {
                Some(beginning) => CLASS.starts_with(beginning),
                None => CLASS == collection,
            };
            one["action"] == right && is_ours
        })
    };
    Some(WRITES.iter().all(|right| allows(right)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_roles_of_a_user_tell_whether_it_may_write() {
        let of = |rights: &[(&str, &str)]| {
            let permission = |(action, collection): &(&str, &str)| json!({ "action": action, "data": { "collection": collection } });
            let permissions: Vec<Value> = rights.iter().map(permission).collect();
            may_write(
                &json!({ "username": "guest", "roles": [{ "name": "r", "permissions": permissions }] }),
            )
        };
        assert_eq!(may_write(&json!({ "username": "guest" })), None);
        assert_eq!(may_write(&json!({ "roles": [] })), None);
        assert_eq!(
            of(&[("create_data", "*"), ("update_data", "Agira*")]),
            Some(true)
        );
        assert_eq!(
            of(&[("create_data", CLASS), ("update_data", "Other")]),
            Some(false)
        );
        assert_eq!(of(&[("read_data", "*")]), Some(false));
    }
}
