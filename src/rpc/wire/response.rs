//! Writing answers.

use arrayvec::ArrayString;
use prost::Message;
use prost::bytes::BufMut;
use prost::encoding::{
    self, WireType, encode_key, encode_varint, encoded_len_varint, key_len, message,
};

use crate::domain::Timestamp;
use crate::domain::token::{LogPosition, PositionKind};
use crate::domain::verdict::DenialReason;
use crate::rpc::convert::{duration_to_proto, secret_number, time_to_proto};
use crate::rpc::proto;
use crate::verify::{Answer, Proven};

/// A message that can be written: its fields in the order of their tags, those left out that say nothing.
pub(in crate::rpc) trait Written {
    /// Gives each field to `out`.
    fn fields(&self, out: &mut impl Fields);

    /// How many bytes it takes.
    fn encoded_len(&self) -> usize {
        counted(self)
    }

    /// Writes it.
    fn encode(&self, bytes: &mut impl BufMut) {
        self.fields(&mut Bytes(bytes));
    }
}

/// What fields are given to: the length must stand before the bytes, and both must be of the same fields.
pub(in crate::rpc) trait Fields {
    /// A text, also an empty one: an element of a list.
    fn element(&mut self, tag: u32, text: &str);

    /// The number of an enum or an `int32`, or 1 for `true`.
    fn number(&mut self, tag: u32, number: i32);

    /// A message of ours.
    fn message(&mut self, tag: u32, message: &impl Written);

    /// A message of prost's.
    fn foreign(&mut self, tag: u32, message: &impl Message);

    /// A text.
    fn text(&mut self, tag: u32, text: &str) {
        if !text.is_empty() {
            self.element(tag, text);
        }
    }

    /// A time, if there is one.
    fn time(&mut self, tag: u32, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.foreign(tag, &time_to_proto(time));
        }
    }
}

/// Counts bytes.
struct Length(usize);

fn counted(message: &(impl Written + ?Sized)) -> usize {
    let mut length = Length(0);
    message.fields(&mut length);
    length.0
}

impl Length {
    fn delimited(&mut self, tag: u32, length: usize) {
        self.0 += key_len(tag) + encoded_len_varint(length as u64) + length;
    }
}

impl Fields for Length {
    fn element(&mut self, tag: u32, text: &str) {
        self.delimited(tag, text.len());
    }

    fn number(&mut self, tag: u32, number: i32) {
        if number != 0 {
            self.0 += encoding::int32::encoded_len(tag, &number);
        }
    }

    fn message(&mut self, tag: u32, message: &impl Written) {
        self.delimited(tag, message.encoded_len());
    }

    fn foreign(&mut self, tag: u32, message: &impl Message) {
        self.0 += message::encoded_len(tag, message);
    }
}

/// Writes bytes.
struct Bytes<'b, B>(&'b mut B);

impl<B: BufMut> Bytes<'_, B> {
    fn delimiter(&mut self, tag: u32, length: usize) {
        encode_key(tag, WireType::LengthDelimited, self.0);
        encode_varint(length as u64, self.0);
    }
}

impl<B: BufMut> Fields for Bytes<'_, B> {
    fn element(&mut self, tag: u32, text: &str) {
        self.delimiter(tag, text.len());
        self.0.put_slice(text.as_bytes());
    }

    fn number(&mut self, tag: u32, number: i32) {
        if number != 0 {
            encoding::int32::encode(tag, &number, self.0);
        }
    }

    fn message(&mut self, tag: u32, message: &impl Written) {
        self.delimiter(tag, message.encoded_len());
        message.encode(self.0);
    }

    fn foreign(&mut self, tag: u32, message: &impl Message) {
        message::encode(tag, message, self.0);
    }
}

/// A `VerifyResponse`.
#[derive(Debug)]
pub(in crate::rpc) struct VerifyResponse {
    answer: Answer,
    consistency_token: ArrayString<{ LogPosition::TEXT_LEN }>,
    /// Counted once: an entry of a batch is asked for it again and again.
    length: usize,
}

impl From<Answer> for VerifyResponse {
    fn from(answer: Answer) -> Self {
        let consistency_token = answer.based_on.text(PositionKind::ConsistencyToken);
        let response = Self { answer, consistency_token, length: 0 };
        Self { length: counted(&response), ..response }
    }
}

impl Written for VerifyResponse {
    fn fields(&self, out: &mut impl Fields) {
        let Self {
            answer: Answer { denial, proven, missing_scopes, checks, based_on: _, staleness },
            consistency_token,
            length: _,
        } = self;
        // Half an answer allows nobody.
        let allowed = denial.is_none() && proven.is_some();
        out.number(1, allowed.into());
        out.number(2, denial.map_or(0, number));
        if let Some(proven) = proven {
            out.message(3, proven);
        }
        for scope in missing_scopes {
            out.element(4, scope);
        }
        out.time(5, proven.as_ref().and_then(|proven| proven.superseded_time));
        out.text(6, consistency_token);
        out.foreign(7, &duration_to_proto(*staleness));
        for check in checks {
            out.message(8, check);
        }
    }

    fn encoded_len(&self) -> usize {
        self.length
    }
}

/// A `VerifiedKey`.
impl Written for Proven {
    fn fields(&self, out: &mut impl Fields) {
        out.text(1, self.key_id.as_str());
        out.text(2, self.account_id.as_str());
        out.text(3, self.application_id.as_str());
        out.number(4, proto::Environment::from(self.environment).into());
        for scope in self.scopes.iter() {
            out.element(5, scope.as_str());
        }
        out.time(6, self.expire_time);
        out.number(7, secret_number(self.secret_number));
    }
}

/// A `CheckResult`.
impl Written for (DenialReason, bool) {
    fn fields(&self, out: &mut impl Fields) {
        let (check, passed) = self;
        out.number(1, number(*check));
        out.number(2, (*passed).into());
    }
}

/// A `BatchVerifyResponse.Result`.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "almost all are answers, and each is written at once"
)]
pub(in crate::rpc) enum BatchResult {
    /// The answer.
    Response(VerifyResponse),
    /// Why there is none.
    Error(tonic_types::Status),
}

impl Written for BatchResult {
    fn fields(&self, out: &mut impl Fields) {
        match self {
            Self::Response(response) => out.message(1, response),
            Self::Error(status) => out.foreign(2, status),
        }
    }
}

impl BatchResult {
    /// Its place in a `BatchVerifyResponse`, which is a list of these and nothing else.
    const TAG: u32 = 1;

    /// What it takes in the reply: itself, its tag and its length.
    pub(in crate::rpc) fn len_in_reply(&self) -> usize {
        let mut length = Length(0);
        length.message(Self::TAG, self);
        length.0
    }

    /// Writes it behind those before it.
    pub(in crate::rpc) fn append_to(&self, reply: &mut impl BufMut) {
        Bytes(reply).message(Self::TAG, self);
    }
}

/// The numbers of the domain are those of the proto; a test holds them together.
fn number(reason: DenialReason) -> i32 {
    reason as i32
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
