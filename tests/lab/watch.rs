//! Which words of shared memory an operation has changed so far.

/// The memory as it was at the first marker.
pub struct Watch {
    start: *const u64,
    before: Vec<u64>,
}

impl Watch {
    /// Remembers `memory`, whole words, which must stay mapped as long as the watch is used.
    pub fn new((start, length): (*const u8, usize)) -> Self {
        assert!(start.cast::<u64>().is_aligned());
        let mut watch = Self { start: start.cast(), before: vec![0; length / 8] };
        for index in 0..watch.before.len() {
            watch.before[index] = watch.read(index);
        }
        watch
    }

    fn read(&self, index: usize) -> u64 {
        // SAFETY: inside the memory given to `new`, aligned; others may write it at any time.
        unsafe { self.start.add(index).read_volatile() }
    }

    /// The words that differ from the beginning, with their present value.
    pub fn changed(&self) -> impl Iterator<Item = (usize, u64)> {
        (0..self.before.len()).filter_map(|index| {
            let now = self.read(index);
            (now != self.before[index]).then_some((index, now))
        })
    }

    /// A hash of the changes. Words hold what is particular to one process or one moment (a pid, an
    /// id) already at the beginning, so equal progress of two trials has equal hashes.
    pub fn changes(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for (index, now) in self.changed() {
            for word in [index as u64, now] {
                hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
            }
        }
        hash
    }
}
