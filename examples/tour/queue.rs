//! One queue, first with five numbers, then with the lines of many files.

use crate::family::Family;
use crate::{Notes, Options, Outcome};
use mpshm::{Array, Error, PopError, Queue, QueueOptions, Result};
use serde_json::json;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PRODUCERS: usize = 2;
const CONSUMERS: usize = 2;
/// About how much memory the lines in flight may take.
const IN_FLIGHT: u64 = 16 << 20;

/// What is counted.
#[derive(Default, PartialEq)]
struct Counts {
    bytes: u64,
    lines: u64,
    words: u64,
    of_word: HashMap<Vec<u8>, u64>,
}

impl Counts {
    fn add_line(&mut self, line: &[u8]) {
        self.bytes += line.len() as u64;
        self.lines += 1;
        for word in line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            self.words += 1;
            match self.of_word.get_mut(word) {
                Some(count) => *count += 1,
                None => {
                    self.of_word.insert(word.to_vec(), 1);
                }
            }
        }
    }

    fn commonest(&self) -> Vec<(String, u64)> {
        let mut words: Vec<_> = self.of_word.iter().collect();
        words.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        words
            .iter()
            .take(10)
            .map(|(word, count)| (String::from_utf8_lossy(word).into(), **count))
            .collect()
    }
}

/// Lines with their ends; the last may have none.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
}

pub fn run(options: &Options, notes: &Notes) -> Result<Outcome> {
    let mut outcome = Outcome::new(json!({}));
    let small = five_numbers()?;
    notes.say(format!("a producer put 0..4 and ended, then a consumer read {small:?}"));
    outcome.expect("five numbers", &small, &vec![0, 1, 2, 3, 4]);

    let paths = if options.files.is_empty() { default_files() } else { options.files.clone() };
    let texts: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| {
            std::fs::read(path).map_err(|error| {
                notes.say(format!("cannot read {}: {error}", path.display()));
                error
            })
        })
        .filter_map(std::result::Result::ok)
        .collect();
    if !options.files.is_empty() {
        outcome.expect("readable files", texts.len(), paths.len());
    }
    let start = Instant::now();
    let mut serial = Counts::default();
    texts.iter().for_each(|text| lines(text).for_each(|line| serial.add_line(line)));
    let serial_seconds = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let counts = through_a_queue(&texts)?;
    let seconds = start.elapsed().as_secs_f64();
    let rate = counts.bytes as f64 / 1e6 / seconds;
    let commonest = counts.commonest();
    notes.say(format!(
        "{} files: {} bytes, {} lines, {} words in {seconds:.3} s, {rate:.1} MB/s (serial: {serial_seconds:.3} s)",
        texts.len(), counts.bytes, counts.lines, counts.words,
    ));
    notes.say(format!("the commonest words: {commonest:?}"));

    outcome.expect("bytes", counts.bytes, serial.bytes);
    outcome.expect("lines", counts.lines, serial.lines);
    outcome.expect("words", counts.words, serial.words);
    outcome.expect("counts of all words are equal", counts.of_word == serial.of_word, true);
    outcome.results = json!({
        "small": small, "files": texts.len(), "bytes": counts.bytes, "lines": counts.lines,
        "words": counts.words, "commonest": commonest, "mb_per_second": rate,
    });
    Ok(outcome)
}

fn five_numbers() -> Result<Vec<u64>> {
    let queue = Queue::<u64>::new(5)?;
    Family::new(1, "producer", |_| Ok((0..5).try_for_each(|n| queue.push(n))?))?.join()?;
    let read = Array::<u64>::new(5)?;
    Family::new(1, "consumer", |_| (0..5).try_for_each(|index| read.store(index, queue.pop()?)))?
        .join()?;
    Ok(read.to_vec())
}

/// Two producers send the lines, two consumers count them and send home what they counted.
fn through_a_queue(texts: &[Vec<u8>]) -> Result<Counts> {
    let longest =
        texts.iter().flat_map(|text| lines(text)).map(<[u8]>::len).max().unwrap_or(0) as u64;
    let capacity = (IN_FLIGHT / longest.max(1)).clamp(4, 1024);
    let options = QueueOptions::new(capacity).message_max(longest + 8).leases(1);
    let queue = Queue::<[u8]>::with_options(&options)?;
    let home = Queue::<[u8]>::with_options(&options)?;
    let totals = Array::<u64>::new(3)?;

    let consumers = Family::new(CONSUMERS, "consumer", |_| {
        let mut counts = Counts::default();
        let mut line = vec![0; queue.message_max()];
        loop {
            match queue.pop_into(&mut line) {
                Ok(length) => counts.add_line(&line[..length]),
                Err(PopError::Closed) => break,
                Err(error) => return Err(error.into()),
            }
        }
        for (word, count) in &counts.of_word {
            let mut message = home.reserve(8 + word.len())?;
            message.write_at(0, &count.to_ne_bytes())?;
            message.write_at(8, word)?;
            message.commit(8 + word.len()).map_err(Error::from)?;
        }
        totals.fetch_add(0, counts.bytes)?;
        totals.fetch_add(1, counts.lines)?;
        totals.fetch_add(2, counts.words)?;
        Ok(())
    })?;
    let producers = Family::new(PRODUCERS, "producer", |index| {
        for text in texts.iter().skip(index).step_by(PRODUCERS) {
            for line in lines(text) {
                queue.push(line)?;
            }
        }
        Ok(())
    })?;
    while !producers.have_ended()? {
        consumers.have_ended()?;
    }
    queue.close()?;

    let mut counts = Counts::default();
    loop {
        match home.pop_timeout(Duration::from_millis(2)) {
            Ok(message) => {
                let (count, word) = message.split_at(8);
                let count = u64::from_ne_bytes(count.try_into().expect("eight bytes"));
                *counts.of_word.entry(word.to_vec()).or_default() += count;
            }
            Err(PopError::TimedOut) if consumers.have_ended()? && home.is_empty() => break,
            Err(PopError::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    counts.bytes = totals.load(0)?;
    counts.lines = totals.load(1)?;
    counts.words = totals.load(2)?;
    Ok(counts)
}

/// What git tracks below the current folder, or else every regular file.
fn default_files() -> Vec<PathBuf> {
    let tracked = std::process::Command::new("git").args(["ls-files", "-z"]).output();
    if let Ok(output) = tracked {
        if output.status.success() && !output.stdout.is_empty() {
            return output
                .stdout
                .split(|&byte| byte == 0)
                .filter(|name| !name.is_empty())
                .map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()))
                .filter(|path| path.is_file())
                .collect();
        }
    }
    let mut found = Vec::new();
    regular_files(Path::new("."), &mut found);
    found
}

fn regular_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => regular_files(&entry.path(), found),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}
