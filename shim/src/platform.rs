//! What differs between operating systems, and all that is `unsafe`.
//!
//! Everything else in the crate is the same on Linux, macOS and Windows; a port
//! to another system looks only here.
#![allow(
    unsafe_code,
    reason = "the one module of the crate that may; each block says why it holds"
)]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// The CPU time that the calling thread has used.
#[cfg(unix)]
pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call, and the clock
    // is one that POSIX defines for every thread.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    debug_assert_eq!(failed, 0, "the thread's CPU clock exists on every supported Unix");
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The time since the process first asked, as an upper bound of the CPU time
/// that the calling thread has used in between: Windows counts a thread's CPU
/// time in ticks of 15.6 ms, far coarser than a fuel slice.
#[cfg(not(unix))]
pub fn thread_cpu_time() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// How many mappings the kernel allows a process (`vm.max_map_count`), where
/// there is such a limit.
pub fn max_map_count() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?;
        text.trim().parse().ok()
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Makes a folder, and those above it, that only its owner may enter.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Whether anybody may make links here; Windows asks for a privilege.
pub const LINKS: bool = cfg!(unix);

/// A path that leads to a folder as long as it is held open, even if `name`, under which it
/// was opened, means something else by now.
#[cfg(all(unix, not(target_vendor = "apple")))]
pub fn path_of(folder: &File, _: &Path) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    let processes = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    Ok(Path::new(processes).join(folder.as_raw_fd().to_string()))
}

/// A path that leads to a folder as long as it is held open, even if `name`, under which it
/// was opened, means something else by now: by volume and inode.
#[cfg(target_vendor = "apple")]
pub fn path_of(folder: &File, _: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let found = folder.metadata()?;
    Ok(PathBuf::from(format!("/.vol/{}/{}", found.dev(), found.ino())))
}

/// A path that leads to a folder as long as it is held open: its name, as Windows renames no
/// folder that is held like this, nor one above it.
#[cfg(windows)]
pub fn path_of(_: &File, name: &Path) -> io::Result<PathBuf> {
    Ok(name.to_owned())
}

/// Makes a symbolic link.
#[cfg(unix)]
pub fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Makes a symbolic link to a file, which Windows allows in developer mode.
#[cfg(windows)]
pub fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

/// Lets every other thread of the machine go before the calling one, where a thread can be told so.
pub fn lower_priority() {
    #[cfg(target_os = "linux")]
    {
        /// A third of a usual thread's share of a busy core: enough to get done on a node whose
        /// guests take all they can.
        const NICE: i32 = 5;
        // SAFETY: the call takes no pointers; 0 is the calling thread on Linux. That it failed
        // would mean that the thread keeps its priority.
        let failed = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
        debug_assert_eq!(failed, 0, "a thread may always lower its own priority");
    }
}

/// Maps a compiled component that [`crate::engine`] wrote and verified.
pub(crate) fn map_component(engine: &Engine, verified: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file lies in a folder that only we may write, was written by
    // `Component::serialize`, and its checksum was compared just now.
    unsafe { Component::deserialize_file(engine, verified) }
}

/// Maps a compiled module that [`crate::engine`] wrote and verified.
pub(crate) fn map_module(engine: &Engine, verified: &Path) -> wasmtime::Result<Module> {
    // SAFETY: the file lies in a folder that only we may write, was written by
    // `Module::serialize`, and its checksum was compared just now.
    unsafe { Module::deserialize_file(engine, verified) }
}
