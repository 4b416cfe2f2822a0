//! A stream to a peer on which messages and their answers take turns.
//!
//! A leader says the same to the same peers many times a second, for ever. As calls of their own each
//! of these messages costs a request with its headers, its body and its trailers; on a stream that
//! stays open it costs one frame there and one back.
//!
//! What fails, is answered late or is given up ends the stream with it: it is dropped, and an answer
//! that comes after all finds nobody who could take it for that of a later message.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};
use vipfence_proto::v1::{RaftFrame, raft_service_client::RaftServiceClient};

/// See the module.
pub(super) struct Exchange {
    messages: mpsc::Sender<RaftFrame>,
    answers: Streaming<RaftFrame>,
}

impl Exchange {
    pub(super) async fn open(client: &mut RaftServiceClient<Channel>) -> Result<Self, Status> {
        let (messages, outgoing) = mpsc::channel(1);
        let answers = client.replicate(ReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Self { messages, answers })
    }

    /// Sends a message and waits for its answer.
    pub(super) async fn say(&mut self, message: RaftFrame) -> Result<RaftFrame, Status> {
        let ended = || Status::unavailable("the peer has ended the stream");
        self.messages.send(message).await.map_err(|_| ended())?;
        self.answers.message().await?.ok_or_else(ended)
    }
}
