//! Makes reservations and objects agree: at the start, and every few minutes.
//!
//! A crash between a reservation and the object that holds it leaves one behind.
//! While others write, a reservation without a holder may only be younger than
//! its object, so it is given back when several looks have found it so; a holder
//! without a reservation gets it at once, as taking one that is there fails.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Pool, Reservation, free, reserve, service};
use crate::api::ApiError;
use crate::server::Server;
use crate::server::errors::storage_error;
use crate::storage::ListQuery;

/// How often, as kube-apiserver does.
const INTERVAL: Duration = Duration::from_secs(3 * 60);

/// Looks that must find a reservation without a holder, as in kube-apiserver.
const LOOKS: u32 = 3;

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    free: Vec<Reservation>,
    reserve: Vec<Reservation>,
}

/// Reservations without a holder, and how many looks have found each so.
type Suspects = BTreeMap<Reservation, u32>;

/// Repairs everything now; to be called while nothing else writes.
pub async fn repair(server: &Server) -> Result<(), ApiError> {
    look(server, &mut Suspects::new(), 1).await
}

/// Repairs again and again while others write; never returns.
pub async fn keep_repaired(server: &Server) {
    let mut suspects = Suspects::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        if let Err(error) = look(server, &mut suspects, LOOKS).await {
            tracing::warn!(%error, "allocations not looked at, trying again");
        }
    }
}

async fn look(server: &Server, suspects: &mut Suspects, looks: u32) -> Result<(), ApiError> {
    let Some(row) = server.table().get("", "v1", "services").cloned() else { return Ok(()) };
    // In this order: one whose object is written in between is found held.
    let mut reserved = BTreeSet::new();
    for pool in Pool::ALL {
        let listed = server.storage().list(pool.row(), &ListQuery::default()).await;
        let page = listed.map_err(|error| storage_error(pool.row(), "", error))?;
        let names = page.items.into_iter().map(|stored| stored.key.name.clone());
        reserved.extend(names.map(|name| Reservation { pool, name }));
    }
    let mut held = BTreeSet::new();
    let listed = server.storage().list(&row, &ListQuery::default()).await;
    for stored in listed.map_err(|error| storage_error(&row, "", error))?.items {
        held.extend(service::held(&stored.object()?));
    }
    let plan = plan(&reserved, &held, suspects, looks);
    for leaked in &plan.free {
        tracing::warn!(reservation = leaked.name, "an allocation had no holder");
        free(server, leaked).await;
    }
    for missing in &plan.reserve {
        // One that is there by now was made for an object younger than the first list.
        if reserve(server, missing).await? {
            tracing::warn!(reservation = missing.name, "a holder had no allocation");
        }
    }
    Ok(())
}

fn plan(
    reserved: &BTreeSet<Reservation>,
    held: &BTreeSet<Reservation>,
    suspects: &mut Suspects,
    looks: u32,
) -> Plan {
    suspects.retain(|known, _| reserved.contains(known) && !held.contains(known));
    let mut plan = Plan::default();
    for suspect in reserved.difference(held) {
        let seen = suspects.entry(suspect.clone()).or_default();
        *seen += 1;
        if *seen >= looks {
            suspects.remove(suspect);
            plan.free.push(suspect.clone());
        }
    }
    plan.reserve = held.difference(reserved).cloned().collect();
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(names: &[&str]) -> BTreeSet<Reservation> {
        let one = |name: &&str| Reservation { pool: Pool::ClusterIps, name: (*name).to_owned() };
        names.iter().map(one).collect()
    }

    fn names(reservations: &[Reservation]) -> Vec<&str> {
        reservations.iter().map(|reservation| reservation.name.as_str()).collect()
    }

    #[test]
    fn a_reservation_is_given_back_when_several_looks_found_no_holder() {
        let mut suspects = Suspects::new();
        let (reserved, held) = (all(&["a", "b"]), all(&["a"]));
        for _ in 1..LOOKS {
            assert_eq!(plan(&reserved, &held, &mut suspects, LOOKS), Plan::default());
        }
        assert_eq!(names(&plan(&reserved, &held, &mut suspects, LOOKS).free), ["b"]);
        assert!(suspects.is_empty());
    }

    #[test]
    fn one_whose_object_came_later_is_no_suspect_any_more() {
        let mut suspects = Suspects::new();
        let reserved = all(&["a"]);
        plan(&reserved, &all(&[]), &mut suspects, LOOKS);
        plan(&reserved, &all(&["a"]), &mut suspects, LOOKS);
        for _ in 1..LOOKS {
            assert!(plan(&reserved, &all(&[]), &mut suspects, LOOKS).free.is_empty());
        }
    }

    #[test]
    fn a_holder_without_a_reservation_gets_it_at_once() {
        let plan = plan(&all(&[]), &all(&["a"]), &mut Suspects::new(), LOOKS);
        assert_eq!(names(&plan.reserve), ["a"]);
    }
}
