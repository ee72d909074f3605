//! The child process: what happens between `clone` and `exec`.
//!
//! As with `vfork`, the child borrows the memory of this process until it becomes the program, and
//! the thread that starts it stands still meanwhile. Nothing is copied, so a start costs the same
//! however large this process is, and an error comes back in memory. In return the child may do no
//! more than make system calls: what it changed otherwise, it would change here.

use std::ffi::{CString, OsStr, OsString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::{Pid, WaitOptions};

/// Descriptors from here on are not used by shells and scripts, which choose low numbers; the lock
/// is moved out of their way.
const LOCK_FD_MIN: RawFd = 200;

/// The highest number of a signal.
const SIGNAL_MAX: c_int = 64;

/// Bytes of the child's stack. It calls a handful of functions that hold next to nothing.
const STACK_LEN: usize = 64 * 1024;

/// A program's path, arguments, environment and directory in the form in which `exec` takes them,
/// made beforehand: the child may not allocate, because another thread may hold the allocator's lock.
#[derive(Debug)]
pub(super) struct Image {
    program: CString,
    cwd: Option<CString>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    /// What the pointers point into.
    _strings: Vec<CString>,
}

impl Image {
    pub(super) fn new(
        program: &Path,
        argv: &[&str],
        environment: Vec<(OsString, OsString)>,
        cwd: Option<&Path>,
    ) -> Result<Self, std::ffi::NulError> {
        let argv: Vec<CString> =
            argv.iter().map(|argument| CString::new(*argument)).collect::<Result<_, _>>()?;
        let envp: Vec<CString> = environment
            .into_iter()
            .map(|(mut name, value)| {
                name.push(OsStr::new("="));
                name.push(value);
                CString::new(name.into_vec())
            })
            .collect::<Result<_, _>>()?;
        let pointers = |strings: &[CString]| -> Vec<*const c_char> {
            let end = std::iter::once(std::ptr::null());
            strings.iter().map(|text| text.as_ptr()).chain(end).collect()
        };
        let path = |path: &Path| CString::new(path.as_os_str().as_bytes());
        Ok(Image {
            program: path(program)?,
            cwd: cwd.map(path).transpose()?,
            argv: pointers(&argv),
            envp: pointers(&envp),
            _strings: argv.into_iter().chain(envp).collect(),
        })
    }
}

/// What a child keeps of this process's descriptors. None of them is one of the first three.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept<'a> {
    /// Its standard input, output and error.
    pub(super) stdio: [BorrowedFd<'a>; 3],
    /// The attempt's lock.
    pub(super) lock: BorrowedFd<'a>,
}

/// A child that has become the program.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts the program in a process group of its own. It ends with this thread.
    pub(super) fn start(image: &Image, kept: Kept<'_>) -> io::Result<Self> {
        let birth = Birth { image, kept, parent: std::process::id(), error: AtomicI32::new(0) };
        match birth.give()? {
            pid if birth.error.load(Ordering::Relaxed) == 0 => Ok(Child { pid, status: None }),
            pid => {
                Child { pid, status: None }.wait()?;
                Err(io::Error::from_raw_os_error(birth.error.into_inner()))
            }
        }
    }

    /// Its number, which no other process can have until it was waited for.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// How it has ended, if it has.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.wait_with(WaitOptions::NOHANG)
    }

    /// Waits until it has ended.
    pub(super) fn wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.wait_with(WaitOptions::empty())
    }

    fn wait_with(&mut self, options: WaitOptions) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let waited =
                rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(self.pid), options))?;
            self.status = waited.map(|(_, status)| ExitStatus::from_raw(status.as_raw()));
        }
        Ok(self.status)
    }
}

/// What parent and child share while the child is none yet.
struct Birth<'a> {
    image: &'a Image,
    kept: Kept<'a>,
    parent: u32,
    /// Why the child could not become the program; 0 if it could.
    error: AtomicI32,
}

impl Birth<'_> {
    #[expect(unsafe_code, reason = "clone is a call of C")]
    fn give(&self) -> io::Result<Pid> {
        let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK_LEN / size_of::<u128>());
        let this: *const Self = self;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // A signal's handler would run in both.
        let mask = block_signals();
        // SAFETY: the stack is as long as is said, aligned, and grows down from its end. It and
        // `self` outlive the child's use of them: with CLONE_VFORK this thread goes on only when
        // the child has another memory or none.
        let pid = unsafe {
            let top = stack.as_mut_ptr().add(stack.capacity());
            libc::clone(begin, top.cast(), flags, this.cast_mut().cast())
        };
        let error = io::Error::last_os_error();
        restore_signals(mask);
        Pid::from_raw(pid).filter(|_| pid > 0).ok_or(error)
    }

    /// In the child: becomes the program; returns only if that fails.
    fn become_program(&self) -> io::Error {
        let prepared = die_with_parent(self.parent)
            .and_then(|()| own_group())
            .and_then(|()| connect(self.kept.stdio))
            .and_then(|()| self.image.enter())
            .map(|()| reset_signals())
            .and_then(|()| keep_only(self.kept.lock.as_raw_fd()));
        match prepared {
            Ok(()) => self.image.exec(),
            Err(error) => error,
        }
    }
}

/// Where the child begins.
#[expect(unsafe_code, reason = "clone hands over a pointer")]
extern "C" fn begin(birth: *mut c_void) -> c_int {
    // SAFETY: it is the `Birth` that `give` has handed over, which outlives this.
    let birth: &Birth<'_> = unsafe { &*birth.cast() };
    let error = birth.become_program();
    // Never 0, which says that all went well.
    birth.error.store(error.raw_os_error().unwrap_or(libc::EIO), Ordering::Relaxed);
    1
}

/// Keeps every signal from this thread; gives what was blocked before. The kernel's own call and not
/// that of C, which lets the two signals pass that threads use among themselves.
#[expect(unsafe_code, reason = "these are system calls")]
fn block_signals() -> u64 {
    let (all, mut before) = (u64::MAX, 0_u64);
    // SAFETY: both are masks as long as is said.
    unsafe {
        let (how, len) = (libc::SIG_BLOCK, size_of::<u64>());
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const all, &raw mut before, len);
    }
    before
}

#[expect(unsafe_code, reason = "these are system calls")]
fn restore_signals(mask: u64) {
    let (how, none, len) = (libc::SIG_SETMASK, std::ptr::null_mut::<u64>(), size_of::<u64>());
    // SAFETY: it is a mask as long as is said.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const mask, none, len);
    }
}

/// Asks the kernel to kill this process when the thread that started it ends.
#[expect(unsafe_code, reason = "prctl is a call of C")]
fn die_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY: plain system calls on numbers.
    unsafe {
        let signal: libc::c_ulong = libc::SIGKILL as libc::c_ulong;
        if libc::prctl(libc::PR_SET_PDEATHSIG, signal) != 0 {
            return Err(io::Error::last_os_error());
        }
        // A parent that died before the call above sends nothing any more.
        if libc::getppid().unsigned_abs() != parent {
            libc::_exit(1);
        }
    }
    Ok(())
}

fn own_group() -> io::Result<()> {
    Ok(rustix::process::setpgid(None, None)?)
}

/// Makes three descriptors the first three.
#[expect(unsafe_code, reason = "dup2 is a call of C")]
fn connect(stdio: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    for (fd, number) in stdio.iter().zip(0..) {
        // SAFETY: a plain system call on numbers.
        if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// What the worker ignores or blocks, its commands must not: ignored signals survive `exec`.
#[expect(unsafe_code, reason = "these are system calls")]
fn reset_signals() {
    // The kernel's own structure and not that of C, whose functions refuse to touch the two
    // signals that threads use among themselves: all zeros are the default action with no flags
    // and an empty mask, wherever the fields are.
    let zeros = [0_u64; 8];
    let (none, mask_len) = (std::ptr::null_mut::<u64>(), size_of::<u64>());
    // SAFETY: the kernel reads less than `zeros` holds, and writes nothing. It refuses the signals
    // that cannot be changed, which need no reset.
    unsafe {
        for signal in 1..=SIGNAL_MAX {
            libc::syscall(libc::SYS_rt_sigaction, signal, zeros.as_ptr(), none, mask_len);
        }
    }
    // Only now: what a handler of this process would have caught meanwhile must not run it here.
    restore_signals(0);
}

/// Closes every descriptor but the first three and the lock when the program starts.
#[expect(unsafe_code, reason = "close_range and fcntl are calls of C")]
fn keep_only(lock: RawFd) -> io::Result<()> {
    // SAFETY: plain system calls on numbers.
    unsafe {
        // Kernels before 5.11 cannot do it; then what this process opened itself is marked already,
        // and only what it inherited leaks on.
        libc::syscall(
            libc::SYS_close_range,
            3 as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
        // Where so high a number is not to be had, the lock stays where it is.
        if libc::fcntl(lock, libc::F_DUPFD, LOCK_FD_MIN) < 0
            && libc::fcntl(lock, libc::F_SETFD, 0) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[expect(unsafe_code, reason = "chdir and exec are calls of C")]
impl Image {
    /// Changes to the directory of the program.
    fn enter(&self) -> io::Result<()> {
        let Some(cwd) = &self.cwd else { return Ok(()) };
        // SAFETY: it is a terminated string.
        match unsafe { libc::chdir(cwd.as_ptr()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Becomes the program; returns only if that fails. Not by a function that searches, which would
    /// hand a file of unknown format to a shell.
    fn exec(&self) -> io::Error {
        // SAFETY: all three are terminated, and live as long as `self`.
        unsafe {
            libc::execve(self.program.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr());
        }
        io::Error::last_os_error()
    }
}
