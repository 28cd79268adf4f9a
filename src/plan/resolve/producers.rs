//! Fleets of producers: their publishers, and what each message will be.

use super::topology::unknown_exchange;
use super::values::{arguments, body_size, check_weights, milliseconds, quoted};
use super::{Problems, chains};
use crate::plan::draw::{self, Lane};
use crate::plan::fleet::{BackoffPlan, PropertiesPlan, SizePlan};
use crate::plan::routing::Router;
use crate::plan::schedule::{RateProfile, RateSegment};
use crate::plan::{Again, Arguments, BodyPlan, ConfirmPlan, Fields, ProducerFleet, Publisher, Route, divide};
use crate::scenario::producer::{
    Body, Confirm, ConfirmWindow, Properties, RatePlan, RateStep, RoutingKey, Size, WeightedKey,
};
use crate::scenario::{Consumer, Producer};
use crate::units::{ByteSize, Span};

/// A stamp holds two bytes of publisher.
const MAX_PUBLISHERS: u64 = 1 << 16;
const DEFAULT_SIZE: ByteSize = ByteSize(1024);
const DEFAULT_WINDOW: u32 = 192;
const DEFAULT_CONFIRM_TIMEOUT: Span = Span::from_secs(10);
const DEFAULT_WEIGHT: f64 = 1.0;
const DEFAULT_FACTOR: f64 = 2.0;

pub(super) fn resolve(
    (producers, consumers): (&[Producer], &[Consumer]),
    seed: u64,
    router: &Router<'_>,
    limits: &[Option<u64>],
    read_file: &dyn Fn(&str) -> std::io::Result<String>,
    problems: &mut Problems,
) -> Vec<ProducerFleet> {
    let mut first_id = 0;
    let mut fleets = Vec::new();
    for (place, producer) in producers.iter().enumerate() {
        let path = format!("producer[{place}]");
        let publishers = Publishers { seed, place, first_id, messages: limits.get(place).copied().flatten() };
        let mut fleet = Reader { path: &path, router, problems: &mut *problems }.fleet(producer, read_file);
        let led = chains::leader(&path, producer, consumers, problems);
        fleet.follows = led.map(|(number, _)| number);
        let shape = match led {
            Some((_, leader)) => [leader.count, leader.connections, leader.channels],
            None => [producer.count, producer.connections, producer.channels],
        };
        fleet.publishers = publishers.resolve(&path, (producer, shape), problems);
        first_id += fleet.publishers.len() as u64;
        fleets.push(fleet);
    }
    fleets
}

/// What the publishers of one fleet are made of.
struct Publishers {
    seed: u64,
    /// The fleet's place among the producers.
    place: usize,
    first_id: u64,
    /// Most messages of the fleet.
    messages: Option<u64>,
}

impl Publishers {
    fn resolve(
        &self,
        path: &str,
        (producer, shape): (&Producer, [Option<u32>; 3]),
        problems: &mut Problems,
    ) -> Vec<Publisher> {
        let Some([count, connections, channels]) = members(path, shape, problems) else { return Vec::new() };
        let all = count.saturating_mul(connections).saturating_mul(channels);
        if self.first_id.saturating_add(all) > MAX_PUBLISHERS {
            let message =
                format!("more than {MAX_PUBLISHERS} publishers: count × connections × channels of all producers");
            problems.add(format!("{path}.count"), message);
            return Vec::new();
        }
        let span_us = producer.random_start.map_or(0, Span::as_us);
        (0..all)
            .map(|place| {
                let connection = place / channels;
                let member = connection / connections;
                let id = self.first_id + place;
                let start = (self.place as u64) << 32 | member;
                Publisher {
                    id: id as u16,
                    member: member as u32,
                    connection: connection as u32,
                    place: place as u32,
                    seed: draw::bits(self.seed, Lane::Publisher, id),
                    start_us: draw::below(self.seed, Lane::Start, start, span_us),
                    messages: self.messages.map(|total| divide::in_turn(total, place, all)),
                }
            })
            .collect()
    }
}

/// Members, connections of each and channels of each connection; none where one is 0, which is reported.
pub(super) fn members(path: &str, shape: [Option<u32>; 3], problems: &mut Problems) -> Option<[u64; 3]> {
    let mut fits = true;
    for (name, number) in ["count", "connections", "channels"].into_iter().zip(shape) {
        if number == Some(0) {
            problems.add_with_help(format!("{path}.{name}"), "0 members would do nothing", "at least 1");
            fits = false;
        }
    }
    fits.then(|| shape.map(|number| u64::from(number.unwrap_or(1))))
}

struct Reader<'a> {
    path: &'a str,
    router: &'a Router<'a>,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    /// The fleet without its publishers.
    fn fleet(&mut self, producer: &Producer, read_file: &dyn Fn(&str) -> std::io::Result<String>) -> ProducerFleet {
        let properties = self.properties(producer.properties.clone().unwrap_or_default());
        let body = self.body(producer.body.as_ref(), read_file);
        let (routes, routes_drawn) = self.routes(producer, &properties.headers);
        ProducerFleet {
            name: producer.name.clone(),
            client: producer.client.unwrap_or_default(),
            exchange: producer.exchange.clone().unwrap_or_default(),
            routes,
            routes_drawn,
            rate: self.rate(producer.rate.as_ref()),
            size: self.size(producer.size.as_ref(), &body),
            body,
            persistent: producer.persistent.unwrap_or(true),
            mandatory: producer.mandatory.unwrap_or(false),
            confirm: confirm(producer.confirm),
            on_unconfirmed: producer.on_unconfirmed.unwrap_or(Again::Abandon),
            on_nacked: producer.on_nacked.unwrap_or(Again::Abandon),
            backoff: producer.backoff.map(|written| BackoffPlan {
                first_us: written.first.as_us(),
                factor: written.factor.unwrap_or(DEFAULT_FACTOR),
                max_us: written.max.as_us(),
            }),
            properties,
            follows: None,
            publishers: Vec::new(),
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    fn routes(&mut self, producer: &Producer, headers: &Arguments) -> (Vec<Route>, bool) {
        let exchange = producer.exchange.as_deref().unwrap_or_default();
        if !self.router.has_exchange(exchange) {
            unknown_exchange(
                &self.key("exchange"),
                exchange,
                self.router.exchanges().map(|(name, _)| name),
                self.problems,
            );
        }
        let (choices, drawn) = match &producer.routing_key {
            Some(RoutingKey::Choice(choices)) => (choices.clone(), true),
            Some(RoutingKey::Fixed(key)) => (vec![fixed(key)], false),
            None if exchange.is_empty() => {
                let help = "give a queue's name as `routing_key`, or name an `exchange`";
                self.problems.add_with_help(
                    self.key("routing_key"),
                    "the default exchange routes by it, and there is none",
                    help,
                );
                (Vec::new(), false)
            }
            None => (vec![fixed("")], false),
        };
        if drawn {
            let weights: Vec<_> = choices.iter().map(|choice| choice.weight.unwrap_or(DEFAULT_WEIGHT)).collect();
            check_weights(&self.key("routing_key.choice"), &weights, self.problems);
        }
        let mut routes = Vec::new();
        for (place, choice) in choices.iter().enumerate() {
            let key = if drawn { self.key(&format!("routing_key.choice[{place}]")) } else { self.key("routing_key") };
            self.append_routes(&key, choice, exchange, headers, &mut routes);
        }
        (routes, drawn)
    }

    /// The routes of one choice: several where its key is a pattern, which then share its weight.
    fn append_routes(
        &mut self,
        path: &str,
        choice: &WeightedKey,
        exchange: &str,
        headers: &Arguments,
        routes: &mut Vec<Route>,
    ) {
        let own = arguments(&format!("{path}.headers"), &choice.headers, None, self.problems);
        self.check_fields_of(&format!("{path}.headers"), &own);
        let mut merged = headers.clone();
        merged.extend(own.clone());
        let keys = self.problems.expand(path, &choice.key);
        for key in &keys {
            routes.push(Route {
                key: key.clone(),
                weight: choice.weight.unwrap_or(DEFAULT_WEIGHT) / keys.len() as f64,
                headers: own.clone(),
                queues: self.router.reach(exchange, key, &merged),
            });
        }
    }

    fn rate(&mut self, rate: Option<&RatePlan>) -> Option<RateProfile> {
        let flat = |step: &RateStep| RateSegment {
            lasting_us: step.lasting.as_us(),
            from_per_s: step.rate.as_per_second(),
            to_per_s: step.rate.as_per_second(),
        };
        let profile = match rate? {
            RatePlan::Max => return None,
            RatePlan::Constant(rate) => RateProfile::constant(rate.as_per_second()),
            RatePlan::Steps(steps) => RateProfile { segments: steps.iter().map(flat).collect(), cycle: false },
            RatePlan::Cycle(steps) => RateProfile { segments: steps.iter().map(flat).collect(), cycle: true },
            RatePlan::Ramp(ramp) => {
                let (from_per_s, to_per_s) = (ramp.from.as_per_second(), ramp.to.as_per_second());
                let segment = RateSegment { lasting_us: ramp.lasting.as_us(), from_per_s, to_per_s };
                RateProfile { segments: vec![segment], cycle: false }
            }
        };
        if profile.segments.iter().any(|segment| segment.lasting_us == 0) {
            self.problems.add_with_help(
                self.key("rate"),
                "a piece of it lasts no time",
                "give each `for` at least \"1us\"",
            );
        } else if profile.peak_per_s() <= 0.0 {
            self.problems.add_with_help(
                self.key("rate"),
                "it never sends a message",
                "ask for more than 0/s at some time",
            );
        }
        Some(profile)
    }

    fn size(&mut self, size: Option<&Size>, body: &BodyPlan) -> SizePlan {
        let key = self.key("size");
        if matches!(body, BodyPlan::Template { .. }) {
            if size.is_some() {
                let help = "leave `size` out: the body is as long as the filled-in template";
                self.problems.add_with_help(key, "a template has a length of its own", help);
            }
            return SizePlan::Template;
        }
        match size {
            None => SizePlan::Fixed(body_size(&key, DEFAULT_SIZE, self.problems)),
            Some(Size::Fixed(size)) => SizePlan::Fixed(body_size(&key, *size, self.problems)),
            Some(Size::Range(range)) => {
                let min = body_size(&format!("{key}.min"), range.min, self.problems);
                let max = body_size(&format!("{key}.max"), range.max, self.problems);
                if min > max {
                    self.problems
                        .add(format!("{key}.min"), format!("{} is larger than `max`, {}", range.min, range.max));
                }
                SizePlan::Range { min, max: max.max(min) }
            }
            Some(Size::Choice(choices)) => {
                let weights: Vec<_> = choices.iter().map(|choice| choice.weight.unwrap_or(DEFAULT_WEIGHT)).collect();
                check_weights(&format!("{key}.choice"), &weights, self.problems);
                let sizes = choices.iter().enumerate().map(|(place, choice)| {
                    body_size(&format!("{key}.choice[{place}].size"), choice.size, self.problems)
                });
                SizePlan::Choice(sizes.zip(weights).collect())
            }
        }
    }

    fn body(&mut self, body: Option<&Body>, read_file: &dyn Fn(&str) -> std::io::Result<String>) -> BodyPlan {
        match body {
            None | Some(Body::Random) => BodyPlan::Random,
            Some(Body::Zeros) => BodyPlan::Zeros,
            Some(Body::Compressible(ratio)) => {
                if !(*ratio > 0.0 && *ratio <= 1.0) {
                    let message = format!("`{ratio}` is not a share of the size");
                    self.problems.add_with_help(self.key("body.compressible"), message, "above 0 and up to 1");
                }
                BodyPlan::Compressible { ratio: *ratio }
            }
            Some(Body::Template(path)) => {
                let key = self.key("body.template");
                let text = read_file(path).unwrap_or_else(|error| {
                    let help = "the path is relative to the scenario's folder";
                    self.problems.add_with_help(&key, format!("could not read `{path}`: {error}"), help);
                    String::new()
                });
                self.check_fields(&key, &text);
                BodyPlan::Template { text }
            }
        }
    }

    fn properties(&mut self, written: Properties) -> PropertiesPlan {
        let texts = [
            ("content_type", &written.content_type),
            ("content_encoding", &written.content_encoding),
            ("message_id", &written.message_id),
            ("correlation_id", &written.correlation_id),
            ("reply_to", &written.reply_to),
            ("type", &written.kind),
            ("app_id", &written.app_id),
        ];
        for (name, text) in texts {
            self.check_fields(&self.key(&format!("properties.{name}")), text.as_deref().unwrap_or_default());
        }
        let expiration = written.expiration;
        let expiration_ms =
            expiration.map(|span| milliseconds(&self.key("properties.expiration"), span, self.problems));
        let path = self.key("properties.headers");
        let headers = arguments(&path, &written.headers, None, self.problems);
        self.check_fields_of(&path, &headers);
        PropertiesPlan {
            priority: written.priority.unwrap_or_default(),
            expiration_ms,
            content_type: written.content_type,
            content_encoding: written.content_encoding,
            message_id: written.message_id,
            correlation_id: written.correlation_id,
            reply_to: written.reply_to,
            kind: written.kind,
            app_id: written.app_id,
            headers,
        }
    }

    fn check_fields(&mut self, key: &str, text: &str) -> Option<Fields> {
        Fields::parse(text).map_err(|error| self.problems.add(key, error.to_string())).ok()
    }

    /// Checks the fields in the texts of headers. A header that routing looks at may hold none, because nobody could
    /// foretell where its message goes.
    fn check_fields_of(&mut self, path: &str, headers: &Arguments) {
        for (name, value) in headers {
            let key = format!("{path}.{}", quoted(name));
            let Some(text) = value.as_str() else {
                self.refuse_nested_fields(&key, value);
                continue;
            };
            let fields = self.check_fields(&key, text);
            if fields.is_some_and(|fields| !fields.is_constant()) && self.router.compares_header(name) {
                let help = "route by a header without fields, or choose among keys with `headers`";
                let message = format!("a headers exchange compares `{name}`, so that it must be known beforehand");
                self.problems.add_with_help(key, message, help);
            }
        }
    }

    /// A text in a list or a table of a header is sent as it is written: a field in it would never be filled in.
    fn refuse_nested_fields(&mut self, key: &str, value: &serde_json::Value) {
        match value {
            serde_json::Value::String(text) if text.contains("{{") => self.problems.add_with_help(
                key,
                "fields such as `{{seq}}` are not filled in inside of a list or a table",
                "put the text into a header of its own, or write it without `{{`",
            ),
            serde_json::Value::Array(list) => {
                for (place, value) in list.iter().enumerate() {
                    self.refuse_nested_fields(&format!("{key}[{place}]"), value);
                }
            }
            serde_json::Value::Object(table) => {
                for (name, value) in table {
                    self.refuse_nested_fields(&format!("{key}.{}", quoted(name)), value);
                }
            }
            _ => {}
        }
    }
}

fn fixed(key: &str) -> WeightedKey {
    WeightedKey { key: key.to_owned(), weight: None, headers: Default::default() }
}

fn confirm(written: Option<Confirm>) -> Option<ConfirmPlan> {
    let ConfirmWindow { window, timeout } = match written {
        Some(Confirm::Off) => return None,
        Some(Confirm::Window(window)) => window,
        None => ConfirmWindow { window: None, timeout: None },
    };
    Some(ConfirmPlan {
        window: window.unwrap_or(DEFAULT_WINDOW),
        timeout_us: timeout.unwrap_or(DEFAULT_CONFIRM_TIMEOUT).as_us(),
    })
}
