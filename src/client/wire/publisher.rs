//! A channel that publishes.

use std::task::{Context, Poll};

use async_trait::async_trait;

use super::super::{ClientError, Outbox, PublisherLink, PublisherSetup, Settlement};
use super::asking::OpenChannel;
use super::writer::Writer;

/// See [`PublisherLink`].
pub(super) struct Publisher {
    channel: OpenChannel,
    writer: Writer,
}

impl Publisher {
    pub(super) fn new(channel: OpenChannel, setup: &PublisherSetup) -> Self {
        let frame_max = channel.line.lock().frame_max;
        Self { writer: Writer::new(channel.id, frame_max, setup), channel }
    }
}

#[async_trait]
impl PublisherLink for Publisher {
    fn poll_publish(&mut self, cx: &mut Context<'_>, batch: &mut Outbox) -> Poll<Result<(), ClientError>> {
        let mut inner = self.channel.line.lock();
        let mut written = Ok(());
        let mut is_held = false;
        match inner.usable(self.channel.id) {
            Ok((channel, out)) => {
                for (message, body) in batch.iter() {
                    written = self.writer.write(message, body, channel.held().unwrap_or(out));
                    if written.is_err() {
                        break;
                    }
                    if let Some(confirms) = channel.publisher() {
                        confirms.sent(message.token);
                    }
                }
                is_held = channel.held().is_some();
                if is_held {
                    channel.wait(cx);
                }
            }
            Err(error) => written = Err(error),
        }
        let handed_over = !batch.is_empty();
        batch.clear();
        if handed_over {
            inner.flush();
        }
        match written {
            Err(error) => Poll::Ready(Err(error)),
            // The broker has asked for no more: it is waited for as a socket is.
            Ok(()) if is_held => Poll::Pending,
            // The flush may have found out that the connection has ended: the next call tells.
            Ok(()) if inner.is_roomy() => Poll::Ready(Ok(())),
            Ok(()) => {
                inner.wait(cx);
                Poll::Pending
            }
        }
    }

    fn poll_settlements(
        &mut self,
        cx: &mut Context<'_>,
        settled: &mut Vec<Settlement>,
    ) -> Poll<Result<(), ClientError>> {
        let mut inner = self.channel.line.lock();
        let Some(channel) = inner.channel(self.channel.id) else {
            return Poll::Ready(inner.usable(self.channel.id).map(|_| ()));
        };
        if channel.publisher().is_some_and(|confirms| confirms.take(settled)) {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = channel.ended() {
            return Poll::Ready(Err(error.clone()));
        }
        channel.wait(cx);
        Poll::Pending
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        self.channel.flush().await
    }

    async fn close(self: Box<Self>) {
        self.channel.close().await;
    }
}
