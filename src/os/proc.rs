//! Small files that the kernel writes as they are read: those of `/proc` and of control groups.
//!
//! The standard library asks for a file's size first, and begins with a few bytes where there is none; each read of such
//! a file costs as much as all of it, so that one large read is three times as fast.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::os::memory::errno;

/// Room for a file; of a longer one, only the beginning is read.
pub(crate) type Room = [u8; 4096];

/// Room to be handed to [`read`].
pub(crate) const ROOM: Room = [0; 4096];

/// What the file `path` holds.
pub(crate) fn read<'a>(path: &str, room: &'a mut Room) -> Option<&'a [u8]> {
    let path = CString::new(path).ok()?;
    // SAFETY: a terminated path; the descriptor returned is owned below.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return None;
    }
    // SAFETY: a fresh descriptor that nobody else has.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut length = 0;
    while length < room.len() {
        let rest = &mut room[length..];
        // SAFETY: a valid buffer and its length.
        match unsafe { libc::read(fd.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len()) } {
            0 => break,
            more if more > 0 => length += more as usize,
            _ if errno() == libc::EINTR => {}
            _ => return None,
        }
    }
    Some(&room[..length])
}

/// The same, if it is text.
pub(crate) fn read_text<'a>(path: &str, room: &'a mut Room) -> Option<&'a str> {
    read(path, room).and_then(|bytes| std::str::from_utf8(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_far_as_there_is_room() {
        let mut room = ROOM;
        let own = format!("Pid:\t{}\n", std::process::id());
        assert!(read_text("/proc/self/status", &mut room).unwrap().contains(&own));
        assert!(read("/proc/no-such-file", &mut room).is_none());
        // Without end, and without text.
        assert_eq!(read("/dev/zero", &mut room), Some(&[0; 4096][..]));
        assert!(read_text("/dev/urandom", &mut room).is_none());
    }
}
