//! How long calls took, by method and status.
//!
//! Each verifying thread notes its own calls, in memory that no other thread writes to: nobody waits, and nothing is
//! allocated but the buckets of a method and status that the thread sees for the first time.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tonic::Code;

use super::method::Method;
use crate::domain::durations::{BUCKETS, Durations, Held};

/// The names of the codes, by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The calls of all threads.
#[derive(Debug, Default)]
pub struct Calls {
    threads: Mutex<Vec<Arc<CallsOfThread>>>,
}

/// Those of one thread.
#[derive(Debug)]
pub(super) struct CallsOfThread {
    /// One for each method and code, by method first.
    kinds: Box<[Kind]>,
}

/// The calls of one method that ended with one code, once there is one.
type Kind = OnceLock<Box<OfKind>>;

/// On lines of its own: processors fetch the neighbour of a line together with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct OfKind(Durations);

/// The calls of one method that ended with one code, on all threads.
#[derive(Debug, Clone)]
pub struct CallsOfKind {
    /// Service and method; `_OTHER` for all that we don't know.
    pub method: &'static str,
    /// The name of the gRPC code, e.g. `OK`.
    pub code: &'static str,
    /// How many took how long.
    pub held: [Held; BUCKETS],
}

impl Calls {
    /// A place for the calls of one more thread.
    pub(super) fn of_one_thread(&self) -> Arc<CallsOfThread> {
        let kinds = (0..Method::COUNT * CODES.len()).map(|_| Kind::new()).collect();
        let calls = Arc::new(CallsOfThread { kinds });
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&calls));
        calls
    }

    /// What was noted until now, of all methods and codes that were seen.
    pub fn noted(&self) -> Vec<CallsOfKind> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut noted = Vec::new();
        for method in Method::all() {
            for (number, code) in CODES.into_iter().enumerate() {
                let mut held = [Held::default(); BUCKETS];
                let place = method.number() * CODES.len() + number;
                let of_kind =
                    threads.iter().filter_map(|calls| calls.kinds.get(place).and_then(Kind::get));
                of_kind.for_each(|durations| durations.0.add_to(&mut held));
                if held.iter().any(|held| held.count > 0) {
                    noted.push(CallsOfKind { method: method.name(), code, held });
                }
            }
        }
        noted
    }
}

impl CallsOfThread {
    /// One more call.
    pub(super) fn note(&self, method: Method, code: Code, took: Duration) {
        let number = usize::try_from(i32::from(code)).unwrap_or(CODES.len());
        if let Some(kind) = self.kinds.get(method.number() * CODES.len() + number) {
            kind.get_or_init(Box::default).0.add(took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_have_their_names() {
        for (number, name) in CODES.into_iter().enumerate() {
            let code = Code::from_i32(i32::try_from(number).expect("small"));
            let said: String =
                format!("{code:?}").chars().filter(|letter| letter.is_alphabetic()).collect();
            let known = name.replace('_', "");
            assert_eq!(said.to_uppercase(), known, "{number}");
        }
    }

    #[test]
    fn calls_of_all_threads_are_added_by_method_and_code() {
        let calls = Calls::default();
        let (verify, nowhere) =
            (Method::of("/countersign.v1.KeyVerifier/Verify"), Method::of("/x/y"));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let own = calls.of_one_thread();
                scope.spawn(move || {
                    for _ in 0..1_000 {
                        own.note(verify, Code::Ok, Duration::from_nanos(700));
                        own.note(nowhere, Code::Unimplemented, Duration::from_secs(20));
                    }
                });
            }
        });
        let noted = calls.noted();
        let said: Vec<_> = noted.iter().map(|calls| (calls.method, calls.code)).collect();
        assert_eq!(
            said,
            [("countersign.v1.KeyVerifier/Verify", "OK"), ("_OTHER", "UNIMPLEMENTED")]
        );
        assert_eq!(noted[0].held[0], Held { count: 3_000, nanos: 2_100_000 });
        assert_eq!(noted[1].held[BUCKETS - 1].count, 3_000);
    }
}
