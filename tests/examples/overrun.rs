//! Reads one byte of what it may, or one that it may not: `cargo xtask asan` runs it first,
//! to see that AddressSanitizer works. Input: where. Output: a byte, or the sanitizer's report.

use std::hint::black_box;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let byte = match std::env::args().nth(1).as_deref() {
        Some("inside") => heap(15),
        Some("heap") => heap(16),
        Some("stack") => stack(16),
        Some("freed") => freed(),
        _ => bail!("inside, heap, stack or freed?"),
    };
    println!("{byte}");
    Ok(())
}

#[expect(unsafe_code, reason = "a read outside is what is to be noticed")]
fn heap(at: usize) -> u8 {
    let bytes = black_box(vec![7_u8; 16]);
    // SAFETY: there is none for 16, one more than there are; nothing but a checked build runs
    // this, which ends here.
    unsafe { black_box(bytes.as_ptr()).wrapping_add(black_box(at)).read_volatile() }
}

#[expect(unsafe_code, reason = "a read outside is what is to be noticed")]
fn stack(at: usize) -> u8 {
    let bytes = black_box([7_u8; 16]);
    // SAFETY: as in `heap`.
    unsafe { black_box(bytes.as_ptr()).wrapping_add(black_box(at)).read_volatile() }
}

#[expect(unsafe_code, reason = "a read of what is gone is what is to be noticed")]
fn freed() -> u8 {
    let bytes = black_box(vec![7_u8; 16]);
    let place = black_box(bytes.as_ptr());
    drop(bytes);
    // SAFETY: there is none; as in `heap`.
    unsafe { place.read_volatile() }
}
