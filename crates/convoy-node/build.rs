//! Tells the linker what N-API addons need.

fn main() {
    napi_build::setup();
}
