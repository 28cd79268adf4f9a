//! From a file to a scenario that makes sense: read, set, filled from the environment, its shape checked, then the
//! checks across its keys. Each step reports all that it finds, and the next begins only where nothing was.

use std::fs;
use std::io;
use std::path::Path;

use toml::Value;
use toml_edit::DocumentMut;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::problem::Problems;
use super::source::Source;
use super::{Scenario, check, environment, set, shape, suggest, syntax};

/// Largest scenario file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A scenario, and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The scenario as it was written: no default is filled in.
    pub scenario: Scenario,
    /// Its text, to point into and to keep in the record.
    pub source: Source,
}

/// Reads the scenario at `path`, with `sets` (each `path=value`) applied and `${NAME}` in its texts filled from `env`.
///
/// # Errors
/// Everything that is wrong with it, each with its line.
pub fn load(path: &Path, sets: &[String], env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Diagnostics> {
    let text = read(path)?;
    let mut source = Source::new(path, &text);
    let mut document = parse(&text, &source)?;
    apply_sets(sets, &mut document, &mut source)?;
    let table = fill(&document.to_string(), env, &mut source)?;
    let scenario = understand(table, &source)?;
    Ok(Loaded { scenario, source })
}

fn read(path: &Path) -> Result<String, Diagnostics> {
    let file = path.display().to_string();
    let about = |message: String, help: Option<String>| Diagnostic::about_file(&file, message, help);
    if path.is_dir() {
        return Err(about("this is a directory, not a scenario".to_owned(), Some(files_in(path))).into());
    }
    let cannot = |error: io::Error| {
        let help = (error.kind() == io::ErrorKind::NotFound).then(|| near_file(path)).flatten();
        Diagnostics::from(about(format!("cannot read the scenario: {}", reason(&error)), help))
    };
    let length = fs::metadata(path).map_err(cannot)?.len();
    if length > MAX_BYTES {
        let help = format!("a scenario holds at most {} KiB", MAX_BYTES / 1024);
        return Err(about(format!("the file is too large: {length} bytes"), Some(help)).into());
    }
    let bytes = fs::read(path).map_err(cannot)?;
    String::from_utf8(bytes).map_err(|error| {
        let start = error.utf8_error().valid_up_to();
        let byte = error.as_bytes()[start];
        let readable = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let end = start + char::REPLACEMENT_CHARACTER.len_utf8();
        let diagnostic = Source::new(path, &readable).report_span(
            start..end,
            format!("the file is not UTF-8: it holds the byte 0x{byte:02x}"),
            Some("save it as UTF-8".to_owned()),
        );
        diagnostic.into()
    })
}

/// The error without the operating system's number, which says nothing to a reader.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn scenario_files(directory: &Path) -> Vec<String> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".toml")).collect();
    names.sort();
    names
}

fn files_in(directory: &Path) -> String {
    match scenario_files(directory).first() {
        Some(first) => format!("name a file in it, such as `{}`", directory.join(first).display()),
        None => "name a file".to_owned(),
    }
}

fn near_file(path: &Path) -> Option<String> {
    let directory = path.parent()?;
    let names = scenario_files(directory);
    let best = suggest::nearest(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(format!("did you mean `{}`?", directory.join(best).display()))
}

fn parse(text: &str, source: &Source) -> Result<DocumentMut, Diagnostics> {
    let (_, errors) = toml::de::DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return text.parse().map_err(|error: toml_edit::TomlError| {
            let message = format!("not TOML: {}", error.message());
            Diagnostics::from(source.report_span(error.span().unwrap_or_default(), message, None))
        });
    }
    let mut errors: Vec<_> = errors.iter().map(|error| (error.span().unwrap_or_default(), error.message())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    let mut diagnostics = Vec::new();
    for (span, message) in errors {
        let explained = syntax::explain(message, text, &span);
        let span = source.position(text, span);
        let mut diagnostic = source.report_span(span.clone(), explained.message, explained.help);
        if message == syntax::DUPLICATE {
            diagnostic.related.extend(source.earlier_key(span).map(|first| (first, "the first one".to_owned())));
        }
        diagnostics.push(diagnostic);
        if explained.lost {
            break;
        }
    }
    Err(diagnostics.into())
}

fn apply_sets(sets: &[String], document: &mut DocumentMut, source: &mut Source) -> Result<(), Diagnostics> {
    let mut faults = Vec::new();
    for argument in sets {
        match set::apply(argument, document) {
            Ok(applied) => {
                source.add_set(argument, applied.value_start, applied.keys, &document.to_string());
            }
            Err(fault) => faults.push(Source::report_set(argument, fault.message, fault.help)),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.into()) }
}

/// The table with the environment filled in, and its shape checked.
fn fill(text: &str, env: &dyn Fn(&str) -> Option<String>, source: &mut Source) -> Result<toml::Table, Diagnostics> {
    let mut table: toml::Table = toml::from_str(text).map_err(|error| {
        let message = format!("not TOML: {}", error.message());
        Diagnostics::from(Diagnostic::about_file(&source.file(), message, None))
    })?;
    let mut unfilled = Problems::default();
    let filled = environment::fill(&mut table, env, &mut unfilled);
    for path in filled.keys() {
        environment::reread(&mut table, path, |value| shape::accepts(path, value));
    }
    source.add_filled(filled);
    let mut misshapen = Problems::default();
    shape::check(&table, &mut misshapen);
    let mut problems = unfilled.into_inner();
    // A text that could not be filled is not judged by what it would mean unfilled.
    let judged = misshapen.into_inner().into_iter().filter(|new| problems.iter().all(|old| old.key != new.key));
    let judged: Vec<_> = judged.collect();
    problems.extend(judged);
    if problems.is_empty() {
        return Ok(table);
    }
    Err(problems.into_iter().map(|problem| source.report(problem)).collect::<Vec<_>>().into())
}

fn understand(table: toml::Table, source: &Source) -> Result<Scenario, Diagnostics> {
    // The shape was checked; what serde still refuses is a gap in that check, and is told in serde's words.
    let scenario: Scenario = Value::Table(table).try_into().map_err(|error: toml::de::Error| {
        Diagnostics::from(Diagnostic::about_file(&source.file(), error.message().to_owned(), None))
    })?;
    let mut problems = Problems::default();
    check::check(&scenario, &mut problems);
    if problems.is_empty() {
        return Ok(scenario);
    }
    Err(problems.into_inner().into_iter().map(|problem| source.report(problem)).collect::<Vec<_>>().into())
}
