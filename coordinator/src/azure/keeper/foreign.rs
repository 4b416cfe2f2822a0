//! Answers of the metadata service that make no sense: no token, and a reason.

use azure_core::http::{AsyncRawResponse, Request, StatusCode, headers::Headers};
use foreign_bytes::{azure, cases, json_bytes};
use proptest::prelude::*;

use super::*;
use crate::azure::answer;

/// A metadata service that always answers this.
#[derive(Debug)]
struct Answers(Vec<u8>);

#[async_trait::async_trait]
impl HttpClient for Answers {
    async fn execute_request(&self, _: &Request) -> azure_core::Result<AsyncRawResponse> {
        Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), self.0.clone()))
    }
}

fn keeper(answer: &[u8]) -> Keeper {
    Keeper {
        scope: "https://management.azure.com//.default".to_owned(),
        identity: Identity::Managed { client_id: None },
        transport: Arc::new(Answers(answer.to_vec())),
        clocks: Arc::new(|| Clocks::all_at(Duration::from_secs(1_700_000_000))),
        health: Arc::default(),
        kept: watch::Sender::default(),
        asked: Notify::new(),
        denied: Mutex::default(),
    }
}

fn fetch(keeper: &Keeper) -> Pace {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let mut pace = Pace::default();
    runtime.expect("a runtime").block_on(keeper.fetch_now(&mut pace));
    pace
}

#[test]
fn a_good_answer_gives_a_token() {
    let answer = azure::tokens()[0].to_string();
    let keeper = keeper(answer.as_bytes());
    assert_eq!(fetch(&keeper).failures, 0);
    assert!(keeper.kept.borrow().is("token"));
}

#[test]
fn a_long_answer_that_is_no_token_is_told_in_its_beginning() {
    let answer = format!("\"{}\"", "x".repeat(60_000));
    let keeper = keeper(answer.as_bytes());
    assert_eq!(fetch(&keeper).failures, 1);
    assert!(keeper.kept.borrow().problem.len() < 1_000);
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn any_imds_answer_is_survived(bytes in json_bytes(azure::tokens())) {
        let keeper = keeper(&bytes);
        let pace = fetch(&keeper);
        let wait = keeper.due_in(&pace);
        prop_assert!(wait >= RETRY_MIN, "asked again after {wait:?}");
        let kept = keeper.kept.borrow();
        prop_assert_eq!(kept.token.is_some(), kept.problem.is_empty());
        prop_assert!(kept.problem.len() <= 2_000, "told in {} bytes", kept.problem.len());
    }

    #[test]
    fn any_bytes_of_arm_become_a_value(bytes in json_bytes(azure::nics())) {
        prop_assert_eq!(answer::value(&bytes), foreign_bytes::parsed(&bytes));
    }
}
