//! The latest value: of a type, and of bytes.

use crate::calls::Calls;
use crate::damage::Field;
use crate::layout::Layout;
use crate::world::Kind;
use mpshm::{ErrorKind, Latest, LatestOptions, Segment};
use std::time::Duration;

const READERS: u32 = 3;
const WRITERS: u32 = 2;
const BUFFERS: usize = (READERS + WRITERS + 1) as usize;
/// Bytes of a value.
const SIZE: usize = 72;
const LINE: usize = 128;

pub struct Latests;

pub struct Both {
    typed: Latest<[u64; 3]>,
    bytes: Latest<[u8]>,
}

fn options() -> LatestOptions {
    LatestOptions::new().readers(READERS).writers(WRITERS)
}

impl Kind for Latests {
    const NAME: &'static str = "latest";
    type Handle = Both;
    const STATES: usize = 2;

    fn create(segment: &Segment) -> Both {
        let bytes = options().bytes(SIZE as u64);
        Both {
            typed: Latest::create(segment.at("typed"), &options()).expect("a latest value"),
            bytes: Latest::create(segment.at("bytes"), &bytes).expect("a latest value"),
        }
    }

    fn open(segment: &Segment) -> Result<Both, ErrorKind> {
        Ok(Both {
            typed: Latest::open(segment.at("typed")).map_err(|error| error.kind())?,
            bytes: Latest::open(segment.at("bytes")).map_err(|error| error.kind())?,
        })
    }

    /// State 1: a dead one has a pin and a buffer.
    fn prepare(both: &Both, peer: &Both, _state: usize) {
        both.typed.store(&[1; 3]).expect("a buffer");
        drop(peer.bytes.reader().expect("a pin").claim());
    }

    fn die(both: &Both) {
        let mut reader = both.bytes.reader().expect("a pin");
        std::mem::forget(reader.claim().expect("a value"));
        std::mem::forget(reader);
        std::mem::forget(both.bytes.reserve().expect("a buffer"));
    }

    fn fields(_image: &[u8], layout: &Layout) -> Vec<Field> {
        let mut fields = Vec::new();
        for (name, size) in [("typed", 24), ("bytes", SIZE)] {
            let at = layout.objects[name].start;
            fields.push(Field::new("current", at, 8));
            fields.push(Field::new("current.buffer", at, 1));
            fields.push(Field::new("current.version", at + 4, 4));
            fields.push(Field::new("event.news", at + 8, 4));
            fields.push(Field::new("event.spare", at + 12, 4));
            fields.push(Field::new("shape.readers", at + 16, 4));
            fields.push(Field::new("shape.writers", at + 20, 4));
            fields.push(Field::new("shape.size", at + 24, 8));
            for pin in 0..READERS as usize {
                let at = at + LINE + LINE * pin;
                fields.push(Field::new("pin.owner", at, 8));
                fields.push(Field::new("pin.word", at + 8, 8));
                fields.push(Field::new("pin.buffer", at + 8, 1));
                fields.push(Field::new("pin.state", at + 9, 1));
            }
            let buffers = at + LINE + LINE * READERS as usize;
            for buffer in 0..BUFFERS {
                fields.push(Field::new("buffer.writer", buffers + 16 * buffer, 8));
                fields.push(Field::new("buffer.version", buffers + 16 * buffer + 8, 8));
            }
            let content = (buffers - at + 16 * BUFFERS).next_multiple_of(LINE);
            let stride = size.next_multiple_of(LINE);
            assert_eq!(layout.lengths[name], content + BUFFERS * stride, "{name}: bytes");
            let words = (0..BUFFERS * stride / 8).map(|word| at + content + 8 * word);
            fields.extend(words.map(|word| Field::new("content", word, 8)));
        }
        fields
    }

    fn operate(both: &Both, calls: &mut Calls) {
        let typed = &both.typed;
        calls.info("Latest::version", || typed.version());
        calls.info("Latest::fmt", || format!("{typed:?}"));
        calls.call("Latest::load", || typed.load());
        calls.timed("Latest::wait_newer", |wait| typed.wait_newer(typed.version(), wait));
        calls.timed("Latest::reserve_timeout", |wait| typed.reserve_timeout(wait).map(drop));
        let write = calls.timed("Latest::reserve_timeout", |wait| typed.reserve_timeout(wait));
        if let Some(mut write) = write {
            calls.info("LatestWrite::set", || write.set(&[7; 3]));
            calls.call("LatestWrite::commit", || write.commit());
        }
        let bytes = &both.bytes;
        let Some(mut reader) = calls.call("Latest::reader", || bytes.reader()) else { return };
        let write = calls.call("Latest::reserve_timeout", || bytes.reserve_timeout(Duration::ZERO));
        {
            let claiming = &mut reader;
            let claim = calls.call("LatestReader::claim", move || claiming.claim());
            if let Some(mut write) = write {
                calls.call("LatestWrite::copy_from_slice", || write.copy_from_slice(60, b"bytes"));
                calls.call("LatestWrite::commit", || write.commit());
            }
            if let Some(claim) = claim {
                let mut found = [0; SIZE];
                calls.call("LatestClaim::copy_to_slice", || claim.copy_to_slice(0, &mut found));
                calls.info("LatestClaim::version", || claim.version());
                calls.info("LatestClaim::drop", || drop(claim));
            }
        }
        calls.info("LatestReader::version", || reader.version());
        calls.info("LatestReader::drop", || drop(reader));
    }
}
