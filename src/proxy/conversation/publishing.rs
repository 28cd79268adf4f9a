//! Publishes on their way to the broker, and its confirms. Uses `amqp` through its parent. Pure.

use std::sync::Arc;
use std::time::Instant;

use super::super::channel::{Mark, cut_by};
use super::super::rule::{Hit, Order};
use super::{Content, Conversation, FrameClass, Rule, Rules, Settle, Thing, Verdict, Way, What, picked};

impl Conversation {
    /// A publish came, whole.
    pub(super) fn published(&mut self, number: u16, content: Content, rules: &Rules, now: Instant) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        if channel.is_closing {
            return self.emit(Way::ToBroker, number, content.into_bytes());
        }
        let publish = channel.publishes.as_ref().map(|publishes| publishes.next());
        let mut cuts = Vec::new();
        for rule in rules.of(FrameClass::Publishes) {
            let is_picked = match rule.what() {
                What::LoseConfirmed { .. } => publish.is_some() && rule.pick().is_some(),
                What::CutBeforeConfirm { .. } => {
                    publish.is_some()
                        && rule.pick_message(content.stamp().as_ref(), Order::Whole, !self.is_doomed(rule))
                }
                _ => rule.pick().is_some(),
            };
            if !is_picked {
                continue;
            }
            match *rule.what() {
                What::LoseConfirmed { .. } => {
                    rule.acted_on(Hit::unchanged(content.stamp()));
                    return self.lose_confirmed(number);
                }
                What::Frames { action, .. } => {
                    let channel = self.channels.entry(number).or_default();
                    if let Some((publishes, publish)) = channel.publishes.as_mut().zip(publish) {
                        publishes.withhold(publish, true);
                    }
                    let thing = Thing::Publish { content, number: publish, cuts };
                    return self.hold(rule, action, Way::ToBroker, number, now, thing);
                }
                _ => cuts.push(Arc::clone(rule)),
            }
        }
        self.send(number, content, publish, cuts);
    }

    /// A publish goes on to the broker.
    pub(super) fn send(&mut self, number: u16, content: Content, publish: Option<u64>, cuts: Vec<Arc<Rule>>) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        if let Some(publishes) = &mut channel.publishes {
            match publish {
                Some(publish) => publishes.pass(publish, true),
                // Held since before confirms were asked for: the broker counts it, the client does not.
                None => publishes.forge(true),
            };
        }
        if let Some(publish) = publish {
            let marks = cuts.into_iter().map(|rule| Mark { number: publish, rule, stamp: content.stamp() });
            channel.confirm_cuts.extend(marks);
        }
        self.emit(Way::ToBroker, number, content.into_bytes());
    }

    /// A publish is gone, and is confirmed once all before it are settled.
    fn lose_confirmed(&mut self, number: u16) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let Some(publishes) = &mut channel.publishes else { return };
        let publish = publishes.next();
        publishes.withhold(publish, true);
        channel.owed.push_back((publish, publishes.receiver_last()));
        let ripe = channel.ripe();
        self.tell(Way::ToClient, number, Settle::Ack, &ripe);
    }

    /// The broker answered publishes.
    pub(super) fn confirmed(
        &mut self,
        number: u16,
        settle: Settle,
        tag: u64,
        multiple: bool,
        rules: &Rules,
        now: Instant,
    ) -> Verdict {
        let Some(channel) = self.channels.get_mut(&number) else { return Verdict::Pass };
        let Some(publishes) = &mut channel.publishes else { return Verdict::Pass };
        let is_same = publishes.is_same();
        if is_same && channel.confirm_cuts.is_empty() && !rules.look_at(FrameClass::Confirms) {
            publishes.settle_same(tag, multiple);
            return Verdict::Pass;
        }
        let taken = publishes.take(tag, multiple);
        if !taken.is_known {
            publishes.tell(&[]);
            return if is_same { Verdict::Pass } else { Verdict::Take };
        }
        if let Some(mark) = cut_by(&mut channel.confirm_cuts, &taken.origins) {
            mark.rule.acted_on(Hit::unchanged(mark.stamp));
            self.is_cut = true;
            return Verdict::Take;
        }
        let mut acked = channel.ripe();
        if let Some((rule, action)) = picked(rules, FrameClass::Confirms) {
            let thing = Thing::Settlement { settle, origins: taken.origins };
            self.hold(rule, action, Way::ToClient, number, now, thing);
        } else if settle == Settle::Ack {
            acked.extend(taken.origins);
            acked.sort_unstable();
        } else {
            self.tell(Way::ToClient, number, settle, &taken.origins);
        }
        self.tell(Way::ToClient, number, Settle::Ack, &acked);
        Verdict::Take
    }
}
