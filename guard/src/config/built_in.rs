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
    ("filter.d/examples/sshd.toml", include_str!("../../../config/filter.d/examples/sshd.toml")),
    (
        "filter.d/examples/proxmox.toml",
        include_str!("../../../config/filter.d/examples/proxmox.toml"),
    ),
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
        let mut shipped = Vec::new();
        for directory in ["filter.d", "filter.d/examples"] {
            let entries = std::fs::read_dir(config.join(directory)).expect("a directory");
            let names = entries.map(|entry| entry.expect("an entry").file_name());
            let files = names.filter(|name| Path::new(name).extension().is_some());
            shipped.extend(files.map(|name| Path::new(directory).join(name)));
        }
        shipped.sort();
        let mut built_in: Vec<_> = paths().filter(|path| path.starts_with("filter.d")).collect();
        built_in.sort();
        assert_eq!(built_in, shipped);
    }
}
