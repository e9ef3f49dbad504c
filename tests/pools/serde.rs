//! Tasks with arguments and results that `serde` encodes.

use crate::common::Test;
use crate::tests;
use mpshm::{ErrorKind, Pool, TaskError};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Circle { radius: f64, name: String },
    Lines(Vec<(i64, Option<u8>)>),
    Group(BTreeMap<String, Shape>),
}

fn shapes(count: usize) -> Vec<Shape> {
    let one = |n: usize| match n % 4 {
        0 => Shape::Nothing,
        1 => Shape::Circle { radius: n as f64 / 3.0, name: "é".repeat(n % 50) },
        2 => {
            Shape::Lines((0..n as i64 % 30).map(|m| (m * -7, (m % 2 == 0).then_some(9))).collect())
        }
        _ => Shape::Group([(n.to_string(), Shape::Nothing)].into()),
    };
    (0..count).map(one).collect()
}

fn describe(shape: Shape) -> (Shape, String) {
    let text = format!("{shape:?}");
    (shape, text)
}

fn values_of_any_type_come_home_and_maps_keep_their_order() {
    let pool = Pool::new(2).unwrap();
    for count in [0, 1, 7, 1000] {
        let shapes = shapes(count);
        let serial: Vec<_> = shapes.iter().cloned().map(describe).collect();
        assert_eq!(pool.map_serde(describe, &shapes).unwrap(), serial);
    }
    for shape in shapes(8) {
        assert_eq!(pool.call_serde(describe, &shape).unwrap(), describe(shape));
    }
    assert_eq!(pool.map_serde(|()| (), &[(); 100]).unwrap(), [(); 100]);
    let words = vec!["two".to_owned(), "words".to_owned()];
    let task = pool.submit_serde(|words: Vec<String>| words.concat(), &words).unwrap();
    assert_eq!(task.get().unwrap(), "twowords");
    assert_eq!(task.get().unwrap(), "twowords", "again and again");
}

fn results_of_any_length_and_arguments_of_a_message() {
    let pool = Pool::new(2).unwrap();
    let grow = |length: u64| (0..length).map(|n| n.to_string()).collect::<Vec<_>>();
    let many: Vec<String> = pool.call_serde(grow, &500_000).unwrap();
    assert!(
        many.len() == 500_000 && many.iter().enumerate().all(|(n, text)| *text == n.to_string())
    );
    let all = pool.map_serde(grow, &[0, 20_000, 3]).unwrap();
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [0, 20_000, 3]);
    let long = "x".repeat(100_000);
    let error = pool.submit_serde(|text: String| text.len(), &long).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooBig);
    let mixed = ["short".to_owned(), long];
    let error = pool.map_serde(|text: String| text.len(), &mixed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooBig);
    let half = ["y".repeat(10_000), "y".repeat(10_000), "z".into()];
    assert_eq!(pool.map_serde(|text: String| text.len(), &half).unwrap(), [10_000, 10_000, 1]);
}

/// A number; 13 has no code, and the code of 14 means nothing.
#[derive(Debug, PartialEq)]
struct Superstitious(u32);

impl Serialize for Superstitious {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 13 {
            return Err(S::Error::custom("thirteen"));
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Superstitious {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            14 => Err(D::Error::custom("fourteen")),
            number => Ok(Self(number)),
        }
    }
}

fn failed(error: &TaskError, with: &str) -> bool {
    matches!(error, TaskError::Failed { message, .. } if message.contains(with))
}

fn a78_an_element_that_cannot_be_encoded_fails_the_map_and_nothing_else() {
    let pool = Pool::new(2).unwrap();
    let pids = pool.worker_pids().unwrap();
    let number = |n: Superstitious| n.0;
    for _ in 0..20 {
        let error = pool.call_serde(number, &Superstitious(13)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let items: Vec<_> = (10..16).map(Superstitious).collect();
        let error = pool.map_serde(number, &items).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Invalid && error.to_string().contains("item 3"),
            "{error}"
        );
        // What has a code that its worker cannot read.
        let error = pool.call_serde(number, &Superstitious(14)).unwrap_err();
        assert!(failed(&error, "cannot decode the argument"), "{error}");
        let error = pool.map_serde(number, &[Superstitious(1), Superstitious(14)]).unwrap_err();
        assert!(failed(&error, "cannot decode an item"), "{error}");
    }
    assert_eq!(pool.map_serde(number, &[Superstitious(1), Superstitious(2)]).unwrap(), [1, 2]);
    assert_eq!(pool.worker_pids().unwrap(), pids);
}

fn a88_results_that_cannot_be_encoded_or_decoded_are_errors_and_the_workers_survive() {
    let pool = Pool::new(2).unwrap();
    let pids = pool.worker_pids().unwrap();
    for _ in 0..20 {
        let error = pool.call_serde(Superstitious, &13).unwrap_err();
        assert!(failed(&error, "cannot encode the result"), "{error}");
        let error = pool.call_serde(Superstitious, &14).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let error = pool.map_serde(Superstitious, &[1, 2, 13]).unwrap_err();
        assert!(failed(&error, "cannot encode a result"), "{error}");
        let error = pool.map_serde(Superstitious, &[1, 2, 14]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let panics = |n: u32| -> String { panic!("no {n}") };
        assert!(failed(&pool.call_serde(panics, &3).unwrap_err(), "no 3"));
    }
    assert_eq!(pool.call_serde(Superstitious, &12).unwrap(), Superstitious(12));
    assert_eq!(pool.worker_pids().unwrap(), pids);
}

pub const TESTS: &[Test] = tests![
    values_of_any_type_come_home_and_maps_keep_their_order,
    results_of_any_length_and_arguments_of_a_message,
    a78_an_element_that_cannot_be_encoded_fails_the_map_and_nothing_else,
    a88_results_that_cannot_be_encoded_or_decoded_are_errors_and_the_workers_survive,
];
