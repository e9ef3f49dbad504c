//! cloudtoid-interprocess: a queue of bytes with many publishers, between processes.

use crate::Result;
use crate::channel::{Channel, Pop, Push, WORD, bytes, capacity, sum};
use crate::peers::unique;
use cloudtoid_interprocess::{Options, Publisher, Subscriber};

/// Its name in the report.
pub const NAME: &str = "cloudtoid-interprocess";

/// Messages of one length.
pub struct Messages {
    options: Options,
    bytes: usize,
}

impl Messages {
    /// A queue for messages of `bytes`. It is there as long as an end is.
    pub fn new(bytes: usize) -> Self {
        let name = unique();
        // A record has a header of 8 bytes.
        let options = Options::new(&name, capacity(bytes) * (bytes + 8));
        Self { options: options.with_path(format!("/dev/shm/{name}")), bytes }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        // Its ends leave empty directories.
        let _ = std::fs::remove_dir_all(&self.options.path);
    }
}

impl Channel for Messages {
    fn producer(&self) -> Result<impl Push + '_> {
        Ok(End { end: Publisher::open(&self.options)?, buffer: vec![0; self.bytes / WORD] })
    }

    fn consumer(&self) -> Result<impl Pop + '_> {
        Ok(End { end: Subscriber::open(&self.options)?, buffer: vec![0; self.bytes / WORD] })
    }
}

struct End<E> {
    end: E,
    buffer: Vec<u64>,
}

impl Push for End<Publisher> {
    #[inline]
    fn try_push(&mut self, number: u64) -> bool {
        self.buffer.fill(number);
        self.end.try_send(bytes(&mut self.buffer)).is_ok()
    }
}

impl Pop for End<Subscriber> {
    #[inline]
    fn try_pop(&mut self) -> Option<u64> {
        let length = self.end.try_recv_into(bytes(&mut self.buffer)).expect("received")?;
        Some(sum(&self.buffer[..length / WORD]))
    }
}
