//! Starting a child that dies with us.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, mpsc};

use rustix::process::{Pid, Signal, getpid, kill_process_group};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) dir: PathBuf,
    /// 0 for the priority that we have, up to 19 for the lowest.
    pub(crate) nice: i32,
    /// Descriptors that the child may use, under the same numbers.
    pub(crate) inherited: Vec<Arc<OwnedFd>>,
}

/// Starts children from one thread that lives as long as this does.
///
/// Linux ends a child with `PR_SET_PDEATHSIG` when the *thread* that started it ends. A runtime's threads come and go;
/// this one stays.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    requests: mpsc::Sender<(Spec, oneshot::Sender<io::Result<Child>>)>,
}

impl Launcher {
    /// Must be called inside the runtime that will wait for the children.
    pub(crate) fn start() -> io::Result<Self> {
        let (requests, received) = mpsc::channel::<(Spec, oneshot::Sender<io::Result<Child>>)>();
        let runtime = Handle::current();
        std::thread::Builder::new().name("launcher".to_owned()).spawn(move || {
            let _runtime = runtime.enter();
            for (spec, reply) in received {
                // A child that nobody takes is dropped, and killed by that.
                let _ = reply.send(start(&spec));
            }
        })?;
        Ok(Self { requests })
    }

    pub(crate) async fn spawn(&self, spec: Spec) -> io::Result<Child> {
        let gone = || io::Error::other("the launcher has ended");
        let (reply, started) = oneshot::channel();
        self.requests.send((spec, reply)).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

#[expect(
    unsafe_code,
    reason = "pre_exec: priority, death signal and descriptors have to be set in the child itself"
)]
fn start(spec: &Spec) -> io::Result<Child> {
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: signals of the terminal reach us alone, and whatever it starts ends with it.
        .process_group(0)
        .kill_on_drop(true);
    let inherited = spec.inherited.clone();
    let nice = spec.nice;
    let parent = getpid();
    // SAFETY: runs in the child between fork and exec, where only async-signal-safe calls are allowed. Everything
    // called is a bare system call of rustix (fcntl, setpriority, prctl, getppid): no allocation, no lock, no
    // formatting; errors are numbers. The captured values were made before the fork and are only read.
    unsafe {
        command.pre_exec(move || {
            for fd in &inherited {
                rustix::io::fcntl_setfd(fd.as_ref(), rustix::io::FdFlags::empty())?;
            }
            if nice != 0 {
                rustix::process::setpriority_process(None, nice)?;
            }
            die_with(parent)
        });
    }
    command.spawn()
}

/// Asks the kernel to kill this process when its parent's thread ends.
#[cfg(target_os = "linux")]
fn die_with(parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have ended before the line above took effect.
    if rustix::process::getppid() == Some(parent) {
        Ok(())
    } else {
        Err(rustix::io::Errno::SRCH.into())
    }
}

/// Other systems have no such request; there, a killed edge leaves children that end at the next start, when their
/// sockets are taken over.
#[cfg(not(target_os = "linux"))]
fn die_with(_parent: Pid) -> io::Result<()> {
    Ok(())
}

/// Signals a child's whole group. A group that is gone already is what was wanted.
pub(crate) fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, signal);
    }
}

/// The number under which a child finds an inherited descriptor.
pub(crate) fn number_of(fd: &Arc<OwnedFd>) -> i32 {
    fd.as_raw_fd()
}
