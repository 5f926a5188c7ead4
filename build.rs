//! Lets the addon be linked without Node's symbols.
fn main() {
    napi_build::setup();
}
