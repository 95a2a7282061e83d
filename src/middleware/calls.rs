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

/// With OK, the codes of what a server has to answer for, which alerts count: there from the start, at zero. A counter
/// that comes up with its first error shows that one as no growth, and a burst of them neither.
const FROM_THE_START: [&str; 6] =
    ["OK", "UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE"];

/// The name of a code, in gRPC's own spelling.
pub(super) fn name(code: Code) -> &'static str {
    let number = usize::try_from(i32::from(code)).ok();
    number.and_then(|number| CODES.get(number)).copied().unwrap_or("UNKNOWN")
}

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

/// How many calls of one method ended with one code, on all threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallsCounted {
    /// As in [`CallsOfKind`].
    pub method: &'static str,
    /// As in [`CallsOfKind`].
    pub code: &'static str,
    /// How many.
    pub count: u64,
}

impl Calls {
    /// A place for the calls of one more thread.
    pub(super) fn of_one_thread(&self) -> Arc<CallsOfThread> {
        let kinds = (0..Method::COUNT * CODES.len()).map(|_| Kind::new()).collect();
        let calls = Arc::new(CallsOfThread { kinds });
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&calls));
        calls
    }

    /// What was noted until now, of all methods and codes that were seen, and of what alerts count.
    pub fn counted(&self) -> Vec<CallsCounted> {
        let all = self.all().into_iter();
        all.map(|(method, calls)| {
            let count = calls.held.iter().map(|held| held.count).sum();
            let stays = method.is_ours() && FROM_THE_START.contains(&calls.code);
            (stays, CallsCounted { method: calls.method, code: calls.code, count })
        })
        .filter(|(stays, calls)| *stays || calls.count > 0)
        .map(|(_, calls)| calls)
        .collect()
    }

    /// What was noted until now, of all methods and codes that were seen.
    pub fn noted(&self) -> Vec<CallsOfKind> {
        let all = self.all().into_iter().map(|(_, calls)| calls);
        all.filter(|calls| calls.held.iter().any(|held| held.count > 0)).collect()
    }

    /// Those of all methods and codes that there are.
    fn all(&self) -> Vec<(Method, CallsOfKind)> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = Vec::new();
        for method in Method::all() {
            for (number, code) in CODES.into_iter().enumerate() {
                let mut held = [Held::default(); BUCKETS];
                let place = method.number() * CODES.len() + number;
                let of_kind =
                    threads.iter().filter_map(|calls| calls.kinds.get(place).and_then(Kind::get));
                of_kind.for_each(|durations| durations.0.add_to(&mut held));
                all.push((method, CallsOfKind { method: method.name(), code, held }));
            }
        }
        all
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
    use crate::domain::permission::VERBS;

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
    fn what_alerts_count_is_there_before_the_first_call_and_nothing_else() {
        let calls = Calls::default();
        assert!(calls.noted().is_empty());
        let counted = calls.counted();
        assert_eq!(counted.len(), VERBS.len() * FROM_THE_START.len());
        assert!(counted.iter().all(|calls| calls.count == 0));
        for (_, name, _) in VERBS {
            for code in FROM_THE_START {
                let calls = CallsCounted { method: name, code, count: 0 };
                assert!(counted.contains(&calls), "{name} {code}");
            }
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
        let counted = |method: &str, code: &str| {
            let counted = calls.counted().into_iter();
            let found = counted.filter(|calls| (calls.method, calls.code) == (method, code));
            found.map(|calls| calls.count).collect::<Vec<_>>()
        };
        assert_eq!(counted("countersign.v1.KeyVerifier/Verify", "OK"), [3_000]);
        assert_eq!(counted("_OTHER", "UNIMPLEMENTED"), [3_000]);
        assert_eq!(counted("countersign.v1.KeyAdmin/RevokeKey", "UNAVAILABLE"), [0]);
        assert_eq!(noted[0].held[0], Held { count: 3_000, nanos: 2_100_000 });
        assert_eq!(noted[1].held[BUCKETS - 1].count, 3_000);
    }
}
