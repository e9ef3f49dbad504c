//! What can be found wrong, by name, so that a planted bug can be held against the check that must
//! catch it.

/// The checks of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Check {
    /// Something committed is not there any more.
    Lost = 1,
    /// Something came twice without being marked as redelivered, or came from nowhere.
    Doubled,
    /// Items in another order than they were pushed in.
    Order,
    /// An item, or a value, whose bytes nobody wrote.
    Content,
    /// A resource that is not in exactly one place.
    Audit,
    /// After the repair, the object cannot be filled to its capacity and drained.
    Cycle,
    /// The effect went back: visible after a kill at one instruction, gone after a later one.
    Stage,
    /// A call did not end.
    Hang,
    /// A try-operation of another did not do its work while the process was stopped.
    Blocked,
    /// An operation gave an answer that its object's state does not allow.
    Outcome,
    /// A death was learned of too late.
    Late,
    /// A process ended when it should not have.
    Died,
    /// Something is left where nothing should be.
    Residue,
    /// The lab itself: an object could not be made, a child could not be traced.
    Lab,
}

impl Check {
    const ALL: [Self; 14] = [
        Self::Lost,
        Self::Doubled,
        Self::Order,
        Self::Content,
        Self::Audit,
        Self::Cycle,
        Self::Stage,
        Self::Hang,
        Self::Blocked,
        Self::Outcome,
        Self::Late,
        Self::Died,
        Self::Residue,
        Self::Lab,
    ];

    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|&check| check as u32 == number)
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// One thing found wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    pub check: Check,
    pub detail: String,
}

impl Failure {
    pub fn new(check: Check, detail: impl Into<String>) -> Self {
        Self { check, detail: detail.into() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {}", self.check, self.detail)
    }
}

/// Fails `check` with `detail` unless `holds`.
pub fn demand(holds: bool, check: Check, detail: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(check, detail())) }
}
