//! Core dumps are off: they would hold keys, passwords and tokens.

/// Lets the system write a core dump of this process when it crashes, or forbids it.
///
/// Forbidden twice: `RLIMIT_CORE` is 0, and on Linux the process is not dumpable, as the limit does
/// not count where the system pipes core dumps to a program. A process that is not dumpable cannot
/// be read by other processes of its user either: no debugger attaches, and `/proc/PID/mem` and
/// `/proc/PID/environ` are closed.
pub(crate) fn allow(allowed: bool) {
    if allowed {
        tracing::warn!(
            "core dumps are on (MERCH_CORE_DUMPS): they hold keys, passwords and tokens"
        );
        return;
    }
    if let Err(error) = rlimit::Resource::CORE.set(0, 0) {
        tracing::warn!(%error, "failed to set the limit of core dumps to 0");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "failed to make this process not dumpable");
    }
}
