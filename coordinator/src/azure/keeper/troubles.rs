//! What the metadata service is known to do (azure.md §7), in simulated time: a token that is there
//! is served throughout, and the next one is fetched soon after the trouble is over.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use azure_core::{
    error::{Error, ErrorKind},
    http::{AsyncRawResponse, Request, StatusCode, headers::Headers},
};
use tokio::time::Instant;

use super::*;

/// The wall clock at the beginning.
const START_S: u64 = 1_700_000_000;

/// What the service does.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Gives a token that lives so many seconds.
    Token(u64),
    /// Answers with this status, as the transport tells it.
    Status(u16),
    /// Answers 200 with a page.
    Html,
    /// Never answers.
    Silence,
}

/// Does one thing after the other, each until a second after the beginning.
#[derive(Debug)]
struct Script {
    began: Instant,
    acts: Vec<(u64, Does)>,
    asked: AtomicUsize,
}

impl Script {
    fn now_s(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    fn act(&self) -> Does {
        let now = self.now_s();
        let act = self.acts.iter().find(|(until, _)| now < *until);
        act.map_or(Does::Token(3_600), |(_, act)| *act)
    }
}

#[async_trait::async_trait]
impl HttpClient for Script {
    async fn execute_request(&self, _: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let body = match self.act() {
            Does::Token(life) => {
                let expires = START_S + self.now_s() + life;
                format!(
                    r#"{{"access_token":"at-{}","expires_on":"{expires}","resource":"r","token_type":"Bearer"}}"#,
                    self.now_s()
                )
            }
            Does::Status(status) => {
                let told = format!("the metadata service at x answers {status}: trouble");
                return Err(Error::with_message(ErrorKind::Other, told));
            }
            Does::Html => "<html>busy</html>".to_owned(),
            Does::Silence => return std::future::pending().await,
        };
        Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), body))
    }
}

/// A keeper at work on a script.
struct Bench {
    keeper: Arc<Keeper>,
    script: Arc<Script>,
}

#[expect(clippy::disallowed_methods, reason = "the clock of the test's own time")]
fn bench(acts: &[(u64, Does)]) -> Bench {
    let began = Instant::now();
    let script = Arc::new(Script { began, acts: acts.to_vec(), asked: AtomicUsize::new(0) });
    let transport: Arc<dyn HttpClient> = Arc::<Script>::clone(&script);
    let clocks: ReadClocks =
        Arc::new(move || Clocks::all_at(Duration::from_secs(START_S) + began.elapsed()));
    let identity = Identity::Managed { client_id: None };
    let keeper = Keeper::new(identity, transport, "https://arm/", clocks, Arc::default());
    let keeper = Arc::new(keeper.expect("a credential"));
    let working = Arc::clone(&keeper);
    tokio::spawn(async move { working.keep().await });
    Bench { keeper, script }
}

impl Bench {
    async fn until(&self, second: u64) {
        tokio::time::sleep_until(self.script.began + Duration::from_secs(second)).await;
    }

    /// The token right now, without any patience.
    async fn token(&self) -> Result<String, String> {
        self.keeper.token(Duration::ZERO).await.map(|token| token.as_str().to_owned())
    }
}

const TROUBLES: [Does; 7] = [
    Does::Status(404),
    Does::Status(410),
    Does::Status(429),
    Does::Status(500),
    Does::Status(503),
    Does::Html,
    Does::Silence,
];

#[tokio::test(start_paused = true)]
async fn a_token_that_is_there_is_served_through_every_trouble() {
    for trouble in TROUBLES {
        // Half of its life is over at 200 s, the trouble begins before and ends at 370 s.
        let bench = bench(&[(100, Does::Token(400)), (370, trouble)]);
        for second in (1..399).step_by(7) {
            bench.until(second).await;
            let token = bench.token().await;
            assert!(token.is_ok(), "{trouble:?} at {second} s: {token:?}");
        }
        // And the next one comes before the first expires, or very soon after.
        bench.until(402).await;
        let token = bench.token().await.unwrap_or_else(|why| panic!("{trouble:?}: {why}"));
        assert_ne!(token, "at-0", "{trouble:?}");
        let asked = bench.script.asked.load(Ordering::SeqCst);
        assert!(asked < 20, "{trouble:?}: asked {asked} times in 400 s");
    }
}

#[tokio::test(start_paused = true)]
async fn after_seventy_seconds_of_gone_at_the_start_there_is_a_token_within_half_a_minute() {
    for trouble in TROUBLES {
        let bench = bench(&[(70, trouble)]);
        bench.until(60).await;
        let why = bench.token().await.expect_err("none has come yet");
        assert!(why.contains("there is no token of the managed identity: "), "{trouble:?}: {why}");
        bench.until(70 + 31).await;
        assert!(bench.token().await.is_ok(), "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_needs_a_token_has_the_first_that_can_be_had() {
    // Somebody waits (a move): the keeper does not sleep out its pause.
    let bench = bench(&[(20, Does::Status(410))]);
    let token = bench.keeper.token(Duration::from_secs(60)).await;
    assert!(token.is_ok());
    assert!(bench.script.now_s() <= 20 + 32, "{} s", bench.script.now_s());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_in_the_middle_is_not_sent_any_more() {
    let bench = bench(&[(1, Does::Token(60)), (200, Does::Silence)]);
    bench.until(50).await;
    assert!(bench.token().await.is_ok());
    bench.until(59).await;
    let why = bench.token().await.expect_err("in its last moments");
    assert!(why.contains("no answer within 15s"), "{why}");
    bench.until(200 + 46).await;
    assert!(bench.token().await.is_ok());
}
