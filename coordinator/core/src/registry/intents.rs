//! What callers and the leader ask for: define, change, enable, disable, delete, move.
//!
//! Each is checked whole before anything changes. Deleting and disabling are moves too: the record
//! changes only after the grant is over and the address detached (H9).

use std::sync::Arc;

use vipfence_types::{Epoch, MoveId, Mutation, NodeId, VipName, VipSpec};

use super::{
    Applied, AzureTrack, Cause, Entry, EventKind, Expect, GrantTrack, Intent, MAX_VIPS, Outcome,
    Refused, Registry, Request, VipRecord, history::NewMove, record::RECORD_FORMAT,
};

/// A move as asked for.
pub(crate) struct MoveAsk {
    pub(crate) to: Option<NodeId>,
    pub(crate) cause: Cause,
    pub(crate) force: bool,
}

impl Registry {
    pub(crate) fn create_vip(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        spec: &VipSpec,
        enabled: bool,
        to: Option<&NodeId>,
        request: &Request,
    ) -> Result<Applied, Refused> {
        if let Some(answer) = self.earlier(vip, request)? {
            return Ok(answer);
        }
        if let Some(known) = self.vips.get(vip) {
            return Err(match known.intent {
                Intent::Deleted => Refused::VipDeleting(vip.clone()),
                Intent::Held | Intent::Disabled => Refused::VipExists(vip.clone()),
            });
        }
        if self.vips.len() >= MAX_VIPS {
            return Err(Refused::TooManyVips(MAX_VIPS));
        }
        self.check_spec(spec)?;
        self.check_addresses_free(spec)?;
        self.check_probe_free(spec)?;
        let record = VipRecord {
            format: RECORD_FORMAT,
            name: vip.clone(),
            spec: spec.clone(),
            intent: if enabled { Intent::Held } else { Intent::Disabled },
            revision: entry.revision,
            phase: entry.revision,
            azure_phase: entry.revision,
            grant: GrantTrack::Over,
            azure: AzureTrack::Detached,
            target: None,
            open: None,
            exposed: std::collections::BTreeSet::new(),
            found: std::collections::BTreeMap::new(),
            held_since_ms: None,
            drift: None,
            reached: None,
            restraint: super::Restraint::default(),
        };
        if let Some(node) = to {
            self.check_may_hold(&record, node)?;
        }
        self.vips.insert(vip.clone(), Arc::new(record));
        let message = format!("VIP {vip} defined by {}", request.caller);
        self.record(entry, EventKind::VipCreated, Some(vip), None, Epoch(0), message);
        let id = enabled.then(|| {
            let ask = MoveAsk { to: to.cloned(), cause: Cause::Created, force: false };
            self.open(entry, vip, &ask, request)
        });
        self.remember(vip, request, id);
        Ok(id.map_or(Applied::Done, Applied::Move))
    }

    pub(crate) fn update_vip(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        spec: &VipSpec,
        request: &Request,
    ) -> Result<Applied, Refused> {
        if let Some(answer) = self.earlier(vip, request)? {
            return Ok(answer);
        }
        let known = self.living(vip)?;
        let identity = |spec: &VipSpec| (spec.addresses.clone(), spec.mode, spec.probe.clone());
        if identity(&known.spec) != identity(spec) {
            return Err(Refused::InvalidSpec(vipfence_types::InvalidSpec {
                field: "spec.addresses".to_owned(),
                problem: "addresses, mode and probe are not changed in place: delete the VIP and \
                          create it anew"
                    .to_owned(),
            }));
        }
        self.check_spec(spec)?;
        if let Some(record) = self.vips.get_mut(vip) {
            let record = Arc::make_mut(record);
            record.spec = spec.clone();
            record.revision = entry.revision;
        }
        let message = format!("VIP {vip} changed by {}", request.caller);
        self.record(entry, EventKind::VipUpdated, Some(vip), None, Epoch(0), message);
        self.remember(vip, request, None);
        Ok(Applied::Done)
    }

    pub(crate) fn set_intent(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        intent: Intent,
        to: Option<&NodeId>,
        request: &Request,
    ) -> Result<Applied, Refused> {
        if let Some(answer) = self.earlier(vip, request)? {
            return Ok(answer);
        }
        let known = self.vips.get(vip).ok_or_else(|| Refused::VipNotFound(vip.clone()))?;
        if known.intent == Intent::Deleted && intent != Intent::Deleted {
            return Err(Refused::VipDeleting(vip.clone()));
        }
        let to = to.filter(|_| intent == Intent::Held);
        if let Some(node) = to {
            self.check_may_hold(known, node)?;
        }
        let cause = match intent {
            Intent::Held => Cause::Enabled,
            Intent::Disabled => Cause::Disabled,
            Intent::Deleted => Cause::Deleted,
        };
        let id = if known.intent == intent {
            match known.open {
                Some(open) => open,
                None => self.nothing_to_do(entry, vip, cause, request),
            }
        } else {
            if let Some(record) = self.vips.get_mut(vip) {
                Arc::make_mut(record).intent = intent;
            }
            let ask = MoveAsk { to: to.cloned(), cause, force: false };
            self.open(entry, vip, &ask, request)
        };
        self.remember(vip, request, Some(id));
        Ok(Applied::Move(id))
    }

    pub(crate) fn start_move(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        ask: &MoveAsk,
        expect: &Expect,
        request: &Request,
    ) -> Result<Applied, Refused> {
        if let Some(answer) = self.earlier(vip, request)? {
            return Ok(answer);
        }
        let known = self.living(vip)?;
        // What somebody else attached is taken off a disabled VIP, too.
        if known.intent == Intent::Disabled && ask.cause != Cause::Drift {
            return Err(Refused::VipDisabled(vip.clone()));
        }
        if expect.holder.is_some() && known.holder() != expect.holder.as_ref() {
            let actual = known.holder().cloned();
            return Err(Refused::HolderMismatch { vip: vip.clone(), actual });
        }
        if expect.epoch.is_some_and(|epoch| epoch != known.epoch()) {
            return Err(Refused::EpochMismatch { vip: vip.clone(), actual: known.epoch() });
        }
        if expect.phase.is_some_and(|phase| phase != known.phase) {
            return Err(Refused::Stale);
        }
        if let Some(node) = &ask.to {
            self.check_may_hold(known, node)?;
        }
        let asked = ask.cause == Cause::Request;
        let same_target = ask.to.is_some() && known.target == ask.to;
        // A caller who now asks with force is not answered by a move without.
        let as_forced = !ask.force || self.open_move(vip).is_some_and(|open| open.force);
        let id = match known.open {
            Some(open) if asked && same_target && as_forced => open,
            None if asked && same_target && known.is_held() => {
                self.nothing_to_do(entry, vip, ask.cause, request)
            }
            Some(_) | None => self.open(entry, vip, ask, request),
        };
        self.remember(vip, request, Some(id));
        Ok(Applied::Move(id))
    }

    /// Opens a move, superseding the open one. Touches neither track: what a superseded move has
    /// begun is undone or used by the steps of this one.
    fn open(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        ask: &MoveAsk,
        request: &Request,
    ) -> MoveId {
        let new = NewMove { to: ask.to.as_ref(), cause: ask.cause, force: ask.force, request };
        let id = self.new_move(entry, vip, new);
        let superseded = self.vips.get(vip).and_then(|record| record.open);
        if let Some(old) = superseded {
            self.end_move(entry, vip, Outcome::Superseded(id));
            let message = format!("{old} superseded by {id}");
            self.record(entry, EventKind::MoveSuperseded, Some(vip), None, Epoch(0), message);
        }
        if let Some(record) = self.vips.get_mut(vip) {
            let record = Arc::make_mut(record);
            record.target.clone_from(&ask.to);
            record.open = Some(id);
            record.restraint.move_begins(entry, ask.cause, record.spec.flap_budget);
            if Mutation::ExposedClearedBySuperseding.is_on() && superseded.is_some() {
                record.exposed.clear();
            }
            record.revision = entry.revision;
            record.phase = entry.revision;
            record.azure_phase = entry.revision;
        }
        self.show_phase(entry, vip);
        let whither = ask.to.as_ref().map_or(String::new(), |node| format!(" to {node}"));
        let why = match ask.cause {
            Cause::Request => format!("asked for by {}", request.caller),
            Cause::Created => format!("the VIP was defined by {}", request.caller),
            Cause::Enabled => format!("the VIP was enabled by {}", request.caller),
            Cause::Disabled => format!("the VIP was disabled by {}", request.caller),
            Cause::Deleted => format!("the VIP is deleted by {}", request.caller),
            Cause::HolderSilent => "its node is silent".to_owned(),
            Cause::HolderStopping => "its holder is stopping".to_owned(),
            Cause::TargetFailed => "the target cannot take it".to_owned(),
            Cause::Drift => "Azure disagrees with what is committed".to_owned(),
            Cause::EpochRefused => "the holder cannot use its epoch".to_owned(),
            Cause::HolderUnhealthy => "it is not well at its holder".to_owned(),
            Cause::Failback => "a preferred candidate is well again".to_owned(),
        };
        let message = format!("{id} of VIP {vip}{whither} begins: {why}");
        self.record(entry, EventKind::MoveStarted, Some(vip), ask.to.clone(), Epoch(0), message);
        id
    }

    /// A move that has nothing to do, so that the answer has an id and can be repeated.
    fn nothing_to_do(
        &mut self,
        entry: Entry<'_>,
        vip: &VipName,
        cause: Cause,
        request: &Request,
    ) -> MoveId {
        let to = self.vips.get(vip).and_then(|record| record.target.clone());
        let new = NewMove { to: to.as_ref(), cause, force: false, request };
        let id = self.new_move(entry, vip, new);
        let epoch = self.vips.get(vip).map_or(Epoch(0), |record| record.epoch());
        self.edit_move(entry, vip, id, |known| {
            known.epoch = epoch;
            known.outcome = Some(Outcome::AlreadyHeld);
            known.ended_ms = Some(entry.at_ms);
        });
        id
    }

    pub(super) fn living(&self, vip: &VipName) -> Result<&VipRecord, Refused> {
        match self.vips.get(vip) {
            None => Err(Refused::VipNotFound(vip.clone())),
            Some(known) if known.intent == Intent::Deleted => {
                Err(Refused::VipDeleting(vip.clone()))
            }
            Some(known) => Ok(known),
        }
    }

    fn check_spec(&self, spec: &VipSpec) -> Result<(), Refused> {
        spec.check().map_err(Refused::InvalidSpec)?;
        for node in spec.candidates.keys() {
            self.check_role(node)?;
        }
        Ok(())
    }

    /// I5: an address is in at most one VIP record, those being deleted included.
    fn check_addresses_free(&self, spec: &VipSpec) -> Result<(), Refused> {
        for entry in &spec.addresses {
            let taken = self.vips.values().find(|other| {
                other.spec.addresses.iter().any(|theirs| theirs.address == entry.address)
            });
            if let Some(other) = taken.filter(|_| !Mutation::AddressInTwoRecords.is_on()) {
                let vip = other.name.clone();
                return Err(Refused::AddressTaken { address: entry.address, vip });
            }
        }
        Ok(())
    }

    /// Two VIPs behind one probe port could not be on two nodes.
    fn check_probe_free(&self, spec: &VipSpec) -> Result<(), Refused> {
        let Some(probe) = &spec.probe else { return Ok(()) };
        let port_of = |other: &VipSpec| other.probe.as_ref().map(|probe| probe.port);
        let taken = |other: &&Arc<VipRecord>| port_of(&other.spec) == Some(probe.port);
        match self.vips.values().find(taken) {
            None => Ok(()),
            Some(other) => Err(Refused::InvalidSpec(vipfence_types::InvalidSpec {
                field: "probe.port".to_owned(),
                problem: format!(
                    "VIP \"{}\" answers the probe of port {}; give each VIP a probe of its own",
                    other.name, probe.port
                ),
            })),
        }
    }

    fn check_role(&self, node: &NodeId) -> Result<(), Refused> {
        match self.nodes.get(node) {
            None => Err(Refused::NodeNotFound(node.clone())),
            Some(record) if !record.role.may_hold() => Err(Refused::NodeIsWitness(node.clone())),
            Some(_) => Ok(()),
        }
    }

    /// A witness never holds; others must be candidates.
    pub(crate) fn check_may_hold(&self, vip: &VipRecord, node: &NodeId) -> Result<(), Refused> {
        self.check_role(node)?;
        if vip.spec.is_candidate(node) {
            Ok(())
        } else {
            Err(Refused::NotACandidate { node: node.clone(), vip: vip.name.clone() })
        }
    }
}
