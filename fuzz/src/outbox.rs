//! `Outbox` against the bytes that it should hold, after every step.
//!
//! Input: the framing (0 WebSocket unmasked, 1 masked, 2 length), then steps: what, and what that needs, bytes of their own.

use std::io::IoSlice;
use std::sync::LazyLock;

use alkpubsub_engine::model::CloseCode;
use alkpubsub_engine::route::Outbox;
use alkpubsub_engine::route::outbox::Cut;
use alkpubsub_engine::wire::frame::Framing;
use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::Bytes;

use super::memory::counted;

/// Sizes at which something changes: headers, buffers, frames that are shared.
const SIZES: [usize; 12] = [0, 1, 125, 126, 127, 1023, 1024, 16_383, 16_384, 16_385, 65_535, 65_536];
/// Steps of one input, so that none takes long.
const MAX_STEPS: usize = 100;
/// What one input lets wait.
const MAX_WAITING: usize = 128 << 10;

/// One frame that waits.
#[derive(Debug, Clone, Copy)]
struct Frame {
    len: usize,
    /// Bytes of it that have not left.
    left: usize,
    is_message: bool,
}

/// All bytes and where frames begin, without a thought for memory.
#[derive(Debug, Default)]
struct Model {
    bytes: Vec<u8>,
    frames: Vec<Frame>,
}

impl Model {
    fn push(&mut self, bytes: &[u8], frames: &[Frame]) {
        self.bytes.extend_from_slice(bytes);
        self.frames.extend_from_slice(frames);
    }

    fn advance(&mut self, count: usize) {
        self.bytes.drain(..count);
        let mut rest = count;
        for frame in &mut self.frames {
            let taken = rest.min(frame.left);
            frame.left -= taken;
            rest -= taken;
        }
        self.frames.retain(|frame| frame.left > 0);
    }

    /// Only the frame stays that has begun to leave.
    fn cut(&mut self) -> Cut {
        let kept = usize::from(self.frames.first().is_some_and(|frame| frame.left < frame.len));
        let dropped = self.frames.split_off(kept);
        let cut = Cut {
            messages: dropped.iter().filter(|frame| frame.is_message).count() as u64,
            bytes: dropped.iter().map(|frame| frame.len).sum(),
        };
        self.bytes.truncate(self.bytes.len() - cut.bytes);
        cut
    }

    fn is_over(&self, max: usize) -> bool {
        self.bytes.len() > max && self.frames.len() > 1
    }
}

/// Outbox and model, side by side.
struct Pair {
    outbox: Outbox,
    model: Model,
    framing: Framing,
    /// Bytes that the outbox holds in memory.
    held: isize,
    /// Frames written, so that no two are alike.
    frames: usize,
}

/// What must hold for any steps.
pub fn check(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let framing = match u8::arbitrary(&mut u).map(|byte| byte % 3) {
        Ok(0) => Framing::WebSocketServer,
        Ok(1) => Framing::WebSocketClient,
        Ok(_) => Framing::Length,
        Err(_) => return,
    };
    let mut pair = Pair { outbox: Outbox::new(framing), model: Model::default(), framing, held: 0, frames: 0 };
    for _ in 0..MAX_STEPS {
        // Where bytes are missing, zeros would come.
        if u.is_empty() || pair.step(&mut u).is_err() {
            break;
        }
        pair.agrees();
    }
    pair.advance(pair.model.bytes.len());
    pair.agrees();
}

impl Pair {
    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let what = u8::arbitrary(u)? % 8;
        match what {
            0 | 1 => self.push_copy(u),
            2 => self.push_shared(u),
            3 => self.pass_by(u),
            4 => {
                let waiting = self.model.bytes.len();
                self.advance(u.int_in_range(0..=waiting)?);
                Ok(())
            }
            5 => {
                self.advance(self.model.frames.first().map_or(0, |frame| frame.left));
                Ok(())
            }
            6 => {
                self.advance(self.model.bytes.len());
                Ok(())
            }
            _ => {
                let cut = counted(&mut self.held, || self.outbox.cut());
                assert_eq!(cut, self.model.cut());
                Ok(())
            }
        }
    }

    /// Several frames in one piece, as a pass of a hub has them.
    fn push_copy(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (bytes, frames) = self.frames(u)?;
        counted(&mut self.held, || self.outbox.push_copy(&bytes));
        self.model.push(&bytes, &frames);
        Ok(())
    }

    fn push_shared(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        let frame = self.frame(u, &mut bytes)?;
        counted(&mut self.held, || self.outbox.push_shared(Bytes::copy_from_slice(&bytes)));
        self.model.push(&bytes, &[frame]);
        Ok(())
    }

    /// The link takes a part directly, the outbox only gets the rest.
    fn pass_by(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if !self.model.bytes.is_empty() {
            return Ok(());
        }
        let (bytes, frames) = self.frames(u)?;
        let taken = u.int_in_range(0..=bytes.len().saturating_sub(1))?;
        counted(&mut self.held, || {
            self.outbox.begin_inside_frame(&bytes, taken);
            self.outbox.push_copy(&bytes[taken..]);
        });
        self.model.push(&bytes, &frames);
        self.model.advance(taken);
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        counted(&mut self.held, || self.outbox.advance(count));
        self.model.advance(count);
    }

    fn frames(&mut self, u: &mut Unstructured<'_>) -> Result<(Vec<u8>, Vec<Frame>)> {
        let mut bytes = Vec::new();
        let count = u8::arbitrary(u)? % 5;
        let frames = (0..count).map(|_| self.frame(u, &mut bytes)).collect::<Result<_>>()?;
        Ok((bytes, frames))
    }

    fn frame(&mut self, u: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<Frame> {
        let (kind, size) = (u8::arbitrary(u)? % 8, u8::arbitrary(u)?);
        let size = match size.checked_sub(u8::MAX - SIZES.len() as u8 + 1) {
            Some(index) if self.model.bytes.len() + bytes.len() < MAX_WAITING => SIZES[usize::from(index)],
            _ => size.into(),
        };
        self.frames += 1;
        let text = &alphabet()[self.frames % 26..][..size];
        let short = &text[..size.min(125)];
        let (mask, start) = ((self.frames as u32).wrapping_mul(0x9e37_79b9).to_be_bytes(), bytes.len());
        let is_control = match kind {
            0 => self.framing.write_ping(bytes, short.as_bytes(), mask),
            1 => self.framing.write_pong(bytes, short.as_bytes(), mask),
            2 => self.framing.write_close(bytes, CloseCode::TOO_SLOW, short, mask),
            _ => false,
        };
        if !is_control {
            self.framing.write_message(bytes, text, mask);
        }
        let len = bytes.len() - start;
        Ok(Frame { len, left: len, is_message: !is_control })
    }

    fn agrees(&self) {
        let (outbox, bytes) = (&self.outbox, &self.model.bytes);
        assert_eq!((outbox.len(), outbox.is_empty()), (bytes.len(), bytes.is_empty()));
        gathers::<3>(outbox, bytes);
        gathers::<64>(outbox, bytes);
        for max in [0, bytes.len() / 2, bytes.len().saturating_sub(1), bytes.len()] {
            assert_eq!(outbox.is_over(max), self.model.is_over(max), "{} bytes, bound {max}", bytes.len());
        }
        assert!(!bytes.is_empty() || self.held == 0, "an empty outbox holds {} bytes", self.held);
    }
}

/// The letters over and over, long enough for the largest frame from any letter on.
fn alphabet() -> &'static str {
    static LETTERS: LazyLock<String> =
        LazyLock::new(|| ('a'..='z').cycle().take(SIZES[SIZES.len() - 1] + 26).collect());
    &LETTERS
}

/// The pieces are the front of what waits; all of it, unless every slice is used.
fn gathers<const SLICES: usize>(outbox: &Outbox, bytes: &[u8]) {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let filled = outbox.gather(&mut slices);
    let mut rest = bytes;
    for slice in &slices[..filled] {
        assert!(!slice.is_empty(), "an empty piece");
        let Some(behind) = rest.strip_prefix(&**slice) else { unreachable!("a piece that does not come next") };
        rest = behind;
    }
    assert!(filled == SLICES || rest.is_empty(), "{} bytes are missing", rest.len());
}
