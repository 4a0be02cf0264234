//! Weaviate's answers: whatever they are, they become a class, statuses, results or errors.
#![no_main]

use std::sync::LazyLock;

use agira_worker::core::agira_object::AgiraObject;
use agira_worker::weaviate::{ObjectWrite, Weaviate};
use fuzz::{PATIENCE, Service};
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use uuid::Uuid;

static SERVICE: LazyLock<Service> = LazyLock::new(Service::start);

static OBJECTS: LazyLock<[AgiraObject; 2]> = LazyLock::new(|| {
    ["1", "2"].map(|id| {
        let object = json!({
            "type": "github_issue", "object_id": id, "project_id": "1", "title": "t", "text": "t", "status": "closed", "url": "u",
            "source_system": "github", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(object).expect("an object")
    })
});

fuzz_target!(|data: &[u8]| {
    SERVICE.answer(data);
    let mut client = Weaviate::new(&SERVICE.url, None)
        .expect("a client")
        .with_timeouts(PATIENCE);
    let _ = client.class();
    let ids: Vec<Uuid> = OBJECTS.iter().map(|object| object.key().uuid()).collect();
    let found = client.object_states(&ids);
    if let Ok(found) = &found {
        assert_eq!(found.len(), ids.len());
    }
    let vectors = |id| {
        found
            .as_ref()
            .ok()
            .and_then(|found| Some(found.get(id)?.vectors.clone()))
            .unwrap_or_default()
    };
    let objects: Vec<ObjectWrite> = OBJECTS
        .iter()
        .zip(&ids)
        .map(|(object, id)| ObjectWrite {
            object: object.clone(),
            vectors: vectors(id),
        })
        .collect();
    if let Ok(written) = client.write(&objects) {
        assert_eq!(written.len(), objects.len());
    }
});
