//! Strings and numbers across the border at the least cost. Knows nothing of events.
//!
//! What is measured: `boundary.md` of the design; reading straight into a buffer of ours is 2 to 4 times cheaper than a `String`
//! argument, a Latin-1 string 2 to 20 times cheaper than letting V8 decode UTF-8.

use std::ptr;

use encoding_rs::mem::convert_str_to_utf16;
use napi::bindgen_prelude::{FromNapiValue, ToNapiValue, TypeName, ValidateNapiValue};
use napi::{Error, Result, Status, ValueType, check_status, sys};

/// A string argument that was not read yet.
pub struct JsText {
    env: sys::napi_env,
    value: sys::napi_value,
}

impl TypeName for JsText {
    fn type_name() -> &'static str {
        "String"
    }

    fn value_type() -> ValueType {
        ValueType::String
    }
}

impl ValidateNapiValue for JsText {}

impl FromNapiValue for JsText {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        Ok(Self { env, value })
    }
}

impl JsText {
    /// The value of a call in progress.
    pub(crate) fn new(env: sys::napi_env, value: sys::napi_value) -> Self {
        Self { env, value }
    }

    /// Reads the text into `buffer`, which is kept between calls.
    pub(crate) fn read<'b>(&self, buffer: &'b mut Vec<u8>) -> Result<&'b str> {
        const FIRST: usize = 4096;
        buffer.clear();
        buffer.reserve(FIRST);
        let mut len = self.copy_into(buffer)?;
        // The copy stops silently at the end of the buffer, up to three bytes before it inside a character.
        if len + 4 >= buffer.capacity() {
            buffer.reserve(self.byte_len()? + 8);
            len = self.copy_into(buffer)?;
        }
        // SAFETY: Node-API wrote `len` bytes, which is less than the capacity.
        unsafe { buffer.set_len(len) };
        std::str::from_utf8(buffer).map_err(|error| Error::new(Status::InvalidArg, error.to_string()))
    }

    fn copy_into(&self, buffer: &mut Vec<u8>) -> Result<usize> {
        let mut len = 0;
        // SAFETY: the value belongs to the call in progress, and the capacity is the buffer's.
        let status = unsafe {
            sys::napi_get_value_string_utf8(
                self.env,
                self.value,
                buffer.as_mut_ptr().cast(),
                buffer.capacity(),
                &mut len,
            )
        };
        check_status!(status, "a string was expected")?;
        Ok(len)
    }

    fn byte_len(&self) -> Result<usize> {
        let mut len = 0;
        // SAFETY: without a buffer only the length is written.
        let status = unsafe { sys::napi_get_value_string_utf8(self.env, self.value, ptr::null_mut(), 0, &mut len) };
        check_status!(status, "a string was expected")?;
        Ok(len)
    }
}

/// A `Uint32Array` that JavaScript owns, for the time of one call.
pub struct Numbers {
    data: *mut u32,
    len: usize,
}

impl TypeName for Numbers {
    fn type_name() -> &'static str {
        "Uint32Array"
    }

    fn value_type() -> ValueType {
        ValueType::Object
    }
}

impl ValidateNapiValue for Numbers {}

impl FromNapiValue for Numbers {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        let (mut kind, mut len, mut data) = (0, 0, ptr::null_mut());
        // SAFETY: all out-pointers are valid; the two that are null are optional.
        let status = unsafe {
            sys::napi_get_typedarray_info(env, value, &mut kind, &mut len, &mut data, ptr::null_mut(), ptr::null_mut())
        };
        check_status!(status, "a Uint32Array was expected")?;
        if kind != sys::TypedarrayType::uint32_array {
            return Err(Error::new(Status::InvalidArg, "a Uint32Array was expected"));
        }
        Ok(Self { data: data.cast(), len: if data.is_null() { 0 } else { len } })
    }
}

impl Numbers {
    pub(crate) fn as_mut(&mut self) -> &mut [u32] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: the array is alive during the call that brought it, and no JavaScript runs meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.len) }
    }
}

/// A text on its way to JavaScript.
pub enum TextOut {
    /// ASCII, handed over byte by byte.
    Ascii(String),
    /// Anything else, already in V8's own encoding.
    Wide(Vec<u16>),
}

impl TypeName for TextOut {
    fn type_name() -> &'static str {
        "String"
    }

    fn value_type() -> ValueType {
        ValueType::String
    }
}

impl ToNapiValue for TextOut {
    unsafe fn to_napi_value(env: sys::napi_env, text: Self) -> Result<sys::napi_value> {
        let mut value = ptr::null_mut();
        // SAFETY: pointers and lengths are those of live buffers, which V8 copies.
        let status = unsafe {
            match &text {
                Self::Ascii(text) => {
                    sys::napi_create_string_latin1(env, text.as_ptr().cast(), text.len() as isize, &mut value)
                }
                Self::Wide(units) => {
                    sys::napi_create_string_utf16(env, units.as_ptr(), units.len() as isize, &mut value)
                }
            }
        };
        check_status!(status, "no string could be made")?;
        Ok(value)
    }
}

/// Appends `text` as UTF-16; returns how many units it took.
pub(crate) fn push_utf16(out: &mut Vec<u16>, text: &str) -> usize {
    let start = out.len();
    out.resize(start + text.len() + 1, 0);
    let units = convert_str_to_utf16(text, &mut out[start..]);
    out.truncate(start + units);
    units
}
