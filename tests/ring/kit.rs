//! Rings of small items, of large ones and of messages behind one face, so that each behaviour is asked of all.

use mpshm::{Deadline, Item, PopError, PushError, Ring, RingConsumer, RingOptions, RingProducer};

/// What items a ring is of; all carry a number.
pub trait Form: 'static {
    type Item: ?Sized + Item;
    const NAME: &'static str;
    /// Options for `count` items.
    fn options(count: u64) -> RingOptions;
    fn try_push(end: &mut RingProducer<Self::Item>, number: u64) -> Result<(), PushError<()>>;
    fn push_until(
        end: &mut RingProducer<Self::Item>,
        number: u64,
        deadline: Deadline,
    ) -> Result<(), PushError<()>>;
    /// Becomes the producer, and pushes nothing.
    fn take_role(end: &mut RingProducer<Self::Item>);
    fn try_pop(end: &mut RingConsumer<Self::Item>) -> Result<u64, PopError>;
    fn pop_until(end: &mut RingConsumer<Self::Item>, deadline: Deadline) -> Result<u64, PopError>;

    fn ring(count: u64) -> Ring<Self::Item> {
        Ring::with_options(&Self::options(count)).unwrap()
    }

    fn push(end: &mut RingProducer<Self::Item>, number: u64) -> Result<(), PushError<()>> {
        Self::push_until(end, number, Deadline::FOREVER)
    }

    fn pop(end: &mut RingConsumer<Self::Item>) -> Result<u64, PopError> {
        Self::pop_until(end, Deadline::FOREVER)
    }

    fn drain(end: &mut RingConsumer<Self::Item>) -> Vec<u64> {
        std::iter::from_fn(|| Self::try_pop(end).ok()).collect()
    }
}

/// The error without the item, which must be `number`.
fn without<V>(error: PushError<V>, is_it: impl FnOnce(V) -> bool) -> PushError<()> {
    let (bare, value) = match error {
        PushError::Full(value) => (PushError::Full(()), value),
        PushError::TimedOut(value) => (PushError::TimedOut(()), value),
        PushError::Closed(value) => (PushError::Closed(()), value),
        PushError::PeerDead(value) => (PushError::PeerDead(()), value),
        PushError::Interrupted(value) => (PushError::Interrupted(()), value),
        PushError::Failed(value, error) => (PushError::Failed((), error), value),
        other => panic!("{:?}", other.kind()),
    };
    assert!(is_it(value), "another value came back");
    bare
}

/// Numbers of eight bytes.
pub struct Small;
/// Forty bytes, all of which follow from the number.
pub struct Large;
/// Messages of 16 bytes: with their lengths they take as many as items of 24.
pub struct Messages;

fn large(number: u64) -> [u64; 5] {
    [number, !number, number ^ 1, number.rotate_left(7), number]
}

fn message(number: u64) -> [u8; 16] {
    (u128::from(!number) << 64 | u128::from(number)).to_le_bytes()
}

#[track_caller]
fn of_large(item: [u64; 5]) -> u64 {
    assert_eq!(item, large(item[0]), "a torn item");
    item[0]
}

#[track_caller]
fn of_message(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    assert_eq!(bytes, message(number), "a torn message");
    number
}

impl Form for Small {
    type Item = u64;
    const NAME: &'static str = "small items";

    fn options(count: u64) -> RingOptions {
        RingOptions::new(count)
    }

    fn try_push(end: &mut RingProducer<u64>, number: u64) -> Result<(), PushError<()>> {
        end.try_push(number).map_err(|error| without(error, |value| value == number))
    }

    fn push_until(
        end: &mut RingProducer<u64>,
        number: u64,
        deadline: Deadline,
    ) -> Result<(), PushError<()>> {
        end.push_timeout(number, deadline).map_err(|error| without(error, |value| value == number))
    }

    fn take_role(end: &mut RingProducer<u64>) {
        assert_eq!(end.try_push_many(&[]), Ok(0));
    }

    fn try_pop(end: &mut RingConsumer<u64>) -> Result<u64, PopError> {
        end.try_pop()
    }

    fn pop_until(end: &mut RingConsumer<u64>, deadline: Deadline) -> Result<u64, PopError> {
        end.pop_timeout(deadline)
    }
}

impl Form for Large {
    type Item = [u64; 5];
    const NAME: &'static str = "large items";

    fn options(count: u64) -> RingOptions {
        RingOptions::new(count)
    }

    fn try_push(end: &mut RingProducer<[u64; 5]>, number: u64) -> Result<(), PushError<()>> {
        end.try_push(large(number)).map_err(|error| without(error, |value| value == large(number)))
    }

    fn push_until(
        end: &mut RingProducer<[u64; 5]>,
        number: u64,
        deadline: Deadline,
    ) -> Result<(), PushError<()>> {
        end.push_timeout(large(number), deadline)
            .map_err(|error| without(error, |value| value == large(number)))
    }

    fn take_role(end: &mut RingProducer<[u64; 5]>) {
        assert_eq!(end.try_push_many(&[]), Ok(0));
    }

    fn try_pop(end: &mut RingConsumer<[u64; 5]>) -> Result<u64, PopError> {
        end.try_pop().map(of_large)
    }

    fn pop_until(end: &mut RingConsumer<[u64; 5]>, deadline: Deadline) -> Result<u64, PopError> {
        end.pop_timeout(deadline).map(of_large)
    }
}

impl Form for Messages {
    type Item = [u8];
    const NAME: &'static str = "messages";

    /// The last length is not counted.
    fn options(count: u64) -> RingOptions {
        RingOptions::new(count * 24 - 8)
    }

    fn try_push(end: &mut RingProducer<[u8]>, number: u64) -> Result<(), PushError<()>> {
        end.try_push(&message(number))
    }

    fn push_until(
        end: &mut RingProducer<[u8]>,
        number: u64,
        deadline: Deadline,
    ) -> Result<(), PushError<()>> {
        end.push_timeout(&message(number), deadline)
    }

    fn take_role(end: &mut RingProducer<[u8]>) {
        assert_eq!(end.try_push_many(&[[0; 0]; 0]), Ok(0));
    }

    fn try_pop(end: &mut RingConsumer<[u8]>) -> Result<u64, PopError> {
        end.try_pop().map(|message| of_message(&message))
    }

    fn pop_until(end: &mut RingConsumer<[u8]>, deadline: Deadline) -> Result<u64, PopError> {
        end.pop_timeout(deadline).map(|message| of_message(&message))
    }
}

/// Asks the same of every form.
#[macro_export]
macro_rules! of_every_form {
    ($($test:ident)*) => {
        $(pub fn $test() {
            each::$test::<$crate::kit::Small>();
            each::$test::<$crate::kit::Large>();
            each::$test::<$crate::kit::Messages>();
        })*
    };
}
