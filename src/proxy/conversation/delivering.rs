//! Deliveries on their way to the client, and what it settles them with. Uses `amqp`. Pure.

use std::sync::Arc;
use std::time::Instant;

use amq_protocol::protocol::basic::{AMQPMethod as Basic, GetEmpty};

use super::super::channel::{Mark, cut_by};
use super::super::held::Parcel;
use super::super::rule::{Hit, Order};
use super::{
    AMQPClass, Content, Conversation, FrameAction, FrameClass, Kind, Rule, Rules, Settle, Thing, Verdict, Way, What,
    picked,
};
use crate::amqp::put_method;

/// A tag that no broker gave: what a client settles and never got is not known to the broker either.
const NO_TAG: u64 = u64::MAX;

/// What the rules decide of a delivery.
enum Fate {
    HandOver,
    /// It waits to change places with the next one.
    Swap(Arc<Rule>),
    Hold(Arc<Rule>, FrameAction),
    Lose,
}

impl Conversation {
    /// A delivery came, whole.
    pub(super) fn delivered(&mut self, number: u16, content: Content, rules: &Rules, now: Instant) {
        let Some(numbered) = content.numbered() else { return };
        let Some(channel) = self.channels.get_mut(&number) else { return };
        if channel.is_closing {
            return self.emit(Way::ToClient, number, content.into_bytes());
        }
        let may_swap = channel.swapped.is_none();
        let mut parcel = Parcel::new(content, numbered);
        let fate = self.fate(&mut parcel, may_swap, rules);
        let Some(channel) = self.channels.get_mut(&number) else { return };
        match fate {
            Fate::HandOver => {
                let before = channel.swapped.take();
                self.hand_over(number, parcel);
                if let Some((before, rule)) = before {
                    self.swapped -= 1;
                    rule.acted_on(Hit::unchanged(before.content.stamp()));
                    self.hand_over(number, before);
                }
            }
            Fate::Swap(rule) => {
                channel.deliveries.withhold(parcel.tag, parcel.settles);
                channel.swapped = Some((parcel, rule));
                self.swapped += 1;
            }
            Fate::Hold(rule, action) => {
                channel.deliveries.withhold(parcel.tag, parcel.settles);
                self.hold(&rule, action, Way::ToClient, number, now, Thing::Delivery(Box::new(parcel)));
            }
            Fate::Lose => self.lose_delivered(number, &parcel),
        }
    }

    /// What the rules make of a delivery.
    fn fate(&self, parcel: &mut Parcel, may_swap: bool, rules: &Rules) -> Fate {
        let is_pushed = matches!(parcel.content.kind, Kind::Deliver(_));
        let mut swap = None;
        for rule in rules.of(FrameClass::Deliveries) {
            if let What::CutBeforeAck { .. } = rule.what() {
                let is_free = !self.is_doomed(rule);
                if parcel.settles && rule.pick_message(parcel.content.stamp().as_ref(), Order::Any, is_free) {
                    parcel.cuts.push(Arc::clone(rule));
                }
                continue;
            }
            let is_event = match rule.what() {
                What::Duplicate { .. } => is_pushed,
                What::Corrupt { .. } => parcel.content.has_body(),
                What::Swap { .. } => is_pushed && may_swap && swap.is_none(),
                What::Invent { .. } => is_pushed && parcel.content.is_stamped(),
                _ => true,
            };
            let Some(event) = is_event.then(|| rule.pick()).flatten() else { continue };
            match *rule.what() {
                What::Frames { action, .. } => return Fate::Hold(Arc::clone(rule), action),
                What::LoseDelivered { .. } => {
                    rule.acted_on(Hit::unchanged(parcel.content.stamp()));
                    return Fate::Lose;
                }
                What::Duplicate { flagged, .. } => parcel.copies.push((flagged, Arc::clone(rule))),
                What::Corrupt { .. } => {
                    let had = parcel.content.stamp();
                    parcel.content.corrupt(self.seed, event);
                    let hit = had.zip(parcel.content.stamp()).map(|(had, became)| Hit { had, became });
                    parcel.corrupted.push((hit, Arc::clone(rule)));
                }
                What::Swap { .. } => swap = Some(Arc::clone(rule)),
                What::Invent { .. } => {
                    let invented = parcel.content.invented(event);
                    parcel.invented.extend(invented.map(|copy| (copy, Arc::clone(rule))));
                }
                _ => {}
            }
        }
        swap.map_or(Fate::HandOver, Fate::Swap)
    }

    /// A delivery goes on to the client, with all that the rules made of it.
    pub(super) fn hand_over(&mut self, number: u16, parcel: Parcel) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let Parcel { mut content, tag, settles, invented, copies, corrupted, cuts } = parcel;
        let mut contents = Vec::new();
        for (mut invented, rule) in invented {
            invented.set_tag(channel.deliveries.forge(settles));
            rule.acted_on(content.stamp().zip(invented.stamp()).map(|(had, became)| Hit { had, became }));
            contents.push(invented);
        }
        content.set_tag(channel.deliveries.pass(tag, settles));
        corrupted.into_iter().for_each(|(hit, rule)| rule.acted_on(hit));
        let copies: Vec<Content> = copies
            .into_iter()
            .map(|(flagged, rule)| {
                let mut copy = content.clone();
                copy.set_redelivered(flagged);
                copy.set_tag(channel.deliveries.forge(settles));
                rule.acted_on(Hit::unchanged(copy.stamp()));
                copy
            })
            .collect();
        let marks = cuts.into_iter().map(|rule| Mark { number: tag, rule, stamp: content.stamp() });
        channel.ack_cuts.extend(marks);
        contents.push(content);
        contents.extend(copies);
        for content in contents {
            self.emit(Way::ToClient, number, content.into_bytes());
        }
    }

    /// A delivery is gone, and the broker is told that it was settled.
    fn lose_delivered(&mut self, number: u16, parcel: &Parcel) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        channel.deliveries.withhold(parcel.tag, false);
        if parcel.settles {
            let mut ack = Vec::new();
            Settle::Ack.put(&mut ack, number, parcel.tag, false);
            self.emit(Way::ToBroker, number, ack.into());
        }
        if matches!(parcel.content.kind, Kind::GetOk(_)) {
            let mut empty = Vec::new();
            if put_method(&mut empty, number, &AMQPClass::Basic(Basic::GetEmpty(GetEmpty {}))).is_ok() {
                self.emit(Way::ToClient, number, empty.into());
            }
        }
    }

    /// The client settled deliveries.
    pub(super) fn acked(
        &mut self,
        number: u16,
        settle: Settle,
        tag: u64,
        multiple: bool,
        rules: &Rules,
        now: Instant,
    ) -> Verdict {
        let Some(channel) = self.channels.get_mut(&number) else { return Verdict::Pass };
        let is_same = channel.deliveries.is_same();
        if is_same && channel.ack_cuts.is_empty() && !rules.look_at(FrameClass::Acks) {
            channel.deliveries.settle_same(tag, multiple);
            return Verdict::Pass;
        }
        let taken = channel.deliveries.take(tag, multiple);
        if !taken.is_known {
            channel.deliveries.tell(&[]);
            if is_same {
                return Verdict::Pass;
            }
            let mut stray = Vec::new();
            settle.put(&mut stray, number, NO_TAG, false);
            self.emit(Way::ToBroker, number, stray.into());
            return Verdict::Take;
        }
        if let Some(mark) = cut_by(&mut channel.ack_cuts, &taken.origins) {
            mark.rule.acted_on(Hit::unchanged(mark.stamp));
            self.is_cut = true;
            return Verdict::Take;
        }
        match picked(rules, FrameClass::Acks) {
            Some((rule, action)) => {
                let thing = Thing::Settlement { settle, origins: taken.origins };
                self.hold(rule, action, Way::ToBroker, number, now, thing);
            }
            None => self.tell(Way::ToBroker, number, settle, &taken.origins),
        }
        Verdict::Take
    }

    /// Deliveries that still wait for a next one, though what would have swapped them has ended, go on.
    pub(super) fn give_up_swaps(&mut self) {
        if self.swapped == 0 {
            return;
        }
        let has_ended =
            |swapped: &Option<(Parcel, Arc<Rule>)>| swapped.as_ref().is_some_and(|(_, rule)| rule.has_ended());
        let freed: Vec<u16> =
            self.channels.iter().filter(|(_, it)| has_ended(&it.swapped)).map(|(number, _)| *number).collect();
        for number in freed {
            let swapped = self.channels.get_mut(&number).and_then(|channel| channel.swapped.take());
            if let Some((parcel, _)) = swapped {
                self.swapped -= 1;
                self.hand_over(number, parcel);
            }
        }
    }
}
