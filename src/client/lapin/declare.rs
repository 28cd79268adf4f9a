//! `exchange.declare`, `queue.declare` and the bindings, from the plan's types; shared with the `topology` room.

use std::future::Future;

use ::lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use ::lapin::types::{AMQPValue, FieldTable};
use ::lapin::{Channel, ExchangeKind as LapinKind, Queue};
use futures_util::future::Either;

use super::super::ClientError;
use super::super::convert::{short, table};
use crate::plan::{BindingPlan, ExchangeKind, ExchangePlan, QueuePlan};

/// Kind of an exchange of the plugin `rabbitmq_delayed_message_exchange`.
const DELAYED: &str = "x-delayed-message";
/// Its argument that says how it routes.
const DELAYED_KIND: &str = "x-delayed-type";

/// Declares an exchange; `passive` only asks whether it exists.
pub(crate) fn declare_exchange<'c>(
    channel: &'c Channel,
    exchange: &ExchangePlan,
    passive: bool,
) -> Result<impl Future<Output = ::lapin::Result<()>> + Send + use<'c>, ClientError> {
    let kind = match exchange.kind {
        ExchangeKind::Direct => LapinKind::Direct,
        ExchangeKind::Topic => LapinKind::Topic,
        ExchangeKind::Fanout => LapinKind::Fanout,
        ExchangeKind::Headers => LapinKind::Headers,
        ExchangeKind::Delayed => LapinKind::Custom(DELAYED.to_owned()),
    };
    let mut arguments = table(&exchange.arguments)?;
    if exchange.kind == ExchangeKind::Delayed {
        arguments.insert(DELAYED_KIND.into(), AMQPValue::LongString("direct".into()));
    }
    let options = ExchangeDeclareOptions {
        passive,
        durable: exchange.durable,
        auto_delete: exchange.auto_delete,
        internal: exchange.internal,
        nowait: false,
    };
    let name = short(&exchange.name, "exchange name")?;
    Ok(channel.exchange_declare(name, kind, options, arguments))
}

/// Declares a queue; `passive` only asks whether it exists, and what is in it.
pub(crate) fn declare_queue<'c>(
    channel: &'c Channel,
    queue: &QueuePlan,
    passive: bool,
) -> Result<impl Future<Output = ::lapin::Result<Queue>> + Send + use<'c>, ClientError> {
    let options = QueueDeclareOptions {
        passive,
        durable: queue.durable,
        exclusive: queue.exclusive,
        auto_delete: queue.auto_delete,
        nowait: false,
    };
    let arguments = if passive { FieldTable::default() } else { table(&queue.arguments)? };
    Ok(channel.queue_declare(short(&queue.name, "queue name")?, options, arguments))
}

/// Binds a queue or an exchange.
pub(crate) fn bind<'c>(
    channel: &'c Channel,
    binding: &BindingPlan,
) -> Result<impl Future<Output = ::lapin::Result<()>> + Send + use<'c>, ClientError> {
    let destination = short(&binding.destination, "name of a binding's destination")?;
    let source = short(&binding.source, "name of a binding's source")?;
    let key = short(&binding.key, "routing key")?;
    let arguments = table(&binding.arguments)?;
    Ok(if binding.to_exchange {
        Either::Left(channel.exchange_bind(destination, source, key, ExchangeBindOptions::default(), arguments))
    } else {
        Either::Right(channel.queue_bind(destination, source, key, QueueBindOptions::default(), arguments))
    })
}
