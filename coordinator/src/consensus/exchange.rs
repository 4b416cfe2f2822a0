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
    /// Opens a stream with a first message, and waits for its answer. The message does not wait for
    /// the peer to accept the stream: that would be a second round trip within the same time-out.
    pub(super) async fn open(
        client: &mut RaftServiceClient<Channel>,
        first: RaftFrame,
    ) -> Result<(Self, RaftFrame), Status> {
        let (messages, outgoing) = mpsc::channel(1);
        messages.send(first).await.map_err(|_| ended())?;
        let answers = client.replicate(ReceiverStream::new(outgoing)).await?.into_inner();
        let mut exchange = Self { messages, answers };
        let answer = exchange.answer().await?;
        Ok((exchange, answer))
    }

    /// Sends a message and waits for its answer.
    pub(super) async fn say(&mut self, message: RaftFrame) -> Result<RaftFrame, Status> {
        self.messages.send(message).await.map_err(|_| ended())?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<RaftFrame, Status> {
        self.answers.message().await?.ok_or_else(ended)
    }
}

fn ended() -> Status {
    Status::unavailable("the peer has ended the stream")
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, time::Duration};

    use tokio::net::TcpListener;
    use tokio_stream::{Stream, StreamExt as _, wrappers::TcpListenerStream};
    use tonic::{
        Request, Response,
        transport::{Endpoint, Server},
    };
    use vipfence_proto::v1::raft_service_server::{RaftService, RaftServiceServer};

    use super::*;

    /// Accepts a stream only when it has heard its first message, as a peer looks from far away:
    /// who waits for one before the other waits for ever. Says everything back.
    struct Distant;

    #[tonic::async_trait]
    impl RaftService for Distant {
        type ReplicateStream = Pin<Box<dyn Stream<Item = Result<RaftFrame, Status>> + Send>>;

        async fn replicate(
            &self,
            request: Request<Streaming<RaftFrame>>,
        ) -> Result<Response<Self::ReplicateStream>, Status> {
            let mut messages = request.into_inner();
            let first = messages.message().await?.ok_or_else(ended)?;
            Ok(Response::new(Box::pin(tokio_stream::once(Ok(first)).chain(messages))))
        }

        async fn append_entries(
            &self,
            _: Request<RaftFrame>,
        ) -> Result<Response<RaftFrame>, Status> {
            Err(Status::unimplemented("a stream is wanted"))
        }

        async fn install_snapshot(
            &self,
            _: Request<RaftFrame>,
        ) -> Result<Response<RaftFrame>, Status> {
            Err(Status::unimplemented("a stream is wanted"))
        }

        async fn vote(&self, _: Request<RaftFrame>) -> Result<Response<RaftFrame>, Status> {
            Err(Status::unimplemented("a stream is wanted"))
        }
    }

    #[tokio::test]
    async fn the_first_message_does_not_wait_for_the_stream_to_be_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = Server::builder().add_service(RaftServiceServer::new(Distant));
        let server = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
        let mut client = RaftServiceClient::new(channel.connect_lazy());
        let frame = |text: &str| RaftFrame { body: text.into(), ..RaftFrame::default() };
        let talk = async {
            let (mut exchange, answer) = Exchange::open(&mut client, frame("one")).await?;
            assert_eq!(answer, frame("one"));
            assert_eq!(exchange.say(frame("two")).await?, frame("two"));
            Ok::<_, Status>(())
        };
        let talk = tokio::time::timeout(Duration::from_secs(20), talk).await;
        talk.expect("one of the two waits for the other").expect("answers");
        server.abort();
    }
}
