//! The checker: is there an order of all steps that the sequential queue allows and that contradicts no clock?
//!
//! # How
//! Wing and Gong's search with Lowe's memory. A configuration is how far each process has come (its calls follow one
//! another, so a number for each process says which steps have taken effect) and the state that this led to. From a
//! configuration on, the next step may be that of any process whose present call began before every other
//! unfinished call had returned. A configuration is never looked at twice. Two equal stamps say nothing about
//! order.
//!
//! A step that changes nothing and is possible is done at once, and no other way is tried: whatever could follow without it
//! can follow with it.
//!
//! A call whose process was killed in it is followed by the death, which may come before any of its steps, and takes place
//! between the signal and the moment at which the process was found dead. After that it does nothing more.
//!
//! # Source
//! Wing and Gong, *Testing and verifying concurrent objects*, 1993; Lowe, *Testing for linearizability*, 2017.

use super::history::History;
use super::model::Model;
use super::ring_model::RingModel;
use super::sequential::{Actor, Sequential};
use std::collections::HashSet;

/// Configurations after which a history counts as undecided, which fails.
const MOST: usize = 4_000_000;

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// And how far the search came, in words.
    Not(String),
    Undecided,
}

/// A call as the search sees it.
struct Row<S> {
    invoked: u64,
    returned: u64,
    steps: Vec<S>,
    unseen: bool,
    /// Where it stands in the process's part of the history; nothing for a death.
    call: Option<usize>,
}

/// How far a process has come: calls, and steps of the present one.
type Place = (u16, u16);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Configuration<S> {
    at: Vec<Place>,
    state: S,
}

struct Search<M: Sequential> {
    model: M,
    rows: Vec<Vec<Row<M::Step>>>,
}

/// Decides, and says how many configurations it has looked at.
pub fn check(history: &History) -> (Verdict, usize) {
    match history.rules.ring {
        None => held_against::<Model>(history),
        Some(_) => held_against::<RingModel>(history),
    }
}

fn held_against<M: Sequential>(history: &History) -> (Verdict, usize) {
    let search = Search::<M>::new(history);
    let first = Configuration {
        at: search.rows.iter().map(|rows| skip_empty(rows, (0, 0))).collect(),
        state: M::State::default(),
    };
    let mut seen = HashSet::new();
    let mut deepest = (0, first.clone());
    let mut stack = vec![first];
    while let Some(configuration) = stack.pop() {
        let configuration = search.done_what_changes_nothing(configuration);
        if search.is_done(&configuration) {
            return (Verdict::Linearizable, seen.len() + 1);
        }
        if !seen.insert(configuration.clone()) {
            continue;
        }
        if seen.len() > MOST {
            return (Verdict::Undecided, seen.len());
        }
        let depth = search.depth(&configuration);
        if depth > deepest.0 {
            deepest = (depth, configuration.clone());
        }
        search.next(&configuration, |next| stack.push(next));
    }
    (Verdict::Not(search.report(history, &deepest.1)), seen.len())
}

/// The place, or the one behind calls that have no steps (any more).
fn skip_empty<S>(rows: &[Row<S>], (mut call, mut step): Place) -> Place {
    while let Some(row) = rows.get(call as usize) {
        // An unseen call ends with the death.
        if row.unseen || (step as usize) < row.steps.len() {
            break;
        }
        (call, step) = (call + 1, 0);
    }
    (call, step)
}

impl<M: Sequential> Search<M> {
    fn new(history: &History) -> Self {
        let deaths = history.deaths.iter().map(|death| death.map(|death| death.found)).collect();
        let model = M::new(history.rules, deaths);
        let rows = (0..history.processes())
            .map(|process| {
                let death = history.deaths[process];
                let calls = history.calls.iter().filter(|call| call.process == process).enumerate();
                let mut rows: Vec<Row<M::Step>> = calls
                    .map(|(at, call)| Row {
                        invoked: call.invoked,
                        returned: call.returned,
                        steps: match call.answer {
                            Some(answer) => model.steps(call.call, answer),
                            None => model.unseen_steps(call.call),
                        },
                        unseen: call.answer.is_none(),
                        call: Some(at),
                    })
                    .collect();
                rows.extend(death.map(|death| Row {
                    invoked: death.killed,
                    returned: death.found,
                    steps: vec![M::DIE],
                    unseen: false,
                    call: None,
                }));
                rows
            })
            .collect();
        Self { model, rows }
    }

    fn row(&self, process: usize, place: Place) -> Option<&Row<M::Step>> {
        self.rows[process].get(place.0 as usize)
    }

    /// No step comes later than this: somebody's call had returned, or is to return.
    fn horizon(&self, at: &[Place]) -> u64 {
        let rows = at.iter().enumerate().filter_map(|(process, &place)| self.row(process, place));
        rows.map(|row| row.returned).min().unwrap_or(u64::MAX)
    }

    fn is_done(&self, configuration: &Configuration<M::State>) -> bool {
        let places = configuration.at.iter().enumerate();
        places.into_iter().all(|(process, &place)| self.row(process, place).is_none())
    }

    fn depth(&self, configuration: &Configuration<M::State>) -> usize {
        let places = configuration.at.iter().enumerate();
        places
            .map(|(process, &(call, step))| {
                let before = self.rows[process].iter().take(call as usize);
                before.map(|row| row.steps.len() + 1).sum::<usize>() + step as usize
            })
            .sum()
    }

    /// Every state to which the next step of `process` leads, with the place where that leaves it.
    fn outcomes(
        &self,
        at: &[Place],
        state: &M::State,
        process: usize,
        each: &mut dyn FnMut(Place, M::State),
    ) {
        let horizon = self.horizon(at);
        let place = at[process];
        let Some(row) = self.row(process, place).filter(|row| row.invoked <= horizon) else {
            return;
        };
        if let Some(&step) = row.steps.get(place.1 as usize) {
            let actor = Actor { process, invoked: row.invoked, unseen: row.unseen };
            for (state, done) in self.model.outcomes(state, actor, step) {
                let next = if done { (place.0, place.1 + 1) } else { place };
                each(skip_empty(&self.rows[process], next), state);
            }
        }
        let death = (place.0 + 1, 0);
        if row.unseen && self.row(process, death).is_some_and(|row| row.invoked <= horizon) {
            let actor = Actor { process, invoked: row.invoked, unseen: true };
            for (state, _) in self.model.outcomes(state, actor, M::DIE) {
                each((death.0 + 1, 0), state);
            }
        }
    }

    /// Does all steps that are possible and change nothing.
    fn done_what_changes_nothing(
        &self,
        mut configuration: Configuration<M::State>,
    ) -> Configuration<M::State> {
        loop {
            let mut better = None;
            let Configuration { at, state } = &configuration;
            for process in 0..at.len() {
                if self.row(process, at[process]).is_some_and(|row| row.unseen) {
                    continue; // it may as well not be done
                }
                self.outcomes(at, state, process, &mut |place, next| {
                    if next == *state && place != at[process] {
                        better = Some((process, place));
                    }
                });
            }
            let Some((process, place)) = better else { return configuration };
            configuration.at[process] = place;
        }
    }

    /// What may follow, the most urgent last.
    fn next(
        &self,
        configuration: &Configuration<M::State>,
        mut each: impl FnMut(Configuration<M::State>),
    ) {
        let Configuration { at, state } = configuration;
        let mut order: Vec<usize> = (0..at.len()).collect();
        let urgency = |process: usize| self.row(process, at[process]).map(|row| row.returned);
        order.sort_by_key(|&process| std::cmp::Reverse(urgency(process)));
        for process in order {
            self.outcomes(at, state, process, &mut |place, state| {
                let mut at = at.clone();
                at[process] = place;
                each(Configuration { at, state });
            });
        }
    }

    /// The history, and the configuration from which nothing goes on.
    fn report(&self, history: &History, deepest: &Configuration<M::State>) -> String {
        let mut text = format!("not linearizable: {:?}\n{history}", history.rules);
        text += "    the longest order found leaves the queue as\n";
        text += &format!("      {:?}\n    and cannot go on with any of\n", deepest.state);
        let horizon = self.horizon(&deepest.at);
        for (process, &place) in deepest.at.iter().enumerate() {
            let Some(row) = self.row(process, place) else { continue };
            let steps = &row.steps[place.1 as usize..];
            let wait = if row.invoked > horizon { " (began later)" } else { "" };
            let call = row.call.map_or("its death".into(), |at| format!("its call {}", at + 1));
            text += &format!("      process {process}: {call}, {steps:?}{wait}\n");
        }
        text
    }
}
