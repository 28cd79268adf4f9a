//! Where an axis has its marks, and what stands there.

/// Marks of an axis: position and text.
pub(super) type Ticks = Vec<(f64, String)>;

/// An axis: its name with the unit, its ends and its marks, in the coordinates of the drawing.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) name: String,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) ticks: Ticks,
}

/// An axis from 0 to at least `most`, with round marks.
pub(super) fn linear(name: &str, most: f64) -> Axis {
    let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
    let step = round_up(most / 6.0);
    let count = (most / step).ceil().max(1.0);
    let ticks = (0..=count as u32).map(|n| (f64::from(n) * step, si(f64::from(n) * step))).collect();
    Axis { name: name.to_owned(), from: 0.0, to: count * step, ticks }
}

/// The smallest of 1, 2, 5, 10, 20, 50, … (and of their tenths) that is at least `value`.
fn round_up(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|digit| digit * decade).find(|round| *round >= value).unwrap_or(10.0 * decade)
}

/// With the SI prefix that leaves the fewest digits: `1.5k`, `20M`.
pub(super) fn si(value: f64) -> String {
    let (factor, prefix) = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]
        .into_iter()
        .find(|(factor, _)| value.abs() >= *factor)
        .unwrap_or((1.0, ""));
    // Three digits hide that 3 × 0.2 is 0.6000000000000001.
    let digits = format!("{:.3}", value / factor);
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{prefix}")
}

/// Position of a latency on a logarithmic axis. Nothing is faster than the histogram's first microsecond.
pub(super) fn log_us(us: u64) -> f64 {
    (us.max(1) as f64).log10()
}

/// A logarithmic axis of times that holds all of `values`, in microseconds.
pub(super) fn log_time(name: &str, values: impl Iterator<Item = u64>) -> Axis {
    let (least, most) = values.fold((u64::MAX, 1), |(least, most), value| (least.min(value), most.max(value)));
    let marks: Vec<f64> =
        (0..20).flat_map(|exponent| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(exponent))).collect();
    let from = marks.iter().copied().rfind(|mark| *mark <= least.max(1) as f64).unwrap_or(1.0).min(most as f64);
    let to = marks.iter().copied().find(|mark| *mark >= most as f64 && *mark > from).unwrap_or(1e20);
    let (from, to) = if least > most { (1000.0, 1e6) } else { (from, to) };
    let decades = (to / from).log10();
    let kept = |mark: f64| decades <= 2.5 || (mark.log10() - mark.log10().round()).abs() < 1e-9;
    let ticks = marks
        .iter()
        .filter(|mark| (from..=to).contains(*mark) && kept(**mark))
        .map(|mark| (mark.log10(), time(*mark)))
        .collect();
    Axis { name: name.to_owned(), from: from.log10(), to: to.log10(), ticks }
}

fn time(us: f64) -> String {
    if us < 1e3 {
        format!("{us} µs")
    } else if us < 1e6 {
        format!("{} ms", us / 1e3)
    } else {
        format!("{} s", si(us / 1e6))
    }
}

/// An axis of the run's clock that ends at `end_s` seconds. Its coordinates are seconds, whatever its marks say.
pub(super) fn clock(end_s: f64) -> Axis {
    let end_s = if end_s.is_finite() && end_s > 0.0 { end_s } else { 1.0 };
    let (unit, unit_s) = match end_s {
        end if end <= 600.0 => ("s", 1.0),
        end if end <= 4.0 * 3600.0 => ("min", 60.0),
        _ => ("h", 3600.0),
    };
    let wanted = end_s / unit_s / 9.0;
    let step = [1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0]
        .into_iter()
        .find(|step| *step >= wanted)
        .unwrap_or_else(|| round_up(wanted));
    let count = (end_s / unit_s / step + 1e-9).floor() as u32;
    let ticks = (0..=count).map(|n| (f64::from(n) * step * unit_s, si(f64::from(n) * step))).collect();
    Axis { name: format!("time since the start of the warm-up ({unit})"), from: 0.0, to: end_s, ticks }
}

/// Position of a percentile below 100: decades of `1 / (1 - p)`, as HdrHistogram's own plots have it.
pub(super) fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile.clamp(0.0, 99.999_999_999) / 100.0).log10()
}

/// An axis of percentiles up to `to`, in the coordinates of [`nines`].
pub(super) fn percentiles(name: &str, to: f64) -> Axis {
    let to = if to.is_finite() { to.clamp(1.0, 12.0) } else { 1.0 };
    let named = [(0.0, "0 %"), (50.0, "50 %"), (75.0, "75 %"), (90.0, "90 %"), (95.0, "95 %")]
        .map(|(percentile, text)| (nines(percentile), text.to_owned()));
    let tails = (2..=11).map(|nines| {
        let fraction = "9".repeat(nines - 2);
        let text = if fraction.is_empty() { "99 %".to_owned() } else { format!("99.{fraction} %") };
        (nines as f64, text)
    });
    // Where many decades share the width, the steps within the first would run into each other.
    let fits = |text: &str| match text {
        "75 %" | "95 %" => to <= 4.0,
        "50 %" => to <= 7.0,
        _ => true,
    };
    let ticks =
        named.into_iter().chain(tails).filter(|(position, text)| *position <= to + 1e-9 && fits(text)).collect();
    Axis { name: name.to_owned(), from: 0.0, to, ticks }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn marks_are_round() {
        assert_eq!(texts(&linear("", 2407.0)), ["0", "500", "1k", "1.5k", "2k", "2.5k"]);
        assert_eq!(texts(&linear("", 0.9)), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(texts(&clock(67.4)), ["0", "10", "20", "30", "40", "50", "60"]);
        assert_eq!(texts(&clock(3600.0)), ["0", "10", "20", "30", "40", "50", "60"]);
        assert_eq!(texts(&log_time("", [1_900, 3_007_511].into_iter())), ["1 ms", "10 ms", "100 ms", "1 s"]);
        assert_eq!(texts(&log_time("", [400, 800].into_iter())), ["200 µs", "500 µs", "1 ms"]);
        assert_eq!(texts(&percentiles("", 3.0)), ["0 %", "50 %", "75 %", "90 %", "95 %", "99 %", "99.9 %"]);
    }

    proptest! {
        #[test]
        fn every_value_fits(values in prop::collection::vec(any::<u64>(), 0..5), most: f64) {
            let axis = log_time("", values.iter().copied());
            prop_assert!(axis.from < axis.to);
            for value in values {
                let position = log_us(value);
                prop_assert!((axis.from - 1e-9..=axis.to + 1e-9).contains(&position), "{} in {:?}", value, axis);
            }
            for axis in [linear("", most), clock(most), percentiles("", most)] {
                prop_assert!(axis.from < axis.to && axis.to.is_finite() && axis.ticks.len() < 100, "{:?}", axis);
            }
        }
    }
}
