//! The one door for signals: a thread that hands them on.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Calls `on_signal` with the number of each INT and TERM from now on, and of each HUP if
/// `hang_up` says so; otherwise HUP is taken and ignored. The calls come from a thread of their own.
pub(crate) fn each(
    hang_up: bool,
    mut on_signal: impl FnMut(i32) + Send + 'static,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if hang_up || signal != SIGHUP {
                on_signal(signal);
            }
        }
    })?;
    Ok(())
}
