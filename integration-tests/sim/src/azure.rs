//! Azure as a node of the network: the pure simulator, and the little that carries requests to it
//! in the same values as the product's HTTP shell.

use std::{collections::BTreeMap, time::Duration};

use azure_sim::{ArmOutcome, ArmRequest, ArmResponse, HoldId, World};
use vipfence_coordinator_core::{HttpAnswer, HttpId, HttpRequest, Method};

use crate::net::Spot;

/// The name of a request in Azure's journal: process and number.
#[must_use]
pub fn request_id(process: u64, id: HttpId) -> String {
    format!("{process}-{}", id.0)
}

/// What the HTTP shell makes of a request.
#[must_use]
pub fn carried(request: &HttpRequest, token: &str, process: u64) -> ArmRequest {
    let method = match request.method {
        Method::Get => "GET",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
    };
    let mut carried = ArmRequest::new(method, below_the_endpoint(&request.path)).with_token(token);
    for (name, value) in &request.headers {
        carried = carried.with_header(name, value.clone());
    }
    carried = carried.with_header("x-ms-client-request-id", request_id(process, request.id));
    match &request.body {
        Some(body) => carried.with_body(body.clone()),
        None => carried,
    }
}

/// Operations are named by absolute URLs.
fn below_the_endpoint(path: &str) -> &str {
    match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => path,
    }
}

/// What the machine gets of an answer.
#[must_use]
pub fn answer(response: ArmResponse) -> HttpAnswer {
    HttpAnswer {
        status: response.status,
        headers: response
            .headers
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect(),
        body: response.body.unwrap_or_default(),
    }
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Where.
    pub spot: Spot,
    /// Which process.
    pub process: u64,
    /// Which of its requests.
    pub id: HttpId,
}

/// What came of a request.
#[derive(Debug)]
pub enum Arrival {
    /// An answer.
    Answer(HttpAnswer),
    /// The connection is closed without an answer.
    Closed,
    /// Nothing comes, for now or for ever.
    Silence,
}

/// The simulator, and who waits for answers that it keeps back.
pub struct Azure {
    /// The simulator.
    pub world: World,
    held: BTreeMap<HoldId, Waiting>,
}

impl Azure {
    /// Carries requests to this one.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self { world, held: BTreeMap::new() }
    }

    /// A request reaches ARM.
    pub fn arm(&mut self, at: u64, request: ArmRequest, from: Waiting) -> Arrival {
        match self.world.arm(Duration::from_micros(at), request) {
            ArmOutcome::Answer(response) => Arrival::Answer(answer(response)),
            ArmOutcome::Lost(azure_sim::LostAnswer::Closed) => Arrival::Closed,
            ArmOutcome::Lost(azure_sim::LostAnswer::Silence) => Arrival::Silence,
            ArmOutcome::Held(hold) => {
                self.held.insert(hold, from);
                Arrival::Silence
            }
        }
    }

    /// Answers to requests that were held and have been processed.
    pub fn take_answers(&mut self) -> Vec<(Waiting, HttpAnswer)> {
        let mut answers = Vec::new();
        self.held.retain(|hold, waiting| match self.world.take_answer(*hold) {
            Some(response) => {
                answers.push((*waiting, answer(response)));
                false
            }
            None => true,
        });
        answers
    }

    /// A VM asks its metadata service for a token: the token, and until when it is good (Unix
    /// seconds).
    pub fn token(&mut self, at: u64, node: &str) -> Option<Result<(String, u64), String>> {
        let path = "/metadata/identity/oauth2/token?api-version=2018-02-01\
                    &resource=https%3A%2F%2Fmanagement.azure.com%2F";
        let request = ArmRequest::new("GET", path).with_header("metadata", "true");
        match self.world.imds(Duration::from_micros(at), node, &request) {
            ArmOutcome::Answer(response) => {
                let body = response.body.unwrap_or_default();
                let token = body["access_token"].as_str();
                let until = body["expires_on"].as_str().and_then(|text| text.parse().ok());
                Some(match (token, until) {
                    (Some(token), Some(until)) => Ok((token.to_owned(), until)),
                    _ => Err(format!("status {}", response.status)),
                })
            }
            ArmOutcome::Lost(_) | ArmOutcome::Held(_) => None,
        }
    }
}
