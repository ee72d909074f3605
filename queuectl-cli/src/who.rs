//! Who uses the program, as it stands in records.

use nix::unistd::{Uid, User};

/// `user@host`: the account that the process runs as, whatever the environment says, and the machine. An
/// account without a name goes by its number.
pub(crate) fn who() -> String {
    let uid = Uid::effective();
    let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    format!("{}@{host}", name.unwrap_or_else(|| uid.to_string()))
}
