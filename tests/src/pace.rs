//! How much to try: less in a machine that imitates its processor, where everything
//! takes ten times as long and the point is another kernel, not another input.

/// Of so many cases those that are tried here.
pub fn cases(usual: u32) -> u32 {
    if std::env::var_os("GUARD_KERNEL").is_some() { usual.div_ceil(12) } else { usual }
}
