//! A panic in one line.

use std::panic;

/// From now on a panic is logged as the place where it happened. Its message stays out: it may quote
/// what it tripped over, and that may be a secret.
pub(super) fn install() {
    panic::set_hook(Box::new(|panicked| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed").to_owned();
        match panicked.location() {
            Some(place) => {
                tracing::error!(thread = name, "panic at {}:{}", place.file(), place.line());
            }
            None => tracing::error!(thread = name, "panic"),
        }
    }));
}
