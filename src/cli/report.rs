//! `lurcher report`: everything that is made from a record, made again.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::analysis;
use crate::record::{LOG_FILE, Record, StoreError};
use crate::report;
use crate::report::terminal::{Manner, Screen, conclude};

/// Arguments of `lurcher report`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Folder of the record, such as `reports/latest`
    record: PathBuf,
}

/// Rebuilds, and says what came of it; the exit code, which is that of the verdict.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let mut record = match read(&arguments.record) {
        Ok(record) => record,
        Err(error) => {
            super::complain_of(&error);
            return super::BAD_INPUT;
        }
    };
    let judgement = analysis::judge(&record);
    let code = judgement.verdict.exit_code();
    record.verdict = Some(judgement);
    let written = record
        .write(&arguments.record)
        .map_err(|error| super::complain_of(&error))
        .and_then(|()| report::write_all(&record, &arguments.record).map_err(|error| super::complain_of(&error)));
    // A reader that has gone, as `head` does, is no error.
    let _ = conclude(&record, &arguments.record, Manner::Full, Screen::of_stdout(), &mut std::io::stdout().lock());
    match written {
        Ok(()) => code,
        Err(()) => super::ENVIRONMENT,
    }
}

/// The record in `folder`, all of it: nothing here is made from the interval log, but without it the evidence is not
/// whole.
fn read(folder: &Path) -> Result<Record, StoreError> {
    let record = Record::read(folder)?;
    let log = folder.join(LOG_FILE);
    match std::fs::File::open(&log) {
        Ok(_) => Ok(record),
        Err(source) => Err(StoreError::Io { action: "read", path: log, source }),
    }
}
