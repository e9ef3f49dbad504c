//! The checker against another one, which is too simple to be wrong: all orders, one after another.

use super::call::{Answer, Call, Items, No, Wait};
use super::check::{Verdict, check};
use super::history::{History, Made};
use super::probe::Random;
use super::sequential::Rules;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a sequential queue answers; nothing when it would wait.
fn answer(queue: &mut (VecDeque<u64>, bool), capacity: usize, call: Call) -> Answer {
    let (items, closed) = queue;
    match call {
        Call::Push(_, item) => {
            if *closed {
                return Answer::No(No::Closed);
            } else if items.len() == capacity {
                return Answer::No(No::Full);
            }
            items.push_back(item);
            Answer::Done
        }
        Call::Pop(_) => match items.pop_front() {
            Some(item) => Answer::Popped(Items::of(&[item])),
            None if *closed => Answer::No(No::Closed),
            None => Answer::No(No::Empty),
        },
        Call::Close => {
            *closed = true;
            Answer::Done
        }
        Call::Len => Answer::Count(items.len()),
        Call::IsEmpty => Answer::Is(items.is_empty()),
        Call::IsFull => Answer::Is(items.len() == capacity),
        Call::IsClosed => Answer::Is(*closed),
        other => panic!("{other:?}"),
    }
}

/// Whether the calls have an order, by trying all of them.
fn has_order(calls: &[Made], queue: &(VecDeque<u64>, bool), capacity: usize) -> bool {
    calls.is_empty()
        || (0..calls.len()).any(|first| {
            let call = &calls[first];
            if calls.iter().any(|other| other.returned < call.invoked) {
                return false;
            }
            let mut queue = queue.clone();
            if Some(answer(&mut queue, capacity, call.call)) != call.answer {
                return false;
            }
            let rest: Vec<Made> =
                calls.iter().enumerate().filter(|(at, _)| *at != first).map(|(_, c)| *c).collect();
            has_order(&rest, &queue, capacity)
        })
}

/// A history that has an order: each call takes effect at a moment, and begins and returns somewhere around it.
fn made_up(random: &mut Random, processes: usize, count: usize, capacity: usize) -> History {
    const STEP: u64 = 1_000;
    let mut queue = (VecDeque::new(), false);
    let owners: Vec<usize> = (0..count).map(|_| random.below(processes as u64) as usize).collect();
    let mut free_from = vec![0; processes];
    let mut calls = Vec::new();
    for (at, &process) in owners.iter().enumerate() {
        let call = match random.below(12) {
            0..=4 => Call::Push(Wait::Not, at as u64),
            5..=8 => Call::Pop(Wait::Not),
            9 => Call::Len,
            10 => Call::IsFull,
            _ if random.below(count as u64) == 0 => Call::Close,
            _ => Call::IsEmpty,
        };
        let answer = answer(&mut queue, capacity, call);
        let moment = (at as u64 + 1) * STEP;
        let next = owners[at + 1..].iter().position(|&other| other == process);
        let last = next.map_or(moment + 3 * STEP, |gap| moment + (gap as u64 + 1) * STEP);
        let invoked = free_from[process] + random.below(moment - free_from[process]);
        let returned = moment + random.below(last - moment);
        free_from[process] = returned + 1;
        calls.push(Made { process, call, answer: Some(answer), invoked, returned });
        free_from[process] = free_from[process].min(last - 1);
    }
    let rules = Rules { capacity, slots: true, overwrites: false, drops: false, ring: None };
    History { rules, calls, deaths: vec![None; processes] }
}

/// Changes one answer, or the stamps of one call.
fn spoil(history: &mut History, random: &mut Random) {
    let count = history.calls.len() as u64;
    let [one, other] = [0, 0].map(|_| random.below(count) as usize);
    match (history.calls[one].answer, random.below(3)) {
        (_, 0) => {
            let returned = history.calls[one].returned;
            history.calls[one].invoked = returned - random.below(2).min(returned);
        }
        (Some(Answer::Count(count)), _) => {
            history.calls[one].answer = Some(Answer::Count(count + 1));
        }
        (Some(Answer::Is(answer)), _) => history.calls[one].answer = Some(Answer::Is(!answer)),
        (Some(Answer::Popped(_)), 1) => history.calls[one].answer = Some(Answer::No(No::Empty)),
        (Some(Answer::Popped(_)), _) => {
            if let Some(Answer::Popped(items)) = history.calls[other].answer {
                history.calls[other].answer = history.calls[one].answer;
                history.calls[one].answer = Some(Answer::Popped(items));
            }
        }
        _ => {}
    }
}

pub fn small_histories() {
    let mut random = Random::new(3);
    let mut verdicts = [0, 0];
    for round in 0..6_000 {
        let capacity = 1 + random.below(3) as usize;
        let processes = 2 + random.below(3) as usize;
        let mut history = made_up(&mut random, processes, 7, capacity);
        let spoilt = round % 3;
        (0..spoilt).for_each(|_| spoil(&mut history, &mut random));
        let expected = has_order(&history.calls, &(VecDeque::new(), false), capacity);
        assert!(expected || spoilt > 0, "the brute one is wrong:\n{history}");
        let (verdict, _) = check(&history);
        assert_eq!(verdict == Verdict::Linearizable, expected, "{history}{verdict:?}");
        verdicts[usize::from(expected)] += 1;
    }
    println!("    {} linearizable, {} not", verdicts[1], verdicts[0]);
    assert!(verdicts.iter().all(|&count| count > 500));
}

/// A few hundred calls of six processes that overlap all the time.
pub fn long_histories() {
    let mut random = Random::new(4);
    let (mut worst, mut most, mut not) = (Duration::ZERO, 0, 0);
    for round in 0..60 {
        let capacity = [1, 2, 3, 5][round % 4];
        let mut history = made_up(&mut random, 6, 400, capacity);
        let spoilt = round % 2 == 1;
        if spoilt {
            (0..4).for_each(|_| spoil(&mut history, &mut random));
        }
        let start = Instant::now();
        let (verdict, states) = check(&history);
        (worst, most) = (worst.max(start.elapsed()), most.max(states));
        assert_ne!(verdict, Verdict::Undecided);
        assert!(spoilt || verdict == Verdict::Linearizable, "{verdict:?}");
        not += usize::from(verdict != Verdict::Linearizable);
    }
    println!(
        "    400 calls each: at worst {worst:.2?} and {most} states; {not} of 60 not linearizable"
    );
    assert!(not > 10 && worst < Duration::from_secs(5));
}
