//! What the load asks, encoded beforehand, and what must come back.

use bytes::{BufMut as _, Bytes, BytesMut};
use countersign::domain::credential::{Brands, mint_key_id, mint_secret};
use countersign::domain::ids::Environment;
use countersign::domain::random::{OsRandom, draw};
use countersign::rpc::proto::batch_verify_response::result::Result as Outcome;
use countersign::rpc::proto::{
    BatchVerifyRequest, BatchVerifyResponse, Credential, DenialReason, VerifyRequest,
    VerifyResponse, verify_request,
};
use prost::Message as _;

use crate::random::Random;
use crate::store::{Filled, Sample, address_of, scope_of};

/// What is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A credential that is allowed what is asked.
    Valid,
    /// A key of the store with another's secret.
    WrongSecret,
    /// An id that no key has.
    UnknownId,
    /// An id with our brand that can't be one of ours.
    Malformed,
}

/// One message after another, and what must be answered.
pub(crate) struct Requests {
    /// The HTTP path.
    pub(crate) path: &'static str,
    /// gRPC messages with their prefix.
    pub(crate) bodies: Vec<Bytes>,
    /// Entries of each.
    pub(crate) entries: usize,
    expected: DenialReason,
    /// The answers come from the empty handler, which allows everything.
    of_empty: bool,
}

impl Requests {
    /// Single verifications, as many different ones as the sample has.
    pub(crate) fn unary(filled: &Filled, kind: Kind) -> Self {
        let sample = shuffled(&filled.sample);
        let others = sample.iter().cycle().skip(1);
        let bodies = sample.iter().zip(others);
        let bodies = bodies.map(|(one, other)| framed(&question(one, other, kind))).collect();
        Self::of("/countersign.v1.KeyVerifier/Verify", bodies, 1, kind)
    }

    /// Batches of so many.
    pub(crate) fn batches(filled: &Filled, kind: Kind, entries: usize) -> Self {
        let sample = shuffled(&filled.sample);
        let bodies = sample.chunks(entries).filter(|chunk| chunk.len() == entries);
        let bodies = bodies.map(|chunk| {
            let others = chunk.iter().cycle().skip(1);
            let requests = chunk.iter().zip(others).map(|(one, other)| question(one, other, kind));
            framed(&BatchVerifyRequest { requests: requests.collect() })
        });
        Self::of("/countersign.v1.KeyVerifier/BatchVerify", bodies.collect(), entries, kind)
    }

    fn of(path: &'static str, bodies: Vec<Bytes>, entries: usize, kind: Kind) -> Self {
        assert!(!bodies.is_empty(), "a sample of so few keys makes no request");
        let expected = match kind {
            Kind::Valid => DenialReason::Unspecified,
            Kind::WrongSecret | Kind::UnknownId => DenialReason::InvalidCredential,
            Kind::Malformed => DenialReason::Malformed,
        };
        Self { path, bodies, entries, expected, of_empty: false }
    }

    /// The same for the empty handler.
    pub(crate) fn for_the_empty(mut self) -> Self {
        self.of_empty = true;
        self
    }

    /// Demands that a message answers as it must: a wrong answer is no measurement.
    pub(crate) fn check(&self, message: &[u8]) {
        let message = message.get(5..).expect("a message has a prefix");
        if self.entries == 1 {
            let answer = VerifyResponse::decode(message).expect("a VerifyResponse");
            self.check_one(&answer);
        } else {
            let answer = BatchVerifyResponse::decode(message).expect("a BatchVerifyResponse");
            assert_eq!(answer.results.len(), self.entries, "one result for each request");
            for entry in answer.results {
                match entry.result {
                    Some(Outcome::Response(answer)) => self.check_one(&answer),
                    other => panic!("an entry was answered with {other:?}"),
                }
            }
        }
    }

    /// Whether a message answers as it must, by its first bytes: the first field of a VerifyResponse is `allowed`. Of a
    /// batch it is the first answer that is looked at. Reading all of each answer would cost more than the servers that
    /// are measured.
    pub(crate) fn glance(&self, message: &[u8]) -> bool {
        let Some(answer) = message.get(5..) else { return false };
        if self.of_empty {
            return !answer.is_empty();
        }
        // A result of the batch, and the response in it.
        let answer =
            if self.entries > 1 { in_first(answer).and_then(in_first) } else { Some(answer) };
        let should_allow = self.expected == DenialReason::Unspecified;
        answer.is_some_and(|answer| answer.starts_with(&[0x08, 1]) == should_allow)
    }

    fn check_one(&self, answer: &VerifyResponse) {
        let should_allow = self.of_empty || self.expected == DenialReason::Unspecified;
        assert_eq!(answer.allowed, should_allow, "{answer:?}");
        if !self.of_empty {
            assert_eq!(answer.denial_reason(), self.expected, "{answer:?}");
            let is_proven = self.expected == DenialReason::Unspecified;
            assert_eq!(answer.key.is_some(), is_proven, "{answer:?}");
        }
    }
}

/// What begins with the message that is the first field of this one, if its number is 1.
fn in_first(message: &[u8]) -> Option<&[u8]> {
    let length = message.strip_prefix(&[0x0a])?;
    let last = length.iter().position(|byte| *byte < 0x80)?;
    length.get(last + 1..)
}

fn question(one: &Sample, other: &Sample, kind: Kind) -> VerifyRequest {
    let brands = Brands::default();
    let random = || draw(&OsRandom).expect("random");
    let (key_id, secret) = match kind {
        Kind::Valid => (one.key_id.clone(), one.secret.clone()),
        Kind::WrongSecret => (one.key_id.clone(), other.secret.clone()),
        Kind::UnknownId => {
            let unknown = mint_key_id(&brands, Environment::Live, random());
            (unknown.to_string(), one.secret.clone())
        }
        Kind::Malformed => {
            let mut broken =
                mint_secret(&brands, Environment::Live, draw(&OsRandom).expect("random"))
                    .expose()
                    .to_owned();
            broken.pop();
            (one.key_id.clone(), broken)
        }
    };
    VerifyRequest {
        presented: Some(verify_request::Presented::Credential(Credential { key_id, secret })),
        required_scopes: vec![scope_of(one.number)],
        client_ip: address_of(one.number),
        ..VerifyRequest::default()
    }
}

/// A gRPC message with its prefix: not compressed, and its length.
fn framed(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("a small message"));
    message.encode(&mut bytes).expect("there is room");
    bytes.freeze()
}

/// The same every time, but not in the order of the store.
fn shuffled(sample: &[Sample]) -> Vec<Sample> {
    let mut sample = sample.to_vec();
    let mut random = Random::new(0x5eed);
    for index in (1..sample.len()).rev() {
        let other = random.below(index as u64 + 1);
        sample.swap(index, usize::try_from(other).expect("an index"));
    }
    sample
}
