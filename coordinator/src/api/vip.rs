//! `VipService`.

use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, transport::Channel};
use vipfence_coordinator_core::{
    Applied, Ask, AskError, Expect, Intent, Move, Registry, Reply, Request as Asked, VipRecord,
};
use vipfence_proto::v1::{
    self, vip_service_client::VipServiceClient, vip_service_server::VipService,
};
use vipfence_types::{Epoch, MoveId, RequestId, Revision, VipName};

use super::{Api, convert, errors, forward::Call, read::View};

const MAX_PAGE: usize = 1_000;
const MOVES_PAGE: usize = 100;
/// Messages of a stream that wait for a slow client before it is cut off.
const STREAM_BUFFER: usize = 64;

type Streaming<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn client(channel: Channel) -> VipServiceClient<Channel> {
    VipServiceClient::new(channel)
}

/// Forwards a call to the leader, or handles it here.
macro_rules! at_leader {
    ($api:expr, $call:expr, $id:expr, $message:expr, $method:ident, $here:expr) => {
        $api.at_leader(
            &$call,
            $id,
            || $here,
            |channel| {
                let request = $call.pass_on($message.clone());
                async move { client(channel).$method(request).await.map(Response::into_inner) }
            },
        )
        .await
    };
}

/// Gives a request an id if the caller gave none, and says what it asks for without the id.
macro_rules! identify {
    ($method:literal, $call:expr, $message:ident) => {{
        let id = convert::request_id(&$message.request_id)?;
        $message.request_id.clear();
        let asked = convert::request($method, &id, &$message, &$call.caller);
        $message.request_id = id.to_string();
        (id, asked)
    }};
}

impl Api {
    /// Asks the machine; the state is the one in which it was applied.
    async fn ask(&self, ask: Ask, id: &RequestId) -> Result<(Arc<Registry>, Applied), Status> {
        match self.driver.ask(ask).await {
            Ok(Reply::Applied { index, applied }) => Ok((self.applied_up_to(index).await, applied)),
            Ok(Reply::Plan(_) | Reply::View(_)) => Err(Status::internal("not applied")),
            Err(error) => Err(errors::from_ask(&error, Some(id))),
        }
    }

    /// Asks for something that may be repeated without harm, so that it needs no request id.
    pub(super) async fn ask_plainly(&self, ask: Ask) -> Result<Arc<Registry>, Status> {
        match self.driver.ask(ask).await {
            Ok(Reply::Applied { index, .. }) => Ok(self.applied_up_to(index).await),
            Ok(Reply::Plan(_) | Reply::View(_)) => Err(Status::internal("not applied")),
            Err(AskError::OutcomeUnknown) => Err(errors::no_leader()),
            Err(error) => Err(errors::from_ask(&error, None)),
        }
    }

    /// Asks for something that is answered by a move.
    async fn ask_move(&self, ask: Ask, id: &RequestId) -> Result<v1::Move, Status> {
        let (state, applied) = self.ask(ask, id).await?;
        match applied {
            Applied::Move(number) => find_move(&state, number).map(|m| convert::move_message(&m)),
            Applied::Done | Applied::Refused(_) => Err(Status::internal("no move was made")),
        }
    }

    async fn move_vip_here(
        &self,
        message: &v1::MoveVipRequest,
        id: &RequestId,
        asked: Asked,
    ) -> Result<v1::Move, Status> {
        let vip = convert::vip_name("vip", &message.vip)?;
        let expect = Expect {
            holder: convert::node_name("expected_holder", &message.expected_holder)?,
            epoch: (message.expected_epoch != 0).then_some(Epoch(message.expected_epoch)),
            phase: None,
        };
        let ask = Ask::MoveVip {
            vip: vip.clone(),
            to: convert::node_name("target_node", &message.target_node)?,
            expect,
            dry_run: message.dry_run,
            force: message.force,
            request: asked,
        };
        if !message.dry_run {
            return self.ask_move(ask, id).await;
        }
        match self.driver.ask(ask).await {
            Ok(Reply::Plan(plan)) => Ok(convert::plan_message(&vip, &plan)),
            Ok(Reply::Applied { .. } | Reply::View(_)) => Err(Status::internal("not a plan")),
            Err(error) => Err(errors::from_ask(&error, Some(id))),
        }
    }

    async fn confirm_here(
        &self,
        message: &v1::ConfirmFailoverRequest,
        by: &str,
    ) -> Result<v1::Vip, Status> {
        let vip = convert::vip_name("vip", &message.vip)?;
        let ask = Ask::Confirm { vip: vip.clone(), go: !message.decline, by: by.to_owned() };
        let state = self.ask_plainly(ask).await?;
        seen_vip(&state, &self.view().await?, &vip)
    }

    async fn set_intent_here(
        &self,
        name: &str,
        intent: Intent,
        id: &RequestId,
        asked: Asked,
    ) -> Result<v1::Move, Status> {
        let vip = convert::vip_name("name", name)?;
        self.ask_move(Ask::SetIntent { vip, intent, request: asked }, id).await
    }

    async fn create_here(
        &self,
        message: &v1::CreateVipRequest,
        id: &RequestId,
        asked: Asked,
    ) -> Result<v1::Vip, Status> {
        let vip = convert::vip_name("name", &message.name)?;
        let ask = Ask::CreateVip {
            vip: vip.clone(),
            spec: convert::spec(message.spec.as_ref())?,
            enabled: !message.disabled,
            to: convert::node_name("target_node", &message.target_node)?,
            request: asked,
        };
        let (state, _) = self.ask(ask, id).await?;
        find_vip(&state, &vip)
    }

    async fn update_here(
        &self,
        message: &v1::UpdateVipRequest,
        id: &RequestId,
        asked: Asked,
    ) -> Result<v1::Vip, Status> {
        let vip = convert::vip_name("name", &message.name)?;
        let spec = convert::spec(message.spec.as_ref())?;
        let ask = Ask::UpdateVip { vip: vip.clone(), spec, request: asked };
        let (state, _) = self.ask(ask, id).await?;
        find_vip(&state, &vip)
    }
}

/// A VIP as the leader shows it: with where it is not well.
fn seen_vip(state: &Registry, view: &View, vip: &VipName) -> Result<v1::Vip, Status> {
    let health = convert::health(view, vip);
    Ok(v1::Vip { health, ..find_vip(state, vip)? })
}

fn find_vip(state: &Registry, vip: &VipName) -> Result<v1::Vip, Status> {
    let record = state.vip(vip).ok_or_else(|| errors::vip_not_found(vip.as_str()))?;
    Ok(convert::vip_message(state, record))
}

fn find_move(state: &Registry, id: MoveId) -> Result<Arc<Move>, Status> {
    state.find_move(id).cloned().ok_or_else(|| errors::move_not_found(&id.to_string()))
}

pub(super) fn move_id(text: &str) -> Result<MoveId, Status> {
    MoveId::parse(text).ok_or_else(|| {
        let problem = format!("\"{text}\" is not a move id; it looks like move-12");
        errors::invalid("INVALID_MOVE_ID", "id", problem)
    })
}

pub(super) fn list_vips(
    state: &Registry,
    view: &View,
    message: &v1::ListVipsRequest,
) -> v1::ListVipsResponse {
    let size = page(message.page_size, MAX_PAGE, MAX_PAGE);
    let mut rest =
        state.vips.values().filter(|record| record.name.as_str() > message.page_token.as_str());
    let seen = |record: &Arc<VipRecord>| v1::Vip {
        health: convert::health(view, &record.name),
        ..convert::vip_message(state, record)
    };
    let vips: Vec<v1::Vip> = rest.by_ref().take(size).map(seen).collect();
    let more = rest.next().is_some();
    let last = vips.last().filter(|_| more).map_or(String::new(), |vip| vip.name.clone());
    v1::ListVipsResponse { vips, next_page_token: last, revision: state.revision.0 }
}

pub(super) fn list_moves(
    state: &Registry,
    message: &v1::ListMovesRequest,
) -> Result<v1::ListMovesResponse, Status> {
    let size = page(message.page_size, MOVES_PAGE, MAX_PAGE);
    let before = match message.page_token.as_str() {
        "" => MoveId(u64::MAX),
        token => MoveId::parse(token).ok_or_else(|| {
            errors::invalid("INVALID_PAGE_TOKEN", "page_token", "it is not one that was given out")
        })?,
    };
    let of_vip = match message.vip.as_str() {
        "" => None,
        name => {
            let vip = convert::vip_name("vip", name)?;
            if !state.logs.contains_key(&vip) && !state.vips.contains_key(&vip) {
                return Err(errors::vip_not_found(name));
            }
            Some(vip)
        }
    };
    let logs = state.logs.iter().filter(|(vip, _)| of_vip.as_ref().is_none_or(|of| of == *vip));
    let mut moves: Vec<&Arc<Move>> =
        logs.flat_map(|(_, log)| &log.moves).filter(|known| known.id < before).collect();
    moves.sort_by_key(|known| std::cmp::Reverse(known.id));
    let more = moves.len() > size;
    moves.truncate(size);
    let last = moves.last().filter(|_| more).map_or(String::new(), |known| known.id.to_string());
    let moves = moves.into_iter().map(|known| convert::move_message(known)).collect();
    Ok(v1::ListMovesResponse { moves, next_page_token: last })
}

/// A page size: 0 = the default, and never more than the most.
pub(super) fn page(asked: u32, default: usize, most: usize) -> usize {
    match usize::try_from(asked).unwrap_or(most) {
        0 => default,
        asked => asked.min(most),
    }
}

#[tonic::async_trait]
impl VipService for Api {
    async fn list_vips(
        &self,
        request: Request<v1::ListVipsRequest>,
    ) -> Result<Response<v1::ListVipsResponse>, Status> {
        let call = Call::of(&request);
        let message = request.into_inner();
        if message.consistency() == v1::Consistency::Local {
            let view = View::default();
            return Ok(Response::new(list_vips(&self.applied_here(), &view, &message)));
        }
        let here = async || {
            let state = self.applied_at_leader().await?;
            Ok(list_vips(&state, &self.view().await?, &message))
        };
        at_leader!(self, call, None, message, list_vips, here()).map(Response::new)
    }

    async fn get_vip(
        &self,
        request: Request<v1::GetVipRequest>,
    ) -> Result<Response<v1::Vip>, Status> {
        let call = Call::of(&request);
        let message = request.into_inner();
        let vip = convert::vip_name("name", &message.name)?;
        if message.consistency() == v1::Consistency::Local {
            return find_vip(&self.applied_here(), &vip).map(Response::new);
        }
        let here = async || {
            let state = self.applied_at_leader().await?;
            seen_vip(&state, &self.view().await?, &vip)
        };
        at_leader!(self, call, None, message, get_vip, here()).map(Response::new)
    }

    async fn create_vip(
        &self,
        request: Request<v1::CreateVipRequest>,
    ) -> Result<Response<v1::Vip>, Status> {
        let call = Call::of(&request);
        let mut message = request.into_inner();
        let (id, asked) = identify!("CreateVip", call, message);
        let here = || self.create_here(&message, &id, asked.clone());
        at_leader!(self, call, Some(&id), message, create_vip, here()).map(Response::new)
    }

    async fn update_vip(
        &self,
        request: Request<v1::UpdateVipRequest>,
    ) -> Result<Response<v1::Vip>, Status> {
        let call = Call::of(&request);
        let mut message = request.into_inner();
        let (id, asked) = identify!("UpdateVip", call, message);
        let here = || self.update_here(&message, &id, asked.clone());
        at_leader!(self, call, Some(&id), message, update_vip, here()).map(Response::new)
    }

    async fn delete_vip(
        &self,
        request: Request<v1::DeleteVipRequest>,
    ) -> Result<Response<v1::Move>, Status> {
        let call = Call::of(&request);
        let mut message = request.into_inner();
        let (id, asked) = identify!("DeleteVip", call, message);
        let here = || self.set_intent_here(&message.name, Intent::Deleted, &id, asked.clone());
        at_leader!(self, call, Some(&id), message, delete_vip, here()).map(Response::new)
    }

    async fn enable_vip(
        &self,
        request: Request<v1::EnableVipRequest>,
    ) -> Result<Response<v1::Move>, Status> {
        let call = Call::of(&request);
        let mut message = request.into_inner();
        let (id, asked) = identify!("EnableVip", call, message);
        let here = || self.set_intent_here(&message.name, Intent::Held, &id, asked.clone());
        at_leader!(self, call, Some(&id), message, enable_vip, here()).map(Response::new)
    }

    async fn disable_vip(
        &self,
        request: Request<v1::DisableVipRequest>,
    ) -> Result<Response<v1::Move>, Status> {
        let call = Call::of(&request);
        let mut message = request.into_inner();
        let (id, asked) = identify!("DisableVip", call, message);
        let here = || self.set_intent_here(&message.name, Intent::Disabled, &id, asked.clone());
        at_leader!(self, call, Some(&id), message, disable_vip, here()).map(Response::new)
    }

    async fn move_vip(
        &self,
        request: Request<v1::MoveVipRequest>,
    ) -> Result<Response<v1::Move>, Status> {
        let call = Call::of(&request);
        let mut message = request.into_inner();
        let (id, asked) = identify!("MoveVip", call, message);
        let here = || self.move_vip_here(&message, &id, asked.clone());
        at_leader!(self, call, Some(&id), message, move_vip, here()).map(Response::new)
    }

    async fn confirm_failover(
        &self,
        request: Request<v1::ConfirmFailoverRequest>,
    ) -> Result<Response<v1::Vip>, Status> {
        let call = Call::of(&request);
        let message = request.into_inner();
        let here = || self.confirm_here(&message, &call.caller);
        at_leader!(self, call, None, message, confirm_failover, here()).map(Response::new)
    }

    async fn get_move(
        &self,
        request: Request<v1::GetMoveRequest>,
    ) -> Result<Response<v1::Move>, Status> {
        let call = Call::of(&request);
        let message = request.into_inner();
        let id = move_id(&message.id)?;
        let find = |state: &Registry| find_move(state, id).map(|m| convert::move_message(&m));
        if message.consistency() == v1::Consistency::Local {
            return find(&self.applied_here()).map(Response::new);
        }
        let here = async || find(&*self.applied_at_leader().await?);
        at_leader!(self, call, None, message, get_move, here()).map(Response::new)
    }

    async fn list_moves(
        &self,
        request: Request<v1::ListMovesRequest>,
    ) -> Result<Response<v1::ListMovesResponse>, Status> {
        let call = Call::of(&request);
        let message = request.into_inner();
        if message.consistency() == v1::Consistency::Local {
            return list_moves(&self.applied_here(), &message).map(Response::new);
        }
        let here = async || list_moves(&*self.applied_at_leader().await?, &message);
        at_leader!(self, call, None, message, list_moves, here()).map(Response::new)
    }

    type WatchMoveStream = Streaming<v1::Move>;

    async fn watch_move(
        &self,
        request: Request<v1::WatchMoveRequest>,
    ) -> Result<Response<Self::WatchMoveStream>, Status> {
        let id = move_id(&request.into_inner().id)?;
        let found = self.find_soon(|state| state.find_move(id).map(|_| ())).await;
        found.ok_or_else(|| errors::move_not_found(&id.to_string()))?;
        let mut applied = self.consensus.applied();
        applied.mark_changed();
        let (send, receive) = mpsc::channel(STREAM_BUFFER);
        tokio::spawn(async move {
            let mut last = None;
            while applied.changed().await.is_ok() {
                let known = applied.borrow_and_update().state.find_move(id).cloned();
                let Some(known) = known else {
                    let _ = send.send(Err(errors::move_not_found(&id.to_string()))).await;
                    return;
                };
                let news = (known.revision, known.outcome);
                if last == Some(news) {
                    continue;
                }
                last = Some(news);
                let message = Ok(convert::move_message(&known));
                if send.send(message).await.is_err() || known.outcome.is_some() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    type WatchVipsStream = Streaming<v1::WatchVipsResponse>;

    async fn watch_vips(
        &self,
        request: Request<v1::WatchVipsRequest>,
    ) -> Result<Response<Self::WatchVipsStream>, Status> {
        let after = Revision(request.into_inner().after_revision);
        let mut applied = self.consensus.applied();
        applied.mark_changed();
        let floor = applied.borrow().state.watch_floor;
        if after != Revision(0) && after < floor {
            return Err(errors::revision_compacted(after.0, floor.0));
        }
        let (send, receive) = mpsc::channel(STREAM_BUFFER);
        tokio::spawn(async move {
            let mut after = after;
            while applied.changed().await.is_ok() {
                let state = Arc::clone(&applied.borrow_and_update().state);
                let snapshot = after == Revision(0);
                if !snapshot && after < state.watch_floor {
                    // Too slow: what was removed meanwhile is no longer known.
                    let compacted = errors::revision_compacted(after.0, state.watch_floor.0);
                    let _ = send.send(Err(compacted)).await;
                    return;
                }
                let news = changes(&state, after, snapshot);
                after = state.revision;
                let quiet = news.changed.is_empty() && news.removed.is_empty() && !snapshot;
                if !quiet && send.send(Ok(news)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }
}

/// What has changed after a revision.
fn changes(state: &Registry, after: Revision, snapshot: bool) -> v1::WatchVipsResponse {
    let changed: BTreeMap<&VipName, v1::Vip> = state
        .vips
        .iter()
        .filter(|(_, record)| snapshot || record.revision > after)
        .map(|(name, record)| (name, convert::vip_message(state, record)))
        .collect();
    let removed = state.removed.iter().filter(|(revision, name)| {
        !snapshot && *revision > after && !state.vips.contains_key(name)
    });
    v1::WatchVipsResponse {
        revision: state.revision.0,
        removed: removed.map(|(_, name)| name.to_string()).collect(),
        changed: changed.into_values().collect(),
        snapshot,
    }
}
