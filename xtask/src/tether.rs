//! Ties the life of a child process to ours, so that not even `kill -9` of us leaves one behind.

use std::process::Command;

use rustix::process::Signal;

/// Asks the kernel to send `signal` to the child when the *thread* that starts it ends, whichever way. The thread must
/// therefore outlive the child.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "between fork and exec there is no safe way to run code")]
pub(crate) fn tie(command: &mut Command, signal: Signal) {
    use std::os::unix::process::CommandExt as _;

    let parent = rustix::process::getpid();
    let request = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // We may have ended before the request: then nobody is left to be waited for.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(std::io::Error::from(rustix::io::Errno::SRCH))
        }
    };
    // SAFETY: the closure makes two system calls and touches neither memory that it did not capture by value nor any
    // lock; both calls are async-signal-safe.
    unsafe {
        command.pre_exec(request);
    }
}

/// Elsewhere the kernel has no such request; the next start recognises what was left (`crate::leftover`).
#[cfg(not(target_os = "linux"))]
pub(crate) fn tie(_command: &mut Command, _signal: Signal) {}
