//! Descriptors over Unix sockets (`SCM_RIGHTS`): one byte of data, one descriptor.

use crate::error::{Error, ErrorKind, Result};
use crate::os::memory::errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What the kernel lets pass in one message.
const MOST: usize = 253;
/// Room for the control data of so many descriptors, and some that we did not ask for.
const ROOM: usize = 1200;

/// Control data, aligned for its header.
#[repr(C, align(8))]
struct Control([u8; ROOM]);

/// The byte that goes with a descriptor, for a stream carries none without data.
const DATA: u8 = b'F';

/// Sends a descriptor. Blocks as the socket does.
pub(crate) fn send(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<()> {
    let number = fd.as_raw_fd();
    let mut data = [DATA];
    let mut control = Control([0; ROOM]);
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: 1 };
    let size = size_of_val(&number) as u32;
    // SAFETY: an all-zero header is valid; its pointers are to what outlives the calls; there is room
    // for one control message of one number.
    let message = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(number);
        message
    };
    loop {
        // SAFETY: a complete message, as above.
        let sent =
            unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
        if sent >= 0 {
            return Ok(());
        }
        match errno() {
            libc::EINTR => {}
            error => return Err(failed(error, "cannot send a descriptor")),
        }
    }
}

/// Receives the descriptor of the next message. Blocks as the socket does.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut data = [0u8];
    let mut control = Control([0; ROOM]);
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: 1 };
    let mut message;
    let read = loop {
        // SAFETY: an all-zero header is valid; its pointers are to what outlives the call.
        let read = unsafe {
            message = std::mem::zeroed::<libc::msghdr>();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = ROOM as _;
            libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC)
        };
        if read >= 0 {
            break read;
        }
        match errno() {
            libc::EINTR => {}
            error => return Err(failed(error, "cannot receive a descriptor")),
        }
    };
    // What came is owned before anything else, so that every error closes it.
    let mut received = descriptors(&message);
    let truncated = message.msg_flags & libc::MSG_CTRUNC != 0;
    match (received.pop(), received.len()) {
        _ if truncated => Err(Error::new(
            ErrorKind::Limit,
            "a descriptor that came over the socket was lost: this process can have no more of them",
        )),
        (Some(fd), 0) if read == 1 && data[0] == DATA => Ok(fd),
        (None, _) if read == 0 => {
            Err(Error::new(ErrorKind::Closed, "the other end of the socket is closed"))
        }
        (None, _) => Err(wrong(0)),
        (Some(_), others) => Err(wrong(others + 1)),
    }
}

fn wrong(count: usize) -> Error {
    Error::new(
        ErrorKind::Type,
        format!(
            "a message that is no descriptor: one with the byte {DATA:#x} and 1 descriptor is expected, one with {count} was found"
        ),
    )
}

/// The descriptors that a message brought.
fn descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    // SAFETY: the kernel filled the control data and its length; the macros stay inside.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes =
                    ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                for index in 0..(bytes / size_of::<i32>()).min(MOST) {
                    let number = libc::CMSG_DATA(header).cast::<i32>().add(index).read_unaligned();
                    found.push(OwnedFd::from_raw_fd(number));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    found
}

fn failed(error: i32, doing: &str) -> Error {
    match error {
        libc::EPIPE | libc::ECONNRESET | libc::ECONNREFUSED | libc::ENOTCONN => {
            Error::new(ErrorKind::Closed, format!("{doing}: the other end of the socket is closed"))
        }
        // A socket that does not block, or one with a time-out.
        libc::EAGAIN => {
            Error::new(ErrorKind::TimedOut, format!("{doing}: the socket waits no longer"))
        }
        libc::ENOTSOCK | libc::EBADF | libc::EOPNOTSUPP => Error::new(
            ErrorKind::Invalid,
            format!(
                "{doing}: {}: a Unix socket is expected",
                std::io::Error::from_raw_os_error(error)
            ),
        ),
        libc::ETOOMANYREFS => Error::new(
            ErrorKind::Limit,
            format!("{doing}: too many descriptors of this user are on their way"),
        ),
        error => Error::from_errno(error, doing),
    }
}
