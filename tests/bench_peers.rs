//! What could be wrong silently in the bench beside peers: its statistics, its judgement of targets, its reading of a
//! record, the floor's frames, and whether the scenarios ask for what the other contenders do. The bench itself has no
//! test harness, so its pure files are tested here.
#![allow(dead_code, reason = "the bench uses what is not tested")]
#![allow(clippy::unwrap_used, reason = "what helps a test may fail like a test")]

#[path = "../benches/peers/frames.rs"]
mod frames;
#[path = "../benches/peers/outcome.rs"]
mod outcome;
#[path = "../benches/peers/stats.rs"]
mod stats;
#[path = "../benches/peers/tables.rs"]
mod tables;
#[path = "../benches/peers/toll.rs"]
mod toll;

mod statistics {
    use super::stats::{Bound, Judgement, Spread, order, ratios};
    use super::tables::{decimal, spread, whole};

    #[test]
    fn a_median_is_the_middle_one_whatever_the_order() {
        let of = |values: &[f64]| Spread::of(values).unwrap();
        assert_eq!(of(&[9.0, 1.0, 5.0]), Spread { median: 5.0, min: 1.0, max: 9.0, count: 3 });
        assert_eq!(of(&[4.0, 1.0, 2.0, 100.0]), Spread { median: 3.0, min: 1.0, max: 100.0, count: 4 });
        assert_eq!(of(&[7.0]), Spread { median: 7.0, min: 7.0, max: 7.0, count: 1 });
    }

    #[test]
    fn nothing_and_no_number_have_no_median() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
        assert_eq!(Spread::of(&[1.0, f64::INFINITY]), None);
    }

    #[test]
    fn a_target_is_met_at_its_bound_and_missed_by_a_share_of_it() {
        assert_eq!(Bound::AtLeast(1.6).judge(1.6), Judgement::Met);
        assert_eq!(Bound::AtMost(0.5).judge(0.5), Judgement::Met);
        assert_eq!(Bound::AtLeast(2.0).judge(1.5), Judgement::MissedBy(0.25));
        assert_eq!(Bound::AtMost(2.0).judge(3.0), Judgement::MissedBy(0.5));
        assert_eq!(Bound::AtMost(2.0).judge(3.0).to_string(), "missed by 50.0 %");
        assert_eq!(Bound::AtLeast(2.0).judge(3.0).to_string(), "met");
    }

    #[test]
    fn what_is_no_number_meets_no_target() {
        for bound in [Bound::AtLeast(1.0), Bound::AtMost(1.0)] {
            assert!(matches!(bound.judge(f64::NAN), Judgement::MissedBy(_)), "{bound}");
            assert_eq!(bound.judge(f64::NAN).to_string(), "missed: there is no figure");
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let (ours, theirs) = ([(0, 10.0), (1, 30.0), (3, 8.0)], [(1, 10.0), (0, 5.0), (2, 1.0)]);
        assert_eq!(ratios(&ours, &theirs), [2.0, 3.0]);
    }

    #[test]
    fn over_the_rounds_everybody_has_every_place() {
        let orders: Vec<_> = (0..8).map(|round| order(round, 4)).collect();
        for place in 0..4 {
            let mut there: Vec<_> = orders.iter().map(|order| order[place]).collect();
            there.sort_unstable();
            there.dedup();
            assert_eq!(there, [0, 1, 2, 3], "place {place} of {orders:?}");
        }
        assert_eq!(order(0, 4), [0, 1, 2, 3]);
        assert_ne!(order(1, 4), order(0, 4));
        assert!(order(3, 0).is_empty());
    }

    #[test]
    fn figures_are_written_as_people_read_them() {
        let written = [0.4, 12.0, 999.5, 18_116.4, 1_234_567.0].map(whole);
        assert_eq!(written, ["0", "12", "1,000", "18,116", "1,234,567"]);
        assert_eq!(spread(&[1.0, 3.0, 2.5], decimal), "2.50 (1.00–3.00)");
        assert_eq!(spread(&[1.0], decimal), "1.00");
        assert_eq!(spread(&[], decimal), "–");
    }
}

mod proxy {
    use super::toll::{Figures, Leg, markdown, tolls};

    fn leg(round: u32, proxied: bool, per_s: f64, cpu_us: f64, beside_cpu_us: f64) -> Leg {
        let figures = Some(Figures { per_s, cpu_us, beside_cpu_us, p50_us: 100.0 * cpu_us, p99_us: 1_000.0 });
        Leg { round, client: "lurcher, wire", proxied, figures, failure: None }
    }

    #[test]
    fn its_toll_is_taken_within_each_round() {
        let legs = [
            leg(0, false, 40_000.0, 2.0, 0.0),
            leg(0, true, 20_000.0, 2.0, 3.0),
            leg(1, true, 10_000.0, 4.0, 4.0),
            leg(1, false, 40_000.0, 2.0, 2.0),
        ];
        let [rate, cpu, all, p50, p99] = tolls(&legs, "lurcher, wire");
        assert_eq!((rate, cpu, all), (vec![0.5, 0.25], vec![1.0, 2.0], vec![2.5, 2.0]));
        assert_eq!((p50, p99), (vec![1.0, 2.0], vec![1.0, 1.0]));
        assert!(tolls(&legs, "another").iter().all(Vec::is_empty));
        let text = markdown(&legs);
        assert!(text.contains("| lurcher, wire, direct | 40,000 (40,000–40,000) | 2.00"), "{text}");
        assert!(text.contains("| lurcher, wire, ratio | 0.38 (0.25–0.50) |"), "{text}");
    }

    #[test]
    fn a_leg_that_failed_has_no_ratio_and_is_told() {
        let failed = Leg { figures: None, failure: Some("it\nfell".to_owned()), ..leg(0, true, 1.0, 1.0, 1.0) };
        let legs = [leg(0, false, 1.0, 1.0, 1.0), failed];
        assert!(tolls(&legs, "lurcher, wire").iter().all(Vec::is_empty));
        let text = markdown(&legs);
        assert!(text.contains("| lurcher, wire, ratio | – | – |"), "{text}");
        assert!(text.contains("- not measured: round 1, lurcher, wire, through the proxy: it fell"), "{text}");
    }
}

mod floor {
    use super::frames::{self, Arguments, Confirms, Frame, Inbox, split};

    /// As RabbitMQ sends them: a confirm of 5 and all before it; a delivery with tag 7 to the consumer `ctag`.
    const ACK: &[u8] = b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50\x00\x00\x00\x00\x00\x00\x00\x05\x01\xce";
    const DELIVER: &[u8] =
        b"\x01\x00\x01\x00\x00\x00\x16\x00\x3c\x00\x3c\x04ctag\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x02q1\xce";
    const HEADER: &[u8] =
        b"\x02\x00\x01\x00\x00\x00\x0f\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x10\x00\x02\xce";
    const BODY: &[u8] = b"\x03\x00\x01\x00\x00\x00\x03abc\xce";
    const HEARTBEAT: &[u8] = b"\x08\x00\x00\x00\x00\x00\x00\xce";

    /// What the floor makes of bytes that come in pieces of at most `piece`.
    fn read(bytes: &[u8], piece: usize) -> Vec<String> {
        struct Pieces<'a>(&'a [u8], usize);
        impl std::io::Read for Pieces<'_> {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                let length = self.0.len().min(self.1).min(into.len());
                into[..length].copy_from_slice(&self.0[..length]);
                self.0 = &self.0[length..];
                Ok(length)
            }
        }
        let (mut from, mut inbox, mut found) = (Pieces(bytes, piece), Inbox::new(64), Vec::new());
        while inbox.fill(&mut from).is_ok() {
            while let Some(frame) = inbox.next().unwrap() {
                found.push(match frame {
                    Frame::Method(frames::ACK, arguments) => format!("ack {:?}", frames::ack(arguments).unwrap()),
                    Frame::Method(frames::DELIVER, arguments) => {
                        format!("deliver {}", frames::delivered(arguments).unwrap())
                    }
                    other => format!("{other:?}"),
                });
            }
        }
        found
    }

    #[test]
    fn reads_the_brokers_frames_however_they_are_cut() {
        let bytes = [ACK, DELIVER, HEADER, BODY, HEARTBEAT, ACK].concat();
        let expected = ["ack (5, true)", "deliver 7", "Header(3)", "Body(3)", "Other", "ack (5, true)"];
        for piece in 1..=bytes.len() {
            assert_eq!(read(&bytes, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn refuses_what_is_no_frame() {
        let mut bytes = ACK.to_vec();
        *bytes.last_mut().unwrap() = 0;
        assert!(split(&bytes).is_err());
        assert!(split(b"\x01\x00\x01\x00\x00\x00\x02\x00\x3c\xce").is_err(), "a method of two bytes");
        assert!(frames::ack(&ACK[11..18]).is_err() && frames::delivered(b"\x04ct").is_err());
        assert_eq!(split(&ACK[..20]), Ok(None), "not whole yet");
    }

    #[test]
    fn writes_an_ack_as_the_specification_has_it() {
        let ack = Arguments::of(frames::ACK).long(5).byte(1).frame(1);
        assert_eq!(ack, ACK);
        let tag_at = ack.len() - 10;
        assert_eq!(ack[tag_at..tag_at + 8], 5u64.to_be_bytes(), "where the floor patches it");
    }

    #[test]
    fn a_message_is_persistent_and_whole() {
        let bytes = frames::message(1, "q", b"hello");
        let (publish, length) = split(&bytes).unwrap().unwrap();
        assert_eq!(publish, Frame::Method(frames::PUBLISH, b"\x00\x00\x00\x01q\x00"));
        let header = &bytes[length..];
        let (frame, length) = split(header).unwrap().unwrap();
        assert_eq!(frame, Frame::Header(5));
        assert_eq!(header[length - 4..length], [0x10, 0x00, 2, 0xce], "the delivery mode alone, and it is 2");
        let (body, last) = split(&header[length..]).unwrap().unwrap();
        assert_eq!((body, header.len()), (Frame::Body(5), length + last));
    }

    /// How many are confirmed after each ack.
    fn counts(acks: &[(u64, bool)]) -> Vec<u64> {
        let mut confirms = Confirms::new();
        let after = |(tag, multiple): &(u64, bool)| {
            confirms.acked(*tag, *multiple).unwrap();
            confirms.count()
        };
        acks.iter().map(after).collect()
    }

    #[test]
    fn counts_confirms_in_any_order_once_each() {
        assert_eq!(counts(&[(1, false), (2, false), (4, true)]), [1, 2, 4]);
        assert_eq!(counts(&[(3, false), (5, false), (4, true), (6, false)]), [1, 2, 5, 6], "3 and 5 came early");
        assert_eq!(counts(&[(2, false), (1, false), (3, true)]), [1, 2, 3]);
        let all: Vec<_> = (1..=3 * Confirms::REACH).map(|tag| (tag, false)).collect();
        assert_eq!(counts(&all).last(), Some(&(3 * Confirms::REACH)), "around the ring");
    }

    #[test]
    fn refuses_a_confirm_that_cannot_be() {
        let mut confirms = Confirms::new();
        confirms.acked(3, true).unwrap();
        confirms.acked(5, false).unwrap();
        for tag in [0, 3, 5, 4 + Confirms::REACH] {
            assert!(confirms.acked(tag, false).is_err(), "{tag}");
        }
        assert_eq!(confirms.count(), 4);
    }
}

mod reading {
    use std::time::{Duration, SystemTime};

    use lurcher::latency::{IntervalLog, histogram};
    use lurcher::record::{Interval, Phase, Record, Totals, fixture};

    use super::outcome::{Footprint, Outcome, later_than_1_ms};

    /// Of three seconds: two cores in the load, one in the drain, half a one in the audit; two fleets.
    fn record() -> Record {
        let mut record = fixture::record();
        record.totals =
            Totals { planned: 9, published: 9, confirmed: 9, delivered: 9, consumed: 9, ..Totals::default() };
        let row = |second: u64, phase: Phase, fleet: &str, generator_cpu_cores| Interval {
            start_us: second * 1_000_000,
            length_us: 1_000_000,
            phase: phase.to_string(),
            fleet: fleet.to_owned(),
            generator_cpu_cores,
            ..Interval::default()
        };
        let rows = |(second, phase, cores)| ["out", "in"].map(|fleet| row(second, phase, fleet, cores));
        let seconds = [(0, Phase::Load, 2.0), (1, Phase::Load, 2.0), (2, Phase::Drain, 1.0), (3, Phase::Audit, 0.5)];
        record.intervals = seconds.into_iter().flat_map(rows).collect();
        record.generator.delivered_until_us = Some(2_250_000);
        record
    }

    #[test]
    fn the_process_is_charged_once_and_up_to_the_last_delivery() {
        let outcome = Outcome::of_record(&record()).unwrap();
        assert_eq!((outcome.consumed, outcome.elapsed_us, outcome.cpu_us), (9, 2_250_000, 5_000_000));
        assert_eq!(outcome.per_s(), 4.0);
        let mut early = record();
        early.generator.delivered_until_us = Some(1_500_000);
        assert_eq!(Outcome::of_record(&early).unwrap().cpu_us, 4_000_000, "the drain's wait is not load");
    }

    #[test]
    fn of_a_process_the_most_that_was_seen_counts() {
        let seen = |memory_peak_bytes, sleeps| Footprint { memory_peak_bytes, sleeps };
        // A thread has ended since, and took what it had slept with it.
        let footprint = seen(1 << 20, 3).or_more(seen(2 << 20, 1));
        assert_eq!(footprint, seen(2 << 20, 3));
        let outcome = Outcome { footprint, ..Outcome::of_record(&record()).unwrap() };
        assert_eq!((outcome.messages_per_sleep(), outcome.memory_peak_mib()), (3.0, 2.0));
    }

    #[test]
    fn a_run_that_is_not_whole_has_no_figure() {
        let spoilt: [fn(&mut Record); 6] = [
            |record| record.totals.consumed = 8,
            |record| record.totals.confirmed = 8,
            |record| record.totals.duplicates = 1,
            |record| record.totals = Totals::default(),
            |record| record.generator.delivered_until_us = None,
            |record| record.intervals.clear(),
        ];
        for (which, spoil) in spoilt.into_iter().enumerate() {
            let mut record = record();
            spoil(&mut record);
            assert!(Outcome::of_record(&record).is_err(), "number {which}");
        }
    }

    #[test]
    fn lateness_is_that_of_sends_in_the_measured_load() {
        let of = |us: &[u64]| {
            let mut histogram = histogram();
            us.iter().for_each(|us| histogram.saturating_record(*us));
            histogram
        };
        let mut log = IntervalLog::begin(Vec::new(), SystemTime::UNIX_EPOCH).unwrap();
        let second = |n| (Duration::from_secs(n), Duration::from_secs(1));
        log.write("warm-up.schedule_lag", "out", second(0), &of(&[50_000; 10])).unwrap();
        log.write("schedule_lag", "out", second(1), &of(&[10, 999, 1_000, 1_001])).unwrap();
        log.write("schedule_lag", "out", second(2), &of(&[1, 1, 1, 5_000_000])).unwrap();
        log.write("confirm", "out", second(2), &of(&[70_000; 10])).unwrap();
        assert_eq!(later_than_1_ms(&log.finish().unwrap()), Ok(Some(0.25)));
        assert_eq!(later_than_1_ms(b""), Ok(None));
    }
}

mod scenarios {
    use std::path::Path;

    use lurcher::plan::{self, AckPlan, Plan, QueueKind};

    use super::outcome::{CONFIRM_WINDOW, PREFETCH};

    fn plan(name: &str) -> Plan {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(name);
        let scenario = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let nothing = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
        plan::resolve(&scenario, &nothing).unwrap_or_else(|errors| panic!("{name}: {errors:?}"))
    }

    #[test]
    fn lurcher_does_what_the_others_do() {
        let plan = plan("peers.toml");
        let ([producer], [consumer], [queue]) = (&plan.producers[..], &plan.consumers[..], &plan.topology.queues[..])
        else {
            panic!("one of each: {plan:?}")
        };
        assert_eq!(producer.confirm.map(|confirm| u64::from(confirm.window)), Some(CONFIRM_WINDOW));
        assert_eq!((consumer.prefetch, consumer.ack), (PREFETCH, AckPlan::Manual { batch: 1 }));
        assert_eq!((queue.kind, queue.durable, producer.persistent), (QueueKind::Classic, true, true));
        assert!(producer.rate.is_none() && consumer.work.is_none() && producer.exchange.is_empty());
        assert_eq!((producer.publishers.len(), consumer.subscribers.len()), (1, 1));
    }

    #[test]
    fn a_thousand_connections_of_ten_channels() {
        let plan = plan("connections.toml");
        let connections = |of: &mut dyn Iterator<Item = (u32, u32)>| {
            let all: std::collections::BTreeSet<_> = of.collect();
            all.len()
        };
        let (producers, consumers) = (&plan.producers[0].publishers, &plan.consumers[0].subscribers);
        assert_eq!((producers.len(), consumers.len()), (5_000, 5_000));
        assert_eq!(connections(&mut producers.iter().map(|of| (of.member, of.connection))), 500);
        assert_eq!(connections(&mut consumers.iter().map(|of| (of.member, of.connection))), 500);
    }

    #[test]
    fn a_moderate_rate_waits_for_no_window() {
        let plan = plan("moderate.toml");
        let window = plan.producers[0].confirm.map(|confirm| confirm.window);
        assert_eq!(plan.producers[0].rate, Some(plan::RateProfile::constant(2_000.0)));
        assert_eq!(window, Some(2_000), "a second of it");
    }

    #[test]
    fn late_is_later_than_1_ms() {
        let plan = plan("pacing.toml");
        assert_eq!(plan.load.max_lag_us, 1_000);
        assert_eq!(plan.producers[0].rate, Some(plan::RateProfile::constant(20_000.0)));
    }
}
