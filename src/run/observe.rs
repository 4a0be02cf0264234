//! Reads everything that the plans of one slice need, with few requests. It changes nothing.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use log::Level;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::job::Scope;
use super::state::Run;
use super::stop::Stop;
use crate::core::agira_object::{item_key, mapping_key};
use crate::core::failure::{
    FailureKind, MappingError, MappingErrorKind, NO_ANSWER, hides_only_issues,
};
use crate::core::look;
use crate::core::model::*;
use crate::core::records::{Decision, ObjectState, Records};
use crate::core::text::{quoted, timestamp};
use crate::db::Claimed;
use crate::github::Fetched;
use crate::report::{StoppedBy, Subject};

/// Number of repositories whose healthy mappings tell whether GitHub is silent about all.
const WITNESSES: usize = 3;

/// Vectors of existing objects, which a write has to send back.
pub type Vectors = HashMap<Uuid, Map<String, Value>>;

/// GitHub's answer about one target; `None` if its turn did not come.
type Answer = Option<Result<Snapshot, MappingError>>;

/// A mapping that dropped out of the steps, because it failed or has to be released.
pub struct Dropped {
    pub claimed: Claimed,
    pub subject: Subject,
    pub error: MappingError,
    /// GitHub's `updatedAt` (UTC), if the mapping dropped out after its snapshot.
    pub updated_at: Option<DateTime<Utc>>,
}

/// The part of a slice that dropped out, and the reason why the run ends after the slice.
#[derive(Default)]
pub struct Rest {
    pub dropped: Vec<Dropped>,
    pub stop: Option<Stop>,
    /// Number of mappings that dropped out because of an installation's limit.
    pub not_asked: usize,
}

impl Rest {
    /// Drops a mapping that has no snapshot.
    fn drop(&mut self, claimed: Claimed, error: MappingError) {
        self.dropped.push(Dropped {
            subject: Subject::new(&claimed.mapping, &claimed.item),
            claimed,
            error,
            updated_at: None,
        });
    }
}

/// Everything that was read about a slice.
pub struct Observed {
    /// Mappings with their snapshots, those of one item in the order of their close events.
    pub snapshots: Vec<(Claimed, Snapshot)>,
    pub records: Records,
    pub vectors: Vectors,
    pub rest: Rest,
}

/// Reads everything that the plans of a slice need.
pub fn slice(run: &mut Run, slice: Vec<Claimed>) -> Result<Observed, Stop> {
    let (snapshots, rest) = fetch(run, slice)?;
    let mut observed = Observed {
        snapshots,
        records: Records::default(),
        vectors: Vectors::new(),
        rest,
    };
    if !observed.snapshots.is_empty() {
        read_rows(run, &mut observed)?;
        read_objects(run, &mut observed)?;
    }
    Ok(observed)
}

/// Fetches each address once, even if several mappings of one kind have it.
fn fetch(run: &mut Run, slice: Vec<Claimed>) -> Result<(Vec<(Claimed, Snapshot)>, Rest), Stop> {
    let mut rest = Rest::default();
    let mut addressed = Vec::with_capacity(slice.len());
    for claimed in slice {
        match claimed.mapping.address(&claimed.item) {
            Ok(address) => addressed.push((claimed, address)),
            Err(reason) => rest.drop(claimed, MappingError::failed(reason)),
        }
    }
    let mut targets: Vec<(Address, Kind)> = Vec::new();
    for (claimed, address) in &addressed {
        let target = (address.clone(), claimed.mapping.kind);
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    if targets.is_empty() {
        return Ok((Vec::new(), rest));
    }
    targets.sort_by_cached_key(|(address, _)| run.github.batch_key(address.repository.owner()));
    let answers = ask(run, &targets, &mut rest)?;
    let not_asked = match &rest.stop {
        Some(stop) => stop.to_string(),
        None => "the time budget is used up".to_owned(),
    };
    let answer = |claimed: &Claimed, address: &Address| {
        let kind = claimed.mapping.kind;
        let mut targets = targets.iter();
        let index = targets.position(|target| target.1 == kind && target.0 == *address)?;
        answers.get(index)?.as_ref()
    };
    let counts = |(claimed, address): &(Claimed, Address)| {
        let error = answer(claimed, address).and_then(|answer| answer.as_ref().err());
        error.is_some_and(|error| counts_alone(&claimed.mapping, error))
    };
    // Only if somebody would count an attempt does it matter who is to blame.
    let is_outage = addressed.iter().any(counts) && is_silent(run, &answers, &mut rest)?;
    let mut snapshots = Vec::with_capacity(addressed.len());
    for (claimed, address) in addressed {
        let result = match answer(&claimed, &address) {
            Some(Ok(snapshot)) => verified(run, &claimed, &address, snapshot)?,
            Some(Err(error)) if error.is_silence() => {
                Err(unanswered(run, &claimed.mapping, error, is_outage))
            }
            Some(Err(error)) => Err(of_kind(&claimed.mapping, &address, error)),
            None if run.github.leaves_out(address.repository.owner()) => {
                rest.not_asked += 1;
                Err(limited(run, &address))
            }
            None => Err(MappingError::released(not_asked.as_str())),
        };
        match result {
            Ok(snapshot) => snapshots.push((claimed, snapshot)),
            Err(error) => rest.drop(claimed, error),
        }
    }
    snapshots.sort_by_key(|(claimed, snapshot)| (claimed.item.id, closed_at(snapshot)));
    Ok((snapshots, rest))
}

/// Asks GitHub about each target once.
fn ask(run: &mut Run, targets: &[(Address, Kind)], rest: &mut Rest) -> Result<Vec<Answer>, Stop> {
    let claims = RefCell::new((&mut run.claims, &mut run.db));
    let Fetched { answers, ended_by } = run.github.fetch(targets, &|count| {
        run.progress.advance(count);
        let (claims, db) = &mut *claims.borrow_mut();
        if let Err(error) = claims.renew(db) {
            // Without PostgreSQL, the next step ends the run.
            log::warn!("{error:#}");
        }
    });
    match ended_by {
        Some(error) if error.kind == FailureKind::OutOfTime => {
            run.report.stop(StoppedBy::TimeBudget, "");
        }
        // The run still finishes the mappings for which GitHub has answered.
        Some(error) => rest.stop = Some(run.pause.stop_for(&mut run.db, &run.github, error)),
        None => {
            let owners = targets
                .iter()
                .map(|(address, _)| address.repository.owner());
            let asked = owners.filter(|owner| !run.github.leaves_out(owner));
            let keys: BTreeSet<String> = asked.map(|owner| run.github.batch_key(owner)).collect();
            run.pause.clear(&mut run.db, keys)?;
        }
    }
    run.store_limits()?;
    Ok(answers)
}

/// Returns true if GitHub is silent about whatever it is asked. If it is silent about all targets
/// of a slice, it is asked about healthy mappings, too: two sick issues in a quiet world are no
/// outage. Without healthy mappings, only one target alone is to blame itself.
fn is_silent(run: &mut Run, answers: &[Answer], rest: &mut Rest) -> Result<bool, Stop> {
    if is_heard(answers) {
        return Ok(false);
    }
    if rest.stop.is_some() || run.budget.exhausted().is_some() {
        return Ok(true);
    }
    let witnesses = witnesses(run)?;
    if witnesses.is_empty() {
        return Ok(answers.iter().flatten().count() > 1);
    }
    let answers = ask(run, &witnesses, rest)?;
    Ok(!is_heard(&answers))
}

/// Returns true if GitHub answered anything about a target.
fn is_heard(answers: &[Answer]) -> bool {
    let mut answers = answers.iter().flatten();
    answers.any(|answer| !answer.as_ref().is_err_and(|error| error.is_silence()))
}

/// Returns the addresses of healthy mappings, each in another repository.
fn witnesses(run: &mut Run) -> Result<Vec<(Address, Kind)>, Stop> {
    let now = run.now();
    let mut found: Vec<(Address, Kind)> = Vec::new();
    for claimed in run.db.healthy(now)? {
        let Ok(address) = claimed.mapping.address(&claimed.item) else {
            continue;
        };
        let is_new = found
            .iter()
            .all(|(other, _)| other.repository != address.repository);
        if is_new && !run.github.leaves_out(address.repository.owner()) {
            found.push((address, claimed.mapping.kind));
        }
        if found.len() == WITNESSES {
            break;
        }
    }
    found.sort_by_cached_key(|(address, _)| run.github.batch_key(address.repository.owner()));
    Ok(found)
}

/// Reports a mapping whose installation must not be used now.
fn limited(run: &mut Run, address: &Address) -> MappingError {
    let key = run.github.batch_key(address.repository.owner());
    let mut pauses = run.pause.of_installations();
    let pause = pauses.find(|(paused, _)| *paused == key);
    let until = pause.map_or("a later run".to_owned(), |(_, pause)| {
        timestamp(pause.until)
    });
    drop(pauses);
    let reason = format!(
        "GitHub is not asked about {address} before {until}: its installation has reached its limit"
    );
    run.report.stop(StoppedBy::RateLimit, &reason);
    MappingError::released(reason)
}

/// Returns true if the silence about an issue or pull request is the mapping's own failure, unless
/// GitHub is silent about all: GitHub answered the lightest query meanwhile, or the run before met
/// the same.
fn counts_alone(mapping: &Mapping, error: &MappingError) -> bool {
    let stored = mapping.error.as_deref().unwrap_or_default();
    error.is_silence() && (error.kind == MappingErrorKind::Failed || stored.starts_with(NO_ANSWER))
}

/// Reports an issue or pull request that GitHub gave no answer about. Its own failure counts, so
/// that it neither comes first nor ends all runs with the exit code of an outage.
fn unanswered(
    run: &mut Run,
    mapping: &Mapping,
    error: &MappingError,
    is_outage: bool,
) -> MappingError {
    if !is_outage && counts_alone(mapping, error) {
        return MappingError::failed(error.message.as_str());
    }
    let reason = format!("{}; the next run asks again", error.message);
    run.report.stop_and_warn(StoppedBy::Github, &reason);
    MappingError::unanswered(error.message.as_str())
}

/// Returns the error of a mapping. Issues that are turned off do not explain why GitHub lacks a
/// pull request.
fn of_kind(mapping: &Mapping, address: &Address, error: &MappingError) -> MappingError {
    if mapping.kind == Kind::Issue || !hides_only_issues(&error.message) {
        return error.clone();
    }
    MappingError::failed(format!("GitHub lacks {address}, and {}", error.message))
}

/// Returns the snapshot if it is of the issue or pull request that the mapping means, and may be
/// recorded.
fn verified(
    run: &mut Run,
    claimed: &Claimed,
    address: &Address,
    snapshot: &Snapshot,
) -> Result<Result<Snapshot, MappingError>, Stop> {
    let mapping = &claimed.mapping;
    let html_url = &mapping.html_url;
    // The configured GitHub may have an issue of the same name, although the mapping's host
    // differs.
    if !html_url.is_empty() && !same_host(html_url, &snapshot.url) {
        return Ok(Err(MappingError::failed(format!(
            "html_url {html_url} is on another host than the issue that GITHUB_API_URL returned ({}); correct one of them",
            quoted(&snapshot.url)
        ))));
    }
    if snapshot.kind() != mapping.kind {
        return Ok(Err(MappingError::failed(format!(
            "{address} is a GitHub {}, but the mapping's kind is {}; correct kind or html_url",
            snapshot.kind().label(),
            mapping.kind.as_str()
        ))));
    }
    let answered_at = run.github.answered_at();
    let outdated = answered_at.and_then(|at| look::is_outdated(mapping, snapshot, at));
    if let Some(reason) = outdated {
        Subject::new(mapping, &claimed.item).log(Level::Info, format_args!("released: {reason}"));
        return Ok(Err(MappingError::postponed(reason)));
    }
    if look::has_new_id(mapping, snapshot) && !run.accepts_ids {
        let known = run.db.repository_id(&address.repository)?;
        if let Some(reason) = look::is_another(mapping, snapshot, known) {
            let reason = format!("{address} {reason}");
            return Ok(Err(MappingError::new(MappingErrorKind::Gone, reason)));
        }
    }
    Ok(Ok(snapshot.clone()))
}

/// Reads the rows and links that the plans depend on.
fn read_rows(run: &mut Run, observed: &mut Observed) -> Result<(), Stop> {
    let claimed = || observed.snapshots.iter().map(|(claimed, _)| claimed);
    let slice: Vec<MappingId> = claimed().map(|claimed| claimed.mapping.id).collect();
    let items: Vec<ItemId> = claimed().map(|claimed| claimed.item.id).collect();
    let github_ids: Vec<GithubId> = observed
        .snapshots
        .iter()
        .flat_map(|(_, snapshot)| github_ids(snapshot))
        .collect();
    let (rows, links) = run.db.related(run.id, &slice, &items, &github_ids)?;
    let decisions = read_decisions(run, &observed.snapshots)?;
    let items = claimed()
        .map(|claimed| (claimed.item.id, claimed.item.clone()))
        .collect();
    observed.records = Records {
        items,
        rows,
        links,
        decisions,
        objects: HashMap::new(),
    };
    Ok(())
}

/// Reads what people decided about the items of new close events.
fn read_decisions(
    run: &mut Run,
    snapshots: &[(Claimed, Snapshot)],
) -> Result<HashMap<ItemId, Decision>, Stop> {
    let mut since: HashMap<ItemId, DateTime<Utc>> = HashMap::new();
    for (Claimed { mapping, item }, snapshot) in snapshots {
        let closed_at = closed_at(snapshot).filter(|_| snapshot.state == State::Closed);
        if let Some(at) = closed_at.filter(|_| mapping.handled_closed_at != closed_at) {
            let earliest = since.entry(item.id).or_insert(at);
            *earliest = at.min(*earliest);
        }
    }
    match since.is_empty() || run.scope == Scope::WeaviateOnly {
        true => Ok(HashMap::new()),
        false => Ok(run.db.decisions(&since)?),
    }
}

/// Reads the state of each object of the slice. The states stay unknown if Weaviate cannot be
/// asked.
fn read_objects(run: &mut Run, observed: &mut Observed) -> Result<(), Stop> {
    let mut ids = Vec::with_capacity(2 * observed.snapshots.len());
    for (Claimed { mapping, item }, _) in &observed.snapshots {
        if mapping.kind == Kind::Issue {
            ids.push(item_key(item).uuid());
        }
        let own = mapping_key(mapping).uuid();
        if run.inserted.contains(&mapping.id) {
            observed.records.objects.insert(own, ObjectState::Missing);
        } else if mapping.id.is_stored() {
            ids.push(own);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    run.index.read_pause(&mut run.db)?;
    for (id, object) in run
        .index
        .object_states(&ids, &mut run.report)
        .unwrap_or_default()
    {
        observed.records.objects.insert(id, object.state);
        observed.vectors.insert(id, object.vectors);
    }
    run.index.store_pause(&mut run.db, run.access)
}

fn github_ids(snapshot: &Snapshot) -> Vec<GithubId> {
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

fn closed_at(snapshot: &Snapshot) -> Option<DateTime<Utc>> {
    match snapshot.details {
        Details::Issue { closed_at, .. } => closed_at,
        Details::PullRequest { .. } => None,
    }
}
