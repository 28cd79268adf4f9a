//! Puts a message together: what the plan says of it, its stamp, its body and its properties.

use std::sync::{Arc, OnceLock};

use crate::client::{Ids, MoreProperties, Outbox, Properties};
use crate::plan::fleet::PropertiesPlan;
use crate::plan::{Arguments, BodyMaker, FieldError, Fields, Message, Moment, ProducerFleet, Publisher};
use crate::stamp::{STAMP_LEN, Stamp};

/// Makes the messages of one fleet, for all of its publishers.
pub struct MessageMaker {
    pub(super) fleet: Arc<ProducerFleet>,
    bodies: BodyMaker,
    keys: Vec<Arc<str>>,
    /// For each route, the properties that need filling in or are set at all; none where there are none.
    more: Vec<Option<Box<PropertyMaker>>>,
}

impl MessageMaker {
    /// # Errors
    /// A property's text has a field that is unknown; the plan refuses these first.
    pub fn new(fleet: &Arc<ProducerFleet>) -> Result<Self, FieldError> {
        let property = |route: &crate::plan::Route| {
            PropertyMaker::new(&fleet.properties, &route.headers).map(|maker| maker.map(Box::new))
        };
        Ok(Self {
            fleet: Arc::clone(fleet),
            bodies: BodyMaker::new(fleet),
            keys: fleet.routes.iter().map(|route| Arc::from(route.key.as_str())).collect(),
            more: fleet.routes.iter().map(property).collect::<Result<_, _>>()?,
        })
    }

    /// The fleet.
    pub fn fleet(&self) -> &ProducerFleet {
        &self.fleet
    }

    /// Adds the message that `stamp` names, sent now, to `batch`.
    pub fn make(&self, publisher: &Publisher, stamp: &Stamp, moment: &Moment, batch: &mut Outbox) {
        let message = self.fleet.message(publisher, stamp.sequence);
        let more = self.more[message.route].as_ref();
        let more = more.map(|more| more.make(&self.fleet.name, publisher, stamp.sequence, moment));
        self.put(publisher, stamp, moment, (message, more), batch);
    }

    /// The same, of a message that another one causes: the one with these `ids`.
    pub(super) fn make_caused(
        &self,
        publisher: &Publisher,
        stamp: &Stamp,
        moment: &Moment,
        ids: Option<&Ids>,
        batch: &mut Outbox,
    ) {
        let message = self.fleet.message(publisher, stamp.sequence);
        let more = self.more[message.route].as_ref();
        let mut more =
            more.map(|more| more.fill(&self.fleet.name, publisher, stamp.sequence, moment)).unwrap_or_default();
        ids.into_iter().for_each(|ids| ids.lead_to(&mut more));
        self.put(publisher, stamp, moment, (message, Some(Arc::new(more))), batch);
    }

    fn put(
        &self,
        publisher: &Publisher,
        stamp: &Stamp,
        moment: &Moment,
        (message, more): (Message, Option<Arc<MoreProperties>>),
        batch: &mut Outbox,
    ) {
        batch.push(stamp.sequence, Arc::clone(&self.keys[message.route]), |bodies| {
            let from = bodies.len();
            let mut header = None;
            if self.bodies.is_template() {
                self.bodies.append(publisher, stamp.sequence, message.size, moment, bodies);
                header = Some(stamp.encode(&bodies[from..]));
            } else {
                bodies.extend_from_slice(&[0; STAMP_LEN]);
                self.bodies.append(publisher, stamp.sequence, message.size, moment, bodies);
                let (head, rest) = bodies[from..].split_at_mut(STAMP_LEN);
                head.copy_from_slice(&stamp.encode(rest));
            }
            Properties { priority: message.priority, stamp: header, more }
        });
    }
}

/// Properties with their texts parsed.
struct PropertyMaker {
    plan: PropertiesPlan,
    headers: Arguments,
    texts: [Option<Fields>; 7],
    /// Without fields they are the same for every message, and made once.
    constant: Option<OnceLock<Arc<MoreProperties>>>,
}

impl PropertyMaker {
    fn new(plan: &PropertiesPlan, route_headers: &Arguments) -> Result<Option<Self>, FieldError> {
        let mut headers = plan.headers.clone();
        headers.extend(route_headers.clone());
        let PropertiesPlan {
            content_type, content_encoding, message_id, correlation_id, reply_to, kind, app_id, ..
        } = plan;
        let texts = [content_type, content_encoding, message_id, correlation_id, reply_to, kind, app_id];
        let any = plan.expiration_ms.is_some() || !headers.is_empty() || texts.iter().any(|text| text.is_some());
        let mut parsed: [Option<Fields>; 7] = Default::default();
        for (parsed, text) in parsed.iter_mut().zip(texts) {
            *parsed = text.as_deref().map(Fields::parse).transpose()?;
        }
        let has_field = |value: &serde_json::Value| value.as_str().is_some_and(|text| text.contains("{{"));
        let constant = parsed.iter().flatten().all(Fields::is_constant) && !headers.values().any(has_field);
        let constant = constant.then(OnceLock::new);
        Ok(any.then(|| Self { plan: plan.clone(), headers, texts: parsed, constant }))
    }

    fn make(&self, fleet: &str, publisher: &Publisher, sequence: u64, moment: &Moment) -> Arc<MoreProperties> {
        let fill = || Arc::new(self.fill(fleet, publisher, sequence, moment));
        match &self.constant {
            Some(made) => Arc::clone(made.get_or_init(fill)),
            None => fill(),
        }
    }

    fn fill(&self, fleet: &str, publisher: &Publisher, sequence: u64, moment: &Moment) -> MoreProperties {
        let fill =
            |fields: &Option<Fields>| fields.as_ref().map(|fields| fields.fill(fleet, publisher, sequence, moment));
        let [content_type, content_encoding, message_id, correlation_id, reply_to, kind, app_id] =
            self.texts.each_ref().map(fill);
        let headers = self.headers.iter().map(|(name, value)| {
            let filled = match value {
                serde_json::Value::String(text) if text.contains("{{") => Fields::parse(text)
                    .map_or_else(|_| value.clone(), |fields| fields.fill(fleet, publisher, sequence, moment).into()),
                _ => value.clone(),
            };
            (name.clone(), filled)
        });
        MoreProperties {
            expiration_ms: self.plan.expiration_ms,
            content_type,
            content_encoding,
            message_id,
            correlation_id,
            reply_to,
            kind,
            app_id,
            headers: headers.collect(),
        }
    }
}
