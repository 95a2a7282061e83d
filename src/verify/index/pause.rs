//! Places at which a test can stop a reader or the writer, to let others go on meanwhile. Elsewhere nothing happens there.

#[cfg(not(test))]
#[inline(always)]
pub(super) fn pause() {}

#[cfg(test)]
pub(super) use in_tests::{pause, with};

#[cfg(test)]
mod in_tests {
    use std::cell::RefCell;

    type Meanwhile<'m> = Box<dyn FnMut() + 'm>;

    thread_local! {
        static MEANWHILE: RefCell<Option<Meanwhile<'static>>> = const { RefCell::new(None) };
    }

    /// Does what [`with`] says. What happens meanwhile is not stopped in its turn.
    pub(in crate::verify::index) fn pause() {
        if let Some(mut meanwhile) = MEANWHILE.take() {
            meanwhile();
            MEANWHILE.set(Some(meanwhile));
        }
    }

    /// Calls `meanwhile` at every pause of `work`, on this thread.
    pub(in crate::verify::index) fn with<T>(
        meanwhile: impl FnMut() + 'static,
        work: impl FnOnce() -> T,
    ) -> T {
        MEANWHILE.set(Some(Box::new(meanwhile)));
        let done = work();
        MEANWHILE.set(None);
        done
    }
}
