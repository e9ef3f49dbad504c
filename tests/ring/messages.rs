//! Rings of messages: every length, in place, and as a stream of bytes.

use crate::probe::{LONG, Random, SHORT, in_child, is, join, spawn};
use mpshm::{
    ErrorKind, PopError, PushError, Ring, RingConsumer, RingOptions, RingProducer, WhenFull,
};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind as IoKind, Read, Write};

/// Bytes that a message takes.
fn record(length: usize) -> usize {
    8 + length.next_multiple_of(8)
}

fn message(number: u64, length: usize) -> Vec<u8> {
    (0..length).map(|index| (number as usize * 7 + index * 31) as u8).collect()
}

/// A ring and what must be in it.
struct Model {
    ring: Ring<[u8]>,
    inside: VecDeque<Vec<u8>>,
    next: u64,
    random: Random,
}

impl Model {
    fn room(&self) -> usize {
        let used: usize = self.inside.iter().map(|message| record(message.len())).sum();
        record(self.ring.capacity()) - used
    }

    /// A message of a random length: often none, often the longest.
    fn any(&mut self) -> Vec<u8> {
        let capacity = self.ring.capacity();
        let length = match self.random.below(8) {
            0 => 0,
            1 => capacity,
            2 => capacity - self.random.below(capacity.min(9) as u64) as usize,
            _ => self.random.below(capacity.min(200) as u64 + 1) as usize,
        };
        self.next += 1;
        message(self.next, length)
    }

    fn push_somehow(&mut self, producer: &mut RingProducer<[u8]>) {
        let first = self.any();
        let room = self.room();
        match self.random.below(3) {
            0 => match producer.try_push(&first) {
                Ok(()) => {
                    assert!(record(first.len()) <= room);
                    self.inside.push_back(first);
                }
                Err(error) => {
                    assert_eq!(error, PushError::Full(()));
                    assert!(record(first.len()) > room);
                }
            },
            1 => {
                let messages = [first, self.any(), self.any()];
                let fits = |count: &usize| {
                    messages[..*count].iter().map(|one| record(one.len())).sum::<usize>() <= room
                };
                let count = (0..=3).rev().find(fits).unwrap();
                let all = self.random.below(2) == 0;
                let pushed = if all {
                    producer.try_push_all(&messages).map(|()| 3)
                } else {
                    producer.try_push_many(&messages)
                };
                match pushed {
                    Ok(pushed) => {
                        assert_eq!(pushed, count);
                        self.inside.extend(messages.into_iter().take(pushed));
                    }
                    Err(error) if all => assert!(count < 3, "{error}"),
                    Err(error) => assert_eq!((error, count), (PushError::Full(()), 0)),
                }
            }
            _ => match producer.try_reserve(first.len()) {
                Ok(mut place) => {
                    assert!(record(first.len()) <= room);
                    place.write_at(0, &first).unwrap();
                    let part = self.random.below(first.len() as u64 + 1) as usize;
                    match self.random.below(3) {
                        0 => drop(place),
                        1 => {
                            place.commit(part).unwrap();
                            self.inside.push_back(first[..part].to_vec());
                        }
                        _ => {
                            place.commit(first.len()).unwrap();
                            self.inside.push_back(first);
                        }
                    }
                }
                Err(error) => {
                    assert_eq!(error, PushError::Full(()));
                    assert!(record(first.len()) > room);
                }
            },
        }
    }

    fn pop_somehow(&mut self, consumer: &mut RingConsumer<[u8]>) {
        let first = self.inside.front();
        match self.random.below(4) {
            0 => {
                let found = consumer.try_pop();
                assert_eq!(found.ok().as_ref(), first);
            }
            1 => {
                let mut buffer = [0; 8192];
                let found = consumer.try_pop_into(&mut buffer).ok();
                assert_eq!(found.map(|length| &buffer[..length]), first.map(|one| &one[..]));
            }
            2 => {
                let found = consumer.try_pop_many(2).unwrap_or_default();
                assert!(found.iter().eq(self.inside.iter().take(2)));
                self.inside.drain(..found.len());
                return;
            }
            _ => {
                let claim = consumer.try_claim().ok();
                assert_eq!(claim.as_ref().map(|claim| claim.to_vec()).as_ref(), first);
                if let Some(claim) = claim {
                    if self.random.below(3) == 0 {
                        claim.give_back();
                        return;
                    }
                    claim.release();
                }
            }
        }
        self.inside.pop_front();
    }
}

pub fn messages_of_every_length_come_whole_and_in_order() {
    for capacity in [1, 8, 100, 4088, 5000] {
        let ring = Ring::<[u8]>::new(capacity).unwrap();
        assert_eq!(ring.capacity() as u64, capacity);
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        let random = Random::new(capacity);
        let mut model = Model { ring: ring.clone(), inside: VecDeque::new(), next: 0, random };
        for _ in 0..3000 {
            model.push_somehow(&mut producer);
            let room = model.room();
            assert_eq!((ring.len(), ring.is_full()), (model.inside.len(), room < 8));
            model.pop_somehow(&mut consumer);
            assert_eq!(
                (ring.len(), ring.is_empty()),
                (model.inside.len(), model.inside.is_empty())
            );
        }
        let counters = ring.counters();
        let left = record(ring.capacity()) - model.room();
        assert_eq!(counters.pushed - counters.popped, left as u64);
        assert!(counters.pushed > 3 * ring.capacity() as u64);
    }
}

pub fn a_message_that_is_too_long_changes_nothing() {
    let ring = Ring::<[u8]>::new(10).unwrap();
    let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
    let words = ["32 bytes", "24"];
    for _ in 0..3 {
        is(producer.try_push(&[0; 17]), ErrorKind::TooBig, &words);
        is(producer.push(&[0; 17]), ErrorKind::TooBig, &words);
        is(producer.push_timeout(&[0; 17], SHORT), ErrorKind::TooBig, &words);
        is(producer.reserve(17).map(drop), ErrorKind::TooBig, &words);
        is(producer.try_reserve(usize::MAX).map(drop), ErrorKind::TooBig, &[]);
        is(producer.push_all(&[[0; 10], [0; 10]]), ErrorKind::TooBig, &["48 bytes"]);
        assert_eq!(producer.push_many(&[&[0; 17]]).unwrap_err().kind(), ErrorKind::TooBig);
        producer.push(&[7; 10]).unwrap();
        assert_eq!(producer.push_timeout(b"", SHORT), Err(PushError::TimedOut(())));
        is(consumer.pop_into(&mut [0; 9]), ErrorKind::TooBig, &["10 bytes", "9"]);
        is(consumer.pop_into_timeout(&mut [], SHORT), ErrorKind::TooBig, &["10 bytes", "0"]);
        assert_eq!(ring.len(), 1);
        assert_eq!(consumer.pop_into_timeout(&mut [0; 10], SHORT), Ok(10));
        assert_eq!(consumer.pop_into_timeout(&mut [0; 10], SHORT), Err(PopError::TimedOut));
        assert_eq!(consumer.pop_timeout(SHORT), Err(PopError::TimedOut));
        assert_eq!(consumer.claim_timeout(SHORT).map(drop), Err(PopError::TimedOut));
        assert_eq!(consumer.try_claim().map(drop), Err(PopError::Empty));
        assert_eq!(consumer.pop_many_timeout(2, SHORT), Err(PopError::TimedOut));
        assert_eq!(consumer.pop_many(0), Ok(vec![]));
    }
    producer.extend([&b"one"[..], b""]);
    ring.close().unwrap();
    assert!((&mut consumer).into_iter().eq([b"one".to_vec(), vec![]]));
    assert_eq!(consumer.iter().next(), None);
}

pub fn messages_go_through_between_two_processes_at_full_speed() {
    const COUNT: u64 = 100_000;
    let ring = Ring::<[u8]>::new(1000).unwrap();
    let length = |n: u64| (n * n % 97 + n % 3 * 300) as usize;
    let child = spawn(|| {
        let mut producer = ring.producer();
        for n in 0..COUNT {
            match n % 3 {
                0 => producer.push(&message(n, length(n))).unwrap(),
                1 => {
                    let mut place = producer.reserve(1000).unwrap();
                    assert_eq!(place.len(), 1000);
                    place.write_at(0, &message(n, length(n))).unwrap();
                    place.commit(length(n)).unwrap();
                }
                _ => producer.push_many(&[message(n, length(n))]).unwrap(),
            }
        }
        ring.close().unwrap();
    });
    let mut consumer = ring.consumer();
    let mut next = 0;
    while next < COUNT / 2 {
        let claim = consumer.claim().unwrap();
        assert_eq!(claim.len(), length(next));
        assert_eq!(claim.to_vec(), message(next, length(next)));
        claim.release();
        next += 1;
    }
    for found in &mut consumer {
        assert_eq!(found, message(next, length(next)));
        next += 1;
    }
    assert_eq!((next, consumer.pop()), (COUNT, Err(PopError::Closed)));
    join(&child);
}

pub fn a_stream_is_read_in_parts_as_it_was_written() {
    let ring = Ring::<[u8]>::new(64).unwrap();
    let (mut writer, mut reader) = (ring.producer(), ring.consumer());
    assert_eq!(writer.write(b"").unwrap(), 0);
    assert!(ring.is_empty(), "nothing written is no message");
    assert_eq!(writer.write(b"abcdefghij").unwrap(), 10);
    writer.flush().unwrap();
    writer.push(b"").unwrap();
    writer.push(b"klm").unwrap();
    let mut part = [0; 4];
    let mut take = |reader: &mut RingConsumer<[u8]>| {
        let count = reader.read(&mut part).unwrap();
        String::from_utf8(part[..count].to_vec()).unwrap()
    };
    assert_eq!(reader.read(&mut []).unwrap(), 0);
    assert_eq!([take(&mut reader), take(&mut reader)], ["abcd", "efgh"]);
    assert_eq!(ring.len(), 3, "a message that was read in part is there");
    assert_eq!([take(&mut reader), take(&mut reader)], ["ij", "klm"], "and an empty one is no end");
    assert!(ring.is_empty());
    // A pop gives all of what was read in part, and the next read begins with the next message.
    writer.push_all(&["whole", "next"]).unwrap();
    assert_eq!(take(&mut reader), "whol");
    assert_eq!(reader.pop(), Ok(b"whole".to_vec()));
    assert_eq!(take(&mut reader), "next");
    // More than fits at once is written in parts.
    assert_eq!(writer.write(&[7; 1000]).unwrap(), 64);
    ring.close().unwrap();
    let mut rest = Vec::new();
    assert_eq!(reader.read_to_end(&mut rest).unwrap(), 64);
    assert_eq!((rest, reader.read(&mut [0]).unwrap()), (vec![7; 64], 0));
    assert_eq!(writer.write(b"x").unwrap_err().kind(), IoKind::BrokenPipe);
    assert_eq!(writer.write(b"").unwrap(), 0);
}

pub fn lines_go_through_between_two_processes() {
    let ring = Ring::<[u8]>::new(100).unwrap();
    let child = spawn(|| {
        let mut writer = ring.producer();
        for n in 0..5000 {
            writeln!(writer, "line {n} {}", "x".repeat(n % 250)).unwrap();
        }
        ring.close().unwrap();
    });
    let mut count = 0;
    for line in BufReader::with_capacity(37, ring.consumer()).lines() {
        assert_eq!(line.unwrap(), format!("line {count} {}", "x".repeat(count % 250)));
        count += 1;
    }
    assert_eq!(count, 5000);
    join(&child);
}

pub fn a_stream_says_why_it_cannot_go_on() {
    let options = RingOptions::new(8).when_full(WhenFull::Fail);
    let ring = Ring::<[u8]>::with_options(&options).unwrap();
    let (mut writer, mut reader) = (ring.producer(), ring.consumer());
    writer.write_all(b"8 bytes.").unwrap();
    assert!(writer.write(b"x").unwrap_err().to_string().contains("full"));
    // Whoever is not the reader is told so.
    reader.read_exact(&mut [0; 8]).unwrap();
    let refused = ring.consumer().read(&mut [0]).unwrap_err();
    assert!(refused.to_string().contains("consumer"), "{refused}");
    let options = RingOptions::new(8).when_full(WhenFull::Overwrite);
    let ring = Ring::<[u8]>::with_options(&options).unwrap();
    let mut reader = ring.consumer();
    for bytes in [&b"first"[..], b"second"] {
        ring.producer().write_all(bytes).unwrap();
        let refused = reader.read(&mut [0; 2]).unwrap_err();
        assert!(refused.to_string().contains("overwrites"), "{refused}");
    }
    assert_eq!(reader.pop(), Ok(b"second".to_vec()));
    // A producer that died is no end of a stream that follows its ends.
    let ring = Ring::<[u8]>::with_options(&RingOptions::new(8).follow_ends()).unwrap();
    let child = spawn(|| {
        let mut writer = ring.producer();
        writer.write_all(b"half").unwrap();
        // SAFETY: dies here.
        unsafe { libc::raise(libc::SIGKILL) };
    });
    let mut reader = ring.consumer();
    reader.read_exact(&mut [0; 4]).unwrap();
    assert!(reader.read(&mut [0]).is_err());
    child.join_timeout(LONG).unwrap().expect("dead");
    in_child(|| ring.producer().write_all(b"rest").unwrap());
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "rest", "who goes on ends it");
}
