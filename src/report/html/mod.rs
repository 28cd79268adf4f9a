//! `report.html`: all of a record on one page that needs nothing else: no script, no font, no other file.
//!
//! The reader's questions come first, their evidence after them. Light and dark follow the reader's settings.

mod answers;
mod books;
mod chains;
mod effects;
mod evidence;
mod fates;
mod markup;
mod recovery;

use markup::{Html, escaped};

use super::OutputError;
use super::{plots, summary};
use crate::record::Record;

/// The page.
pub(super) const PAGE: &str = "report.html";

const STYLE: &str = include_str!("style.css");

/// The page as one HTML file.
pub(super) fn page(record: &Record) -> Result<String, OutputError> {
    let rows = summary::rows(record);
    let mut html = Html::default();
    html.markup("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.markup("<meta name=\"color-scheme\" content=\"light dark\">\n");
    html.element("title", &format!("{}: {}", record.plan.name, answers::word(record)));
    html.markup(&format!("<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"));
    answers::banner(&mut html, record);
    answers::questions(&mut html, record, &rows);
    answers::checks(&mut html, record);
    drawings(&mut html, record)?;
    books::latency(&mut html, record);
    books::publishers(&mut html, record);
    books::queues(&mut html, record);
    effects::section(&mut html, record);
    fates::section(&mut html, record);
    chains::section(&mut html, record);
    recovery::gaps(&mut html, record);
    evidence::violations(&mut html, record);
    evidence::dead_letters(&mut html, record);
    recovery::faults(&mut html, record);
    evidence::incidents(&mut html, record);
    evidence::generator(&mut html, &rows);
    evidence::broker(&mut html, record, &rows);
    evidence::run(&mut html, record);
    html.markup("</main>\n</body>\n</html>\n");
    Ok(html.into_string())
}

fn drawings(html: &mut Html, record: &Record) -> Result<(), OutputError> {
    let plots = [
        plots::throughput(record)?,
        plots::latency_over_time(record)?,
        plots::latency_percentiles(record)?,
        plots::backlog(record)?,
        plots::dead_letters(record)?,
    ];
    html.section("plots", "Plots", |html| {
        for plot in plots {
            html.markup(&format!("<figure>\n{plot}</figure>\n"));
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Verdict, fixture};
    use crate::report::figure;

    #[test]
    fn the_page_of_the_fixture() {
        let page = page(&fixture::record()).expect("a page");
        // The drawings and the style have their own files.
        let (before, rest) = page.split_once("<figure>").expect("plots");
        let (_, after) = rest.rsplit_once("</figure>").expect("plots");
        let page = format!("{before}(plots){after}").replace(STYLE, "(style)\n");
        insta::assert_snapshot!("report.html", page);
    }

    #[test]
    fn the_page_needs_nothing_else() {
        for record in [fixture::record(), fixture::empty()] {
            let page = page(&record).expect("a page");
            for outside in ["src=", "href=\"http", "@import", "url(", "<script", "<link"] {
                assert!(!page.contains(outside), "{outside}");
            }
        }
    }

    #[test]
    fn every_total_is_on_the_page() {
        let record = fixture::record();
        let page = page(&record).expect("a page");
        for (word, count) in summary::totals(&record.totals) {
            let number = format!("<data value=\"{count}\">{}</data>", figure::shown(count, "messages"));
            assert!(page.contains(&number), "{word} is not on the page");
        }
    }

    #[test]
    fn hostile_names_are_text() {
        const HOSTILE: &str = "</title></pre><script>alert('x')</script><img onerror=\"x\">&";
        let mut record = fixture::record();
        let hostile = || HOSTILE.to_owned();
        record.plan.name = hostile();
        record.plan.description = Some(hostile());
        record.plan.producers[0].name = hostile();
        record.plan.consumers[0].name = hostile();
        record.scenario.text = hostile();
        record.scenario.path = hostile();
        record.scenario.set = vec![hostile()];
        record.account.queues[0].queue = hostile();
        record.account.violations[0].history = hostile().into();
        record.account.violations[0].queue = Some(hostile().into());
        record.dead_letters[0].queue = hostile();
        record.faults[0].kind = hostile();
        record.incidents[0].detail = hostile();
        record.intervals[0].fleet = hostile();
        record.queue_samples[0].queue = hostile();
        record.latency[1].fleet = hostile();
        record.broker.product = hostile();
        record.broker.configuration.insert(hostile(), hostile());
        record.broker.counters.insert(hostile(), 1);
        record.versions.insert(hostile(), hostile());
        record.host.cpu = hostile();
        let judgement = record.verdict.as_mut().expect("judged");
        judgement.verdict = Verdict::Fail;
        judgement.reasons[0] = hostile();
        (judgement.checks[0].metric, judgement.checks[0].note) = (hostile(), Some(hostile()));
        let page = page(&record).expect("a page");
        for part in ["<script", "<img", "</title></pre>", "alert('x')"] {
            assert!(!page.contains(part), "{part}");
        }
        assert!(page.matches("&lt;script&gt;").count() >= 20);
        assert_eq!(page.matches("</pre>").count(), page.matches("<pre>").count());
    }
}
