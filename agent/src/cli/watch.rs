//! `vipfence watch`: one line for every change of the VIPs. A lost stream is resumed elsewhere by
//! revision, so that nothing is missed and nothing is said twice.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::sleep;
use tonic::{Code, Streaming};
use vipfence_proto::v1::{
    Vip, WatchVipsRequest, WatchVipsResponse, vip_service_client::VipServiceClient,
};

use super::{
    Session,
    exit::Exit,
    failure::Failure,
    link::{CallError, is_transport},
    status, words,
};

/// The pause before a stream is opened again.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn run(session: &mut Session, only: Option<&str>) -> Result<Exit, Failure> {
    let only = only.map(str::to_ascii_lowercase);
    let mut seen = Seen::default();
    let mut revision = 0;
    // Where nobody answers at the beginning there is nothing to wait for.
    let mut stream = open(session, revision).await?;
    while !session.out.is_closed() {
        match stream.message().await {
            Ok(Some(change)) => {
                revision = change.revision;
                let change = match &only {
                    Some(name) => filtered(change, name),
                    None => change,
                };
                print(session, &mut seen, &change);
                continue;
            }
            Ok(None) => {}
            Err(status) if is_transport(&status) || status.code() == Code::Unavailable => {}
            Err(status) if status.code() == Code::OutOfRange => revision = 0,
            Err(status) => return Err(Failure::of_status(&status)),
        }
        session.link.go_on();
        stream = reopen(session, &mut revision).await?;
    }
    Ok(Exit::Done)
}

async fn open(
    session: &mut Session,
    after_revision: u64,
) -> Result<Streaming<WatchVipsResponse>, CallError> {
    let request = WatchVipsRequest { after_revision };
    let call = async |channel, request| VipServiceClient::new(channel).watch_vips(request).await;
    session.link.call(&request, call).await
}

/// Goes on for as long as it takes: whoever watches wants to see the cluster come back.
async fn reopen(
    session: &mut Session,
    revision: &mut u64,
) -> Result<Streaming<WatchVipsResponse>, Failure> {
    let mut said = false;
    loop {
        match open(session, *revision).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.is_code(Code::OutOfRange) && *revision > 0 => *revision = 0,
            Err(error) if error.is_passing() => {
                if !said {
                    said = true;
                    let why = Failure::from(error).message;
                    session.out.note(&format!("{why}; waiting for the cluster"));
                }
            }
            Err(error) => return Err(error.into()),
        }
        sleep(PAUSE).await;
    }
}

fn print(session: &mut Session, seen: &mut Seen, change: &WatchVipsResponse) {
    let lines = seen.lines(change);
    if !session.out.is_json() {
        let now = words::time(&words::now());
        for line in lines {
            session.out.line(&format!("{now}  {line}"));
        }
    } else if change.snapshot || !change.changed.is_empty() || !change.removed.is_empty() {
        session.out.json_line(change);
    }
}

fn filtered(mut change: WatchVipsResponse, name: &str) -> WatchVipsResponse {
    change.changed.retain(|vip| vip.name == name);
    change.removed.retain(|removed| removed == name);
    change
}

/// What has been said of each VIP.
#[derive(Debug, Default)]
struct Seen {
    said: BTreeMap<String, String>,
}

impl Seen {
    /// The lines that say something new.
    fn lines(&mut self, change: &WatchVipsResponse) -> Vec<String> {
        let mut lines = Vec::new();
        let is_gone = |name: &String| {
            let named = change.removed.contains(name);
            named || (change.snapshot && change.changed.iter().all(|vip| vip.name != *name))
        };
        let gone: Vec<String> = self.said.keys().filter(|name| is_gone(name)).cloned().collect();
        for name in gone {
            self.said.remove(&name);
            lines.push(format!("{name}  deleted"));
        }
        for vip in &change.changed {
            let line = describe(vip);
            if self.said.get(&vip.name) != Some(&line) {
                lines.push(line.clone());
                self.said.insert(vip.name.clone(), line);
            }
        }
        lines
    }
}

fn describe(vip: &Vip) -> String {
    let holder = match vip.holder.as_str() {
        "" => "no holder".to_owned(),
        holder => format!("holder {holder} at epoch {}", vip.epoch),
    };
    let attached = match vip.attached_to.as_str() {
        "" => "not attached".to_owned(),
        node => format!("attached to {node}"),
    };
    let remarks = status::remarks(vip);
    let remarks = if remarks.is_empty() { remarks } else { format!("; {remarks}") };
    let line =
        format!("{}  {:<9}  {holder}, {attached}{remarks}", vip.name, words::phase(vip.phase));
    super::table::one_line(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::vip;

    fn change(snapshot: bool, changed: Vec<Vip>, removed: &[&str]) -> WatchVipsResponse {
        WatchVipsResponse {
            revision: 1,
            changed,
            removed: removed.iter().map(|name| (*name).to_owned()).collect(),
            snapshot,
        }
    }

    #[test]
    fn a_vip_is_told_when_it_is_seen_first_and_when_it_changes() {
        let mut seen = Seen::default();
        let first = change(true, vec![vip("demo", "n1", 7)], &[]);
        assert_eq!(seen.lines(&first), ["demo  held       holder n1 at epoch 7, attached to n1"]);
        assert!(seen.lines(&first).is_empty(), "said twice");
        let moved = change(false, vec![vip("demo", "n2", 8)], &[]);
        assert_eq!(seen.lines(&moved).len(), 1);
        assert_eq!(seen.lines(&change(false, vec![], &["demo"])), ["demo  deleted"]);
    }

    #[test]
    fn a_vip_that_is_missing_from_a_new_snapshot_was_deleted_meanwhile() {
        let mut seen = Seen::default();
        seen.lines(&change(true, vec![vip("a", "n1", 1), vip("b", "n1", 2)], &[]));
        assert_eq!(seen.lines(&change(true, vec![vip("b", "n1", 2)], &[])), ["a  deleted"]);
    }

    #[test]
    fn only_the_asked_for_vip_is_left() {
        let all = change(false, vec![vip("a", "n1", 1), vip("b", "n1", 2)], &["c"]);
        let one = filtered(all, "b");
        assert_eq!((one.changed.len(), one.removed.len()), (1, 0));
    }
}
