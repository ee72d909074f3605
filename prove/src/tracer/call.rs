//! A system call that concerns files: what kind it is, on what, and with what data.

use std::io::IoSliceMut;
use std::path::{Path, PathBuf};

use nix::libc::{self, c_long, user_regs_struct};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// What a call does, whichever of several calls does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Opens a file, and perhaps makes it.
    Open,
    Read,
    Write,
    Truncate,
    Sync,
    Rename,
    Link,
    Unlink,
    MakeDir,
    RemoveDir,
    /// A lock of a range of bytes.
    Lock,
    /// A lock of a whole file.
    Flock,
    /// Maps a file into memory, or memory alone.
    Map,
    /// Makes a thread or a process.
    Clone,
    /// Changes a mode or an owner.
    Mode,
    /// Changes files in a way that nothing here knows how to describe.
    Other,
}

/// One system call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    number: c_long,
    args: [u64; 6],
}

/// Where the names and the data of a call are.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// A descriptor is the first argument.
    Fd,
    /// A path is in argument `.1`, relative to the directory of argument `.0`.
    At(usize, usize),
    /// A path is in this argument.
    Path(usize),
    None,
}

impl Call {
    pub(super) fn at_entry(regs: &user_regs_struct, wants: impl Fn(Kind) -> bool) -> Option<Self> {
        let number = regs.orig_rax.cast_signed();
        let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
        let kind = kind(number, &args)?;
        wants(kind).then_some(Call { kind, number, args })
    }

    /// The name, for reports.
    pub(crate) fn name(&self) -> &'static str {
        NAMES.iter().find(|(number, ..)| *number == self.number).map_or("?", |(_, name, ..)| name)
    }

    /// The file descriptor, if the call is about one.
    pub(crate) fn fd(&self) -> Option<i32> {
        match (self.target(), self.kind) {
            (_, Kind::Map) => Some(self.args[4] as i32).filter(|fd| *fd >= 0),
            (Target::Fd, _) => Some(self.args[0] as i32),
            _ => None,
        }
    }

    /// Whether it may make a file.
    pub(crate) fn creates(&self) -> bool {
        self.kind == Kind::Open && self.open_flags() & libc::O_CREAT != 0
    }

    /// Whether it empties the file.
    pub(crate) fn truncates(&self) -> bool {
        self.kind == Kind::Open && self.open_flags() & libc::O_TRUNC != 0
    }

    fn open_flags(&self) -> i32 {
        match self.number {
            libc::SYS_open => self.args[1] as i32,
            libc::SYS_creat => libc::O_CREAT | libc::O_TRUNC,
            _ => self.args[2] as i32,
        }
    }

    /// How long a file is to be afterwards.
    pub(crate) fn length(&self) -> u64 {
        self.args[1]
    }

    /// How many bytes are to be written or read.
    pub(crate) fn size(&self) -> u64 {
        self.args[2]
    }

    /// At which position it writes, if it says so; otherwise at the descriptor's own.
    pub(crate) fn offset(&self) -> Option<u64> {
        (self.number == libc::SYS_pwrite64).then_some(self.args[3])
    }

    /// Whether the data stands in one piece, at an address that the call gives.
    pub(crate) fn is_plain_write(&self) -> bool {
        matches!(self.number, libc::SYS_write | libc::SYS_pwrite64)
    }

    fn target(&self) -> Target {
        NAMES
            .iter()
            .find(|(number, ..)| *number == self.number)
            .map_or(Target::None, |(.., target)| *target)
    }
}

/// A traced thread that stands still.
#[derive(Debug)]
pub(crate) struct Tracee {
    pub(super) pid: Pid,
    /// Which of the programs it belongs to.
    pub(crate) program: usize,
}

impl Tracee {
    /// The number of the thread.
    pub(crate) fn id(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The file that a call is about.
    pub(crate) fn path(&self, call: &Call) -> Option<PathBuf> {
        if let Some(fd) = call.fd() {
            return self.fd_path(fd);
        }
        match call.target() {
            Target::Fd | Target::None => None,
            Target::At(dir, path) => self.path_at(Some(call.args[dir] as i32), call.args[path]),
            Target::Path(path) => self.path_at(None, call.args[path]),
        }
    }

    /// The second path of a call that has two: where something is moved or linked to.
    pub(crate) fn second_path(&self, call: &Call) -> Option<PathBuf> {
        match call.number {
            libc::SYS_rename | libc::SYS_link => self.path_at(None, call.args[1]),
            libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_linkat => {
                self.path_at(Some(call.args[2] as i32), call.args[3])
            }
            _ => None,
        }
    }

    /// Whether a call asks for a lock, and does not give one back.
    pub(crate) fn takes_lock(&self, call: &Call) -> bool {
        match call.kind {
            Kind::Flock => call.args[1] as i32 & libc::LOCK_UN == 0,
            Kind::Lock => {
                // The type of the lock comes first in its description.
                let mut kind = [0; 2];
                let read = self.read(call.args[2], &mut kind);
                read == Some(2) && i32::from(i16::from_ne_bytes(kind)) != libc::F_UNLCK
            }
            _ => false,
        }
    }

    /// What a descriptor leads to, as a path by which the file can be reached.
    pub(crate) fn fd_link(&self, fd: i32) -> PathBuf {
        format!("/proc/{}/fd/{fd}", self.pid).into()
    }

    /// The position of a descriptor.
    pub(crate) fn fd_position(&self, fd: i32) -> Option<u64> {
        let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", self.pid)).ok()?;
        info.lines().find_map(|line| line.strip_prefix("pos:"))?.trim().parse().ok()
    }

    /// The bytes that a plain write is about, of which `len` were written.
    pub(crate) fn data(&self, call: &Call, len: usize) -> Option<Vec<u8>> {
        let mut data = vec![0; len];
        let read = self.read(call.args[1], &mut data)?;
        (read == len).then_some(data)
    }

    fn fd_path(&self, fd: i32) -> Option<PathBuf> {
        std::fs::read_link(self.fd_link(fd)).ok()
    }

    fn path_at(&self, dir: Option<i32>, address: u64) -> Option<PathBuf> {
        let path = self.text(address)?;
        if Path::new(&path).is_absolute() {
            return Some(path.into());
        }
        let base = match dir {
            Some(fd) if fd != libc::AT_FDCWD => self.fd_path(fd)?,
            _ => std::fs::read_link(format!("/proc/{}/cwd", self.pid)).ok()?,
        };
        Some(base.join(path))
    }

    /// The text at an address, up to its zero.
    fn text(&self, address: u64) -> Option<String> {
        const PAGE: u64 = 4096;
        let mut text = Vec::new();
        while text.len() < PAGE as usize {
            let from = address + text.len() as u64;
            // Not over the end of a page: the next one may not be there.
            let mut piece = vec![0; (PAGE - from % PAGE).min(256) as usize];
            let read = self.read(from, &mut piece)?;
            piece.truncate(read);
            match piece.iter().position(|byte| *byte == 0) {
                Some(end) => {
                    text.extend(&piece[..end]);
                    return String::from_utf8(text).ok();
                }
                None => text.extend(piece),
            }
        }
        None
    }

    fn read(&self, address: u64, into: &mut [u8]) -> Option<usize> {
        let len = into.len();
        if len == 0 {
            return Some(0);
        }
        let remote = [RemoteIoVec { base: address as usize, len }];
        process_vm_readv(self.pid, &mut [IoSliceMut::new(into)], &remote).ok()
    }
}

const NAMES: &[(c_long, &str, Kind, Target)] = &[
    (libc::SYS_open, "open", Kind::Open, Target::Path(0)),
    (libc::SYS_creat, "creat", Kind::Open, Target::Path(0)),
    (libc::SYS_openat, "openat", Kind::Open, Target::At(0, 1)),
    (libc::SYS_read, "read", Kind::Read, Target::Fd),
    (libc::SYS_pread64, "pread64", Kind::Read, Target::Fd),
    (libc::SYS_write, "write", Kind::Write, Target::Fd),
    (libc::SYS_pwrite64, "pwrite64", Kind::Write, Target::Fd),
    (libc::SYS_writev, "writev", Kind::Write, Target::Fd),
    (libc::SYS_ftruncate, "ftruncate", Kind::Truncate, Target::Fd),
    (libc::SYS_fsync, "fsync", Kind::Sync, Target::Fd),
    (libc::SYS_fdatasync, "fdatasync", Kind::Sync, Target::Fd),
    (libc::SYS_rename, "rename", Kind::Rename, Target::Path(0)),
    (libc::SYS_renameat, "renameat", Kind::Rename, Target::At(0, 1)),
    (libc::SYS_renameat2, "renameat2", Kind::Rename, Target::At(0, 1)),
    (libc::SYS_link, "link", Kind::Link, Target::Path(0)),
    (libc::SYS_linkat, "linkat", Kind::Link, Target::At(0, 1)),
    (libc::SYS_unlink, "unlink", Kind::Unlink, Target::Path(0)),
    (libc::SYS_unlinkat, "unlinkat", Kind::Unlink, Target::At(0, 1)),
    (libc::SYS_mkdir, "mkdir", Kind::MakeDir, Target::Path(0)),
    (libc::SYS_mkdirat, "mkdirat", Kind::MakeDir, Target::At(0, 1)),
    (libc::SYS_rmdir, "rmdir", Kind::RemoveDir, Target::Path(0)),
    (libc::SYS_fcntl, "fcntl", Kind::Lock, Target::Fd),
    (libc::SYS_flock, "flock", Kind::Flock, Target::Fd),
    (libc::SYS_mmap, "mmap", Kind::Map, Target::None),
    (libc::SYS_clone, "clone", Kind::Clone, Target::None),
    (libc::SYS_clone3, "clone3", Kind::Clone, Target::None),
    (libc::SYS_fork, "fork", Kind::Clone, Target::None),
    (libc::SYS_vfork, "vfork", Kind::Clone, Target::None),
    (libc::SYS_chmod, "chmod", Kind::Mode, Target::Path(0)),
    (libc::SYS_fchmod, "fchmod", Kind::Mode, Target::Fd),
    (libc::SYS_fchmodat, "fchmodat", Kind::Mode, Target::At(0, 1)),
    (libc::SYS_fchown, "fchown", Kind::Mode, Target::Fd),
    (libc::SYS_truncate, "truncate", Kind::Other, Target::Path(0)),
    (libc::SYS_fallocate, "fallocate", Kind::Other, Target::Fd),
    (libc::SYS_pwritev, "pwritev", Kind::Other, Target::Fd),
    (libc::SYS_pwritev2, "pwritev2", Kind::Other, Target::Fd),
    (libc::SYS_copy_file_range, "copy_file_range", Kind::Other, Target::Fd),
    (libc::SYS_sendfile, "sendfile", Kind::Other, Target::Fd),
    (libc::SYS_sync_file_range, "sync_file_range", Kind::Other, Target::Fd),
    (libc::SYS_splice, "splice", Kind::Other, Target::Fd),
    (libc::SYS_symlink, "symlink", Kind::Other, Target::Path(1)),
    (libc::SYS_symlinkat, "symlinkat", Kind::Other, Target::At(1, 2)),
    (libc::SYS_io_uring_setup, "io_uring_setup", Kind::Other, Target::None),
];

fn kind(number: c_long, args: &[u64; 6]) -> Option<Kind> {
    match number {
        libc::SYS_fcntl => {
            let lock = [libc::F_SETLK, libc::F_SETLKW, libc::F_OFD_SETLK, libc::F_OFD_SETLKW];
            lock.contains(&(args[1] as i32)).then_some(Kind::Lock)
        }
        _ => NAMES.iter().find(|(known, ..)| *known == number).map(|(_, _, kind, _)| *kind),
    }
}
