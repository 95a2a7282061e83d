//! Reading requests.

use prost::DecodeError;
use prost::encoding::{
    DecodeContext, WireType, check_wire_type, decode_key, decode_varint, skip_field,
};
use smallvec::SmallVec;

use crate::domain::Error;
use crate::rpc::status::unreadable;

/// How deep messages and groups may lie within each other; prost's own limit.
const LEVELS: u32 = 100;
/// The most scopes of one request that are kept: more than a request may require. Two bytes are a scope, so a message
/// may hold a million; the others are only counted.
const KEPT_SCOPES: usize = 128;

/// The bytes are no such message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rpc) struct Unreadable;

impl From<DecodeError> for Unreadable {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

impl From<Unreadable> for Error {
    fn from(_: Unreadable) -> Self {
        unreadable()
    }
}

/// A `VerifyRequest`. It holds a secret, so it can't be printed.
#[derive(Clone, Default)]
pub(in crate::rpc) struct VerifyRequest<'m> {
    pub(in crate::rpc) presented: Option<Presented<'m>>,
    /// Few services ask for more than four.
    pub(in crate::rpc) required_scopes: SmallVec<[&'m str; 4]>,
    /// Scopes beyond those that are kept.
    pub(in crate::rpc) further_scopes: usize,
    pub(in crate::rpc) client_ip: &'m str,
    pub(in crate::rpc) account_id: &'m str,
    pub(in crate::rpc) application_id: &'m str,
    /// The number of an `Environment`, or any other.
    pub(in crate::rpc) environment: i32,
    pub(in crate::rpc) explain: bool,
    pub(in crate::rpc) at_least: &'m str,
}

/// What a caller presented, in the one way or the other.
#[derive(Clone, Copy)]
pub(in crate::rpc) enum Presented<'m> {
    /// A `Credential`.
    Credential { key_id: &'m str, secret: &'m str },
    /// Both in one.
    Token(&'m str),
}

impl<'m> VerifyRequest<'m> {
    /// Reads one message.
    pub(in crate::rpc) fn read(message: &'m [u8]) -> Result<Self, Unreadable> {
        Self::read_fields(Reader { rest: message, levels: LEVELS })
    }

    fn read_fields(mut reader: Reader<'m>) -> Result<Self, Unreadable> {
        let mut request = Self::default();
        while let Some((tag, wire_type)) = reader.key()? {
            match tag {
                1 => {
                    let credential = reader.message(wire_type)?;
                    request.presented = Some(read_credential(credential, request.presented)?);
                }
                2 => request.presented = Some(Presented::Token(reader.text(wire_type)?)),
                3 => request.require(reader.text(wire_type)?),
                4 => request.client_ip = reader.text(wire_type)?,
                5 => request.account_id = reader.text(wire_type)?,
                6 => request.application_id = reader.text(wire_type)?,
                // An int32 is its lowest 32 bits, whatever stands above them.
                7 => request.environment = reader.number(wire_type)? as i32,
                8 => request.explain = reader.number(wire_type)? != 0,
                9 => request.at_least = reader.text(wire_type)?,
                _ => reader.skip(tag, wire_type)?,
            }
        }
        Ok(request)
    }

    fn require(&mut self, scope: &'m str) {
        if self.required_scopes.len() < KEPT_SCOPES {
            self.required_scopes.push(scope);
        } else {
            self.further_scopes += 1;
        }
    }
}

/// The requests of a `BatchVerifyRequest`, each read when it is asked for: two bytes are a whole request, so a message
/// may hold far more of them than anybody would keep. After an error there is nothing more to ask for.
pub(in crate::rpc) struct Batch<'m>(Reader<'m>);

impl<'m> Batch<'m> {
    pub(in crate::rpc) fn read(message: &'m [u8]) -> Self {
        Self(Reader { rest: message, levels: LEVELS })
    }
}

impl<'m> Iterator for Batch<'m> {
    type Item = Result<VerifyRequest<'m>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self(reader) = self;
        loop {
            let read = match reader.key() {
                Ok(None) => return None,
                Ok(Some((1, wire_type))) => {
                    return Some(reader.message(wire_type).and_then(VerifyRequest::read_fields));
                }
                Ok(Some((tag, wire_type))) => reader.skip(tag, wire_type),
                Err(unreadable) => Err(unreadable),
            };
            if let Err(unreadable) = read {
                return Some(Err(unreadable));
            }
        }
    }
}

/// Reads a `Credential`. One that came before in the same request is the same message, and goes on here.
fn read_credential<'m>(
    mut reader: Reader<'m>,
    before: Option<Presented<'m>>,
) -> Result<Presented<'m>, Unreadable> {
    let (mut key_id, mut secret) = match before {
        Some(Presented::Credential { key_id, secret }) => (key_id, secret),
        Some(Presented::Token(_)) | None => ("", ""),
    };
    while let Some((tag, wire_type)) = reader.key()? {
        match tag {
            1 => key_id = reader.text(wire_type)?,
            2 => secret = reader.text(wire_type)?,
            _ => reader.skip(tag, wire_type)?,
        }
    }
    Ok(Presented::Credential { key_id, secret })
}

/// What is still to be read of a message, and how deep others may lie within it.
struct Reader<'m> {
    rest: &'m [u8],
    levels: u32,
}

impl<'m> Reader<'m> {
    /// The next field's tag and form, if there is one.
    fn key(&mut self) -> Result<Option<(u32, WireType)>, Unreadable> {
        if self.rest.is_empty() { Ok(None) } else { Ok(Some(decode_key(&mut self.rest)?)) }
    }

    fn number(&mut self, wire_type: WireType) -> Result<u64, Unreadable> {
        check_wire_type(WireType::Varint, wire_type)?;
        Ok(decode_varint(&mut self.rest)?)
    }

    fn bytes(&mut self, wire_type: WireType) -> Result<&'m [u8], Unreadable> {
        check_wire_type(WireType::LengthDelimited, wire_type)?;
        let length = usize::try_from(decode_varint(&mut self.rest)?).map_err(|_| Unreadable)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Unreadable)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn text(&mut self, wire_type: WireType) -> Result<&'m str, Unreadable> {
        str::from_utf8(self.bytes(wire_type)?).map_err(|_| Unreadable)
    }

    fn message(&mut self, wire_type: WireType) -> Result<Self, Unreadable> {
        Ok(Self { rest: self.bytes(wire_type)?, levels: self.levels - 1 })
    }

    /// Passes over a field that this version of the contract does not have.
    fn skip(&mut self, tag: u32, wire_type: WireType) -> Result<(), Unreadable> {
        skip(&mut self.rest, tag, wire_type, self.levels)
    }
}

/// prost's own `skip_field`, but for groups: how deep they may lie within a message can't be told it from outside.
fn skip(rest: &mut &[u8], tag: u32, wire_type: WireType, levels: u32) -> Result<(), Unreadable> {
    let inner_levels = levels.checked_sub(1).ok_or(Unreadable)?;
    if wire_type != WireType::StartGroup {
        return Ok(skip_field(wire_type, tag, rest, DecodeContext::default())?);
    }
    loop {
        let (inner_tag, inner_type) = decode_key(rest)?;
        if inner_type == WireType::EndGroup {
            return if inner_tag == tag { Ok(()) } else { Err(Unreadable) };
        }
        skip(rest, inner_tag, inner_type, inner_levels)?;
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
