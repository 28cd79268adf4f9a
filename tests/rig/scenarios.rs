//! The shipped scenarios: where they are, and their plans.

#![allow(dead_code, reason = "each test binary uses some of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lurcher::plan::{self, Plan};
use lurcher::scenario;

/// The folder that they are in.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// Paths of all of them, those in folders too, by the name of their file.
pub fn all() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
                let other = found.insert(name, path.clone());
                assert_eq!(other, None, "{} has the name of another", path.display());
            }
        }
    }
    assert!(found.len() >= 26, "only {} scenarios", found.len());
    found
}

/// The plan of the one at `path`, with `sets` applied, each `path=value`.
#[track_caller]
pub fn plan_of(path: &Path, sets: &[&str]) -> Plan {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let loaded = scenario::load(path, &sets, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    let folder = path.parent().expect("a folder");
    plan::resolve(&loaded.scenario, &|name| fs::read_to_string(folder.join(name)))
        .unwrap_or_else(|errors| panic!("{}: {errors:#?}", path.display()))
}
