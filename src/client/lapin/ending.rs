//! How a link ends: watched for as long as the link lives, put in the port's words once.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::lapin::Channel;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::super::ClientError;
use super::wire::Wire;

/// The end of a link.
pub(super) struct Ending {
    wire: Arc<Wire>,
    channel: Arc<Channel>,
    state: State,
}

enum State {
    /// In use; resolves when the channel or its connection ends.
    Open(BoxFuture<'static, ClientError>),
    /// Out of use; resolves once it is known why.
    Explaining(BoxFuture<'static, ClientError>),
    Over(ClientError),
}

impl Ending {
    pub(super) fn new(wire: &Arc<Wire>, channel: &Arc<Channel>) -> Self {
        let (wire, channel) = (Arc::clone(wire), Arc::clone(channel));
        let (of, on) = (Arc::clone(&wire), Arc::clone(&channel));
        let ended = async move { of.ended(&on).await }.boxed();
        Self { wire, channel, state: State::Open(ended) }
    }

    /// Whether the link is in use, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// lapin says that the link has failed.
    pub(super) fn failed(&mut self, error: ::lapin::Error) {
        let (wire, channel) = (Arc::clone(&self.wire), Arc::clone(&self.channel));
        self.explained_by(async move { wire.explain(&channel, &error).await });
    }

    /// The link is out of use; `why` finds the reason. The first reason stays.
    pub(super) fn explained_by(&mut self, why: impl Future<Output = ClientError> + Send + 'static) {
        if self.is_open() {
            self.state = State::Explaining(why.boxed());
        }
    }

    /// Why the link ended, once it has.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ClientError> {
        let error = match &mut self.state {
            State::Over(error) => return Poll::Ready(error.clone()),
            State::Open(waiting) | State::Explaining(waiting) => ready!(waiting.poll_unpin(cx)),
        };
        self.state = State::Over(error.clone());
        Poll::Ready(error)
    }
}
