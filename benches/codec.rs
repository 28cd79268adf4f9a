//! What AMQP costs per message: reading deliveries and confirms in place, and writing publishes.
#![allow(missing_docs, reason = "criterion's macros make a public function")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lurcher::amqp::{
    CodecError, ContentHeader, ContentState, FRAME_END, FrameKind, Method, PropertiesToWrite, first_frame, put_ack,
    put_body, put_header, put_properties, put_publish,
};

/// Messages in a buffer.
const MESSAGES: u64 = 256;
/// What RabbitMQ proposes.
const FRAME_MAX: u32 = 131_072;

fn persistent() -> Vec<u8> {
    let mut properties = Vec::new();
    let persistent = PropertiesToWrite { delivery_mode: Some(2), ..PropertiesToWrite::default() };
    let written = put_properties(&mut properties, &persistent);
    assert_eq!(written, Ok(()));
    properties
}

/// basic.deliver, which a client never writes.
fn put_deliver(out: &mut Vec<u8>, tag: u64) {
    let mut payload = vec![0, 60, 0, 60, 6];
    payload.extend_from_slice(b"ctag-1");
    payload.extend_from_slice(&tag.to_be_bytes());
    payload.extend_from_slice(b"\x00\x06orders\x09order.new");
    out.extend_from_slice(&[1, 0, 1, 0, 0, 0, payload.len() as u8]);
    out.extend_from_slice(&payload);
    out.push(FRAME_END);
}

fn deliveries(body: &[u8]) -> Vec<u8> {
    let (mut out, properties) = (Vec::new(), persistent());
    for tag in 1..=MESSAGES {
        put_deliver(&mut out, tag);
        put_header(&mut out, 1, body.len() as u64, &properties);
        put_body(&mut out, 1, body, FRAME_MAX);
    }
    out
}

/// Reads a buffer as a client does; the sum keeps all of it from being optimised away.
fn read(mut bytes: &[u8]) -> Result<u64, CodecError> {
    let (mut sum, mut content) = (0, ContentState::new());
    while let Some(frame) = first_frame(bytes, FRAME_MAX)? {
        match frame.kind {
            FrameKind::Method => match Method::parse(frame.payload)? {
                Method::Deliver(deliver) => {
                    content.begin()?;
                    sum += deliver.tag + deliver.routing_key.len() as u64;
                }
                Method::Ack { tag, multiple } => sum += tag + u64::from(multiple),
                _ => {}
            },
            FrameKind::Header => {
                let header = ContentHeader::parse(frame.payload)?;
                content.header(header.body_size)?;
                sum += header.body_size + u64::from(header.delivery_mode().unwrap_or_default());
            }
            FrameKind::Body => sum += u64::from(content.body(frame.payload.len())?),
            FrameKind::Heartbeat => {}
        }
        bytes = &bytes[frame.wire_len()..];
    }
    Ok(sum)
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(MESSAGES));
    for size in [24, 1024] {
        let buffer = deliveries(&vec![0x5a; size]);
        group.bench_function(BenchmarkId::new("read deliveries", size), |b| b.iter(|| read(black_box(&buffer))));
    }

    let mut confirms = Vec::new();
    (1..=MESSAGES).for_each(|tag| put_ack(&mut confirms, 1, tag, tag % 4 == 0));
    group.bench_function("read confirms", |b| b.iter(|| read(black_box(&confirms))));

    for size in [24, 1024] {
        let (body, properties, mut out) = (vec![0x5a; size], persistent(), Vec::new());
        group.bench_function(BenchmarkId::new("write publishes", size), |b| {
            b.iter(|| {
                out.clear();
                for _ in 0..MESSAGES {
                    put_publish(&mut out, 1, black_box("orders"), black_box("order.new"), true)?;
                    put_header(&mut out, 1, body.len() as u64, &properties);
                    put_body(&mut out, 1, black_box(&body), FRAME_MAX);
                }
                Ok::<usize, CodecError>(black_box(&out).len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
