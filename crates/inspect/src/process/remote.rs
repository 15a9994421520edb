//! Single places in the memory of another process: read, and written to where it is writable.

use std::io;

/// Reads all of `into`.
///
/// # Errors
/// `EFAULT` if not all of it can be read, `EPERM`, `ESRCH`.
pub fn read(pid: u32, address: usize, into: &mut [u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = remote(address, into.len());
    // SAFETY: `local` is memory of ours that may be written; `remote` is the kernel's to check.
    let got = unsafe {
        libc::process_vm_readv(pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0)
    };
    whole(got, into.len())
}

/// Writes all of `bytes`.
///
/// # Errors
/// As [`read`].
pub fn write(pid: u32, address: usize, bytes: &[u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = remote(address, bytes.len());
    // SAFETY: `local` is only read; `remote` is the kernel's to check.
    let got = unsafe {
        libc::process_vm_writev(pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0)
    };
    whole(got, bytes.len())
}

fn whole(got: isize, wanted: usize) -> io::Result<()> {
    match usize::try_from(got) {
        Ok(got) if got == wanted => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

fn remote(address: usize, bytes: usize) -> libc::iovec {
    libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: bytes }
}
