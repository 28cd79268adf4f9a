//! Puts the record together, and keeps the course of a run: its phases and what it tells.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hdrhistogram::Histogram;
use tokio::sync::mpsc;

use super::fates::{Compared, Fates};
use super::fleets::Fleets;
use super::host::{self, ClockWatch};
use super::routes::PlanForetold;
use super::sampler::Sampled;
use super::stores::StoreRead;
use super::{Ending, Job, Run, chains, costs};
use crate::fleet::{Clock, ConsumerMeters, DeathKind};
use crate::latency::{Recorder, at_percentile, histogram};
use crate::ledger::gap::Stretch;
use crate::ledger::{Evidence as Reconciled, RemovalEvidence, Rule};
use crate::plan::{Expectation, Metric};
use crate::record::progress::Progress;
use crate::record::{
    Account, BrokerFacts, DeadLetterRow, DuplicateGap, FaultRow, GapLength, GeneratorFacts, IncidentKind, Phase,
    PhaseFacts, Record, SCHEMA_VERSION, Totals, thousandths,
};

/// Which phases ran when, and who is told.
pub(super) struct Course {
    pub(super) clock: Arc<Clock>,
    clock_watch: ClockWatch,
    progress: mpsc::Sender<Progress>,
    sampling: Option<mpsc::Sender<Phase>>,
    /// Start of each phase since the clock was made, in microseconds.
    entered: Vec<(Phase, u64)>,
}

impl Course {
    pub(super) fn new(job: &Job) -> Self {
        Self {
            clock: Arc::new(Clock::new(Instant::now())),
            clock_watch: ClockWatch::begin(),
            progress: job.progress.clone(),
            sampling: None,
            entered: Vec::new(),
        }
    }

    pub(super) fn listener(&self) -> mpsc::Sender<Progress> {
        self.progress.clone()
    }

    pub(super) async fn tell(&self, progress: Progress) {
        // A listener that is gone listens no more; the run goes on.
        let _ = self.progress.send(progress).await;
    }

    pub(super) async fn note(&self, note: String) {
        self.tell(Progress::Note(note)).await;
    }

    pub(super) async fn enter(&mut self, phase: Phase) {
        self.entered.push((phase, self.clock.since_made_us()));
        if let Some(sampling) = &self.sampling {
            let _ = sampling.send(phase).await;
        }
        self.tell(Progress::Phase(phase)).await;
    }

    /// From now on each phase begins a new interval.
    pub(super) fn sample_phases(&mut self, sampling: mpsc::Sender<Phase>) {
        self.sampling = Some(sampling);
    }

    pub(super) fn end_sampling(&mut self) {
        self.sampling = None;
    }

    fn phases(&self) -> Vec<PhaseFacts> {
        let origin_us = self.clock.begun_after_us().unwrap_or(0) as i64;
        let starts = self.entered.iter().map(|(phase, at)| (*phase, *at as i64 - origin_us));
        let ends = self.entered.iter().skip(1).map(|(_, at)| *at).chain([self.clock.since_made_us()]);
        starts
            .zip(ends)
            .map(|((phase, start_us), end)| PhaseFacts { phase, start_us, end_us: end as i64 - origin_us })
            .collect()
    }
}

/// What a run left behind, before it becomes a record.
pub(super) struct Evidence<'a> {
    pub(super) job: &'a Job,
    pub(super) run: &'a Run<'a>,
    pub(super) fleets: &'a Fleets,
    pub(super) sampled: Sampled,
    pub(super) ending: Ending,
    /// The broker's own counters over the run.
    pub(super) counters: Option<BTreeMap<String, u64>>,
    /// What the stores of idempotent consumers say.
    pub(super) effects: Vec<StoreRead>,
}

impl Evidence<'_> {
    pub(super) fn record(self, course: &Course) -> Record {
        let mut account = self.account();
        let version = self.run.broker.facts().version.clone();
        let fates = Fates {
            plan: &self.run.plan,
            shared: &self.run.shared,
            destinations: &self.run.destinations,
            version: &version,
        };
        // A run that was cut short has not seen what becomes of its messages.
        let compared = self.ending.audited.then(|| fates.compare(&mut account)).flatten();
        let mut totals = totals(
            &account,
            self.run.shared.incidents.count(IncidentKind::Disconnected),
            self.run.shared.incidents.count(IncidentKind::Blocked),
        );
        if let Some(compared) = &compared {
            totals.count_fates(&compared.report.account);
        }
        let chains = chains::report(&self.run.plan, &self.run.shared, &self.run.destinations, &mut account);
        chains.iter().for_each(|chains| totals.count_chains(chains));
        let incidents = &self.run.shared.incidents;
        let (queue_samples, broker_samples, overflow) = self.run.watch.take();
        let generator = GeneratorFacts { overflow, ..self.generator(course) };
        Record {
            schema_version: SCHEMA_VERSION,
            id: self.job.id.clone(),
            started_at: self.job.started_at,
            completeness: self.ending.completeness.clone(),
            verdict: None,
            totals,
            scenario: self.job.scenario.clone(),
            plan: (*self.run.plan).clone(),
            versions: self.versions(),
            host: host::facts(),
            broker: self.broker_facts(),
            phases: course.phases(),
            generator,
            latency: self.latencies(),
            dead_letters: self.dead_letters(compared.as_ref()),
            duplicate_gaps: self.duplicate_gaps(),
            faults: self.faults(&account),
            redrives: self.ending.redrives.clone(),
            replays: self.ending.replays.clone(),
            fates: compared.map(|compared| compared.report),
            chains,
            stores: self.effects.iter().map(|read| read.row.clone()).collect(),
            incidents: incidents.listed(),
            incidents_total: incidents.total(),
            queue_samples,
            broker_samples,
            intervals: self.sampled.intervals,
            account,
        }
    }

    fn faults(&self, account: &Account) -> Vec<FaultRow> {
        let mut rows = self.ending.faults.clone();
        let totals = totals(account, 0, 0);
        costs::attribute(&mut rows, account, totals.lost, totals.possibly_lost);
        let is_unseen = account.queues.iter().any(|queue| queue.removed_unseen() > 0)
            || account.publishers.iter().any(|publisher| publisher.nacked > 0);
        let gone = totals.lost + totals.possibly_lost;
        self.ending.seen.write(&mut rows, self.ending.load_ended_us, gone, is_unseen);
        rows
    }

    /// Gaps between first and repeated deliveries, of the queues that had any.
    fn duplicate_gaps(&self) -> Vec<DuplicateGap> {
        let gaps = self.run.shared.ledger.gaps().filter(|(_, gaps)| gaps.count > 0);
        gaps.map(|(destination, gaps)| DuplicateGap {
            queue: destination.name.clone(),
            count: gaps.count,
            time_us: gap_length(&gaps.time_us),
            messages: gap_length(&gaps.messages),
        })
        .collect()
    }

    fn versions(&self) -> BTreeMap<String, String> {
        let broker = self.run.broker.facts();
        let erlang = broker.erlang.iter().map(|version| ("Erlang".to_owned(), version.clone()));
        let known = [
            ("lurcher".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            (broker.product.clone(), broker.version.clone()),
        ];
        known.into_iter().chain(erlang).collect()
    }

    fn account(&self) -> Account {
        let foretold = PlanForetold { routes: &self.run.routes, ended_us: self.ending.load_ended_us };
        let removed = self.counters.as_ref().map_or(RemovalEvidence::Unknown, removed_by_rule);
        let ledger = &self.run.shared.ledger;
        let mut account = ledger.account(&Reconciled { foretold: &foretold, removed, audited: self.ending.audited });
        for StoreRead { destination, audit, .. } in &self.effects {
            if let Some(audit) = audit {
                ledger.account_effects(&mut account, *destination, audit, &foretold);
            }
        }
        account
    }

    /// What one message takes of a publisher's thread; none where no send was looked at.
    fn message_cost_us(&self) -> Option<f64> {
        let sum = |of: fn(&crate::fleet::Cost) -> &std::sync::atomic::AtomicU64| -> u64 {
            self.fleets.producers.iter().map(|(_, meters)| of(&meters.cost).load(Ordering::Relaxed)).sum()
        };
        let (cpu_ns, messages) = (sum(|cost| &cost.cpu_ns), sum(|cost| &cost.messages));
        (messages > 0).then(|| thousandths(cpu_ns as f64 / messages as f64 / 1e3))
    }

    fn generator(&self, course: &Course) -> GeneratorFacts {
        let producers = || self.fleets.producers.iter().map(|(_, meters)| meters);
        let sum = |of: fn(&crate::fleet::ProducerMeters) -> u64| producers().map(|meters| of(meters)).sum();
        let mut own_lag = histogram();
        producers().for_each(|meters| merge(&mut own_lag, &meters.own_lag));
        let load_us = self.ending.load_ended_us.saturating_sub(self.run.plan.load.warmup_us);
        let clipped = producers().map(|meters| meters.confirm.clipped()).sum::<u64>()
            + self.fleets.consumers.iter().map(|(_, meters, _)| meters.end_to_end.clipped()).sum::<u64>();
        GeneratorFacts {
            late_sends: sum(|meters| meters.late_sends.load(Ordering::Relaxed)),
            paced_sends: sum(|meters| meters.paced_sends.load(Ordering::Relaxed)),
            own_lag_p99_us: if own_lag.is_empty() { 0 } else { at_percentile(&own_lag, 99.0).0 },
            held_us: sum(|meters| meters.held_us.load(Ordering::Relaxed)),
            message_cost_us: self.message_cost_us(),
            publisher_threads: self.fleets.publisher_threads() as u32,
            cpu_us: self.ending.load_cpu_us,
            load_us,
            load_sends: sum(|meters| meters.load_sends.load(Ordering::Relaxed)),
            load_planned: self.load_planned(),
            delivered_until_us: self.delivered_until_us(),
            memory_peak_bytes: host::memory_bytes().1,
            overflow: 0,
            clock_step_us: course.clock_step_us(),
            clipped,
        }
    }

    /// When the last delivery came; none where there was none.
    fn delivered_until_us(&self) -> Option<u64> {
        let of_fleet = |(_, meters, _): &(_, Arc<ConsumerMeters>, _)| meters.delivered_until_us.load(Ordering::Relaxed);
        self.fleets.consumers.iter().map(of_fleet).max().filter(|at_us| *at_us > 0)
    }

    /// Messages that the plan asked for in the measured load; none where a fleet runs in a closed loop.
    fn load_planned(&self) -> Option<u64> {
        let plan = &self.run.plan;
        let (from, to) = (plan.load.warmup_us, self.ending.load_ended_us);
        let fleets = plan.leaders();
        fleets
            .flat_map(|fleet| fleet.publishers.iter().map(move |publisher| plan.schedule(fleet, publisher)))
            .map(|schedule| {
                schedule.map(|schedule| schedule.planned_before(to) - schedule.planned_before(from.min(to)))
            })
            .sum()
    }

    fn dead_letters(&self, compared: Option<&Compared>) -> Vec<DeadLetterRow> {
        let queues = &self.run.plan.topology.queues;
        let letters = compared.and_then(|compared| compared.letters.as_ref());
        let expected = |queue: &str, reason: &str| {
            self.run.plan.expect.iter().find_map(|expectation| match expectation {
                Expectation::Bound {
                    metric: Metric::Count { word, queue: Some(of), reason: why },
                    comparison,
                    bound,
                    ..
                } if word == "dead_lettered"
                    && of == queue
                    && why.as_deref().is_none_or(|why| why == reason)
                    && comparison.symbol() == "==" =>
                {
                    Some(*bound as u64)
                }
                _ => None,
            })
        };
        let row = |(kind, counted): (DeathKind, crate::fleet::DeathCount)| {
            let time = |percentile| (!counted.times.is_empty()).then(|| at_percentile(&counted.times, percentile).0);
            DeadLetterRow {
                expected: expected(&kind.from, &kind.reason).or_else(|| {
                    let is_it = |(from, found_in, reason): &(usize, usize, &str)| {
                        queues[*from].name == kind.from && *found_in == kind.found_in && *reason == kind.reason
                    };
                    letters
                        .map(|letters| letters.iter().find(|(letter, _)| is_it(letter)).map_or(0, |(_, count)| *count))
                }),
                dead_letter_queue: queues[kind.found_in].name.clone(),
                queue: kind.from,
                reason: kind.reason,
                actual: counted.count,
                time_to_dead_letter_p50_us: time(50.0),
                time_to_dead_letter_max_us: time(100.0),
            }
        };
        let counted = self.run.shared.deaths.counted();
        let is_found = |(from, found_in, reason): &(usize, usize, &str)| {
            let kind =
                DeathKind { from: queues[*from].name.clone(), found_in: *found_in, reason: (*reason).to_owned() };
            counted.contains_key(&kind)
        };
        let missing = letters.into_iter().flatten().filter(|(letter, _)| !is_found(letter));
        let missing: Vec<_> = missing
            .map(|((from, found_in, reason), expected)| DeadLetterRow {
                queue: queues[*from].name.clone(),
                dead_letter_queue: queues[*found_in].name.clone(),
                reason: (*reason).to_owned(),
                expected: Some(*expected),
                ..DeadLetterRow::default()
            })
            .collect();
        counted.into_iter().map(row).chain(missing).collect()
    }

    fn broker_facts(&self) -> BrokerFacts {
        let facts = self.run.broker.facts().clone();
        BrokerFacts {
            provider: facts.provider,
            product: facts.product,
            version: facts.version,
            erlang: facts.erlang,
            image: facts.image,
            image_id: facts.image_id,
            network: facts.network,
            endpoint: facts.endpoint,
            nodes: facts.nodes,
            plugins: facts.plugins,
            configuration: facts.configuration,
            counters: self.counters.clone().unwrap_or_default(),
        }
    }
}

impl Course {
    fn clock_step_us(&self) -> i64 {
        self.clock_watch.step_us()
    }
}

/// Messages that the broker's counters say were dropped by a time to live or a length limit, by rule and kind of queue.
fn removed_by_rule(counters: &BTreeMap<String, u64>) -> RemovalEvidence {
    let removed = counters.iter().filter_map(|(name, count)| {
        let (reason, kind) = name.strip_prefix("dropped.")?.split_once('.')?;
        let rule = match reason {
            "expired" => Rule::Expiry,
            "maxlen" => Rule::Length,
            "rejected" => Rule::Rejected,
            "delivery_limit" => Rule::DeliveryLimit,
            _ => return None,
        };
        Some(((rule, kind.to_owned()), *count))
    });
    RemovalEvidence::Counted(removed.collect())
}

fn gap_length(stretch: &Stretch) -> GapLength {
    let longest = stretch.longest();
    let at = |percentile| stretch.distribution().map_or(0, |gaps| at_percentile(gaps, percentile).0);
    let [p50, p90, p99] = [50.0, 90.0, 99.0].map(|percentile| at(percentile).min(longest.at_most));
    GapLength { longest_at_least: longest.at_least, longest_at_most: longest.at_most, p50, p90, p99 }
}

fn merge(into: &mut Histogram<u64>, from: &Recorder) {
    // Histograms of the same bounds always add up.
    let _ = into.add(from.measured());
}

/// The ledger's words over all publishers and queues.
pub(super) fn totals(account: &Account, disconnects: u64, blocked: u64) -> Totals {
    let published = |of: fn(&crate::record::PublisherAccount) -> u64| account.publishers.iter().map(of).sum();
    let queued = |of: fn(&crate::record::QueueAccount) -> u64| account.queues.iter().map(of).sum::<u64>();
    let [republished, redelivered, unflagged] =
        [queued(|q| q.republished), queued(|q| q.redelivered), queued(|q| q.unflagged)];
    let mut totals = Totals {
        planned: published(|p| p.planned),
        published: published(|p| p.published),
        confirmed: published(|p| p.confirmed),
        nacked: published(|p| p.nacked),
        returned: published(|p| p.returned),
        unconfirmed: published(|p| p.unconfirmed),
        sent: published(|p| p.sent),
        unsent: published(|p| p.unsent),
        delivered: queued(|q| q.delivered),
        consumed: queued(|q| q.consumed),
        lost: queued(|q| q.lost) + account.unroutable,
        possibly_lost: queued(|q| q.possibly_lost) + account.unroutable_unconfirmed,
        recovered: queued(|q| q.recovered),
        duplicates: republished + redelivered + unflagged,
        republished,
        redelivered,
        unflagged,
        redelivered_flag: queued(|q| q.redelivered_flag),
        requeued: queued(|q| q.requeued),
        rejected: queued(|q| q.rejected),
        retried: queued(|q| q.retried),
        phantom: queued(|q| q.phantom),
        corrupt: queued(|q| q.corrupt),
        misordered: queued(|q| q.misordered),
        dead_lettered: queued(|q| q.dead_lettered_total()),
        removed_by_rule: queued(|q| q.removed_by_rule),
        left_in_queue: queued(|q| q.left_in_queue),
        disconnects,
        blocked,
        ..Totals::default()
    };
    totals.count_effects(account);
    totals
}
