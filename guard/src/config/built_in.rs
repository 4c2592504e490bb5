//! The vendor configuration that every binary carries.
//!
//! The same files are installed below `vendor-directory`, where they are found first, so
//! that an administrator can read what is in force.

use std::path::Path;

/// Every vendor file by its path below `vendor-directory`.
const FILES: &[(&str, &str)] = &[
    ("jail.conf", include_str!("../../../config/jail.conf")),
    ("filter.d/sshd.conf", include_str!("../../../config/filter.d/sshd.conf")),
    ("filter.d/proxmox.conf", include_str!("../../../config/filter.d/proxmox.conf")),
];

/// The text of a vendor file.
pub(crate) fn text(path: &Path) -> Option<&'static str> {
    FILES.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| *text)
}

/// Paths of all vendor files.
pub(crate) fn paths() -> impl Iterator<Item = &'static Path> {
    FILES.iter().map(|(name, _)| Path::new(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_filter_is_built_in() {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let mut shipped: Vec<_> = std::fs::read_dir(config.join("filter.d"))
            .expect("a directory")
            .map(|entry| Path::new("filter.d").join(entry.expect("an entry").file_name()))
            .collect();
        shipped.sort();
        let mut built_in: Vec<_> = paths().filter(|path| path.starts_with("filter.d")).collect();
        built_in.sort();
        assert_eq!(built_in, shipped);
    }
}
