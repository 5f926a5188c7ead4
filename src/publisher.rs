//! `publish(pair, json)` as a bare Node-API function. Does the same as a class method, without what that costs per call.
//!
//! A method of a class unwraps its receiver and registers the borrow in a table of the process: some 200 ns, twice the rest of the
//! crossing. This function carries its state itself. Node-API calls it on the thread that made it, and frees the state after it.

use std::cell::RefCell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

use alkpubsub_engine::model::{Prefix, Published};
use napi::{JsError, Result, Status, check_status, sys};

use crate::port::Outgoing;
use crate::text::JsText;

/// Sends an event to where the target sends its events.
pub(crate) type Send = Box<dyn Fn(&Prefix, &str) -> Published>;

struct Publisher {
    outgoing: Rc<RefCell<Outgoing>>,
    send: Send,
}

const NAME: &std::ffi::CStr = c"publish";

/// Puts `publish` on an object, in front of the method of its class.
pub(crate) fn define(
    env: sys::napi_env,
    object: sys::napi_value,
    outgoing: Rc<RefCell<Outgoing>>,
    send: Send,
) -> Result<()> {
    let state = Box::into_raw(Box::new(Publisher { outgoing, send }));
    let mut function = ptr::null_mut();
    // SAFETY: `state` lives until `free`, which Node-API calls once the function is gone; all other pointers live during the calls.
    unsafe {
        let name_len = NAME.count_bytes() as isize;
        let made = sys::napi_create_function(env, NAME.as_ptr(), name_len, Some(publish), state.cast(), &mut function);
        if made != sys::Status::napi_ok {
            drop(Box::from_raw(state));
        }
        check_status!(made)?;
        check_status!(sys::napi_add_finalizer(
            env,
            function,
            state.cast(),
            Some(free),
            ptr::null_mut(),
            ptr::null_mut()
        ))?;
        check_status!(sys::napi_set_named_property(env, object, NAME.as_ptr(), function))
    }
}

unsafe extern "C" fn free(_env: sys::napi_env, state: *mut c_void, _hint: *mut c_void) {
    // SAFETY: made by `Box::into_raw` in `define`, and given to exactly one finalizer.
    drop(unsafe { Box::from_raw(state.cast::<Publisher>()) });
}

unsafe extern "C" fn publish(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: Node-API calls this with a live environment and call.
    let answer = catch_unwind(AssertUnwindSafe(|| unsafe { answer(env, info) }));
    let error = match answer {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error,
        Err(_) => napi::Error::new(Status::GenericFailure, "publish failed because of a defect in it"),
    };
    // SAFETY: as above; the exception is thrown when this call returns.
    unsafe { JsError::from(error).throw_into(env) };
    ptr::null_mut()
}

unsafe fn answer(env: sys::napi_env, info: sys::napi_callback_info) -> Result<sys::napi_value> {
    let (mut count, mut arguments, mut state) = (2, [ptr::null_mut(); 2], ptr::null_mut());
    let (mut pair, mut value) = (0, ptr::null_mut());
    // SAFETY: the array has room for `count` arguments; missing ones are filled with undefined, which the getters refuse. `state` is the
    // pointer of `define`, alive as long as the function that is being called.
    unsafe {
        check_status!(sys::napi_get_cb_info(
            env,
            info,
            &mut count,
            arguments.as_mut_ptr(),
            ptr::null_mut(),
            &mut state
        ))?;
        check_status!(sys::napi_get_value_uint32(env, arguments[0], &mut pair), "pair must be a number")?;
        let publisher = &*state.cast::<Publisher>();
        let json = JsText::new(env, arguments[1]);
        let status = publisher.outgoing.borrow_mut().publish(pair, &json, &publisher.send)?;
        check_status!(sys::napi_create_uint32(env, status, &mut value))?;
    }
    Ok(value)
}
