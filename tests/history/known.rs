//! Histories written by hand, of which the verdict is known.
//!
//! A history is a line of calls, `process:from-to call answer`, separated by commas: `0:1-2 push 7, 1:3-4 pop empty`. A
//! call in which its process was killed ends with a `†` in the place of a stamp, and has no answer; `2:5-9 dies` says
//! that process 2 was alive at 5 and found dead at 9.

use super::call::{Answer, Call, Items, No, Wait};
use super::check::{Verdict, check};
use super::history::{Death, History, Made};
use super::model::LATE;
use super::sequential::{RingOf, Rules};

const SLOTS: Rules =
    Rules { capacity: 2, slots: true, overwrites: false, drops: false, ring: None };
const ONE: Rules = Rules { capacity: 1, ..SLOTS };
const NEWEST: Rules = Rules { overwrites: true, ..SLOTS };
const BLOCKS: Rules = Rules { slots: false, ..SLOTS };
const NEWEST_BLOCKS: Rules = Rules { overwrites: true, ..BLOCKS };
const DROPS: Rules = Rules { drops: true, ..BLOCKS };
const RING: Rules = Rules { ring: Some(RingOf::Numbers), ..BLOCKS };
const RING_OF_MESSAGES: Rules = Rules { ring: Some(RingOf::Messages), ..RING };
const RING_THAT_DROPS: Rules = Rules { drops: true, ..RING };
const NEWEST_RING: Rules = Rules { overwrites: true, ..RING };

fn call(words: &[&str]) -> Call {
    let not = Wait::Not;
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    match words[0] {
        "push" => Call::Push(not, number(1)),
        "push2" => Call::PushMany(not, number(1), 2),
        "pop" => Call::Pop(not),
        "pop2" => Call::PopMany(not, 2),
        "pop3" => Call::PopMany(not, 3),
        "claim" => Call::Claim(not),
        "claim2" => Call::ClaimMany(not, 2),
        "claim3" => Call::ClaimMany(not, 3),
        "first" => Call::ReleaseFirst(number(1) as usize),
        "leave" => Call::Leave,
        "release" => Call::Release,
        "back" => Call::GiveBack,
        "len" => Call::Len,
        "empty" => Call::IsEmpty,
        "full" => Call::IsFull,
        "closed" => Call::IsClosed,
        "close" => Call::Close,
        "recover" => Call::Recover,
        other => panic!("{other}"),
    }
}

fn answer(call: Call, words: &[&str]) -> Answer {
    let numbers =
        |words: &[&str]| -> Vec<u64> { words.iter().map(|word| word.parse().unwrap()).collect() };
    match words.last().copied() {
        Some("full") if words.len() > 1 => return Answer::No(No::Full),
        Some("empty") if words.len() > 1 => return Answer::No(No::Empty),
        Some("closed") if words.len() > 1 => return Answer::No(No::Closed),
        Some("busy") => return Answer::No(No::Busy),
        Some("yes") => return Answer::Is(true),
        Some("no") => return Answer::Is(false),
        _ => {}
    }
    let told = numbers(&words[1..]);
    match call {
        Call::PushMany(..) => Answer::Pushed(told[1] as usize, None),
        Call::Pop(_) | Call::PopMany(..) => Answer::Popped(Items::of(&told)),
        Call::Claim(_) => Answer::Claimed(told[0], told[1] as u32),
        Call::ClaimMany(..) => {
            let (times, items) = told.split_last().expect("items, and a number");
            Answer::Handed(Items::of(items), *times as u32)
        }
        Call::ReleaseFirst(count) => Answer::Count(count),
        Call::Len => Answer::Count(told[0] as usize),
        _ => Answer::Done,
    }
}

fn history(rules: Rules, text: &str) -> History {
    let mut history = History { rules, calls: Vec::new(), deaths: Vec::new() };
    for line in text.split(',').filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (process, stamps) = words.next().unwrap().split_once(':').unwrap();
        let (from, to) = stamps.split_once('-').unwrap();
        let (process, invoked): (usize, u64) = (process.parse().unwrap(), from.parse().unwrap());
        if history.deaths.len() <= process {
            history.deaths.resize(process + 1, None);
        }
        let words: Vec<&str> = words.collect();
        if words == ["dies"] {
            history.deaths[process] = Some(Death { killed: invoked, found: to.parse().unwrap() });
            continue;
        }
        let call = call(&words);
        let answer = (to != "†").then(|| answer(call, &words));
        let returned = to.parse().unwrap_or(0);
        history.calls.push(Made { process, call, answer, invoked, returned });
    }
    for call in history.calls.iter_mut().filter(|call| call.answer.is_none()) {
        call.returned = history.deaths[call.process].unwrap().found;
    }
    history
}

/// Each is a name, the rules, whether there is an order, and the calls.
fn all(cases: &[(&str, Rules, bool, &str)]) {
    for &(what, rules, expected, text) in cases {
        let history = history(rules, text);
        let (verdict, _) = check(&history);
        let found = verdict == Verdict::Linearizable;
        assert_eq!(found, expected, "{what}:\n{history}{verdict:?}");
    }
}

/// Nobody dies, nothing goes back.
pub fn plain() {
    all(&[
        ("nothing", SLOTS, true, ""),
        ("in order", SLOTS, true, "0:1-2 push 7, 0:3-4 push 8, 1:5-6 pop 7, 1:7-8 pop 8"),
        ("an inversion", SLOTS, false, "0:1-2 push 7, 0:3-4 push 8, 1:5-6 pop 8, 1:7-8 pop 7"),
        ("overlapping", SLOTS, true, "0:1-4 push 7, 2:2-3 push 8, 1:5-6 pop 8, 1:7-8 pop 7"),
        ("equal stamps", SLOTS, true, "0:1-3 push 7, 2:3-4 push 8, 1:5-6 pop 8, 1:7-8 pop 7"),
        ("a lost item", SLOTS, false, "0:1-2 push 7, 1:3-4 pop empty"),
        ("a doubled item", SLOTS, false, "0:1-2 push 7, 1:3-4 pop 7, 2:5-6 pop 7"),
        ("an item from nowhere", SLOTS, false, "0:1-2 push 7, 1:3-4 pop 9"),
        ("an item before its push", SLOTS, false, "1:1-2 pop 7, 0:3-4 push 7"),
        ("an item in its push", SLOTS, true, "1:2-3 pop 7, 0:1-4 push 7"),
        ("empty during a push", SLOTS, true, "0:1-4 push 7, 1:2-3 pop empty, 1:5-6 pop 7"),
        (
            "falsely empty",
            SLOTS,
            false,
            "0:1-2 push 7, 2:3-6 push 8, 1:4-5 pop empty, 1:7-8 pop 7, 1:9-10 pop 8",
        ),
        ("full", SLOTS, true, "0:1-2 push 7, 0:3-4 push 8, 0:5-6 push 9 full"),
        ("falsely full", SLOTS, false, "0:1-2 push 7, 0:3-4 push 9 full"),
        (
            "full during a pop",
            SLOTS,
            true,
            "0:1-2 push 7, 0:3-4 push 8, 1:5-8 pop 7, 0:6-7 push 9 full",
        ),
        (
            "full after a pop",
            SLOTS,
            false,
            "0:1-2 push 7, 0:3-4 push 8, 1:5-6 pop 7, 0:7-8 push 9 full",
        ),
        ("more than its capacity", SLOTS, false, "0:1-2 push 7, 0:3-4 push 8, 0:5-6 push 9"),
        (
            "others between",
            SLOTS,
            true,
            "0:1-4 push2 7 2, 1:2-3 push 9, 2:1-4 pop 7, 2:5-6 pop 9, 2:7-8 pop 8",
        ),
        ("several out of order", SLOTS, false, "0:1-4 push2 7 2, 2:5-6 pop 8, 2:7-8 pop 7"),
        ("one of two, with room", SLOTS, false, "0:1-2 push2 7 1"),
        ("one of two, without", SLOTS, true, "1:1-2 push 9, 0:3-4 push2 7 1"),
        ("fewer than there are", SLOTS, false, "0:1-2 push 7, 0:3-4 push 8, 1:5-6 pop2 7"),
        ("as many as there are", SLOTS, true, "0:1-2 push 7, 0:3-4 push 8, 1:5-6 pop3 7 8"),
        ("lengths that were", SLOTS, true, "0:1-4 push 7, 1:2-3 len 0, 2:2-3 len 1"),
        ("first there, then not", SLOTS, false, "0:1-6 push 7, 1:2-3 len 1, 1:4-5 len 0"),
        (
            "a length that never was",
            SLOTS,
            false,
            "0:1-2 push 7, 0:3-4 push 8, 1:5-8 pop 7, 2:6-7 len 0",
        ),
        ("looks", SLOTS, true, "0:1-2 push 7, 1:3-4 empty no, 1:5-6 full no"),
        ("falsely not full", ONE, false, "0:1-2 push 7, 1:5-6 full no"),
        ("falsely not empty", ONE, false, "0:1-2 push 7, 1:3-4 pop 7, 0:5-6 empty no"),
        (
            "drained",
            SLOTS,
            true,
            "0:1-2 push 7, 0:3-4 close, 0:5-6 push 8 closed, 1:5-6 pop 7, 1:7-8 pop closed",
        ),
        ("not drained", SLOTS, false, "0:1-2 push 7, 0:3-4 close, 1:7-8 pop closed"),
        ("a push behind a close", SLOTS, false, "0:1-2 close, 1:3-4 push 7"),
        ("empty behind a close", SLOTS, false, "0:1-2 close, 1:3-4 pop empty"),
        ("nobody closed", SLOTS, false, "1:3-4 closed yes"),
        (
            "overwritten",
            NEWEST,
            true,
            "0:1-2 push 7, 0:3-4 push 8, 0:5-6 push 9, 1:7-8 pop 8, 1:9-10 pop 9",
        ),
        ("not overwritten", NEWEST, false, "0:1-2 push 7, 0:3-4 push 8, 0:5-6 push 9, 1:7-8 pop 7"),
        ("overwritten for nothing", NEWEST, false, "0:1-2 push 7, 0:3-4 push 8, 1:5-6 pop 8"),
        (
            "full, though it overwrites",
            NEWEST,
            false,
            "0:1-2 push 7, 0:3-4 push 8, 0:5-6 push 9 full",
        ),
    ]);
}

/// Items go back, in blocks.
pub fn given_back() {
    let claimed = "0:1-2 push 7, 0:3-4 push 8, 1:5-6 claim 7 1,";
    let with = |rest: &str| format!("{claimed} {rest}");
    for (what, expected, rest) in [
        ("released", true, "1:7-8 release, 0:9-10 pop 8, 0:11-12 pop empty"),
        ("released, and comes again", false, "1:7-8 release, 0:9-10 claim 7 2"),
        ("back, and comes first", true, "1:7-8 back, 0:9-10 claim 7 2, 2:11-12 pop 8"),
        ("back, and comes late", true, "1:7-8 back, 2:9-10 pop 8, 0:11-12 claim 7 2"),
        ("back, and never comes", false, "1:7-8 back, 2:9-10 pop 8, 0:11-12 pop empty"),
        ("back, and not marked", false, "1:7-8 back, 0:9-10 claim 7 1"),
        ("marked, and not given back", false, "0:7-8 claim 8 2"),
        ("had by two at a time", false, "0:9-10 claim 7 2"),
        ("counted", true, "0:7-8 len 1, 1:9-10 back, 0:11-12 len 2"),
        ("not counted", false, "1:9-10 back, 0:11-12 len 1"),
        (
            "told of, then denied",
            false,
            "0:7-8 pop 8, 1:9-20 back, 0:11-12 len 1, 0:13-14 pop empty",
        ),
        (
            "more than its capacity",
            true,
            "0:7-8 push 9, 1:9-20 back, 0:21-22 len 3, 0:23-24 full yes",
        ),
        (
            "closed, with one in hand",
            true,
            "0:7-8 pop 8, 0:9-10 close, 0:11-12 pop closed, 1:13-14 back, 0:15-16 pop 7",
        ),
        (
            "closed, with one given back",
            false,
            "0:7-8 pop 8, 0:9-10 close, 1:11-12 back, 0:13-14 pop closed",
        ),
    ] {
        all(&[(what, BLOCKS, expected, &with(rest))]);
    }
    all(&[
        (
            "in two steps",
            NEWEST_BLOCKS,
            true,
            "0:1-2 push 7, 0:3-4 push 8, 0:5-8 push 9, 1:6-7 len 1",
        ),
        ("for nothing", NEWEST_BLOCKS, false, "0:1-2 push 7, 0:3-6 push 8, 1:4-5 pop empty"),
        (
            "not full",
            NEWEST_BLOCKS,
            false,
            "0:1-2 push 7, 0:3-4 push 8, 1:5-6 pop 7, 0:7-8 push 9, 1:9-10 pop 9",
        ),
    ]);
}

/// Process 2 is killed, at 5 or later, and found dead at 9.
pub fn deaths() {
    let late = |text: &str| {
        let at = |more: u64| (9 + LATE + more).to_string();
        text.replace("LATER", &at(1)).replace("LATE", &at(0)).replace("LAST", &at(9))
    };
    let after = |call: &str, rest: &str| {
        late(&format!("0:1-2 push 7, 0:3-4 push 8, 2:5-† {call}, 2:5-9 dies, {rest}"))
    };
    for (what, rules, expected, call, rest) in [
        ("a push that was", NEWEST, true, "push 9", "0:10-11 pop 8, 0:12-13 pop 9"),
        ("a push that was not", NEWEST, true, "push 9", "0:10-11 pop 7, 0:12-13 pop 8"),
        (
            "a push after its death",
            SLOTS,
            false,
            "push 9",
            "0:10-11 pop 7, 0:12-13 pop 8, 0:14-15 pop 9",
        ),
        ("a pop in slots takes one", SLOTS, true, "pop", "0:10-11 pop 8, 0:12-13 pop empty"),
        ("a pop in slots takes none", SLOTS, true, "pop", "0:10-11 pop 7, 0:12-13 pop 8"),
        ("a pop in slots takes two", SLOTS, false, "pop", "0:12-13 pop empty"),
        ("a pop of two takes two", SLOTS, true, "pop2", "0:12-13 pop empty"),
        ("a pop in slots gives back", SLOTS, false, "pop", "0:10-11 pop 8, 0:12-13 pop 7"),
        (
            "a close that was",
            SLOTS,
            true,
            "close",
            "0:10-11 pop 7, 0:12-13 pop 8, 0:14-15 pop closed",
        ),
        (
            "a pop consumes",
            BLOCKS,
            true,
            "pop",
            "0:10-11 recover, 0:12-13 pop 8, 0:14-15 pop empty",
        ),
        ("a pop holds", BLOCKS, true, "pop", "0:10-11 recover, 0:12-13 claim 7 2, 0:14-15 pop 8"),
        ("not marked", BLOCKS, false, "pop", "0:10-11 pop 8, 0:12-13 claim 7 1"),
        (
            "a claim lost",
            BLOCKS,
            false,
            "claim",
            "0:10-11 recover, 0:12-13 pop 8, 0:14-15 pop empty",
        ),
        (
            "a claim dropped",
            DROPS,
            true,
            "claim",
            "0:10-11 recover, 0:12-13 pop 8, 0:14-15 pop empty",
        ),
        (
            "in its hand, and overwritten",
            NEWEST_BLOCKS,
            true,
            "push 9",
            "0:10-11 recover, 0:12-13 claim 7 2, 0:14-15 pop 8, 0:16-17 pop 9",
        ),
        (
            "in its hand, and not pushed",
            NEWEST_BLOCKS,
            true,
            "push 9",
            "0:10-11 recover, 0:12-13 claim 7 2, 0:14-15 pop 8, 0:16-17 pop empty",
        ),
    ] {
        all(&[(what, rules, expected, &after(call, rest))]);
    }
    for (what, rules, expected, rest) in [
        ("comes again", BLOCKS, true, "2:5-9 dies, 0:10-11 recover, 0:12-13 claim 7 2"),
        ("comes before the death", BLOCKS, false, "0:4-5 claim 7 2, 2:6-9 dies"),
        ("lost", BLOCKS, false, "2:5-9 dies, 0:10-11 recover, 0:12-13 pop empty"),
        ("dropped", DROPS, true, "2:5-9 dies, 0:10-11 recover, 0:12-13 pop empty"),
        ("dropped, and comes again", DROPS, false, "2:5-9 dies, 0:12-13 claim 7 2"),
        ("comes twice", BLOCKS, false, "2:5-9 dies, 0:12-13 claim 7 2, 1:14-15 claim 7 3"),
        (
            "found a little later",
            BLOCKS,
            true,
            "2:5-9 dies, 0:10-11 pop empty, 0:12-13 len 0, 0:14-15 claim 7 2",
        ),
        (
            "found in time",
            BLOCKS,
            true,
            "2:5-9 dies, 0:LATE-LATER pop empty, 0:LAST-LAST claim 7 2",
        ),
        (
            "found too late",
            BLOCKS,
            false,
            "2:5-9 dies, 0:LATER-LATER pop empty, 0:LAST-LAST claim 7 2",
        ),
        ("told of, then denied", BLOCKS, false, "2:5-9 dies, 0:10-11 len 1, 0:12-13 pop empty"),
        (
            "closed too early",
            BLOCKS,
            false,
            "2:5-9 dies, 0:10-11 close, 0:12-13 pop closed, 1:14-15 claim 7 2",
        ),
        (
            "closed before its death",
            BLOCKS,
            true,
            "0:4-5 close, 0:6-7 pop closed, 2:8-9 dies, 1:14-15 claim 7 2",
        ),
        ("given back in its death", BLOCKS, true, "2:5-† back, 2:6-9 dies, 0:10-11 claim 7 2"),
        (
            "released in its death",
            BLOCKS,
            true,
            "2:5-† release, 2:6-9 dies, 0:10-11 recover, 0:12-13 pop empty",
        ),
        ("not released in its death", BLOCKS, true, "2:5-† release, 2:6-9 dies, 0:10-11 claim 7 2"),
    ] {
        all(&[(what, rules, expected, &late(&format!("0:1-2 push 7, 2:3-4 claim 7 1, {rest}")))]);
    }
    let again = "0:1-2 push 7, 1:3-4 claim 7 1, 1:5-6 back, 2:7-† claim, 2:7-9 dies,";
    all(&[
        ("counted", BLOCKS, true, &format!("{again} 0:12-13 claim 7 3")),
        ("one count too low", BLOCKS, true, &format!("{again} 0:12-13 claim 7 2")),
        ("not marked any more", BLOCKS, false, &format!("{again} 0:12-13 claim 7 1")),
    ]);
}

/// Of rings: roles, slices, marks, and the ends of both.
pub fn rings() {
    all(&[
        ("in order", RING, true, "0:1-2 push 7, 0:3-4 push 8, 1:5-6 pop2 7 8"),
        ("an inversion", RING, false, "0:1-2 push 7, 0:3-4 push 8, 1:5-6 pop2 8 7"),
        ("two producers", RING, false, "0:1-2 push 7, 2:3-4 push 8, 1:5-6 pop2 7 8"),
        ("one after the other", RING, true, "0:1-2 push 7, 0:3-4 leave, 2:5-6 push 8"),
        ("refused", RING, true, "0:1-2 push 7, 2:3-4 push 8 busy"),
        ("refused for nobody", RING, false, "0:1-2 push 7, 0:3-4 leave, 2:5-6 push 8 busy"),
        ("refused during a leave", RING, true, "0:1-2 push 7, 0:3-6 leave, 2:4-5 push 8 busy"),
        ("refused by oneself", RING, false, "0:1-2 push 7, 0:3-4 push 8 busy"),
        ("taken over", RING, true, "0:1-2 push 7, 0:3-5 dies, 2:4-6 push 8, 1:7-8 pop2 7 8"),
        ("taken over too soon", RING, false, "0:1-2 push 7, 0:5-6 dies, 2:3-4 push 8"),
        ("a corpse in the way", RING, false, "0:1-2 push 7, 0:3-4 dies, 2:5-6 push 8 busy"),
        ("two at once", RING, false, "0:1-6 push2 7 2, 2:2-3 len 1, 2:4-5 len 1"),
        ("a part of two at once", RING, false, "0:1-6 push2 7 2, 2:2-3 len 1"),
        ("two at once are there", RING, true, "0:1-6 push2 7 2, 2:2-3 len 0, 2:4-5 len 2"),
        ("one, for there is no room", RING, true, "0:1-2 push 6, 0:3-4 push2 7 1"),
        ("one, though there is room", RING, false, "0:3-4 push2 7 1"),
        ("popped together", RING, false, "0:1-2 push2 7 2, 1:3-8 pop2 7 8, 2:4-5 len 1"),
        (
            "messages one by one",
            RING_OF_MESSAGES,
            true,
            "0:1-2 push2 7 2, 1:3-8 pop2 7 8, 2:4-5 len 1",
        ),
        ("fewer than there are", RING, false, "0:1-2 push2 7 2, 1:3-4 pop2 7"),
        (
            "seen for a moment",
            NEWEST_RING,
            true,
            "0:1-2 push2 7 2, 0:3-6 push 9, 1:4-5 pop 7, 1:7-8 pop 8",
        ),
        ("the oldest stays", NEWEST_RING, false, "0:1-2 push2 7 2, 0:3-4 push 9, 1:5-6 pop 7"),
        ("the oldest goes", NEWEST_RING, true, "0:1-2 push2 7 2, 0:3-4 push 9, 1:5-6 pop2 8 9"),
        (
            "a pop after a refused push",
            RING,
            false,
            "2:1-5 close, 0:2-4 push 7 closed, 1:3-6 pop 7",
        ),
        (
            "drained, then an item",
            RING,
            false,
            "2:1-6 close, 0:2-7 push 7, 1:3-4 pop closed, 1:8-9 pop 7",
        ),
        (
            "a pop before the close",
            RING,
            true,
            "2:1-5 close, 0:2-4 push 7, 1:3-6 pop 7, 1:7-8 pop closed",
        ),
        (
            "released in part",
            RING,
            true,
            "0:1-2 push2 7 2, 1:3-4 claim2 7 8 1, 1:5-6 first 1, 1:7-8 claim3 8 1",
        ),
        (
            "given back",
            RING,
            true,
            "0:1-2 push2 7 2, 1:3-4 claim2 7 8 1, 1:5-6 back, 1:7-8 claim3 7 8 2",
        ),
        (
            "given back, not marked",
            RING,
            false,
            "0:1-2 push2 7 2, 1:3-4 claim2 7 8 1, 1:5-6 back, 1:7-8 claim3 7 8 1",
        ),
        ("claimed items are there", RING, false, "0:1-2 push 7, 1:3-4 claim2 7 1, 2:5-6 len 0"),
        (
            "marked by itself",
            RING,
            true,
            "0:1-2 push 7, 1:3-4 claim2 7 1, 1:5-6 back, 0:7-8 push 8, 1:9-10 claim2 7 2",
        ),
        (
            "marked with others",
            RING,
            false,
            "0:1-2 push 7, 1:3-4 claim2 7 1, 1:5-6 back, 0:7-8 push 8, 1:9-10 claim2 7 8 2",
        ),
        (
            "the claim of a dead one",
            RING,
            true,
            "0:1-2 push 7, 1:3-4 claim2 7 1, 1:5-6 dies, 2:7-8 claim2 7 2",
        ),
        (
            "dropped with it",
            RING_THAT_DROPS,
            true,
            "0:1-2 push2 7 2, 1:3-4 claim2 7 8 1, 1:5-6 dies, 2:7-8 pop empty",
        ),
        (
            "not dropped with it",
            RING_THAT_DROPS,
            false,
            "0:1-2 push 7, 1:3-4 claim2 7 1, 1:5-6 dies, 2:7-8 pop 7",
        ),
        (
            "given back before",
            RING_THAT_DROPS,
            true,
            "0:1-2 push2 7 2, 1:3-4 claim2 7 8 1, 1:5-6 back, 1:7-8 dies, 2:9-10 claim2 7 8 2",
        ),
        (
            "given back, and gone",
            RING_THAT_DROPS,
            false,
            "0:1-2 push2 7 2, 1:3-4 claim2 7 8 1, 1:5-6 back, 1:7-8 dies, 2:9-10 pop empty",
        ),
        ("a push of a dead one", RING, true, "0:1-† push 7, 0:2-3 dies, 1:4-5 pop 7"),
        ("or not", RING, true, "0:1-† push 7, 0:2-3 dies, 1:4-5 pop empty"),
        ("or later", RING, false, "0:1-† push 7, 0:2-3 dies, 1:4-5 pop empty, 1:6-7 pop 7"),
        (
            "an item lost to a dead reader",
            RING,
            true,
            "0:1-2 push 7, 1:3-† pop, 1:4-5 dies, 2:6-7 pop empty",
        ),
        (
            "two lost for one",
            RING,
            false,
            "0:1-2 push2 7 2, 1:3-† pop, 1:4-5 dies, 2:6-7 pop empty",
        ),
    ]);
}
