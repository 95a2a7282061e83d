//! How messages become bytes and back, in buffers of the right size.
//!
//! tonic's own codec begins with 8 KiB for every message in each direction. Most of ours have a few hundred bytes.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::{Buf as _, BufMut as _, Bytes};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::wire::{VerifyResponse, Written as _};

/// A first buffer of 512 bytes, which grows with its message. A stream's messages leave once they are 32 KiB, as with
/// tonic's own codec.
fn buffers() -> BufferSettings {
    BufferSettings::new(512, 32 * 1024)
}

/// prost's, for messages `T` that leave and `U` that arrive. The generated code names it.
#[derive(Debug, Clone)]
pub struct MessageCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for MessageCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for MessageCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        // The middleware says what it finds unreadable in the words of our table.
        ProstDecoder::new(buffers())
    }
}

/// For verifications: a request's bytes are handed over as they came, to be read where they lie, and replies write
/// themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct VerificationCodec<R>(PhantomData<R>);

impl<R> Default for VerificationCodec<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// What a verification is answered with.
pub(super) trait Reply: Send + 'static {
    /// Writes the message, for whose length there must be room first.
    fn write(self, buffer: &mut EncodeBuf<'_>);
}

impl Reply for VerifyResponse {
    fn write(self, buffer: &mut EncodeBuf<'_>) {
        buffer.reserve(self.encoded_len());
        self.encode(buffer);
    }
}

/// A `BatchVerifyResponse`, whose entries were written one after another.
impl Reply for Vec<u8> {
    fn write(self, buffer: &mut EncodeBuf<'_>) {
        buffer.reserve(self.len());
        buffer.put_slice(&self);
    }
}

impl<R: Reply> Codec for VerificationCodec<R> {
    type Encode = R;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<R: Reply> Encoder for VerificationCodec<R> {
    type Item = R;
    type Error = Status;

    fn encode(&mut self, reply: R, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        reply.write(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

impl<R: Reply> Decoder for VerificationCodec<R> {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
