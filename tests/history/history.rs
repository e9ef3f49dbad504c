//! A history: which calls were made, when they began and returned, what they answered, who died; and how many of them
//! overlapped.

use super::call::{Answer, Call, No};
use super::sequential::Rules;
use std::fmt;

/// A call that was made.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    pub process: usize,
    pub call: Call,
    /// Nothing when its process was killed in it.
    pub answer: Option<Answer>,
    pub invoked: u64,
    /// When it was killed in it: no later than this.
    pub returned: u64,
}

/// A process was alive at `killed`, and found dead at `found`.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    pub killed: u64,
    pub found: u64,
}

/// All that happened from one moment at which the queue was empty, and nobody had anything in hand, to another.
#[derive(Clone, Debug)]
pub struct History {
    pub rules: Rules,
    /// Those of each process in their order.
    pub calls: Vec<Made>,
    /// One for each process.
    pub deaths: Vec<Option<Death>>,
}

/// How many calls were under way at a time: sampled when one begins, itself included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overlap {
    pub most: u64,
    pub sum: u64,
    pub calls: u64,
}

impl History {
    pub fn processes(&self) -> usize {
        self.deaths.len()
    }

    /// Of the calls of the first `processes`, but for those that were sent away, for somebody else had the role.
    pub fn overlap(&self, processes: usize) -> Overlap {
        let counts =
            |call: &&Made| call.process < processes && call.answer != Some(Answer::No(No::Busy));
        let calls: Vec<&Made> = self.calls.iter().filter(counts).collect();
        let mut overlap = Overlap::default();
        for call in &calls {
            // Nobody knows how long a call was under way whose process was killed in it: it counts when it begins.
            let open = |other: &&&Made| {
                let itself = std::ptr::eq(**other, *call);
                let under_way = other.invoked <= call.invoked && other.returned > call.invoked;
                itself || under_way && other.answer.is_some()
            };
            let count = calls.iter().filter(open).count() as u64;
            overlap.most = overlap.most.max(count);
            overlap.sum += count;
            overlap.calls += 1;
        }
        overlap
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.calls.iter().map(|call| call.invoked).min().unwrap_or(0);
        let mut lines: Vec<(u64, String)> = Vec::new();
        for Made { process, call, answer, invoked, returned } in &self.calls {
            let from = invoked - start;
            lines.push((
                *invoked,
                match answer {
                    Some(answer) => {
                        let to = returned - start;
                        format!("{from:>9} to {to:>9} ns  process {process}: {call:?} → {answer:?}")
                    }
                    None => format!("{from:>9} to  (killed) ns  process {process}: {call:?}"),
                },
            ));
        }
        for (process, death) in self.deaths.iter().enumerate() {
            if let Some(Death { killed, found }) = death {
                let (from, to) = (killed - start, found - start);
                lines.push((*killed, format!("{from:>9} to {to:>9} ns  process {process} died")));
            }
        }
        lines.sort();
        lines.iter().try_for_each(|(_, line)| writeln!(f, "    {line}"))
    }
}
