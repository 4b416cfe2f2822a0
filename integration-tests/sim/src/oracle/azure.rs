//! What happens in Azure: I2 (no stale write), I3 (nothing foreign), and of I8 the order of
//! detach, attach and report.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use azure_sim::{AdminCommand, JournalEvent};
use serde_json::Value;
use vipfence_coordinator_core::{AzureTrack, Body, Cause, GrantTrack, Method, Step};
use vipfence_types::{Mode, NicId, Revision, VipName};

use super::{
    Truth, Verdict,
    epochs::Epochs,
    log::{Log, News},
    violated,
};
use crate::{
    azure::request_id, process::HandedOver, sometimes::Sometimes, time::At, timeline::Timeline,
};

/// The name of our tag.
const OUR_TAG: &str = "vipfence";

/// A write of ours.
#[derive(Clone, Debug)]
struct Written {
    at: At,
    process: u64,
    /// It was a PATCH of tags.
    seals: bool,
    answered: bool,
}

/// See the module.
pub(crate) struct Azure {
    seq: u64,
    /// The NICs' documents as they were after the last request.
    documents: BTreeMap<String, Value>,
    /// Our writes, by the name that they have in Azure's journal.
    written: BTreeMap<String, Written>,
    /// When each address was last reported as held, and when an outsider touched it.
    held: BTreeMap<IpAddr, At>,
    touched: BTreeMap<IpAddr, At>,
    /// Every address that was ever ours.
    ours: BTreeSet<IpAddr>,
    /// Those of VIPs that were ever moved by force.
    forced: BTreeSet<IpAddr>,
    /// For each detach that was begun: the NICs that did not have the VIP's addresses at some time
    /// since then.
    clear: BTreeMap<VipName, BTreeMap<Revision, BTreeSet<NicId>>>,
    /// Which NIC an outsider wrote last.
    outside: BTreeSet<String>,
}

impl Azure {
    pub(crate) fn new(azure: &azure_sim::World) -> Self {
        let mut new = Self {
            seq: 0,
            documents: BTreeMap::new(),
            written: BTreeMap::new(),
            held: BTreeMap::new(),
            touched: BTreeMap::new(),
            ours: BTreeSet::new(),
            forced: BTreeSet::new(),
            clear: BTreeMap::new(),
            outside: BTreeSet::new(),
        };
        for nic in azure.config().nics.iter().map(|nic| nic.name.clone()) {
            new.take_document(azure, &nic);
        }
        new
    }

    fn take_document(&mut self, azure: &azure_sim::World, nic: &str) -> (Value, Value) {
        let now = azure.nic(nic).unwrap_or_default();
        let before = self.documents.insert(nic.to_owned(), now.clone()).unwrap_or_default();
        (before, now)
    }

    /// Somebody outside of the cluster does something to Azure.
    pub(crate) fn outsider(&mut self, command: &AdminCommand) {
        match command {
            AdminCommand::ThirdPartyAttach { nic, .. }
            | AdminCommand::ThirdPartyDetach { nic, .. }
            | AdminCommand::DeleteNic { nic } => {
                self.outside.insert(nic.clone());
            }
            _ => {}
        }
    }

    /// Revisions begin anew.
    pub(crate) fn log_is_lost(&mut self) {
        self.clear.clear();
    }

    pub(crate) fn process_ended(&mut self, process: u64, sometimes: &mut Sometimes) {
        if self.written.values().any(|write| write.process == process && !write.answered) {
            sometimes.saw("a leader is lost during an in-flight PUT");
        }
    }

    // ---- entries of the log -------------------------------------------------------------------

    pub(crate) fn entry(
        &mut self,
        truth: &Truth<'_>,
        log: &Log,
        news: &News,
        epochs: &Epochs,
        sometimes: &mut Sometimes,
    ) -> Verdict {
        let refused = matches!(news.applied, vipfence_coordinator_core::Applied::Refused(_));
        if refused {
            return Ok(());
        }
        for record in log.registry.vips.values() {
            self.ours.extend(record.spec.addresses.iter().map(|entry| entry.address));
        }
        match &news.command.body {
            Body::Step { vip, step, .. } => {
                self.step(truth, log, vip, step, epochs, sometimes)?;
            }
            Body::StartMove { vip, force: true, .. } => {
                let spec = log.registry.vip(vip).map(|record| &record.spec);
                let addresses = spec.into_iter().flat_map(|spec| &spec.addresses);
                self.forced.extend(addresses.map(|entry| entry.address));
            }
            Body::Drift { what: Some(_), .. } => sometimes.saw("drift is found"),
            Body::StartMove { cause: Cause::Drift, .. } => sometimes.saw("drift is put right"),
            Body::SetTiming { .. } => sometimes.saw("the timers are changed"),
            Body::SetIntent { .. } => sometimes.saw("a VIP is disabled, enabled or deleted"),
            Body::StartMove { cause: Cause::EpochRefused, .. } => {
                sometimes.saw("a node that returns has a later epoch");
            }
            Body::StartMove { cause: Cause::HolderUnhealthy, .. } => {
                sometimes.saw("a VIP leaves a node where it is not well");
            }
            Body::StartMove { cause: Cause::Failback, .. } => {
                sometimes.saw("a VIP goes back by itself");
            }
            Body::Pause { .. } => sometimes.saw("automatic moves are paused"),
            Body::Restrain { pending: Some(_), .. } => {
                sometimes.saw("a failover waits for somebody's word");
            }
            _ => {}
        }
        Ok(())
    }

    fn step(
        &mut self,
        truth: &Truth<'_>,
        log: &Log,
        vip: &VipName,
        step: &Step,
        epochs: &Epochs,
        sometimes: &mut Sometimes,
    ) -> Verdict {
        match step {
            Step::BeginDetach { .. } => {
                let begun = log.registry.revision;
                self.clear.entry(vip.clone()).or_default().insert(begun, BTreeSet::new());
                self.look_for_clear(log);
            }
            Step::Over { confirmed: true, .. } => sometimes.saw("a grant is over by confirmation"),
            Step::Over { confirmed: false, .. } => sometimes.saw("a grant is over by waiting"),
            Step::Grant { .. } => {
                let before = log.before.vip(vip).map(|record| record.grant.clone());
                if before.as_ref().is_some_and(|grant| matches!(grant, GrantTrack::Granted(_))) {
                    sometimes.saw("a node that returns has a later epoch");
                }
            }
            Step::Held { .. } => self.held_is_true(truth, log, vip, epochs)?,
            _ => {}
        }
        Ok(())
    }

    /// I8: "Held is reported only after the attach was read back at the target's NIC, later than our
    /// last write or seal there, and the add was reported from the target's kernel."
    fn held_is_true(
        &mut self,
        truth: &Truth<'_>,
        log: &Log,
        vip: &VipName,
        epochs: &Epochs,
    ) -> Verdict {
        let Some(record) = log.registry.vip(vip) else { return Ok(()) };
        let AzureTrack::Attached { at, .. } = &record.azure else {
            return violated("I8", format!("{vip} is held without being attached"));
        };
        if !epochs.was_added(record.epoch()) {
            let what = format!("{vip} is held at epoch {} and was never added", record.epoch());
            return violated("I8", what);
        }
        let lags = truth.azure.settings().data_plane_lag_ms > 0;
        let attachments = truth.azure.attachments().attachments;
        for place in at {
            // What an outsider did a moment ago can only be seen by the next read.
            let touched = self.touched.get(&place.address);
            let excused = touched.is_some_and(|at| *at + crate::time::secs(20) > truth.now);
            let there = attachments.get(&place.address);
            let routed = there.is_some_and(|nic| place.nic == NicId::new(nic));
            if !routed && !lags && !excused {
                let what = format!(
                    "{vip} is held on {} and Azure sends {} to {there:?}",
                    place.nic.name(),
                    place.address
                );
                return violated("I8", what);
            }
            self.held.insert(place.address, truth.now);
        }
        Ok(())
    }

    // ---- writes ---------------------------------------------------------------------------------

    /// I8: "No attach PUT is sent before Azure has *accepted* the detach PUT of the same VIP." And of
    /// I2: a NIC is in the committed set of exposed ones before any write to it is sent.
    pub(crate) fn handed_over(
        &mut self,
        truth: &Truth<'_>,
        process: u64,
        handed: &HandedOver,
    ) -> Verdict {
        let request = &handed.request;
        let mut records = handed.state.vips.values();
        if records.len() > 0 && records.all(|one| one.spec.mode == Mode::LoadBalancer) {
            let what = "a NIC is written, and no VIP has anything on one".to_owned();
            return violated("I3", what);
        }
        let name = request_id(process, request.id);
        let seals = request.method == Method::Patch;
        let written = Written { at: truth.now, process, seals, answered: false };
        self.written.insert(name, written);
        let path = request.path.split('?').next().unwrap_or_default();
        let nic = NicId::new(path);
        let before = self.documents.get(nic.name()).cloned().unwrap_or_default();
        let goal = request.body.as_ref().map(addresses_of);
        let now = addresses_of(&before);
        // One that was made from another document is refused by Azure, and changes nothing.
        let stale = request.headers.get("if-match").is_some_and(|etag| before["etag"] != *etag);
        let Some(goal) = goal.filter(|_| !seals && !stale) else { return Ok(()) };
        if let Some(body) =
            request.body.as_ref().filter(|body| primaries(body) != primaries(&before))
        {
            let (was, is) = (primaries(&before), primaries(body));
            let what = format!("a write to {} makes its primary {is:?}, was {was:?}", nic.name());
            return violated("I3", what);
        }
        for record in handed.state.vips.values() {
            for entry in &record.spec.addresses {
                let (puts, has) = (goal.contains(&entry.address), now.contains(&entry.address));
                if puts == has {
                    continue;
                }
                if record.spec.mode == Mode::LoadBalancer {
                    let (vip, nic) = (&record.name, nic.name());
                    let what = format!("{nic} is written for {vip}, behind a load balancer");
                    return violated("I3", what);
                }
                if !record.exposed.contains(&nic) {
                    let (vip, nic) = (&record.name, nic.name());
                    let what = format!("{nic} is written for {vip} before it is exposed");
                    return violated("I2", what);
                }
                if puts {
                    self.attach_follows_detach(record, &nic)?;
                }
            }
        }
        Ok(())
    }

    fn attach_follows_detach(
        &self,
        record: &vipfence_coordinator_core::VipRecord,
        nic: &NicId,
    ) -> Verdict {
        let AzureTrack::Attaching { from, .. } = &record.azure else {
            let vip = &record.name;
            return violated("I8", format!("{vip} is attached in {:?}", record.azure));
        };
        let nothing = BTreeSet::new();
        let detaches = self.clear.get(&record.name);
        // The last detach that the sender had seen when it decided this.
        let last = detaches.and_then(|all| all.range(..=record.azure_phase).next_back());
        let clear = last.map_or(&nothing, |(_, clear)| clear);
        for place in from.iter().filter(|place| place.nic != *nic) {
            if !clear.contains(&place.nic) {
                let (vip, from) = (&record.name, place.nic.name());
                let what = format!("the attach of {vip} is sent before {from} was detached");
                return violated("I8", what);
            }
        }
        Ok(())
    }

    /// Everything that Azure did since the last look.
    pub(crate) fn follow(
        &mut self,
        truth: &Truth<'_>,
        log: &Log,
        sometimes: &mut Sometimes,
        timeline: &mut Timeline,
    ) -> Verdict {
        if truth.azure.journal_seq() == self.seq {
            return Ok(());
        }
        let events: Vec<JournalEvent> =
            truth.azure.journal_after(self.seq).map(|entry| entry.event.clone()).collect();
        self.seq = truth.azure.journal_seq();
        for event in events {
            match event {
                JournalEvent::Write(call) => self.write(truth, log, &call, sometimes, timeline)?,
                JournalEvent::Completion { resource, status, error_code, .. } => {
                    let nic = name_of(&resource);
                    timeline.note(truth.now, || {
                        format!("Azure: the operation on {nic} has {status} {error_code:?}")
                    });
                    if status == "Failed" {
                        sometimes.saw("an operation was accepted and then failed");
                    }
                    self.take_document(truth.azure, &nic);
                }
                JournalEvent::DataPlane { changes, .. } => {
                    timeline.note(truth.now, || {
                        let told: Vec<String> = changes
                            .iter()
                            .map(|change| {
                                let nic = change.nic.as_deref().map_or("nobody", |nic| {
                                    nic.rsplit('/').next().unwrap_or_default()
                                });
                                format!("{} goes to {nic}", change.address)
                            })
                            .collect();
                        format!("Azure: {}", told.join(", "))
                    });
                }
                JournalEvent::Read(_) | JournalEvent::Fault { .. } => {}
                JournalEvent::Admin { .. } => {
                    for nic in self.documents.keys().cloned().collect::<Vec<_>>() {
                        self.take_document(truth.azure, &nic);
                    }
                }
            }
        }
        self.look_for_clear(log);
        Ok(())
    }

    fn write(
        &mut self,
        truth: &Truth<'_>,
        log: &Log,
        call: &azure_sim::Call,
        sometimes: &mut Sometimes,
        timeline: &mut Timeline,
    ) -> Verdict {
        let nic = name_of(&call.resource);
        timeline.note(truth.now, || {
            let by = call.principal.as_deref().unwrap_or("an outsider");
            let code = call.error_code.as_deref().unwrap_or("");
            let (added, removed) = (&call.added, &call.removed);
            let method = &call.method;
            format!("Azure: {method} {nic} by {by}: {} {code} +{added:?} -{removed:?}", call.status)
        });
        let (before, now) = self.take_document(truth.azure, &nic);
        let ours = call.client_request_id.as_ref().and_then(|id| self.written.get_mut(id));
        match call.status {
            412 => sometimes.saw("a stale PUT is refused with 412"),
            400 if call.error_code.as_deref() == Some("PrivateIPAddressIsAllocated") => {
                sometimes.saw("an attach is refused since the address is still allocated");
            }
            _ if matches!(
                call.error_code.as_deref(),
                Some("ScopeLocked" | "RequestDisallowedByPolicy")
            ) =>
            {
                sometimes.saw("a write is refused for good by a lock or a policy");
            }
            200..300 if call.if_match.as_ref().is_some_and(|etag| before["etag"] != **etag) => {
                sometimes.saw("a stale write changed a NIC without If-Match");
            }
            _ => {}
        }
        let Some(write) = ours else {
            self.touch(truth, call, sometimes);
            return Ok(());
        };
        write.answered = true;
        let write = write.clone();
        if call.status >= 300 {
            return Ok(());
        }
        if write.seals {
            sometimes.saw("a NIC is sealed");
        }
        if self.outside.contains(&nic) {
            sometimes.saw("a third party wrote a NIC that we wrote");
        }
        self.no_stale_write(truth, log, call, &write)?;
        self.nothing_foreign(log, &nic, &before, &now)
    }

    fn touch(&mut self, truth: &Truth<'_>, call: &azure_sim::Call, sometimes: &mut Sometimes) {
        for address in call.added.iter().chain(&call.removed) {
            if self.ours.contains(address) {
                sometimes.saw("a third party took the address");
            }
            self.touched.insert(*address, truth.now);
        }
    }

    /// I2: "Once a VIP has been reported as held, no write started before that report, by any leader
    /// (the same one included), changes where it is attached."
    fn no_stale_write(
        &self,
        truth: &Truth<'_>,
        log: &Log,
        call: &azure_sim::Call,
        write: &Written,
    ) -> Verdict {
        for address in call.added.iter().chain(&call.removed) {
            let Some(held) = self.held.get(address) else { continue };
            // §11 (b): an outsider's hand in between reopens it until the VIP is held again.
            let touched = self.touched.get(address).is_some_and(|touched| touched > held);
            // At rest nobody asks for it, whenever it was sent.
            let mut records = log.registry.vips.values();
            let rests = records.any(|record| {
                let mine = record.spec.addresses.iter().any(|entry| entry.address == *address);
                mine && record.is_held()
            });
            if (write.at < *held || rests) && !touched {
                let what = format!(
                    "a write sent at {} changes {address} on {} at {}, held since {held}",
                    write.at,
                    name_of(&call.resource),
                    truth.now
                );
                return violated("I2", what);
            }
        }
        Ok(())
    }

    /// I3: "A NIC write changes nothing but our own ipconfigs and our own tag; unknown JSON fields
    /// keep their meaning."
    fn nothing_foreign(&self, log: &Log, nic: &str, before: &Value, now: &Value) -> Verdict {
        let mut nics = log.registry.nodes.values().flat_map(|node| &node.nics);
        // "Our own = a secondary ipconfig with the VIP's address on a NIC of a member"; anywhere
        // else only `force` takes it.
        let ours = if nics.any(|known| known.id.name() == nic) { &self.ours } else { &self.forced };
        let (before, now) = (foreign_part(ours, before), foreign_part(ours, now));
        if before == now {
            return Ok(());
        }
        let changed = difference("", &before, &now).unwrap_or_default();
        violated("I3", format!("a write to {nic} changes {changed}"))
    }

    fn look_for_clear(&mut self, log: &Log) {
        for (vip, detaches) in &mut self.clear {
            let Some(mut last) = detaches.last_entry() else { continue };
            let clear = last.get_mut();
            let Some(record) = log.registry.vip(vip) else { continue };
            for place in record.azure.places() {
                let document = self.documents.get(place.nic.name());
                if document.is_none_or(|d| !addresses_of(d).contains(&place.address)) {
                    clear.insert(place.nic);
                }
            }
        }
    }
}

/// A NIC's document without what is ours, and without what Azure itself changes.
fn foreign_part(ours: &BTreeSet<IpAddr>, document: &Value) -> Value {
    let mut document = document.clone();
    strip(&mut document);
    if let Some(tags) = document.get_mut("tags").and_then(Value::as_object_mut) {
        tags.remove(OUR_TAG);
    }
    if document.get("tags").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty)
        && let Some(fields) = document.as_object_mut()
    {
        fields.remove("tags");
    }
    let configs = document.pointer_mut("/properties/ipConfigurations");
    if let Some(configs) = configs.and_then(Value::as_array_mut) {
        let ours = |config: &Value| address_in(config).is_some_and(|one| ours.contains(&one));
        configs.retain(|config| is_primary(config) || !ours(config));
    }
    document
}

/// The first place where two documents differ.
fn difference(path: &str, before: &Value, now: &Value) -> Option<String> {
    let (Value::Object(one), Value::Object(other)) = (before, now) else {
        return (before != now).then(|| format!("{path} from {before} to {now}"));
    };
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    keys.into_iter().find_map(|key| {
        let of = |fields: &serde_json::Map<_, _>| fields.get(key).cloned().unwrap_or_default();
        difference(&format!("{path}/{key}"), &of(one), &of(other))
    })
}

fn is_primary(config: &Value) -> bool {
    config.pointer("/properties/primary") == Some(&Value::Bool(true))
}

/// The primary ipConfigurations of a NIC's document, by name and address.
fn primaries(document: &Value) -> Vec<(Option<&Value>, Option<IpAddr>)> {
    let configs = document.pointer("/properties/ipConfigurations").and_then(Value::as_array);
    let primary = configs.into_iter().flatten().filter(|config| is_primary(config));
    primary.map(|config| (config.get("name"), address_in(config))).collect()
}

/// Everything that Azure itself changes with a write.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("etag");
            fields.remove("provisioningState");
            fields.values_mut().for_each(strip);
        }
        Value::Array(values) => values.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The NIC's name in the documents: as it was configured, without regard to case.
fn name_of(resource: &str) -> String {
    let mut parts =
        resource.split('/').skip_while(|part| !part.eq_ignore_ascii_case("networkInterfaces"));
    parts.nth(1).unwrap_or(resource).to_ascii_lowercase()
}

/// The addresses of a NIC's document.
pub(crate) fn addresses_of(document: &Value) -> BTreeSet<IpAddr> {
    let configs = document.pointer("/properties/ipConfigurations");
    configs.and_then(Value::as_array).into_iter().flatten().filter_map(address_in).collect()
}

fn address_in(config: &Value) -> Option<IpAddr> {
    config.pointer("/properties/privateIPAddress")?.as_str()?.parse().ok()
}
