//! What becomes of each frame, and what is learned from it. Uses `amqp`. Pure.

use std::time::Instant;

use amq_protocol::protocol::basic::AMQPMethod as Basic;

use super::super::channel::Channel;
use super::super::content::{Kind, Numbered, put_tag};
use super::{Conversation, FRAME_BYTES_MAX, FrameClass, Rules, Settle, Thing, Verdict, Way, picked};
use crate::amqp::{AMQPClass, CodecError, ContentHeader, FrameKind, Method, first_frame, method_id};

impl Conversation {
    /// Judges the next frame; false where it is not whole yet.
    pub(super) fn frame(&mut self, way: Way, rules: &Rules, now: Instant) -> Result<bool, CodecError> {
        let Some(frame) = first_frame(self.streams[way as usize].unread(), FRAME_BYTES_MAX)? else { return Ok(false) };
        let (channel, len, payload_len) = (frame.channel, frame.wire_len(), frame.payload.len());
        let verdict = match frame.kind {
            FrameKind::Heartbeat => self.heartbeat(way, rules, now),
            FrameKind::Method => {
                let mut payload = std::mem::take(&mut self.method);
                payload.clear();
                payload.extend_from_slice(frame.payload);
                let verdict = self.method(way, channel, &payload, rules, now);
                self.method = payload;
                verdict?
            }
            FrameKind::Header => {
                let size = ContentHeader::parse(frame.payload)?.body_size;
                let flow = self.channels.entry(channel).or_default().flow(way);
                flow.header(size)?;
                if flow.is_gathering() { Verdict::Gather } else { Verdict::Pass }
            }
            FrameKind::Body => {
                let flow = self.channels.entry(channel).or_default().flow(way);
                flow.body(payload_len)?;
                if flow.is_gathering() { Verdict::Gather } else { Verdict::Pass }
            }
        };
        let stream = &mut self.streams[way as usize];
        match verdict {
            Verdict::Pass => stream.pass(len),
            Verdict::Retag { tag_at, tag } => {
                put_tag(stream.unread_mut(), tag_at, tag);
                stream.pass(len);
            }
            Verdict::Take => drop(stream.take(len)),
            Verdict::Gather => {
                let bytes = stream.take(len);
                let whole = self.channels.entry(channel).or_default().flow(way).gather(bytes);
                match whole {
                    Some(content) if content.kind == Kind::Publish => self.published(channel, content, rules, now),
                    Some(content) => self.delivered(channel, content, rules, now),
                    None => {}
                }
            }
        }
        Ok(true)
    }

    fn method(
        &mut self,
        way: Way,
        number: u16,
        payload: &[u8],
        rules: &Rules,
        now: Instant,
    ) -> Result<Verdict, CodecError> {
        let id = method_id(payload).ok_or(CodecError::Truncated { what: "a method's number" })?;
        if number == 0 {
            // connection.close and its answer
            if matches!(id, (10, 50 | 51)) {
                self.give_up();
            }
            return Ok(Verdict::Pass);
        }
        match id {
            // basic.publish, basic.return, basic.deliver, basic.get-ok
            (60, 40 | 50 | 60 | 71) => return self.content(way, number, payload, rules),
            // channel.open
            (20, 10) => drop(self.channels.insert(number, Channel::default())),
            // channel.close
            (20, 40) => self.closing(number),
            // channel.close-ok
            (20, 41) => drop(self.channels.remove(&number)),
            _ => {
                let channel = self.channels.entry(number).or_default();
                channel.flow(way).method()?;
                if !channel.is_closing {
                    return self.ordinary(way, number, payload, id, rules, now);
                }
            }
        }
        Ok(Verdict::Pass)
    }

    /// A method without content, on an open channel.
    fn ordinary(
        &mut self,
        way: Way,
        number: u16,
        payload: &[u8],
        id: (u16, u16),
        rules: &Rules,
        now: Instant,
    ) -> Result<Verdict, CodecError> {
        let is_to_broker = way == Way::ToBroker;
        match id {
            // basic.ack, basic.reject, basic.nack
            (60, 80 | 90 | 120) => {
                let (settle, tag, multiple) = match Method::parse(payload)? {
                    Method::Ack { tag, multiple } => (Settle::Ack, tag, multiple),
                    Method::Nack { tag, multiple, requeue } => (Settle::Nack { requeue }, tag, multiple),
                    Method::Reject { tag, requeue } => (Settle::Reject { requeue }, tag, false),
                    _ => return Ok(Verdict::Pass),
                };
                return Ok(if is_to_broker {
                    self.acked(number, settle, tag, multiple, rules, now)
                } else {
                    self.confirmed(number, settle, tag, multiple, rules, now)
                });
            }
            // confirm.select
            (85, 10) if is_to_broker => {
                self.channels.entry(number).or_default().publishes.get_or_insert_default();
            }
            // basic.recover-async, and the answer to basic.recover
            (60, 100 | 111) => self.channels.entry(number).or_default().deliveries.forget(),
            // basic.consume, its answer, basic.cancel, its answer, basic.get, basic.get-empty
            (60, 20 | 21 | 30 | 31 | 70 | 72) => self.subscription(way, number, payload)?,
            _ => {}
        }
        Ok(Verdict::Pass)
    }

    /// Keeps who acks by itself.
    fn subscription(&mut self, way: Way, number: u16, payload: &[u8]) -> Result<(), CodecError> {
        let channel = self.channels.entry(number).or_default();
        let mut subscribe = |tag: &str, acks_itself: bool| {
            if acks_itself {
                channel.auto_ack.insert(tag.as_bytes().to_vec());
            } else {
                channel.auto_ack.remove(tag.as_bytes());
            }
        };
        match (way, Method::parse(payload)?) {
            (Way::ToClient, Method::GetEmpty) => drop(channel.getting.pop_front()),
            (way, Method::Other(class)) => match (way, *class) {
                (Way::ToBroker, AMQPClass::Basic(Basic::Consume(consume))) => {
                    // Without a name the broker gives one, and says it in its answer.
                    if !consume.consumer_tag.as_str().is_empty() {
                        subscribe(consume.consumer_tag.as_str(), consume.no_ack);
                    }
                    if !consume.nowait {
                        channel.subscribing.push_back(consume.no_ack);
                    }
                }
                (Way::ToClient, AMQPClass::Basic(Basic::ConsumeOk(answer))) => {
                    let acks_itself = channel.subscribing.pop_front().unwrap_or_default();
                    subscribe(answer.consumer_tag.as_str(), acks_itself);
                }
                (Way::ToClient, AMQPClass::Basic(Basic::Cancel(cancel))) => {
                    subscribe(cancel.consumer_tag.as_str(), false)
                }
                (Way::ToClient, AMQPClass::Basic(Basic::CancelOk(answer))) => {
                    subscribe(answer.consumer_tag.as_str(), false);
                }
                (Way::ToBroker, AMQPClass::Basic(Basic::Get(get))) => channel.getting.push_back(get.no_ack),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    /// A method that carries content.
    fn content(&mut self, way: Way, number: u16, payload: &[u8], rules: &Rules) -> Result<Verdict, CodecError> {
        let method = Method::parse(payload)?;
        let channel = self.channels.entry(number).or_default();
        let kind = match (way, method) {
            (Way::ToBroker, Method::Publish(_)) => Some(Kind::Publish),
            (Way::ToClient, Method::Deliver(deliver)) => {
                let settles = !channel.auto_ack.contains(deliver.consumer_tag);
                Some(Kind::Deliver(Numbered::of_delivery(deliver.tag, deliver.consumer_tag, settles)))
            }
            (Way::ToClient, Method::GetOk(get)) => {
                let settles = !channel.getting.pop_front().unwrap_or_default();
                Some(Kind::GetOk(Numbered::of_get(get.tag, settles)))
            }
            _ => None,
        };
        let gathers = match kind {
            Some(Kind::Publish) => rules.look_at(FrameClass::Publishes),
            Some(_) => rules.look_at(FrameClass::Deliveries) || channel.swapped.is_some(),
            None => false,
        };
        if gathers {
            channel.flow(way).begin(kind)?;
            return Ok(Verdict::Gather);
        }
        channel.flow(way).begin(None)?;
        match kind {
            Some(Kind::Publish) => {
                if let Some(publishes) = &mut channel.publishes {
                    publishes.pass(publishes.next(), true);
                }
            }
            Some(Kind::Deliver(Numbered { tag, settles, tag_at }) | Kind::GetOk(Numbered { tag, settles, tag_at })) => {
                let handed = channel.deliveries.pass(tag, settles);
                if handed != tag {
                    return Ok(Verdict::Retag { tag_at, tag: handed });
                }
            }
            None => {}
        }
        Ok(Verdict::Pass)
    }

    fn heartbeat(&mut self, way: Way, rules: &Rules, now: Instant) -> Verdict {
        match picked(rules, FrameClass::Heartbeats) {
            None => Verdict::Pass,
            Some((rule, action)) => {
                self.hold(rule, action, way, 0, now, Thing::Heartbeat);
                Verdict::Take
            }
        }
    }
}
