//! `lurcher report`: everything that is made from a record, made again.

use std::path::PathBuf;

use clap::Args;

use crate::analysis;
use crate::record::Record;
use crate::report;

/// Arguments of `lurcher report`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Folder of the record, such as `reports/latest`
    record: PathBuf,
}

/// Rebuilds; the exit code, which is that of the verdict.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let mut record = match Record::read(&arguments.record) {
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
    match written {
        Ok(()) => code,
        Err(()) => super::ENVIRONMENT,
    }
}
