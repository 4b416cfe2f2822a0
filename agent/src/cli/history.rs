//! `vipfence history`: past and present moves, newest first, and what happened.

use std::collections::VecDeque;

use vipfence_proto::v1::{
    Event, ListEventsRequest, ListEventsResponse, ListMovesRequest, ListMovesResponse, Move,
    cluster_service_client::ClusterServiceClient, vip_service_client::VipServiceClient,
};

use super::{
    Session, args::HistoryArgs, exit::Exit, failure::Failure, progress::has_ended, table::table,
    words,
};

/// The events come oldest first, so that the newest are found by reading on: at most so many
/// pages.
const MOST_PAGES: usize = 1_000;

pub(super) async fn run(session: &mut Session, args: &HistoryArgs) -> Result<Exit, Failure> {
    let vip = args.vip.clone().unwrap_or_default();
    if !args.events {
        let moves = moves(session, vip.clone(), args.limit).await?;
        if session.out.is_json() {
            session.out.json(&moves);
            return Ok(Exit::Done);
        }
        let none = "no moves".to_owned();
        session.out.line(&if moves.moves.is_empty() { none } else { render_moves(&moves.moves) });
        session.out.line("");
    }
    let events = events(session, vip, args.limit).await?;
    if session.out.is_json() {
        session.out.json(&events);
    } else if events.events.is_empty() {
        session.out.line("no events");
    } else {
        session.out.line(&render_events(&events.events));
    }
    Ok(Exit::Done)
}

async fn moves(
    session: &mut Session,
    vip: String,
    limit: u32,
) -> Result<ListMovesResponse, Failure> {
    let request = ListMovesRequest { vip, page_size: limit, ..ListMovesRequest::default() };
    let call = async |channel, request| VipServiceClient::new(channel).list_moves(request).await;
    Ok(session.link.call(&request, call).await?)
}

/// The newest `limit` events, oldest first.
async fn events(
    session: &mut Session,
    vip: String,
    limit: u32,
) -> Result<ListEventsResponse, Failure> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut newest = VecDeque::new();
    let mut request = ListEventsRequest { vip, ..ListEventsRequest::default() };
    for _ in 0..MOST_PAGES {
        let call =
            async |channel, request| ClusterServiceClient::new(channel).list_events(request).await;
        let page = session.link.call(&request, call).await?;
        let Some(last) = page.events.last().map(|event| event.number) else { break };
        newest.extend(page.events);
        newest.drain(..newest.len().saturating_sub(most));
        // A node that repeats itself must not keep us for ever.
        if last <= request.after_number {
            break;
        }
        request.after_number = last;
    }
    Ok(ListEventsResponse { events: newest.into() })
}

fn render_moves(moves: &[Move]) -> String {
    let header =
        ["MOVE", "VIP", "CAUSE", "FROM", "TO", "EPOCH", "STARTED", "TOOK", "OUTCOME", "PHASES"];
    table(
        header,
        moves.iter().map(|past| {
            let took = match (&past.started, &past.ended) {
                (Some(from), Some(to)) => words::duration(words::between(from, to)),
                _ => words::NONE.to_owned(),
            };
            [
                past.id.clone(),
                past.vip.clone(),
                words::cause(past.cause),
                words::or_none(&past.from_node).to_owned(),
                words::or_none(&past.to_node).to_owned(),
                words::epoch(past.epoch),
                past.started.as_ref().map_or(words::NONE.to_owned(), words::time),
                took,
                outcome(past),
                phases(past),
            ]
        }),
    )
}

fn outcome(past: &Move) -> String {
    if !has_ended(past) {
        let why = match past.blocked_reason.as_str() {
            "" => String::new(),
            reason => format!(", waits: {reason}"),
        };
        return format!("under way{why}");
    }
    let by = match past.superseded_by.as_str() {
        "" => String::new(),
        id => format!(" by {id}"),
    };
    format!("{}{by}", words::outcome(past.outcome))
}

fn phases(past: &Move) -> String {
    let phases: Vec<String> = past
        .phase_history
        .iter()
        .map(|span| {
            let took = match (&span.started, &span.ended) {
                (Some(from), Some(to)) => format!(" {}", words::duration(words::between(from, to))),
                _ => String::new(),
            };
            format!("{}{took}", words::phase(span.phase))
        })
        .collect();
    phases.join(", ")
}

fn render_events(events: &[Event]) -> String {
    let header = ["TIME", "EVENT", "VIP", "NODE", "EPOCH", "TERM", "WHAT HAPPENED"];
    table(
        header,
        events.iter().rev().map(|event| {
            [
                event.time.as_ref().map_or(words::NONE.to_owned(), words::time),
                event.kind.to_lowercase().replace('_', " "),
                words::or_none(&event.vip).to_owned(),
                words::or_none(&event.node).to_owned(),
                words::epoch(event.epoch),
                event.term.to_string(),
                event.message.clone(),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use vipfence_proto::v1::{MoveOutcome, Phase};

    use super::*;
    use crate::cli::tests::{move_at, move_ended};

    #[test]
    fn a_past_move_is_one_line_with_its_phases() {
        let text = render_moves(&[move_ended(MoveOutcome::Superseded)]);
        let line = text.lines().nth(1).unwrap_or_default();
        assert_eq!(
            line,
            "move-12  demo  request  n1    n2  8      2026-09-01 12:00:00Z  2.6 s  superseded by \
             move-13  detaching 1.1 s, held"
        );
    }

    #[test]
    fn a_move_under_way_says_what_it_waits_for() {
        let mut now = move_at(&[(Phase::Attaching, 0)]);
        now.blocked_reason = "throttled".to_owned();
        assert_eq!(outcome(&now), "under way, waits: throttled");
    }

    #[test]
    fn events_are_shown_newest_first() {
        let event =
            |number, kind: &str| Event { number, kind: kind.to_owned(), ..Event::default() };
        let text = render_events(&[event(1, "MOVE_STARTED"), event(2, "HELD")]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.get(1).is_some_and(|line| line.contains("held")), "{text}");
    }
}
