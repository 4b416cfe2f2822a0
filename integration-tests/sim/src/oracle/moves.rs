//! I4: acknowledged moves survive.

use std::collections::BTreeMap;

use vipfence_coordinator_core::{Applied, Ask, AskError, Body, Cause, Outcome, Reply, Request};
use vipfence_types::{MoveId, RequestId, VipName};

use super::{
    Verdict,
    log::{Log, News},
    violated,
};
use crate::sometimes::Sometimes;

/// See the module.
#[derive(Default)]
pub(crate) struct Moves {
    /// Every move that was committed, and how it ended.
    all: BTreeMap<MoveId, Option<Outcome>>,
    /// What each request has started.
    started: BTreeMap<(VipName, RequestId), MoveId>,
}

impl Moves {
    /// I4: "a `request_id` is executed at most once."
    pub(crate) fn entry(&mut self, log: &Log, news: &News, sometimes: &mut Sometimes) -> Verdict {
        self.follow(log, sometimes);
        let Some((vip, request)) = request_of(&news.command.body) else { return Ok(()) };
        let (Some(id), Applied::Move(started)) = (&request.id, &news.applied) else {
            return Ok(());
        };
        let key = (vip.clone(), id.clone());
        match self.started.get(&key) {
            None => {
                self.started.insert(key, *started);
            }
            Some(first) if first == started => {
                sometimes.saw("an ask was repeated with its request id");
            }
            Some(first) => {
                let what = format!("request {id} of {vip} started {first} and {started}");
                return violated("I4", what);
            }
        }
        Ok(())
    }

    fn follow(&mut self, log: &Log, sometimes: &mut Sometimes) {
        for vip_log in log.registry.logs.values() {
            for one in vip_log.moves.iter().rev().take(2) {
                let known = self.all.insert(one.id, one.outcome);
                if known.is_none() && one.cause == Cause::HolderSilent {
                    sometimes.saw("a VIP failed over");
                }
                let was_open = known.is_none_or(|known| known.is_none());
                if was_open && matches!(one.outcome, Some(Outcome::Superseded(_))) {
                    sometimes.saw("a move is superseded");
                }
            }
        }
    }

    /// I4: "A move that was acknowledged": nothing is acknowledged before it is committed.
    pub(crate) fn acknowledged(
        &self,
        log: &Log,
        _ask: &Ask,
        answer: &Result<Reply, AskError>,
    ) -> Verdict {
        let Ok(Reply::Applied { index, applied }) = answer else {
            if answer.as_ref().is_err_and(crate::operator::is_reuse) {
                return violated("I4", "a repeated request is taken for another one".to_owned());
            }
            return Ok(());
        };
        if *index > log.index {
            let what = format!("entry {index} is acknowledged before it is committed");
            return violated("I4", what);
        }
        if let Applied::Move(id) = applied
            && !self.all.contains_key(id)
        {
            return violated("I4", format!("{id} is acknowledged and not in the log"));
        }
        Ok(())
    }

    /// I4: "A move that was acknowledged completes or is superseded by a later one, across any
    /// crash." Asked when faults are over and the cluster has come to rest.
    pub(crate) fn acknowledged_moves_survive<'a>(
        &self,
        log: &Log,
        acknowledged: impl Iterator<Item = (MoveId, Option<&'a VipName>)>,
    ) -> Verdict {
        for (id, vip) in acknowledged {
            match self.all.get(&id) {
                None => return violated("I4", format!("{id} was acknowledged and is lost")),
                Some(Some(_)) => {}
                Some(None) => {
                    let record = vip.and_then(|vip| log.registry.vip(vip));
                    // A record that is gone took its last move along.
                    if record.is_some_and(|record| record.open == Some(id)) {
                        return violated("I4", format!("{id} was acknowledged and never ended"));
                    }
                }
            }
        }
        Ok(())
    }
}

fn request_of(body: &Body) -> Option<(&VipName, &Request)> {
    match body {
        Body::CreateVip { vip, request, .. }
        | Body::SetIntent { vip, request, .. }
        | Body::StartMove { vip, request, .. } => Some((vip, request)),
        _ => None,
    }
}
