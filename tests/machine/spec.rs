//! What objects are made, and how they are written in commands.

use super::forms::LONGEST;
use mpshm::{Delivery, QueueOptions, WhenFull};

/// What an object is opened as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Numbers,
    Messages,
    Value,
}

impl Type {
    pub fn word(self) -> &'static str {
        match self {
            Self::Numbers => "numbers",
            Self::Messages => "messages",
            Self::Value => "value",
        }
    }

    pub fn read(word: &str) -> Self {
        [Self::Numbers, Self::Messages, Self::Value]
            .into_iter()
            .find(|kind| kind.word() == word)
            .unwrap_or_else(|| panic!("{word}"))
    }
}

/// An object as it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    pub of: Type,
    pub capacity: u64,
    pub full: WhenFull,
    pub delivery: Option<Delivery>,
    pub joinable: bool,
    /// The producers that it follows.
    pub producers: u32,
    /// Bytes of the longest message.
    pub message_max: usize,
    /// Two blocks of each of two sizes, instead of as many as may be needed.
    pub tight: bool,
}

/// Blocks that a participant may hold.
pub const LEASES: u32 = 2;
/// Of each size, where there are two sizes.
pub const TIGHT: u64 = 2;
/// Bytes of the smaller ones.
pub const SMALL: usize = 24;

impl Spec {
    pub fn options(self) -> QueueOptions {
        let mut options = QueueOptions::new(self.capacity)
            .message_max(self.message_max as u64)
            .when_full(self.full)
            .leases(LEASES);
        if let Some(delivery) = self.delivery {
            options = options.delivery(delivery);
        }
        if self.joinable {
            options = options.joinable();
        }
        if self.producers > 0 {
            options = options.follow_producers(self.producers);
        }
        if self.tight {
            options = options.blocks(SMALL as u64, TIGHT).blocks(self.message_max as u64, TIGHT);
        }
        options
    }

    /// Makes it one that can be.
    pub fn possible(self) -> Self {
        let messages = self.of == Type::Messages;
        // What an overwriting push takes out for the sake of a block is not told.
        let tight = self.tight && messages && self.full != WhenFull::Overwrite;
        let message_max = if messages { self.message_max } else { 8 };
        Self { tight, message_max, ..self }
    }

    /// Whether items travel in the slots.
    pub fn in_slots(self) -> bool {
        self.of == Type::Numbers && !self.joinable && self.delivery != Some(Delivery::AtLeastOnce)
    }

    /// Whether what a dead consumer held is gone, where items lie in blocks.
    pub fn drops(self) -> bool {
        self.delivery == Some(Delivery::AtMostOnce)
    }

    pub fn words(self) -> String {
        let full = match self.full {
            WhenFull::Fail => "fail",
            WhenFull::Overwrite => "overwrite",
            _ => "wait",
        };
        let delivery = match self.delivery {
            None => "default",
            Some(Delivery::AtMostOnce) => "at-most-once",
            Some(_) => "at-least-once",
        };
        let joinable = if self.joinable { "joinable" } else { "plain" };
        let blocks = if self.tight { "tight" } else { "enough" };
        format!(
            "{} {} {full} {delivery} {joinable} {} {} {blocks}",
            self.of.word(),
            self.capacity,
            self.producers,
            self.message_max
        )
    }

    pub fn read(words: &[&str]) -> Self {
        let [of, capacity, full, delivery, joinable, producers, message_max, blocks] = words else {
            panic!("{words:?}")
        };
        Self {
            of: Type::read(of),
            capacity: capacity.parse().unwrap(),
            full: match *full {
                "fail" => WhenFull::Fail,
                "overwrite" => WhenFull::Overwrite,
                _ => WhenFull::Wait,
            },
            delivery: match *delivery {
                "default" => None,
                "at-most-once" => Some(Delivery::AtMostOnce),
                _ => Some(Delivery::AtLeastOnce),
            },
            joinable: *joinable == "joinable",
            producers: producers.parse().unwrap(),
            message_max: message_max.parse().unwrap(),
            tight: *blocks == "tight",
        }
    }
}

/// Bytes of the message that carries a number.
pub fn length(number: u64) -> usize {
    8 + (number % 61) as usize
}

const _: () = assert!(LONGEST == 8 + 60);
