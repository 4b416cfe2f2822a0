//! The Azure shell: connections, the write window at the last moment, time-outs, tokens.
//!
//! What is asked of Azure, and what an answer means, is up to the machine.

use std::{sync::Arc, time::Duration};

use vipfence_agent_core as agent;
use vipfence_coordinator_core::{self as core, HttpFault, HttpId, HttpRequest, Method};
use vipfence_types::Mutation;

use super::{Asked, Fact, HandedOver, Host, Local, Out, Process};
use crate::{
    azure,
    net::{Message, Spot},
    time::{ms, us},
};

const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const TOKEN_RETRY: Duration = Duration::from_secs(1);

impl Process {
    pub(super) fn connect(&mut self, request: HttpRequest, host: &mut Host<'_>, out: &mut Out) {
        self.requests.insert(request.id, request.method);
        let takes = if host.chance.one_in(30) {
            host.chance.within(ms(50), ms(1_500))
        } else {
            host.chance.within(200, ms(8))
        };
        let state = Arc::clone(self.coordinator.state());
        out.locals.push((takes, Local::Ready(Box::new(Asked { request, state }))));
    }

    /// The last step before the bytes leave: the write window is looked at here.
    pub(super) fn hand_over(&mut self, asked: Asked, host: &mut Host<'_>, out: &mut Out) {
        let Asked { request, state } = asked;
        let id = request.id;
        let Some((token, _)) = self.token.clone().filter(|(_, good)| *good > host.now.wall_us)
        else {
            let why = HttpFault::NotSent("there is no token".to_owned());
            self.token = None;
            return self.http_ended(id, Err(why), host, out);
        };
        let is_write = request.method != Method::Get;
        let allowed = request.send_before.is_some_and(|window| window.allows(host.now));
        if is_write && !allowed && !Mutation::WindowUnchecked.is_on() {
            out.facts.push(Fact::Http("write window passed"));
            let why = HttpFault::NotSent("the write window has passed".to_owned());
            return self.http_ended(id, Err(why), host, out);
        }
        let carried = azure::carried(&request, &token, self.me.number);
        if is_write && self.is_throttled(&request) {
            out.facts.push(Fact::WroteWhileThrottled);
        }
        if is_write {
            let rounds = self.rounds.iter().copied().collect();
            let handed = HandedOver { request, clocks: host.now, rounds, state };
            out.facts.push(Fact::HandedOver(Box::new(handed)));
        }
        let limit = if is_write { WRITE_TIMEOUT } else { READ_TIMEOUT };
        out.locals.push((us(limit), Local::HttpTimeout(id)));
        self.send(Spot::Arm, None, Message::Arm { id, request: Box::new(carried) }, out);
    }

    /// Whether a write was begun after Azure had told this process to wait, and before that is over.
    /// One that was on its way to its quorum round goes on.
    fn is_throttled(&self, request: &HttpRequest) -> bool {
        self.throttled.zip(request.send_before).is_some_and(|((at, wait), window)| {
            window.began.later_than(at) && window.began.shortest_since(at) < wait
        })
    }

    pub(super) fn http_ended(
        &mut self,
        id: HttpId,
        result: core::HttpResult,
        host: &mut Host<'_>,
        out: &mut Out,
    ) {
        let Some(method) = self.requests.remove(&id) else { return };
        if let Ok(answer) = &result
            && method != Method::Get
            && answer.body["error"]["code"] == "SubscriptionRequestsThrottled"
        {
            let wait = answer.retry_after().unwrap_or_default();
            self.throttled = Some((host.now, wait));
            out.facts.push(Fact::Http("writes are throttled"));
        }
        let arm_ok = match &result {
            Ok(answer) => Some(core::Problem::of_the_way(answer).is_none()),
            // Here that is a window that has passed, or a token that is still being fetched.
            Err(HttpFault::NotSent(_)) => self.arm_ok,
            Err(HttpFault::Unknown(_)) => {
                out.facts.push(Fact::Http("outcome unknown"));
                Some(false)
            }
        };
        if result.as_ref().is_ok_and(|answer| answer.status == 401) {
            self.token = None;
            self.fetch_token(host, out);
        }
        self.drive(core::Input::Http { id, result }, host, out);
        self.health(arm_ok, host, out);
    }

    fn health(&mut self, arm_ok: Option<bool>, host: &mut Host<'_>, out: &mut Out) {
        if self.arm_ok != arm_ok {
            self.arm_ok = arm_ok;
            let input = agent::Input::Health { arm_ok, detail: String::new() };
            self.tell_node(input, host, out);
        }
    }

    pub(super) fn fetch_token(&mut self, host: &Host<'_>, out: &mut Out) {
        let good = self.token.as_ref().is_some_and(|(_, until)| *until > host.now.wall_us);
        if !good {
            self.send(Spot::Imds(self.me.index), None, Message::Imds, out);
        }
        out.locals.push((us(TOKEN_RETRY), Local::Token));
    }

    pub(super) fn take_token(&mut self, token: Result<(String, u64), String>) {
        if let Ok(token) = token {
            self.token = Some(token);
        }
    }
}
