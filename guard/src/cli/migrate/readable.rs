//! Whether the agent could read a log file: it runs as the user `guard`, with the groups
//! `adm` and `systemd-journal`, and Fail2Ban as root.
//!
//! Input: a file of a host, and its accounts. Output: what keeps the agent from reading it.
//! Modes, owners and access control lists are read, and nothing is opened.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const READ: u32 = 4;
const SEARCH: u32 = 1;
/// The kernel's form of an access control list (`linux/posix_acl_xattr.h`): a version, then
/// entries of a tag, rights and an id.
const ACL: &str = "system.posix_acl_access";
const ACL_NAMED_USER: u16 = 0x02;
const ACL_OWNING_GROUP: u16 = 0x04;
const ACL_NAMED_GROUP: u16 = 0x08;
const ACL_MASK: u16 = 0x10;

/// The agent, as the kernel sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reader {
    root: PathBuf,
    user: Option<u32>,
    groups: Vec<u32>,
}

/// Who may do what with a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rights {
    owner: u32,
    group: u32,
    mode: u32,
    /// Tag, rights and id of each entry of the list, if it has one.
    list: Vec<(u16, u32, u32)>,
}

impl Reader {
    /// The agent on the host whose root directory this is.
    pub(super) fn of(root: &Path) -> Self {
        let text = |path| fs::read_to_string(root.join(path)).unwrap_or_default();
        let groups = text("etc/group");
        let groups =
            ["guard", "adm", "systemd-journal"].iter().filter_map(|name| id(&groups, name));
        Self {
            root: root.canonicalize().unwrap_or_else(|_| root.to_owned()),
            user: id(&text("etc/passwd"), "guard"),
            groups: groups.collect(),
        }
    }

    /// What keeps it from reading a file, and what to do; `None` if nothing does.
    pub(super) fn obstacle(&self, file: &Path) -> Option<String> {
        let file = file.canonicalize().ok()?;
        let inside = |path: &&Path| path.starts_with(&self.root) && *path != self.root;
        let directories: Vec<&Path> = file.ancestors().skip(1).filter(inside).collect();
        let mut steps: Vec<(&Path, u32)> =
            directories.into_iter().rev().map(|directory| (directory, SEARCH)).collect();
        steps.push((&file, READ));
        let closed = |(path, right): &&(&Path, u32)| {
            fs::metadata(path).is_ok_and(|there| !self.may(*right, &Rights::of(path, &there)))
        };
        let (path, right) = steps.iter().find(closed)?;
        let named = |path: &Path| {
            let inside = path.strip_prefix(&self.root).unwrap_or(path);
            Path::new("/").join(inside).display().to_string()
        };
        let letter = if *right == READ { "r" } else { "x" };
        Some(format!(
            "{}: the agent's user guard may not read it; setfacl -m g:adm:{letter} {} lets it",
            named(&file),
            named(path)
        ))
    }

    fn may(&self, right: u32, rights: &Rights) -> bool {
        let has = |granted: u32| granted & right == right;
        if self.user == Some(rights.owner) {
            return has(rights.mode >> 6);
        }
        let group = rights.mode >> 3;
        if rights.list.is_empty() {
            return has(if self.groups.contains(&rights.group) { group } else { rights.mode });
        }
        let entry = |tag| rights.list.iter().filter(move |entry| entry.0 == tag);
        let mask = entry(ACL_MASK).next().map_or(7, |entry| entry.1);
        if let Some(named) = entry(ACL_NAMED_USER).find(|named| self.user == Some(named.2)) {
            return has(named.1 & mask);
        }
        let owning = entry(ACL_OWNING_GROUP).map(|entry| (entry.1, rights.group));
        let named = entry(ACL_NAMED_GROUP).map(|entry| (entry.1, entry.2));
        let mut matching =
            owning.chain(named).filter(|(_, group)| self.groups.contains(group)).peekable();
        match matching.peek() {
            None => has(rights.mode),
            Some(_) => matching.any(|(granted, _)| has(granted & mask)),
        }
    }
}

impl Rights {
    fn of(path: &Path, there: &Metadata) -> Self {
        let mut bytes = vec![0_u8; 4096];
        // No list, or a file system without lists.
        let length = rustix::fs::getxattr(path, ACL, bytes.as_mut_slice()).unwrap_or(0);
        bytes.truncate(length);
        let list = bytes.get(4..).unwrap_or_default().chunks_exact(8).map(|entry| {
            let short = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
            let id = u32::from(short(4)) | u32::from(short(6)) << 16;
            (short(0), u32::from(short(2)), id)
        });
        let list = list.collect();
        Self { owner: there.uid(), group: there.gid(), mode: there.mode(), list }
    }
}

/// The id of a user or a group in such a file.
fn id(accounts: &str, name: &str) -> Option<u32> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: u32 = 990;
    const ADM: u32 = 4;

    fn may(owner: u32, group: u32, mode: u32, list: &[(u16, u32, u32)]) -> bool {
        let reader = Reader { root: "/".into(), user: Some(GUARD), groups: vec![ADM, 989] };
        reader.may(READ, &Rights { owner, group, mode, list: list.to_vec() })
    }

    #[test]
    fn modes() {
        assert!(may(0, ADM, 0o640, &[]) && !may(0, 0, 0o640, &[]));
        assert!(may(0, 0, 0o644, &[]) && !may(0, ADM, 0o604, &[]), "the group's rights count");
        assert!(may(GUARD, 0, 0o600, &[]) && !may(GUARD, 0, 0o066, &[]));
    }

    #[test]
    fn lists() {
        let group = (ACL_OWNING_GROUP, 0, u32::MAX);
        let with = |named, mask| may(0, 0, 0o640, &[group, named, (ACL_MASK, mask, u32::MAX)]);
        assert!(with((ACL_NAMED_GROUP, 4, ADM), 4), "setfacl -m g:adm:r");
        assert!(!with((ACL_NAMED_GROUP, 4, ADM), 0), "masked");
        assert!(!with((ACL_NAMED_GROUP, 4, 5), 4), "another group");
        assert!(with((ACL_NAMED_USER, 4, GUARD), 4) && !with((ACL_NAMED_USER, 4, 1), 4));
    }

    #[test]
    fn ids() {
        let text = "root:x:0:\nadm:x:4:syslog\n";
        assert_eq!((id(text, "adm"), id(text, "guard")), (Some(4), None));
    }
}
