//! Factorials as product trees, by one process or by the workers of a pool.
//!
//! The workers multiply ranges of equal size in bits, then pairs of what came of them. The last product is as much work
//! as a quarter of all the others together: its first factor is cut into as many pieces as there are workers, too.

use dashu_int::UBig;
use mpshm::{Pool, Result};

/// The product of `first` to `last`, as a tree, so that factors stay of like size.
fn product(first: u64, last: u64) -> UBig {
    if last - first < 16 {
        return (first..=last).map(UBig::from).product();
    }
    let middle = first.midpoint(last);
    product(first, middle) * product(middle + 1, last)
}

/// n! by this process alone.
pub fn serial(n: u64) -> UBig {
    product(1, n)
}

/// Bytes that the longest message of [`parallel`] needs: two factors.
pub fn message_max(n: u64) -> u64 {
    (bits(n) / 8.0) as u64 + 64
}

/// n! by the workers of `pool`; `n` is at least as large as they are many.
pub fn parallel(pool: &Pool, n: u64) -> Result<UBig> {
    let workers = pool.workers() as u64;
    let ends: Vec<u64> =
        (0..=workers).map(|part| end_of(part as f64 / workers as f64, n)).collect();
    let ranges = ends.windows(2).map(|ends| [(ends[0] + 1).to_le_bytes(), ends[1].to_le_bytes()]);
    let mut factors = run(pool, range, ranges.map(|range| range.concat()))?;
    while factors.len() > 2 {
        let odd = if factors.len() % 2 == 1 { factors.pop() } else { None };
        let pairs = factors.chunks(2).map(|pair| message(&pair[0], &pair[1]));
        factors = run(pool, times, pairs)?;
        factors.extend(odd);
    }
    let [first, second] = &factors[..] else { return Ok(UBig::from_le_bytes(&factors[0])) };
    let piece = first.len().div_ceil(workers as usize);
    let pieces = run(pool, times, first.chunks(piece).map(|piece| message(piece, second)))?;
    let shifted =
        pieces.iter().enumerate().map(|(at, part)| UBig::from_le_bytes(part) << (8 * piece * at));
    Ok(shifted.sum())
}

/// What `task` makes of each of these messages, in order.
fn run(
    pool: &Pool,
    task: impl Fn(&[u8]) -> Vec<u8> + Copy,
    messages: impl Iterator<Item = Vec<u8>>,
) -> Result<Vec<Vec<u8>>> {
    let tasks =
        messages.map(|message| pool.submit_bytes(task, &message)).collect::<Result<Vec<_>>>()?;
    tasks.iter().map(|task| task.get().map_err(Into::into)).collect()
}

/// A task: the ends of a range in, the product's bytes out (little endian).
fn range(ends: &[u8]) -> Vec<u8> {
    let (first, last) = ends.split_at(8);
    let [first, last] =
        [first, last].map(|end| u64::from_le_bytes(end.try_into().expect("eight bytes")));
    product(first, last).to_le_bytes().into_vec()
}

/// Two factors for [`times`]: the first one's length goes before it.
fn message(first: &[u8], second: &[u8]) -> Vec<u8> {
    [&(first.len() as u64).to_le_bytes()[..], first, second].concat()
}

/// A task: two factors in, the product's bytes out.
fn times(message: &[u8]) -> Vec<u8> {
    let (length, factors) = message.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
    let (first, second) = factors.split_at(length as usize);
    (UBig::from_le_bytes(first) * UBig::from_le_bytes(second)).to_le_bytes().into_vec()
}

/// About how many bits n! has.
fn bits(n: u64) -> f64 {
    let n = n.max(1) as f64;
    n * (n.ln() - 1.0).max(0.0) / std::f64::consts::LN_2 + 8.0 * n.ln()
}

/// Up to which number the product has this part of all the bits of n!.
fn end_of(part: f64, n: u64) -> u64 {
    let (mut below, mut above) = (0, n);
    while below + 1 < above {
        let middle = below.midpoint(above);
        if bits(middle) < part * bits(n) { below = middle } else { above = middle }
    }
    if part == 0.0 { 0 } else { above }
}
