//! Live figures: a bar on a terminal, plain lines where there is none.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Manner;
use crate::record::progress::{Live, Progress};
use crate::report::figure::{Figure, shown, shown_or_dash};
use crate::report::words::{printable, printable_lines};

/// Time on the run's clock between two plain lines.
const LINE_EVERY_US: u64 = 5_000_000;

/// Shows what a run tells while it runs.
pub struct Listener {
    shows: Shows,
}

enum Shows {
    Nothing,
    Bar { bar: ProgressBar, load_us: Option<u64> },
    Lines { out: Box<dyn Write + Send>, next_us: u64 },
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shows = match self.shows {
            Shows::Nothing => "nothing",
            Shows::Bar { .. } => "bar",
            Shows::Lines { .. } => "lines",
        };
        f.debug_struct("Listener").field("shows", &shows).finish()
    }
}

impl Listener {
    /// What fits standard error and `manner`: a bar on a terminal, else lines; nothing where little is wanted.
    /// Standard output stays free for what is said at the end.
    pub fn of_stderr(manner: Manner) -> Self {
        match manner {
            Manner::Quiet | Manner::Json => Self::silent(),
            Manner::Full if io::stderr().is_terminal() => {
                let listener = Self::bar(ProgressDrawTarget::stderr());
                if let Shows::Bar { bar, .. } = &listener.shows {
                    // Phases without figures are seen to be alive.
                    bar.enable_steady_tick(Duration::from_millis(200));
                }
                listener
            }
            Manner::Full => Self::lines(Box::new(io::stderr())),
        }
    }

    /// Shows nothing.
    pub fn silent() -> Self {
        Self { shows: Shows::Nothing }
    }

    /// A bar on `target`.
    pub fn bar(target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style(false));
        Self { shows: Shows::Bar { bar, load_us: None } }
    }

    /// Plain lines on `out`: each phase, and the figures every 5 s.
    pub fn lines(out: Box<dyn Write + Send>) -> Self {
        Self { shows: Shows::Lines { out, next_us: LINE_EVERY_US } }
    }

    /// Shows `event`.
    ///
    /// # Errors
    /// Where the output refuses. A bar never does.
    pub fn on(&mut self, event: &Progress) -> io::Result<()> {
        match &mut self.shows {
            Shows::Nothing => Ok(()),
            Shows::Bar { bar, load_us } => {
                on_bar(bar, load_us, event);
                Ok(())
            }
            Shows::Lines { out, next_us } => match line(event, next_us) {
                Some(line) => writeln!(out, "{line}").and_then(|()| out.flush()),
                None => Ok(()),
            },
        }
    }
}

/// The template of a bar whose end is known, or not.
fn style(has_end: bool) -> ProgressStyle {
    let template = if has_end { "{prefix:<8} {bar:16} {wide_msg}" } else { "{prefix:<8} {spinner} {wide_msg}" };
    // The templates are constant; one that does not parse would show in the tests.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn on_bar(bar: &ProgressBar, load_us: &mut Option<u64>, event: &Progress) {
    match event {
        Progress::Started { load_us: expected, .. } => {
            *load_us = expected.filter(|us| *us > 0);
            started(event).into_iter().for_each(|line| bar.println(line));
        }
        Progress::Phase(phase) => {
            bar.set_prefix(phase.to_string());
            bar.tick();
        }
        Progress::Note(note) => printable_lines(note).for_each(|line| bar.println(line)),
        Progress::Live(live) => {
            if let Some(load_us) = *load_us {
                if bar.length().is_none() {
                    bar.set_length(load_us);
                    bar.set_style(style(true));
                }
                bar.set_position(live.at_us.min(load_us));
            }
            bar.set_message(figures(live));
        }
        Progress::Ended => bar.finish_and_clear(),
    }
}

fn started(event: &Progress) -> Option<String> {
    let Progress::Started { scenario, description, .. } = event else { return None };
    let description = description.as_ref().map(|description| format!(": {}", printable(description)));
    Some(format!("{}{}", printable(scenario), description.unwrap_or_default()))
}

/// The line for `event`; none: it is not worth one yet. `next_us` is when figures are due again.
fn line(event: &Progress, next_us: &mut u64) -> Option<String> {
    match event {
        Progress::Started { .. } => started(event),
        Progress::Phase(phase) => Some(format!("phase {phase}")),
        Progress::Note(note) => {
            let lines: Vec<_> = printable_lines(note).map(|line| format!("  {line}")).collect();
            Some(lines.join("\n"))
        }
        Progress::Live(live) if live.at_us >= *next_us => {
            *next_us = (live.at_us / LINE_EVERY_US + 1) * LINE_EVERY_US;
            Some(format!("  {} s  {}", live.at_us / 1_000_000, figures(live)))
        }
        Progress::Live(_) | Progress::Ended => None,
    }
}

/// Live figures on one line, most telling first: a narrow terminal cuts the end.
fn figures(live: &Live) -> String {
    // A rate over half a second has no digits after the point that mean anything.
    let rate = |per_s: f64| shown(Figure::of(per_s.round(), "messages"), "messages");
    format!(
        "published {}/s  consumed {}/s  p99 {}  backlog {}  lost {}  duplicates {}",
        rate(live.published_per_s),
        rate(live.consumed_per_s),
        shown_or_dash(live.end_to_end_p99_us, "us"),
        shown(live.backlog, "messages"),
        shown(live.lost, "messages"),
        shown(live.duplicates, "messages"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;
    use crate::record::Phase;

    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl Paper {
        fn add(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
            Ok(())
        }

        fn text(&self) -> String {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.add(&String::from_utf8_lossy(bytes)).map(|()| bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl indicatif::TermLike for Paper {
        fn width(&self) -> u16 {
            120
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.add(text).and_then(|()| self.add("\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.add(text)
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn run() -> Vec<Progress> {
        let live = |half_seconds: u64| {
            Progress::Live(Live {
                at_us: half_seconds * 500_000,
                published_per_s: 1199.6,
                consumed_per_s: 2175.2,
                published: half_seconds * 600,
                consumed: half_seconds * 1087,
                planned: Some(78_000),
                end_to_end_p99_us: (half_seconds > 2).then_some(9_104),
                backlog: 1_042,
                lost: 0,
                duplicates: half_seconds,
            })
        };
        let started = Progress::Started {
            scenario: "orders-under-stall".to_owned(),
            description: Some("A paused broker delays messages, and loses none.".to_owned()),
            load_us: Some(65_000_000),
        };
        let opening = [
            started,
            Progress::Phase(Phase::Broker),
            Progress::Note("RabbitMQ 4.0.5 in a container".to_owned()),
            Progress::Phase(Phase::Topology),
            Progress::Phase(Phase::Warmup),
        ];
        opening
            .into_iter()
            .chain((0..10).map(live))
            .chain([Progress::Phase(Phase::Load)])
            .chain((10..33).map(live))
            .chain([Progress::Phase(Phase::Drain), Progress::Ended])
            .collect()
    }

    fn told(mut listener: Listener) {
        run().iter().for_each(|event| listener.on(event).expect("shown"));
    }

    #[test]
    fn lines_without_a_terminal() {
        let paper = Paper::default();
        told(Listener::lines(Box::new(paper.clone())));
        insta::assert_snapshot!("lines", paper.text());
    }

    #[test]
    fn a_bar_shows_phase_and_figures() {
        let paper = Paper::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(paper.clone()), 255);
        let mut listener = Listener::bar(target);
        for event in run().iter().filter(|event| !matches!(event, Progress::Ended)) {
            listener.on(event).expect("shown");
        }
        if let Shows::Bar { bar, .. } = &listener.shows {
            assert_eq!((bar.length(), bar.position()), (Some(65_000_000), 16_000_000));
            assert_eq!(bar.prefix(), "drain");
            assert!(bar.message().starts_with("published 1,200/s  consumed 2,175/s  p99 9.104 ms  backlog 1,042"));
        }
        // What is on the screen at which moment is up to the redraw rate; what was printed above the bar is not.
        assert!(paper.text().contains("RabbitMQ 4.0.5 in a container"), "{}", paper.text());
        listener.on(&Progress::Ended).expect("cleared");
    }

    #[test]
    fn a_note_of_several_lines_is_shown_on_several_lines() {
        let note = Progress::Note("no such image\nuse \u{1b}another".to_owned());
        assert_eq!(line(&note, &mut 0).as_deref(), Some("  no such image\n  use \u{fffd}another"));
    }

    #[test]
    fn silence_is_silent() {
        told(Listener::silent());
        told(Listener::bar(ProgressDrawTarget::hidden()));
    }

    #[test]
    fn a_refused_line_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(Listener::lines(Box::new(Full)).on(&Progress::Phase(Phase::Load)).is_err());
    }
}
