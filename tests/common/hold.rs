//! A handle together with what borrows from it.

/// A handle, and what it has in its hands: that goes first.
pub struct Hold<E, H> {
    pub held: Option<H>,
    end: *mut E,
}

impl<E: 'static, H> Hold<E, H> {
    pub fn new(end: E) -> Self {
        Self { held: None, end: Box::into_raw(Box::new(end)) }
    }

    /// The handle, which has nothing in its hands. All that may be kept of the borrow is put into `held`.
    pub fn free(&mut self) -> &'static mut E {
        assert!(self.held.is_none(), "something is borrowed from the handle");
        // SAFETY: lives until the drop, before which `held` goes.
        unsafe { &mut *self.end }
    }
}

impl<E, H> Drop for Hold<E, H> {
    fn drop(&mut self) {
        drop(self.held.take());
        // SAFETY: made by `new`, and nothing borrows from it any more.
        drop(unsafe { Box::from_raw(self.end) });
    }
}
