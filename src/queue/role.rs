//! What a queue's handle may do: type states.

/// What a handle may do.
pub trait Role: sealed::Sealed {}

/// A handle that may push.
pub trait MayPush: Role {}

/// A handle that may pop.
pub trait MayPop: Role {}

/// Pushes and pops: [`Queue`](crate::Queue) itself.
#[derive(Debug)]
pub enum Both {}

/// Pushes only: [`Producer`](crate::Producer).
#[derive(Debug)]
pub enum Pushes {}

/// Pops only: [`Consumer`](crate::Consumer).
#[derive(Debug)]
pub enum Pops {}

impl Role for Both {}
impl Role for Pushes {}
impl Role for Pops {}
impl MayPush for Both {}
impl MayPush for Pushes {}
impl MayPop for Both {}
impl MayPop for Pops {}

mod sealed {
    pub trait Sealed {
        const NAME: &str;
        /// Whether the handle is one of the producers that a queue follows.
        const COUNTS: bool = false;
    }

    impl Sealed for super::Both {
        const NAME: &str = "Queue";
    }

    impl Sealed for super::Pushes {
        const NAME: &str = "Producer";
        const COUNTS: bool = true;
    }

    impl Sealed for super::Pops {
        const NAME: &str = "Consumer";
    }
}
