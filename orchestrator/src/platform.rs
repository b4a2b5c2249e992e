//! What differs between operating systems, in one place.
//!
//! The only file of the crate with `cfg(unix)` or `cfg(windows)`: the rooms
//! above it read the same everywhere.
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// Creates a folder, and those above it, that only its owner may enter.
///
/// On Windows the folder inherits what the one above it allows, which for a
/// user's data folder is that user alone.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Creates an empty file that only its owner may read and write; one that is there is an error.
pub fn create_private_file(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

/// Whether only its owner may use a file or folder; Windows is not asked.
#[cfg(test)]
pub fn is_private(path: &Path) -> io::Result<bool> {
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        Ok(metadata.permissions().mode() & 0o077 == 0)
    }
    #[cfg(not(unix))]
    Ok(metadata.is_dir() || metadata.is_file())
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(unfinished)?;
    #[cfg(unix)]
    {
        // The mode above is not applied to a file that a crash left behind.
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

/// Lets everybody read a file that was made for its owner.
///
/// On Windows it inherits what its folder allows.
pub fn make_readable(file: &fs::File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    file.metadata()?;
    Ok(())
}

/// Waits for Ctrl-C, or where there is one for the signal that stops services.
pub async fn stop_signal() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Whether files can be swapped by links here; Windows asks for a privilege.
pub const LINKS: bool = cfg!(unix);

/// Makes `link` point to `target`, a path relative to the link's folder.
#[cfg(unix)]
pub fn link(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Fails: see [`LINKS`].
#[cfg(not(unix))]
pub fn link(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Sets the permission bits of a file; Windows has none.
#[cfg(unix)]
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Sets the permission bits of a file; Windows has none.
#[cfg(not(unix))]
pub fn set_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

/// Bytes of memory of this machine, or fewer if its cgroup says so; `None` where nobody tells.
pub fn total_memory() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let machine = line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10;
        let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
        let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
        Some(limit.map_or(machine, |limit| limit.min(machine)))
    }
    #[cfg(target_os = "macos")]
    {
        output("sysctl", &["-n", "hw.memsize"])?.parse().ok()
    }
    #[cfg(windows)]
    {
        let query = "(Get-CimInstance Win32_ComputerSystem).TotalPhysicalMemory";
        output("powershell", &["-NoProfile", "-Command", query])?.parse().ok()
    }
}

/// Bytes of memory that this machine, or its cgroup, has left; `None` where nobody tells.
pub fn available_memory() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let machine = line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10;
        let of_group = |name: &str| {
            let text = fs::read_to_string(Path::new("/sys/fs/cgroup").join(name)).ok()?;
            text.trim().parse::<u64>().ok()
        };
        let limit = of_group("memory.max").zip(of_group("memory.current"));
        // What the group holds as cache is given back when somebody needs it.
        let cache = fs::read_to_string("/sys/fs/cgroup/memory.stat").ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("inactive_file "))?;
            line.trim().parse::<u64>().ok()
        });
        let group = limit.map(|(all, used)| all.saturating_sub(used) + cache.unwrap_or(0));
        Some(group.map_or(machine, |group| group.min(machine)))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Bytes of the file system that `path` lies on; `None` where nobody tells.
#[cfg(unix)]
pub fn disk_size(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_blocks.saturating_mul(disk.f_frsize))
}

/// Bytes of the file system that `path` lies on; `None` where nobody tells.
#[cfg(not(unix))]
pub fn disk_size(_: &Path) -> Option<u64> {
    None
}

/// Bytes that are free for this user on the file system of `path`; `None` where nobody tells.
#[cfg(unix)]
pub fn disk_available(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes that are free for this user on the file system of `path`; `None` where nobody tells.
#[cfg(not(unix))]
pub fn disk_available(_: &Path) -> Option<u64> {
    None
}

/// Whether others than its owner may read or enter a path; `None` where there are no such bits.
pub fn open_to_others(path: &Path) -> io::Result<Option<bool>> {
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        Ok(Some(metadata.permissions().mode() & 0o077 != 0))
    }
    #[cfg(not(unix))]
    {
        drop(metadata);
        Ok(None)
    }
}

/// A limit of this machine that Podium may run into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Its name, as the system has it.
    pub name: &'static str,
    /// Its value; `None` if there is no bound.
    pub value: Option<u64>,
}

/// The limits of this machine and this process, where they can be read.
pub fn limits() -> Vec<Limit> {
    let mut limits = Vec::new();
    if let Ok(text) = fs::read_to_string("/proc/sys/vm/max_map_count")
        && let Ok(value) = text.trim().parse()
    {
        limits.push(Limit { name: "vm.max_map_count", value: Some(value) });
    }
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    for name in ["Max address space", "Max open files"] {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        if let Some(soft) = line.and_then(|line| line.split_whitespace().next()) {
            limits.push(Limit { name, value: soft.parse().ok() });
        }
    }
    limits
}

/// The process that listens on a TCP port, for people; `None` where nobody tells.
pub fn listener(port: u16) -> Option<String> {
    // The sockets of this machine, by inode: state 0A is LISTEN.
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).ok());
    let inode = tables.iter().flatten().flat_map(|table| table.lines()).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?.rsplit(':').next()?;
        let listens = fields.get(3) == Some(&"0A") && u16::from_str_radix(local, 16) == Ok(port);
        listens.then(|| fields.get(9).copied()).flatten().map(str::to_owned)
    })?;
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = |file: fs::DirEntry| {
            fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        };
        if files.flatten().any(holds) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let id = process.file_name();
            return Some(format!("{} (process {})", name.trim(), id.to_string_lossy()));
        }
    }
    None
}

/// The name of this machine, as its owner wrote it.
pub fn host_name() -> Option<String> {
    #[cfg(target_os = "linux")]
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    #[cfg(not(target_os = "linux"))]
    let name = output("hostname", &[]);
    name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The version of the kernel; empty where nobody tells.
pub fn kernel_version() -> String {
    #[cfg(target_os = "linux")]
    let version = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    #[cfg(target_os = "macos")]
    let version = output("uname", &["-r"]);
    #[cfg(windows)]
    let version: Option<String> = None;
    version.map(|version| version.trim().to_owned()).unwrap_or_default()
}

/// The id that this system was given when it was installed; `None` where nobody tells.
pub fn machine_id() -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        ["/etc/machine-id", "/var/lib/dbus/machine-id"].into_iter().find_map(first_line)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The id of this machine's hardware; `None` where nobody tells, or only an administrator.
pub fn system_uuid() -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        first_line("/sys/class/dmi/id/product_uuid").map(|uuid| uuid.to_lowercase())
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The id of this start of the system; `None` where nobody tells.
pub fn boot_id() -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        first_line("/proc/sys/kernel/random/boot_id")
    }
    #[cfg(target_os = "macos")]
    {
        output("sysctl", &["-n", "kern.bootsessionuuid"])
    }
    #[cfg(windows)]
    None
}

/// The first line of a file; `None` if it is not readable or says nothing.
#[cfg(target_os = "linux")]
fn first_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// The name and version of the operating system, for people.
pub fn os_image() -> String {
    #[cfg(target_os = "linux")]
    {
        let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
    }
    #[cfg(not(target_os = "linux"))]
    {
        std::env::consts::OS.to_owned()
    }
}

/// Bytes that are free for us on the file system that `path` lies on; `None` where nobody tells.
#[cfg(unix)]
pub fn disk_unused(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes that are free for us on the file system that `path` lies on; `None` where nobody tells.
#[cfg(not(unix))]
pub fn disk_unused(_: &Path) -> Option<u64> {
    None
}

/// What the operating system says of this process; `None` where it does not tell.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    /// CPU time since its start.
    pub cpu: Option<Duration>,
    /// Seconds since 1970.
    pub started_at: Option<f64>,
    /// Bytes of it that are in memory.
    pub resident_memory: Option<u64>,
    /// Bytes of its address space.
    pub virtual_memory: Option<u64>,
    /// Files and sockets it has open.
    pub open_files: Option<u64>,
    /// As many as it may have open.
    pub max_files: Option<u64>,
}

/// What this process uses.
pub fn process() -> Process {
    #[cfg(target_os = "linux")]
    {
        // Its name may have spaces and parentheses; the numbers begin after the last one.
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let numbers: Vec<u64> = stat.rsplit(')').next().map_or_else(Vec::new, |rest| {
            rest.split_whitespace().skip(1).map(|word| word.parse().unwrap_or_default()).collect()
        });
        // As in proc(5), whose third field is the first here, without the state.
        let field = |number: usize| numbers.get(number - 4).copied();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let booted = fs::read_to_string("/proc/stat").ok();
        let booted = booted.and_then(|text| number_after(&text, "btime "));
        Process {
            cpu: field(14).zip(field(15)).map(|(user, system)| ticks(user + system)),
            started_at: booted
                .zip(field(22))
                .map(|(booted, after)| booted as f64 + ticks(after).as_secs_f64()),
            resident_memory: number_after(&status, "VmRSS:").map(|kib| kib << 10),
            virtual_memory: field(23),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
            max_files: files.and_then(|rest| rest.split_whitespace().next()?.parse().ok()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    Process::default()
}

/// CPU time that this machine has used, or the cgroup that is all we see of it;
/// `None` where nobody tells.
pub fn used_cpu() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let cgroup = fs::read_to_string("/sys/fs/cgroup/cpu.stat").ok();
        if let Some(micros) = cgroup.and_then(|text| number_after(&text, "usage_usec ")) {
            return Some(Duration::from_micros(micros));
        }
        let text = fs::read_to_string("/proc/stat").ok()?;
        let words = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal, …
        let all: u64 = numbers.iter().take(8).sum();
        let idle: u64 = numbers.iter().skip(3).take(2).sum();
        Some(ticks(all - idle))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Bytes of memory that are in use and cannot simply be taken back, of what
/// [`total_memory`] is the whole; `None` where nobody tells.
pub fn used_memory() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let cgroup = fs::read_to_string("/sys/fs/cgroup/memory.current").ok();
        if let Some(current) = cgroup.and_then(|text| text.trim().parse::<u64>().ok()) {
            let stat = fs::read_to_string("/sys/fs/cgroup/memory.stat").unwrap_or_default();
            let inactive = number_after(&stat, "inactive_file ").unwrap_or_default();
            return Some(current.saturating_sub(inactive));
        }
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let total = number_after(&text, "MemTotal:")?;
        Some(total.saturating_sub(number_after(&text, "MemAvailable:")?) << 10)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The first number in the line that begins with `head`.
#[cfg(target_os = "linux")]
fn number_after(text: &str, head: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(head))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Linux counts the time of processes in hundredths of a second on every architecture we know.
#[cfg(target_os = "linux")]
fn ticks(count: u64) -> Duration {
    Duration::from_millis(count.saturating_mul(10))
}

/// What a short command prints; `None` if it fails.
#[cfg(not(target_os = "linux"))]
fn output(command: &str, arguments: &[&str]) -> Option<String> {
    let done = std::process::Command::new(command).args(arguments).output().ok()?;
    let text = String::from_utf8(done.stdout).ok()?;
    (done.status.success()).then(|| text.trim().to_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_and_its_machine_have_used_something() {
        let process = process();
        assert!(process.resident_memory.is_some_and(|bytes| bytes > 1 << 20), "{process:?}");
        assert!(process.virtual_memory >= process.resident_memory, "{process:?}");
        assert!(process.open_files >= Some(3) && process.max_files > process.open_files);
        assert!(process.started_at.is_some_and(|seconds| seconds > 1e9), "{process:?}");
        assert!(used_cpu() >= process.cpu.map(|cpu| cpu.saturating_sub(ticks(2))));
        assert!(used_memory().is_some_and(|bytes| Some(bytes) < total_memory()));
    }

    #[test]
    fn only_the_owner_may_read() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b");
        let file = dir.join("secret");
        create_private_dir(&dir).unwrap();
        fs::write(dir.join("secret.new"), "left behind by a crash").unwrap();
        write_private(&file, b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&file)), (0o700, 0o600));
        assert_eq!(fs::read(&file).unwrap(), b"x");
    }
}
