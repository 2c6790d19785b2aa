//! Users: who called `sudo`, and what it takes to become somebody.

use std::fs;

/// Groups that one user can be in, as the kernel limits them.
const MAX_GROUPS: usize = 65_536;

/// Somebody to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Name, when there is one.
    pub name: Option<String>,
    /// Home directory, when it is known.
    pub home: Option<String>,
}

/// Why a command cannot run as somebody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// Nobody has that name or number.
    #[error("no user `{0}`")]
    Unknown(String),
    /// Only root can become somebody else.
    #[error("cannot run a command as `{0}` without being root")]
    NotRoot(String),
}

impl UserError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "give --user a name or number of /etc/passwd",
            Self::NotRoot(_) => "run bleedtrace through sudo, or leave --user out",
        }
    }
}

/// The local user database.
#[derive(Clone, Debug, Default)]
pub struct Database {
    passwd: String,
    group: String,
}

impl Database {
    /// Reads `/etc/passwd` and `/etc/group`; a missing file has nobody in it.
    pub fn read() -> Self {
        let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Self {
            passwd: read("/etc/passwd"),
            group: read("/etc/group"),
        }
    }

    /// The user with this name or number.
    pub fn find(&self, who: &str) -> Option<User> {
        let number = who.parse::<u32>().ok();
        let entry = self.passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, _, home, ..] = fields[..] else {
                return None;
            };
            let (uid, gid) = (uid.parse::<u32>().ok()?, gid.parse::<u32>().ok()?);
            (name == who || number == Some(uid)).then(|| (name.to_owned(), uid, gid, home.to_owned()))
        });
        let (name, uid, gid, home) = entry?;
        Some(User {
            uid,
            gid,
            groups: self.groups(&name, gid),
            name: Some(name),
            home: Some(home),
        })
    }

    /// The name of a user.
    pub fn name(&self, uid: u32) -> Option<String> {
        self.find(&uid.to_string())?.name
    }

    /// Who called `sudo`, by its variables.
    pub fn caller_of_sudo(&self, variable: impl Fn(&str) -> Option<String>) -> Option<User> {
        let uid: u32 = variable("SUDO_UID")?.parse().ok()?;
        let gid: u32 = variable("SUDO_GID")?.parse().ok()?;
        let known = self.find(&uid.to_string());
        let name = variable("SUDO_USER").or_else(|| known.as_ref()?.name.clone());
        let groups = name
            .as_ref()
            .map_or_else(|| vec![gid], |name| self.groups(name, gid));
        Some(User {
            uid,
            gid,
            groups,
            name,
            home: known.and_then(|user| user.home),
        })
    }

    /// Who a command runs as: the one asked for, else who called `sudo`, else who runs the agent (`None`: nothing changes).
    pub fn for_command(
        &self,
        wanted: Option<&str>,
        own_uid: u32,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<User>, UserError> {
        let Some(wanted) = wanted else {
            return Ok(if own_uid == 0 {
                self.caller_of_sudo(variable)
            } else {
                None
            });
        };
        let user = self
            .find(wanted)
            .ok_or_else(|| UserError::Unknown(wanted.to_owned()))?;
        match own_uid {
            0 => Ok(Some(user)),
            own if own == user.uid => Ok(None),
            _ => Err(UserError::NotRoot(wanted.to_owned())),
        }
    }

    fn groups(&self, name: &str, primary: u32) -> Vec<u32> {
        let member_of = self.group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, gid, members, ..] = fields[..] else {
                return None;
            };
            members
                .split(',')
                .any(|member| member == name)
                .then(|| gid.parse().ok())?
        });
        let mut groups: Vec<u32> = std::iter::once(primary)
            .chain(member_of)
            .take(MAX_GROUPS)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Database {
        Database {
            passwd: "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n".into(),
            group: "root:x:0:\nwheel:x:10:ann,bob\ndocker:x:998:ann\nann:x:1000:\n".into(),
        }
    }

    #[test]
    fn by_name_and_by_number() {
        let ann = database().find("ann").unwrap();
        assert_eq!(
            (ann.uid, ann.gid, ann.groups.clone()),
            (1000, 1000, vec![10, 998, 1000])
        );
        assert_eq!(database().find("1000"), Some(ann));
        assert_eq!(database().find("bob"), None);
        assert_eq!(database().name(0).as_deref(), Some("root"));
    }

    #[test]
    fn who_called_sudo() {
        let variables = |name: &str| match name {
            "SUDO_UID" | "SUDO_GID" => Some("1000".into()),
            "SUDO_USER" => Some("ann".into()),
            _ => None,
        };
        assert_eq!(database().caller_of_sudo(variables), database().find("ann"));
        assert_eq!(database().caller_of_sudo(|_| None), None);
        assert_eq!(
            database().for_command(None, 0, variables),
            Ok(database().find("ann"))
        );
        assert_eq!(database().for_command(None, 1000, variables), Ok(None));
        assert_eq!(
            database().for_command(Some("root"), 0, variables),
            Ok(database().find("root"))
        );
        assert_eq!(database().for_command(Some("ann"), 1000, variables), Ok(None));
        assert_eq!(
            database().for_command(Some("root"), 1000, variables),
            Err(UserError::NotRoot("root".into()))
        );
        assert_eq!(
            database().for_command(Some("bob"), 0, variables),
            Err(UserError::Unknown("bob".into()))
        );
        let stranger = Database::default().caller_of_sudo(variables).unwrap();
        assert_eq!((stranger.uid, stranger.groups), (1000, vec![1000]));
    }
}
