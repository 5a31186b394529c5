//! Whether this machine lets us run at all, asked before anything is bound, so that the answer is one clear line.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::error::{DriverError, MEMLOCK_BYTES_MIN};

/// Raises what may be raised and checks what must be there: io_uring and memory to lock.
///
/// # Errors
///
/// [`DriverError::MemlockTooSmall`], [`DriverError::IoUringForbidden`], [`DriverError::IoUring`].
pub fn check_machine() -> Result<(), DriverError> {
    raise(Resource::Memlock);
    // Each leg of its own has two sockets, each client one.
    raise(Resource::Nofile);
    check_memlock(getrlimit(Resource::Memlock).current)?;
    probe_io_uring().map_err(explain)
}

/// Lifts a soft limit to the hard one; a failure leaves it as it was.
fn raise(resource: Resource) {
    let limit = getrlimit(resource);
    if limit.current != limit.maximum {
        let _ = setrlimit(resource, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

fn check_memlock(limit: Option<u64>) -> Result<(), DriverError> {
    match limit {
        Some(limit) if limit < MEMLOCK_BYTES_MIN => Err(DriverError::MemlockTooSmall { limit }),
        Some(_) | None => Ok(()),
    }
}

/// Makes a ring of the smallest size and closes it.
fn probe_io_uring() -> io::Result<()> {
    /// `struct io_uring_params` of io_uring_setup(2): all zeros asks for nothing special.
    const PARAMS_BYTES: usize = 120;
    let mut params = [0_u64; PARAMS_BYTES / 8];
    // SAFETY: io_uring_setup reads and writes the 120 bytes of its parameters, which live on this stack, and touches nothing else of ours.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1_u32, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made for us and nobody else knows it.
    drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd as i32) });
    Ok(())
}

fn explain(error: io::Error) -> DriverError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => DriverError::IoUringForbidden { reason: "operation not permitted" },
        // Container runtimes answer a filtered call with ENOSYS, and a kernel without it does so, too.
        Some(libc::ENOSYS) => DriverError::IoUringForbidden { reason: "the call is filtered, or the kernel was built without it" },
        _ => DriverError::IoUring(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_passes() {
        check_machine().unwrap();
    }

    #[test]
    fn what_is_missing_is_said_in_one_line_that_names_the_remedy() {
        let line = |error: DriverError| {
            let text = error.to_string();
            assert!(!text.contains('\n'), "{text}");
            text
        };
        assert!(line(check_memlock(Some(65_536)).unwrap_err()).contains("LimitMEMLOCK"));
        assert!(line(explain(io::Error::from_raw_os_error(libc::EPERM))).contains("kernel.io_uring_disabled"));
        assert!(line(explain(io::Error::from_raw_os_error(libc::ENOSYS))).contains("seccomp"));
        assert!(line(explain(io::Error::from_raw_os_error(libc::ENOMEM))).contains("io_uring"));
        assert!(check_memlock(None).is_ok() && check_memlock(Some(MEMLOCK_BYTES_MIN)).is_ok());
    }
}
