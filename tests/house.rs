//! The rules of the house, held against the sources: who may use whom (the table in CONTRIBUTING.md is the law), names
//! and sizes of files, their opening lines, who may print, and that every shipped scenario is valid.
//!
//! Each rule is a function over text, so that a test below can show that it fails where it should.
#![allow(clippy::expect_used, reason = "a file of the repository that cannot be read is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use lurcher::plan;
use lurcher::scenario::Scenario;

/// Longest source file, in lines, its tests not counted.
const LINES_MAX: usize = 500;

/// Files that may be longer, up to so many lines, and why.
const LONGER: &[(&str, usize, &str)] = &[];

/// Names that say nothing of what is in them.
const JUNK_DRAWERS: [&str; 8] = ["utils", "util", "helpers", "helper", "common", "misc", "shared", "stuff"];

/// Rooms that are pure: no runtime, no client.
const PURE: [&str; 9] = ["units", "scenario", "plan", "stamp", "amqp", "ledger", "latency", "analysis", "report"];

/// Rooms that may print; all others tell what happens as events.
const MAY_PRINT: [&str; 2] = ["report", "cli"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below `folder` that end in `suffix`, by their path from the root.
fn files(folder: &str, suffix: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
                found.push((name, read(&path)));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no {suffix} file in {folder}");
    found
}

fn sources() -> Vec<(String, String)> {
    files("src", ".rs")
}

/// Whether a file holds tests only.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// `src/ROOM/…` or `src/ROOM.rs` → `ROOM`; none for the crate's own roots.
fn room(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?;
    let name = inner.split_once('/').map_or_else(|| inner.trim_end_matches(".rs"), |(room, _)| room);
    (!["lib", "main"].contains(&name)).then_some(name)
}

/// The lines of `text` without those of its `#[cfg(test)]` modules.
fn without_tests(text: &str) -> Vec<&str> {
    let mut kept = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_module = lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if line == "#[cfg(test)]" && is_module {
            lines.by_ref().find(|line| *line == "}");
        } else {
            kept.push(line);
        }
    }
    kept
}

/// The text without its tests and without comments.
fn code(text: &str) -> String {
    let uncommented = |line: &'_ str| {
        // A colon before it is a URL in a string, not a comment.
        let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
        comment.map_or(line.len(), |(at, _)| at)
    };
    without_tests(text).into_iter().map(|line| &line[..uncommented(line)]).collect::<Vec<_>>().join("\n")
}

/// The table under `| room | holds | may use |`: room → rooms that it may use.
fn import_table(markdown: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows = markdown.lines().skip_while(|line| *line != "| room | holds | may use |").skip(2);
    let named = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    rows.take_while(|line| line.starts_with('|'))
        .filter_map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").collect();
            let [room, _, may_use] = cells[..] else { panic!("three cells in {line}") };
            named(room).pop_first().map(|room| (room, named(may_use)))
        })
        .collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The word that `text` begins with.
fn word(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// What `tree` names first: `a::b` → a, `{a::b, c}` → a, c.
fn first_names(tree: &str) -> Vec<&str> {
    let Some(group) = tree.trim_start().strip_prefix('{') else { return vec![word(tree.trim_start())] };
    let (mut names, mut depth, mut expects_name) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects_name = true,
            c if expects_name && is_word(c) => {
                names.push(word(&group[at..]));
                expects_name = false;
            }
            _ => {}
        }
    }
    names
}

/// What a file names at the top of its crate, by `crate::…`, or by so many `super::` that they lead there.
fn crate_names<'a>(path: &str, code: &'a str) -> BTreeSet<&'a str> {
    let folders = path.matches('/').count();
    let depth = if path.ends_with("/mod.rs") { folders - 1 } else { folders };
    let climb = "super::".repeat(depth);
    let mut names = BTreeSet::new();
    for prefix in ["crate::", climb.as_str()].into_iter().filter(|prefix| !prefix.is_empty()) {
        for (at, _) in code.match_indices(prefix) {
            // `$crate::` is a macro's, and a longer run of `super::` is found from its own start.
            let is_own = !code[..at].ends_with(|c: char| is_word(c) || c == '$' || c == ':');
            if is_own {
                names.extend(first_names(&code[at + prefix.len()..]));
            }
        }
    }
    names
}

/// Rooms that the file at `path` uses and may not.
fn forbidden_imports(path: &str, text: &str, table: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let Some(room) = room(path) else { return Vec::new() };
    let Some(allowed) = table.get(room) else { return vec![format!("{path}: room `{room}` is not in the table")] };
    let code = code(text);
    let used = crate_names(path, &code);
    used.into_iter()
        .filter(|name| table.contains_key(*name) && *name != room && !allowed.contains(*name))
        .map(|name| format!("{path}: `{room}` may not use `{name}`"))
        .collect()
}

/// Crates that a pure room must not see.
fn impurities(path: &str, text: &str) -> Vec<String> {
    if !room(path).is_some_and(|room| PURE.contains(&room)) {
        return Vec::new();
    }
    let code = code(text);
    let found = ["tokio::", "lapin::", "testcontainers::"]
        .into_iter()
        .filter(|name| code.match_indices(name).any(|(at, _)| !code[..at].ends_with(is_word)));
    found.map(|name| format!("{path}: `{name}` in a room that is pure")).collect()
}

fn prints(path: &str, text: &str) -> Vec<String> {
    if room(path).is_none_or(|room| MAY_PRINT.contains(&room)) {
        return Vec::new();
    }
    let code = code(text);
    let macros = ["print!", "println!", "eprint!", "eprintln!", "dbg!"];
    let found =
        macros.into_iter().filter(|name| code.match_indices(name).any(|(at, _)| !code[..at].ends_with(is_word)));
    found.map(|name| format!("{path}: `{name}`; what happens is an event, and `report` or `cli` shows it")).collect()
}

fn junk_drawer(path: &str) -> Option<String> {
    let junk = path.split('/').map(|part| part.trim_end_matches(".rs")).find(|part| JUNK_DRAWERS.contains(part))?;
    Some(format!("{path}: `{junk}` says nothing of what is in it"))
}

fn unopened(path: &str, text: &str) -> Option<String> {
    let opening = text.lines().next().unwrap_or_default();
    let says = opening.strip_prefix("//! ").is_some_and(|words| words.len() > 10);
    (!says).then(|| format!("{path}: begins without `//!` that says what is in it"))
}

/// A file that is too long; its test modules do not count.
fn too_long(path: &str, text: &str) -> Option<String> {
    let kept = without_tests(text).len();
    let exception = LONGER.iter().find(|(file, _, _)| *file == path);
    let most = exception.map_or(LINES_MAX, |(_, lines, _)| *lines);
    (kept > most).then(|| format!("{path}: {kept} lines, and {most} are allowed; it is usually two things"))
}

#[track_caller]
fn none(violations: impl IntoIterator<Item = String>) {
    let violations: Vec<_> = violations.into_iter().collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

mod holds {
    use super::*;

    #[test]
    fn rooms_use_only_what_the_table_allows() {
        let table = import_table(&read(&root().join("CONTRIBUTING.md")));
        assert!(table.len() >= 16, "the table in CONTRIBUTING.md was not found");
        for (room, uses) in &table {
            none(uses.iter().filter(|used| !table.contains_key(*used)).map(|used| format!("{room}: no room `{used}`")));
        }
        let of_file = |(path, text): &(String, String)| forbidden_imports(path, text, &table);
        none(sources().iter().filter(|(path, _)| !is_test(path)).flat_map(of_file));
    }

    #[test]
    fn pure_rooms_stay_pure() {
        none(sources().iter().filter(|(path, _)| !is_test(path)).flat_map(|(path, text)| impurities(path, text)));
    }

    #[test]
    fn only_report_and_cli_print() {
        none(sources().iter().filter(|(path, _)| !is_test(path)).flat_map(|(path, text)| prints(path, text)));
    }

    #[test]
    fn names_say_what_is_in_them() {
        let all = [files("src", ".rs"), files("tests", ".rs"), files("benches", ".rs")].concat();
        none(all.iter().filter_map(|(path, _)| junk_drawer(path)));
    }

    #[test]
    fn every_module_says_what_it_holds() {
        let all = [files("src", ".rs"), files("tests", ".rs"), files("benches", ".rs")].concat();
        none(all.iter().filter_map(|(path, text)| unopened(path, text)));
    }

    #[test]
    fn files_stay_short() {
        none(sources().iter().filter(|(path, _)| !is_test(path)).filter_map(|(path, text)| too_long(path, text)));
    }

    #[test]
    fn shipped_scenarios_are_valid() {
        none(files("scenarios", ".toml").iter().filter_map(|(path, text)| invalid_scenario(path, text)));
    }

    #[test]
    fn the_scenario_in_the_readme_is_valid() {
        let readme = read(&root().join("README.md"));
        let scenarios: Vec<_> = fenced(&readme, "toml").filter(|text| text.contains("schema = 1")).collect();
        assert_eq!(scenarios.len(), 1, "the README explains one whole scenario");
        none(scenarios.into_iter().filter_map(|text| invalid_scenario("README.md", text)));
    }
}

fn fenced<'a>(markdown: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let opening = format!("```{language}\n");
    let starts: Vec<_> = markdown.match_indices(&opening).map(|(at, fence)| at + fence.len()).collect();
    starts.into_iter().filter_map(|start| markdown[start..].split_once("```").map(|(text, _)| text))
}

fn invalid_scenario(path: &str, text: &str) -> Option<String> {
    let scenario: Scenario = match toml::from_str(text) {
        Ok(scenario) => scenario,
        Err(error) => return Some(format!("{path}: {error}")),
    };
    let folder = root().join(path).parent().map(Path::to_owned).unwrap_or_default();
    let errors = plan::resolve(&scenario, &|file| fs::read_to_string(folder.join(file))).err().unwrap_or_default();
    let problems: Vec<_> = errors.iter().map(ToString::to_string).collect();
    (!problems.is_empty()).then(|| format!("{path}: {}", problems.join("; ")))
}

mod can_fail {
    use super::*;

    const TABLE: &str = "\
| room | holds | may use |
|---|---|---|
| `units` | rates | – |
| `plan` | the plan | `units` |
| `run` | the conductor | `units`, `plan` |
";

    fn imports(path: &str, text: &str) -> Vec<String> {
        forbidden_imports(path, text, &import_table(TABLE))
    }

    #[test]
    fn an_import_that_the_table_does_not_allow() {
        let refused = ["src/plan/body.rs: `plan` may not use `run`"];
        for text in [
            "use crate::run::Run;",
            "use crate::{units::Rate, run::{Run, Phase}};",
            "use crate::{\n    units::{Rate, Span},\n    run,\n};",
            "fn f() -> crate::run::Run {}",
            "use super::super::run::Run;",
            "#[cfg(test)]\nmod tests {\n    use crate::run;\n}\nuse crate::run::Run;",
            "let url = \"http://x\"; crate::run::start();",
        ] {
            assert_eq!(imports("src/plan/body.rs", text), refused, "{text}");
        }
        assert_eq!(imports("src/plan/mod.rs", "use super::run::Run;"), ["src/plan/mod.rs: `plan` may not use `run`"]);
        assert_eq!(imports("src/units.rs", "use crate::plan::Plan;"), ["src/units.rs: `units` may not use `plan`"]);
        assert_eq!(imports("src/attic/mod.rs", ""), ["src/attic/mod.rs: room `attic` is not in the table"]);
    }

    #[test]
    fn but_not_one_that_it_allows() {
        for text in [
            "use crate::units::{Rate, run};",
            "// see crate::run::Run",
            "/// Like [`crate::run::Run`].",
            "#[cfg(test)]\nmod tests {\n    use crate::run;\n}",
            "$crate::run::x!()",
            "use super::run::Run;",
            "use crate::plan::draw;",
        ] {
            assert_eq!(imports("src/plan/body.rs", text), [""; 0], "{text}");
        }
        assert_eq!(imports("src/lib.rs", "pub use crate::run::Run;"), [""; 0]);
    }

    #[test]
    fn an_impure_room() {
        assert_eq!(impurities("src/ledger/journal.rs", "use tokio::sync::mpsc;").len(), 1);
        assert_eq!(impurities("src/analysis/mod.rs", "fn f(c: lapin::Channel) {}").len(), 1);
        assert_eq!(impurities("src/fleet/mod.rs", "use tokio::sync::mpsc;").len(), 0);
        assert_eq!(impurities("src/plan/mod.rs", "//! never tokio::spawn\nuse mylapin::x;").len(), 0);
    }

    #[test]
    fn a_room_that_prints() {
        for text in ["println!(\"x\")", "    eprintln!()", "std::print!(\"x\")", "dbg!(x)"] {
            assert_eq!(prints("src/fleet/mod.rs", text).len(), 1, "{text}");
            assert_eq!(prints("src/report/terminal.rs", text).len(), 0, "{text}");
        }
        assert_eq!(prints("src/fleet/mod.rs", "// println!(\"x\")\nmy_print!(x)").len(), 0);
    }

    #[test]
    fn a_name_that_says_nothing() {
        assert!(junk_drawer("src/fleet/utils.rs").is_some() && junk_drawer("tests/common/mod.rs").is_some());
        assert!(junk_drawer("src/fleet/pacing.rs").is_none() && junk_drawer("src/units/mod.rs").is_none());
    }

    #[test]
    fn a_module_that_does_not_open_with_what_it_holds() {
        for text in ["use std::fmt;\n//! Too late for this.", "//! x", "", "// Not a doc comment."] {
            assert!(unopened("src/fleet/pacing.rs", text).is_some(), "{text:?}");
        }
        assert!(unopened("src/fleet/pacing.rs", "//! When each message is sent.").is_none());
    }

    #[test]
    fn a_file_that_is_too_long() {
        let code = "fn f() {}\n".repeat(LINES_MAX);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    fn t() {}\n".repeat(LINES_MAX));
        assert!(too_long("src/fleet/pacing.rs", &format!("{code}{tests}")).is_none());
        assert!(too_long("src/fleet/pacing.rs", &format!("{code}{tests}fn g() {{}}\n")).is_some());
        for (path, lines, _) in LONGER {
            assert!(too_long(path, &"fn f() {}\n".repeat(*lines)).is_none());
            assert!(too_long(path, &"fn f() {}\n".repeat(lines + 1)).is_some(), "{path} may not grow without end");
        }
    }

    #[test]
    fn a_scenario_with_an_unknown_key() {
        let problem = invalid_scenario("scenarios/x.toml", "schema = 1\nname = \"x\"\nspeed = 3\n");
        assert!(problem.is_some_and(|problem| problem.contains("unknown field `speed`")));
    }
}
