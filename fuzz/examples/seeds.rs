//! Writes the tests' samples into the corpus: frames of each kind, their payloads, and frames that follow one another.

#[allow(dead_code, unused_imports, reason = "lurcher's own room, of which the samples do not use all")]
#[path = "../../src/amqp/mod.rs"]
mod amqp;
#[allow(dead_code, reason = "the tests' own")]
#[path = "../../src/amqp/tests/convert.rs"]
mod convert;
#[allow(dead_code, reason = "the tests' own")]
#[path = "../../src/amqp/tests/samples.rs"]
mod samples;

fn main() -> std::io::Result<()> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/codec");
    std::fs::create_dir_all(&folder)?;
    for (name, bytes) in samples::seeds() {
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
