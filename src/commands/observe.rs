//! Reads everything about one slice: few requests for many mappings, and nothing is changed.

use std::collections::HashMap;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::context::{Context, Mode, Stop, StoppedBy, WeaviateState};
use crate::core::agira_object::{item_key, mapping_key};
use crate::core::model::*;
use crate::core::records::{ObjectState, Records};
use crate::core::text::quoted;
use crate::db::Claimed;
use crate::github::{Fetched, LookError};
use crate::weaviate::ClassState;

/// Why a mapping cannot be planned, split only where its next look differs.
#[derive(Debug, Clone)]
pub enum Unseen {
    /// To be tried again, with backoff.
    Failed(String),
    /// Deleted, moved or hidden: parked at once.
    Gone(String),
    /// Its repository cannot be seen: put off without an attempt.
    PutOff(String),
    /// GitHub was not asked any more: given back.
    NotAsked(String),
}

impl Unseen {
    /// What happened.
    pub fn reason(&self) -> &str {
        match self {
            Self::Failed(reason)
            | Self::Gone(reason)
            | Self::PutOff(reason)
            | Self::NotAsked(reason) => reason,
        }
    }
}

/// A mapping that GitHub was seen for.
#[derive(Debug)]
pub struct Seen {
    /// The mapping, with its item.
    pub claimed: Claimed,
    /// What GitHub said.
    pub snapshot: Snapshot,
}

/// Everything read about a slice.
#[derive(Debug, Default)]
pub struct Observation {
    /// Mappings that can be planned, those of one item in the order of their close events.
    pub seen: Vec<Seen>,
    /// Mappings that cannot.
    pub unseen: Vec<(Claimed, Unseen)>,
    /// What else was read.
    pub known: Records,
    /// Why the run goes no further after this slice.
    pub stop: Option<Stop>,
    /// The own vectors of existing objects, which a write has to send back.
    pub vectors: HashMap<Uuid, Map<String, Value>>,
}

/// Reads everything about a slice.
pub fn observe(ctx: &mut Context, slice: Vec<Claimed>) -> Result<Observation, Stop> {
    let mut observation = look(ctx, slice)?;
    let seen = &observation.seen;
    let slice: Vec<MappingId> = seen.iter().map(|one| one.claimed.mapping.id).collect();
    let items: Vec<ItemId> = seen.iter().map(|one| one.claimed.item.id).collect();
    let github_ids: Vec<GithubId> = seen.iter().flat_map(|one| ids(&one.snapshot)).collect();
    if slice.is_empty() {
        observation.known = ctx.carried.clone();
        return Ok(observation);
    }
    let (rows, links) = ctx
        .db
        .related(ctx.access(), ctx.run, &slice, &items, &github_ids)?;
    let items = seen
        .iter()
        .map(|one| (one.claimed.item.id, one.claimed.item.clone()))
        .collect();
    let keys: Vec<_> = seen
        .iter()
        .flat_map(|one| {
            let Claimed { mapping, item } = &one.claimed;
            let item = (mapping.kind == Kind::Issue).then(|| item_key(item));
            let may_exist = mapping.id.is_stored() && !ctx.inserted.contains(&mapping.id);
            item.into_iter()
                .chain(may_exist.then(|| mapping_key(mapping)))
        })
        .collect();
    let new = seen
        .iter()
        .map(|one| &one.claimed.mapping)
        .filter(|mapping| ctx.inserted.contains(&mapping.id));
    let objects = new
        .map(|mapping| (mapping_key(mapping).uuid(), ObjectState::Missing))
        .collect();
    observation.known = Records {
        items,
        rows,
        links,
        objects,
    };
    let mut uuids: Vec<Uuid> = keys.iter().map(|key| key.uuid()).collect();
    uuids.sort_unstable();
    uuids.dedup();
    read_objects(ctx, &uuids, &mut observation)?;
    if ctx.mode == Mode::Preview {
        observation.known.overlay(&ctx.carried);
        // Discovery would have made them due.
        let marked = observation
            .known
            .rows
            .iter_mut()
            .filter(|row| ctx.marked.contains(&row.id.0));
        marked.for_each(|row| row.is_scheduled = true);
    }
    Ok(observation)
}

/// Asks GitHub about each address once, however many mappings have it.
fn look(ctx: &mut Context, slice: Vec<Claimed>) -> Result<Observation, Stop> {
    let mut observation = Observation::default();
    let mut addressed = Vec::with_capacity(slice.len());
    for claimed in slice {
        match claimed.mapping.address(&claimed.item) {
            Ok(address) => addressed.push((claimed, address)),
            Err(reason) => observation.unseen.push((claimed, Unseen::Failed(reason))),
        }
    }
    let mut targets: Vec<Address> = Vec::new();
    for (_, address) in &addressed {
        if !targets.contains(address) {
            targets.push(address.clone());
        }
    }
    if targets.is_empty() {
        return Ok(observation);
    }
    targets.sort_by_cached_key(|target| ctx.github.group(target.repository.owner()));
    ctx.read_pause()?;
    ctx.may_ask_github()?;
    begin_looks(ctx, &addressed)?;
    let (progress, clock, time_budget) = (ctx.progress.clone(), ctx.clock, ctx.time_budget);
    let Fetched { answers, ended_by } = ctx.github.fetch(&targets, &|count| {
        progress.inc(count as u64);
        clock.elapsed() < time_budget
    });
    match ended_by {
        // What GitHub has answered for is worked on all the same.
        Some(error) => observation.stop = Some(ctx.github_failed(error)),
        None => ctx.github_answered()?,
    }
    for (claimed, address) in addressed {
        let look = targets
            .iter()
            .position(|target| *target == address)
            .and_then(|index| answers.get(index));
        match look {
            Some(Ok(snapshot)) if is_elsewhere(&claimed.mapping.html_url, &snapshot.url) => {
                let reason = format!(
                    "html_url {} is on another host than GITHUB_API_URL leads to ({}); correct one of them",
                    claimed.mapping.html_url,
                    quoted(&snapshot.url)
                );
                observation.unseen.push((claimed, Unseen::Failed(reason)));
            }
            Some(Ok(snapshot)) if snapshot.kind() == claimed.mapping.kind => {
                observation.seen.push(Seen {
                    claimed,
                    snapshot: snapshot.clone(),
                });
            }
            Some(Ok(snapshot)) => {
                let reason = format!(
                    "{address} is a GitHub {}, but the mapping's kind is {}; correct kind or html_url",
                    snapshot.kind().label(),
                    claimed.mapping.kind.as_str()
                );
                observation.unseen.push((claimed, Unseen::Failed(reason)));
            }
            Some(Err(error)) => {
                let unseen = match error.clone() {
                    LookError::Gone(reason) => Unseen::Gone(reason),
                    LookError::RepositoryHidden(reason) => Unseen::PutOff(reason),
                    LookError::Failed(reason) => Unseen::Failed(reason),
                };
                observation.unseen.push((claimed, unseen));
            }
            None => {
                let reason = match &observation.stop {
                    Some(stop) => stop.to_string(),
                    None => {
                        ctx.report.stopped(StoppedBy::TimeBudget, String::new());
                        "the time budget is used up".to_owned()
                    }
                };
                observation.unseen.push((claimed, Unseen::NotAsked(reason)));
            }
        }
    }
    observation
        .seen
        .sort_by_key(|one| (one.claimed.item.id, closed_at(&one.snapshot)));
    Ok(observation)
}

/// Attempts after a failure may be those that kill this process. What is parked, and looked at because a person named it, is
/// not sure to be looked at should this run be ended first.
fn begin_looks(ctx: &mut Context, addressed: &[(Claimed, Address)]) -> Result<(), Stop> {
    let mappings = addressed.iter().map(|(claimed, _)| &claimed.mapping);
    let failed: Vec<MappingId> = mappings
        .filter(|mapping| mapping.attempts > 0 && !mapping.is_parked())
        .map(|mapping| mapping.id)
        .collect();
    match ctx.github.answered_at() {
        Some(seen_at) if ctx.mode == Mode::Apply && !failed.is_empty() => {
            Ok(ctx.db.record_check_start(ctx.run, &failed, seen_at)?)
        }
        _ => Ok(()),
    }
}

/// Whether what was found is only the namesake, on another host, of what the mapping means.
fn is_elsewhere(html_url: &str, found: &str) -> bool {
    !html_url.is_empty() && !same_host(html_url, found)
}

/// The status of every object concerned; without an answer they stay unknown.
fn read_objects(
    ctx: &mut Context,
    uuids: &[Uuid],
    observation: &mut Observation,
) -> Result<(), Stop> {
    ready_weaviate(ctx)?;
    match ctx.weaviate_state {
        WeaviateState::Ready => {}
        WeaviateState::ClassMissing => {
            let missing = uuids.iter().map(|uuid| (*uuid, ObjectState::Missing));
            observation.known.objects.extend(missing);
            return Ok(());
        }
        WeaviateState::Unknown | WeaviateState::Down => return Ok(()),
    }
    if uuids.is_empty() {
        return Ok(());
    }
    match ctx.weaviate.object_states(uuids) {
        Ok(found) => {
            for (uuid, found) in found {
                observation.known.objects.insert(uuid, found.state);
                observation.vectors.insert(uuid, found.vectors);
            }
        }
        Err(error) => ctx.weaviate_failed(&error),
    }
    Ok(())
}

/// Reads and checks the class, once per run; creates it when it is absent.
pub fn ready_weaviate(ctx: &mut Context) -> Result<(), Stop> {
    if ctx.weaviate_state != WeaviateState::Unknown {
        return Ok(());
    }
    match ctx.weaviate.class() {
        Ok(ClassState::Fits) => ctx.weaviate_state = WeaviateState::Ready,
        Ok(ClassState::Missing) if ctx.mode == Mode::Preview => {
            ctx.weaviate_state = WeaviateState::ClassMissing;
            super::preview::class_missing(ctx);
        }
        Ok(ClassState::Missing) => match ctx.weaviate.create_class() {
            Ok(()) => {
                log::info!(
                    "Weaviate had no class {}; created it",
                    crate::core::agira_object::CLASS
                );
                ctx.weaviate_state = WeaviateState::Ready;
            }
            Err(error) => ctx.weaviate_failed(&error),
        },
        Ok(ClassState::Unfit(problems)) => {
            return Err(Stop::Fatal(anyhow::anyhow!("Weaviate: {problems}")));
        }
        Err(error) => ctx.weaviate_failed(&error),
    }
    Ok(())
}

fn ids(snapshot: &Snapshot) -> Vec<GithubId> {
    let mut ids = vec![snapshot.github_id];
    if let Details::Issue { pull_requests, .. } = &snapshot.details {
        ids.extend(
            pull_requests
                .iter()
                .map(|pull_request| pull_request.github_id),
        );
    }
    ids
}

fn closed_at(snapshot: &Snapshot) -> Option<chrono::DateTime<chrono::Utc>> {
    match snapshot.details {
        Details::Issue { closed_at, .. } => closed_at,
        Details::PullRequest { .. } => None,
    }
}
