//! What the answers rest on: offending messages, dead letters, incidents, the generator, the broker and the run itself.

use super::markup::{Cell, Html};
use crate::record::{BrokerFacts, Record, VIOLATIONS_FILE};
use crate::report::figure::{self, Figure};
use crate::report::summary::Row;
use crate::report::words;

/// Rows of a list on the page; the tables hold the rest.
const LISTED_MAX: usize = 50;

pub(super) fn violations(html: &mut Html, record: &Record) {
    let account = &record.account;
    html.section("violations", "Offending messages", |html| {
        let rows = account.violations.iter().take(LISTED_MAX).map(|violation| {
            // Names of messages, not amounts: their thousands are not grouped.
            let number = |number: Option<u64>| Cell::code(figure::plain_or_empty(number));
            [
                Cell::text(words::violation(violation.class)),
                Cell::text(violation.cause.map(words::cause).unwrap_or_default()),
                Cell::code(violation.queue.as_deref().unwrap_or_default()),
                number(violation.publisher.map(u64::from)),
                number(violation.sequence),
                number(violation.attempt.map(u64::from)),
                Cell::us(violation.intended_us),
                Cell::us(violation.observed_us),
                Cell::text(&*violation.history),
            ]
        });
        let header =
            ["class", "cause", "queue", "publisher", "sequence", "attempt", "intended at", "observed at", "history"];
        html.table("offences", header, rows, "None.");
        listed(html, account.violations.len(), account.violations_total, VIOLATIONS_FILE);
    });
}

/// Says how many of how many are listed, where not all are.
fn listed(html: &mut Html, in_file: usize, total: u64, file: &str) {
    let shown = in_file.min(LISTED_MAX) as u64;
    if total > shown {
        html.markup("<p>The first ");
        html.number(Some(shown.into()), "messages");
        html.markup(" of ");
        html.number(Some(total.into()), "messages");
        html.markup(", of which ");
        html.number(Some((in_file as u64).into()), "messages");
        html.markup(&format!(" are in <code>{file}</code>.</p>\n"));
    }
}

pub(super) fn dead_letters(html: &mut Html, record: &Record) {
    html.section("dead-letters", "Dead letters", |html| {
        let rows = record.dead_letters.iter().map(|row| {
            [
                Cell::code(&row.queue),
                Cell::code(&row.dead_letter_queue),
                Cell::text(&row.reason),
                Cell::Number(row.expected.map(Figure::from), "messages"),
                Cell::count(row.actual),
                Cell::us(row.time_to_dead_letter_p50_us),
                Cell::us(row.time_to_dead_letter_max_us),
            ]
        });
        let header = ["from", "found in", "reason", "expected", "actual", "time to dead-letter, p50", "max"];
        html.table("dead-letter-rows", header, rows, "No dead letters.");
    });
}

pub(super) fn incidents(html: &mut Html, record: &Record) {
    html.section("incidents", "Connections", |html| {
        let rows = record.incidents.iter().take(LISTED_MAX).map(|incident| {
            [
                Cell::text(figure::seconds(incident.at_us)),
                Cell::text(&incident.fleet),
                Cell::code(incident.member.to_string()),
                Cell::text(words::incident(incident.kind)),
                Cell::code(&incident.detail),
            ]
        });
        html.table("incident-rows", ["at", "fleet", "member", "what", "detail"], rows, "Nothing happened to any.");
        listed(html, record.incidents.len(), record.incidents_total, "incidents.csv");
    });
}

pub(super) fn generator(html: &mut Html, rows: &[Row]) {
    html.section("generator", "The generator about itself", |html| {
        figures(html, "generator-figures", rows, |metric| metric.starts_with("generator"));
    });
}

fn figures(html: &mut Html, name: &str, rows: &[Row], wanted: impl Fn(&str) -> bool) {
    let rows = rows.iter().filter(|row| wanted(&row.metric)).map(|row| {
        let unit = ["us", "per_s", "cores", "bytes", "percent"].into_iter().find(|unit| *unit == row.unit);
        [Cell::code(&row.metric), Cell::Number(row.value, unit.unwrap_or("")), Cell::text(shown_unit(&row.unit))]
    });
    html.table(name, ["figure", "value", "of"], rows, "Nothing was measured.");
}

/// The unit where the value does not show it.
fn shown_unit(unit: &str) -> &str {
    match unit {
        "us" | "per_s" | "cores" | "bytes" | "percent" => "",
        counted => counted,
    }
}

pub(super) fn broker(html: &mut Html, record: &Record, rows: &[Row]) {
    html.section("broker", "The broker and the machine", |html| {
        broker_facts(html, &record.broker);
        figures(html, "broker-figures", rows, |metric| metric.starts_with("broker_") || metric.starts_with("backlog"));
        let counters = record.broker.counters.iter().map(|(name, count)| [Cell::code(name), Cell::count(*count)]);
        if !record.broker.counters.is_empty() {
            html.element("h3", "The broker's own counters, from the start of the load to the end of the drain");
            html.table("counters", ["counter", "count"], counters, "");
        }
        html.element("h3", "The machine");
        let host = &record.host;
        html.facts([
            ("system", host.os.clone()),
            ("processor", host.cpu.clone()),
            ("processors", host.cpus.to_string()),
            ("memory", figure::shown(host.memory_bytes, "bytes")),
        ]);
    });
}

fn broker_facts(html: &mut Html, broker: &BrokerFacts) {
    html.facts([
        ("product", format!("{} {}", broker.product, broker.version)),
        ("Erlang", broker.erlang.clone().unwrap_or_default()),
        ("provider", broker.provider.clone()),
        ("image", broker.image.clone().unwrap_or_default()),
        ("image id", broker.image_id.clone().unwrap_or_default()),
        ("network", broker.network.clone().unwrap_or_default()),
        ("endpoint", broker.endpoint.clone()),
        ("nodes", broker.nodes.join(", ")),
        ("plugins", broker.plugins.join(", ")),
    ]);
    if !broker.configuration.is_empty() {
        let rows = broker.configuration.iter().map(|(name, value)| [Cell::code(name), Cell::code(value)]);
        html.element("h3", "Configuration");
        html.table("configuration", ["setting", "value"], rows, "");
    }
}

pub(super) fn run(html: &mut Html, record: &Record) {
    html.section("run", "The run, and how to repeat it", |html| {
        html.markup("<pre>");
        html.text(&command(record));
        html.markup("</pre>\n");
        html.facts([
            ("seed", record.plan.seed.to_string()),
            ("scenario's SHA-256", record.scenario.sha256.clone()),
            ("record's schema_version", record.schema_version.to_string()),
        ]);
        let versions = record.versions.iter().map(|(name, version)| (name.as_str(), version.clone()));
        html.facts(versions);
        let phases = record.phases.iter().map(|facts| {
            [
                Cell::text(facts.phase.to_string()),
                Cell::text(figure::seconds(facts.start_us)),
                Cell::text(figure::seconds(facts.end_us)),
                Cell::us(u64::try_from(facts.end_us.saturating_sub(facts.start_us)).ok()),
            ]
        });
        html.table("phases", ["phase", "from", "to", "took"], phases, "No phase ran.");
        html.element("h3", &format!("The scenario, {}", record.scenario.path));
        html.markup("<pre>");
        html.text(&record.scenario.text);
        html.markup("</pre>\n");
    });
}

/// The command that repeats the run.
fn command(record: &Record) -> String {
    let set = record.scenario.set.iter().map(|set| format!(" --set {}", quoted(set)));
    format!("lurcher run {}{}", quoted(&record.scenario.path), set.collect::<String>())
}

/// `argument` as a POSIX shell reads it.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_command_back() {
        for argument in ["plain/path.toml", "a b", "it's", "$(x)", "", "\"q\"", "load.duration=60s", "a\nb"] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(argument))])
                .output()
                .expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), argument);
        }
    }
}
