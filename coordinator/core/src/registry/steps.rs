//! The steps of a move, and the two rules that tie its tracks.
//!
//! Rule 1: the new grant is given only when the old one is over (I1, I8). Rule 2: Held is reported
//! only when both tracks have arrived (I8). Exposed NICs are added before a write, and taken out
//! only where Held is reported or a detach begins (I2).

use std::{collections::BTreeSet, sync::Arc};

use vipfence_types::{Epoch, MoveId, Mutation, NicId, Revision, VipName};

use super::{
    Applied, AzureTrack, Entry, EventKind, GrantTrack, Granted, Intent, Outcome, Place, Refused,
    Registry, Step, VipRecord,
};

/// A step that was applied, for the history.
struct Told {
    kind: Option<EventKind>,
    epoch: Epoch,
    message: String,
}

impl Told {
    fn new(kind: EventKind, epoch: Epoch, message: String) -> Self {
        Self { kind: Some(kind), epoch, message }
    }
    fn nothing() -> Self {
        Self { kind: None, epoch: Epoch(0), message: String::new() }
    }
}

impl Registry {
    /// Applies one step, if the VIP's phase is still the one on which it was decided.
    pub(crate) fn step(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        phase: Revision,
        step: &Step,
    ) -> Result<Applied, Refused> {
        let known = self.vips.get(vip).ok_or_else(|| Refused::VipNotFound(vip.clone()))?;
        let unread = Mutation::OverWithoutRevision.is_on() && matches!(step, Step::Over { .. });
        if known.phase != phase && !unread {
            return Err(Refused::Stale);
        }
        let mut next = known.as_ref().clone();
        let (known_azure, known_target) = (known.azure.clone(), known.target.clone());
        next.phase = entry.revision;
        next.revision = entry.revision;
        let told = self.take(entry, &mut next, step)?;
        if next.azure != known_azure || next.target != known_target {
            next.azure_phase = entry.revision;
        }
        let node = next.holder().or(next.target.as_ref()).cloned();
        let deleted = matches!(step, Step::Ended { .. }) && next.intent == Intent::Deleted;
        self.vips.insert(vip.clone(), Arc::new(next));
        if let Some(kind) = told.kind {
            self.record(entry, kind, Some(vip), node, told.epoch, told.message);
        }
        if matches!(step, Step::Held { .. } | Step::Ended { .. }) {
            self.finish(entry, vip);
            self.set_drift(entry, vip, None);
        }
        self.show_phase(entry, vip);
        if deleted {
            self.remove_vip(entry, vip);
            let message = format!("VIP {vip} is gone");
            self.record(entry, EventKind::VipDeleted, Some(vip), None, Epoch(0), message);
        }
        Ok(Applied::Done)
    }

    fn take(
        &mut self,
        entry: Entry<'_>,
        next: &mut VipRecord,
        step: &Step,
    ) -> Result<Told, Refused> {
        match step {
            Step::Target { node } => {
                self.check_may_hold(next, node)?;
                let open = open_of(next)?;
                if next.target.is_some() || next.intent != Intent::Held {
                    return Err(Refused::Misfit("it needs no target".to_owned()));
                }
                next.target = Some(node.clone());
                self.edit_move(entry, &next.name, open, |known| known.to_node = Some(node.clone()));
                Ok(Told::nothing())
            }
            Step::BeginDetach { from, found, cleared } => {
                open_of(next)?;
                next.exposed.retain(|nic| !cleared.contains(nic));
                if !Mutation::NotExposedBeforeWrite.is_on() {
                    next.exposed.extend(from.iter().map(|place| place.nic.clone()));
                }
                next.found.extend(found.clone());
                next.azure = AzureTrack::Detaching { from: from.clone() };
                let nics = nic_names(from.iter().map(|place| &place.nic));
                let message = format!("detaching VIP {} from {nics}", next.name);
                Ok(Told::new(EventKind::Detaching, next.epoch(), message))
            }
            Step::BeginAttach { node, to, found } => {
                open_of(next)?;
                if next.target.as_ref() != Some(node) {
                    return Err(Refused::Misfit(format!("{node} is not the target")));
                }
                no_detach_skipped(&next.azure, to)?;
                let mut from = next.azure.places();
                from.retain(|place| !to.contains(place));
                next.exposed.extend(to.iter().map(|place| place.nic.clone()));
                next.found.extend(found.clone());
                next.azure = AzureTrack::Attaching { node: node.clone(), to: to.clone(), from };
                let nics = nic_names(to.iter().map(|place| &place.nic));
                let message = format!("attaching VIP {} to {nics}", next.name);
                Ok(Told::new(EventKind::Attaching, next.epoch(), message))
            }
            Step::Attached => attached(next).map(|()| Told::nothing()),
            Step::Detached => {
                if !matches!(next.azure, AzureTrack::Detaching { .. }) {
                    return Err(Refused::Misfit("nothing is being detached".to_owned()));
                }
                next.azure = AzureTrack::Detached;
                Ok(Told::nothing())
            }
            Step::Release { epoch } => release(next, *epoch),
            Step::Expire { epoch } => expire(next, *epoch),
            Step::Over { epoch, confirmed } => over(next, *epoch, *confirmed),
            Step::Grant { node, floor } => self.grant(entry, next, node, *floor),
            Step::Held { epoch, cleared } => held(entry, next, *epoch, cleared),
            Step::Ended { cleared } => ended(next, cleared),
        }
    }

    /// Rule 1. A node that still has the grant only gets a new epoch; any other node waits until
    /// the old grant is over.
    fn grant(
        &mut self,
        entry: Entry<'_>,
        next: &mut VipRecord,
        node: &vipfence_types::NodeId,
        floor: Epoch,
    ) -> Result<Told, Refused> {
        let open = open_of(next)?;
        if next.target.as_ref() != Some(node) {
            return Err(Refused::Misfit(format!("{node} is not the target")));
        }
        let before = next.grant.grant().cloned();
        if before.as_ref().is_some_and(|grant| grant.node != *node) {
            return Err(Refused::Misfit("the old grant is not over".to_owned()));
        }
        let lease_ttl_ms =
            before.as_ref().map_or(0, |grant| grant.lease_ttl_ms).max(self.timing.lease_ttl_ms);
        let epoch = match &before {
            Some(grant) if Mutation::SameEpochOnReturn.is_on() => grant.epoch,
            Some(_) | None => self.epoch.max(floor).next(),
        };
        // I5 rather than a grant, should a node ever report the last epoch there is.
        let returns = Mutation::SameEpochOnReturn.is_on() && before.is_some();
        if (epoch == floor || epoch == self.epoch) && !returns {
            return Err(Refused::Misfit("no epoch is left".to_owned()));
        }
        self.epoch = epoch;
        next.grant = GrantTrack::Granted(Granted { node: node.clone(), epoch, lease_ttl_ms });
        self.edit_move(entry, &next.name, open, |known| known.epoch = epoch);
        let message = format!("VIP {} granted to {node} at epoch {epoch}", next.name);
        Ok(Told::new(EventKind::Granted, epoch, message))
    }

    /// Ends the move that a step completed.
    fn finish(&mut self, entry: Entry<'_>, vip: &VipName) {
        let Some(open) = self.vips.get(vip).and_then(|record| record.open) else {
            return;
        };
        self.end_move(entry, vip, Outcome::Done);
        if let Some(record) = self.vips.get_mut(vip) {
            Arc::make_mut(record).open = None;
        }
        let node = self.vips.get(vip).and_then(|record| record.target.clone());
        let epoch = self.vips.get(vip).map_or(Epoch(0), |record| record.epoch());
        let message = format!("{open} of VIP {vip} is done");
        self.record(entry, EventKind::MoveDone, Some(vip), node, epoch, message);
    }
}

fn open_of(next: &VipRecord) -> Result<MoveId, Refused> {
    next.open.ok_or_else(|| Refused::Misfit("no move is open".to_owned()))
}

fn nic_names<'a>(nics: impl Iterator<Item = &'a NicId>) -> String {
    let names: BTreeSet<&str> = nics.map(NicId::name).collect();
    if names.is_empty() {
        return "no NIC".to_owned();
    }
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// I8: what was put on another NIC is taken off before it is put on these.
fn no_detach_skipped(azure: &AzureTrack, to: &BTreeSet<Place>) -> Result<(), Refused> {
    let put_on = match azure {
        AzureTrack::Detached | AzureTrack::Detaching { .. } => return Ok(()),
        AzureTrack::Attaching { to, .. } => to,
        AzureTrack::Attached { at, .. } => at,
    };
    match put_on.difference(to).next() {
        None => Ok(()),
        Some(place) => Err(Refused::Misfit(format!("{} is not detached", place.nic.name()))),
    }
}

fn attached(next: &mut VipRecord) -> Result<(), Refused> {
    match &next.azure {
        AzureTrack::Attaching { node, to, .. } => {
            next.azure = AzureTrack::Attached { node: node.clone(), at: to.clone() };
            Ok(())
        }
        AzureTrack::Attached { .. } => Ok(()),
        AzureTrack::Detached | AzureTrack::Detaching { .. } => {
            Err(Refused::Misfit("nothing is being attached".to_owned()))
        }
    }
}

fn release(next: &mut VipRecord, epoch: Epoch) -> Result<Told, Refused> {
    open_of(next)?;
    let GrantTrack::Granted(grant) = &next.grant else {
        return Err(Refused::Misfit("nothing is granted".to_owned()));
    };
    same_epoch(grant, epoch)?;
    let message = format!("{} is asked to release VIP {}", grant.node, next.name);
    next.grant = GrantTrack::Releasing(grant.clone());
    Ok(Told::new(EventKind::Releasing, epoch, message))
}

fn expire(next: &mut VipRecord, epoch: Epoch) -> Result<Told, Refused> {
    open_of(next)?;
    let (GrantTrack::Granted(grant) | GrantTrack::Releasing(grant)) = &next.grant else {
        return Err(Refused::Misfit("nothing is granted".to_owned()));
    };
    same_epoch(grant, epoch)?;
    let message = format!("the grant of VIP {} to {} is left to expire", next.name, grant.node);
    next.grant = GrantTrack::Expiring(grant.clone());
    Ok(Told::new(EventKind::Expiring, epoch, message))
}

fn over(next: &mut VipRecord, epoch: Epoch, confirmed: bool) -> Result<Told, Refused> {
    let grant = match &next.grant {
        GrantTrack::Releasing(grant) if confirmed => grant,
        GrantTrack::Expiring(grant) => grant,
        GrantTrack::Over | GrantTrack::Granted(_) | GrantTrack::Releasing(_) => {
            return Err(Refused::Misfit("no grant is ending".to_owned()));
        }
    };
    same_epoch(grant, epoch)?;
    let message = if confirmed {
        format!("{} has released VIP {}", grant.node, next.name)
    } else {
        format!("the lease of {} on VIP {} has ended", grant.node, next.name)
    };
    next.grant = GrantTrack::Over;
    Ok(Told::new(EventKind::GrantOver, epoch, message))
}

/// Rule 2, and the exposure of the NIC on which the VIP now stands (I2).
fn held(
    entry: Entry<'_>,
    next: &mut VipRecord,
    epoch: Epoch,
    cleared: &BTreeSet<NicId>,
) -> Result<Told, Refused> {
    open_of(next)?;
    let GrantTrack::Granted(grant) = next.grant.clone() else {
        return Err(Refused::Misfit("nothing is granted".to_owned()));
    };
    same_epoch(&grant, epoch)?;
    attached(next)?;
    let (AzureTrack::Attached { node, at }, Some(target)) = (&next.azure, &next.target) else {
        return Err(Refused::Misfit("it is not attached".to_owned()));
    };
    if *node != grant.node || *node != *target {
        return Err(Refused::Misfit("the tracks have not met".to_owned()));
    }
    if let Some(place) = at.iter().find(|place| !cleared.contains(&place.nic)) {
        return Err(Refused::Misfit(format!("{} is exposed", place.nic.name())));
    }
    next.exposed.retain(|nic| !cleared.contains(nic));
    next.held_since_ms = Some(entry.at_ms);
    let message = format!("VIP {} is held by {node} at epoch {epoch}", next.name);
    Ok(Told::new(EventKind::Held, epoch, message))
}

fn ended(next: &mut VipRecord, cleared: &BTreeSet<NicId>) -> Result<Told, Refused> {
    open_of(next)?;
    if next.intent == Intent::Held {
        return Err(Refused::Misfit("it is to be held".to_owned()));
    }
    if next.grant != GrantTrack::Over || next.azure != AzureTrack::Detached {
        return Err(Refused::Misfit("it is still granted or attached".to_owned()));
    }
    next.exposed.retain(|nic| !cleared.contains(nic));
    // An old write could put the address back, or hit a new VIP of this address.
    if !next.exposed.is_empty() {
        let nics = nic_names(next.exposed.iter());
        return Err(Refused::Misfit(format!("{nics} is exposed")));
    }
    next.target = None;
    next.held_since_ms = None;
    let message = format!("VIP {} is held by nobody, as asked for", next.name);
    Ok(Told::new(EventKind::Detached, Epoch(0), message))
}

fn same_epoch(grant: &Granted, epoch: Epoch) -> Result<(), Refused> {
    if grant.epoch == epoch { Ok(()) } else { Err(Refused::Stale) }
}
