//! Disables core dumps, which would contain keys, passwords and tokens.

/// Unless `allowed`, sets `RLIMIT_CORE` to 0. Where the kernel pipes core dumps to a program, this
/// limit has no effect, so on Linux the process also becomes non-dumpable. No debugger of the user
/// can then attach, and `/proc/PID/mem` and `/proc/PID/environ` are closed.
pub(crate) fn allow(allowed: bool) {
    if allowed {
        tracing::warn!(
            "core dumps are enabled (MERCH_CORE_DUMPS); they contain keys, passwords and tokens"
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
        tracing::warn!(%error, "failed to make this process non-dumpable");
    }
}
