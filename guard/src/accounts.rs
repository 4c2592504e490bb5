//! Who is who on this host: `/etc/passwd` and `/etc/group`.
//!
//! Only the files are read: the name service switch could ask the network, and what it runs
//! is not guard's. So users and members that only a directory service knows are nobody here.

use std::collections::BTreeSet;
use std::{fs, io};

/// The accounts as the files have them at one moment.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    users: String,
    groups: String,
}

impl Accounts {
    /// Reads both files; one that is not there is empty.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn read() -> io::Result<Self> {
        let text = |path| match fs::read(path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error),
        };
        Ok(Self { users: text("/etc/passwd")?, groups: text("/etc/group")? })
    }

    /// The id of a user.
    pub fn user(&self, name: &str) -> Option<u32> {
        self.users().find(|user| user.name == name).map(|user| user.id)
    }

    /// The id of a group.
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups().find(|group| group.name == name).map(|group| group.id)
    }

    /// Ids of the users whose group it is, or who are its members.
    pub fn members(&self, group: &str) -> BTreeSet<u32> {
        let Some(group) = self.groups().find(|found| found.name == group) else {
            return BTreeSet::new();
        };
        let is_member = |name: &str| group.members.split(',').any(|member| member == name);
        self.users()
            .filter(|user| user.group == group.id || is_member(user.name))
            .map(|user| user.id)
            .collect()
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        self.users.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let (id, group) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            Some(User { name, id, group })
        })
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.groups.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let id = fields.nth(1)?.parse().ok()?;
            Some(Group { name, id, members: fields.next().unwrap_or_default() })
        })
    }
}

struct User<'t> {
    name: &'t str,
    id: u32,
    group: u32,
}

struct Group<'t> {
    name: &'t str,
    id: u32,
    members: &'t str,
}

#[cfg(test)]
impl Accounts {
    pub(crate) fn of(users: &str, groups: &str) -> Self {
        Self { users: users.to_owned(), groups: groups.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_those_listed_and_those_whose_group_it_is() {
        let accounts = Accounts::of(
            "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/:/bin/sh\n\
             bob:x:1001:27::/:/bin/sh\neve:x:1002:1002::/:/bin/sh\nbroken:x:no\n",
            "root:x:0:\nsudo:x:27:ann,ghost\nguard:x:990:\nbroken\nann:x:1000:\n",
        );
        assert_eq!(accounts.members("sudo"), BTreeSet::from([1000, 1001]));
        assert_eq!(accounts.members("guard"), BTreeSet::new());
        assert_eq!(accounts.members("nosuch"), BTreeSet::new());
        assert_eq!((accounts.group("guard"), accounts.group("nosuch")), (Some(990), None));
        assert_eq!((accounts.user("root"), accounts.user("nosuch")), (Some(0), None));
    }
}
