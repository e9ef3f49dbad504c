//! Descriptors, and with them segments, handed over Unix sockets.

use crate::error::Result;
use crate::os::socket;
use crate::segment::Segment;
use std::os::fd::{AsFd, OwnedFd};

/// Sends a copy of a descriptor over a connected Unix socket; the receiver calls [`recv_fd`].
///
/// The message has one byte of data, which only `recv_fd` takes rightly out of a stream. Blocks as the
/// socket does: not at all when that is set non-blocking, and up to its time-out when it has one.
///
/// ```
/// use std::io::{Read, Seek, Write};
/// use std::os::unix::net::UnixStream;
/// let (here, there) = UnixStream::pair().unwrap();
/// let (mut reader, writer) = std::io::pipe().unwrap();
/// mpshm::send_fd(&here, &writer)?;
/// drop(writer);
/// let mut received = std::fs::File::from(mpshm::recv_fd(&there)?);
/// received.write_all(b"through it").unwrap();
/// drop(received);
/// let mut text = String::new();
/// reader.read_to_string(&mut text).unwrap();
/// assert_eq!(text, "through it");
/// # Ok::<(), mpshm::Error>(())
/// ```
///
/// # Errors
/// `Closed` when the other end is; `TimedOut` when the socket waits no longer; `Invalid` for what is no
/// socket; `Limit` when too many descriptors of this user are on their way.
pub fn send_fd(socket: impl AsFd, fd: impl AsFd) -> Result<()> {
    socket::send(socket.as_fd(), fd.as_fd())
}

/// Receives a descriptor that [`send_fd`] sent. It is closed on `exec`. Blocks as the socket does.
///
/// # Errors
/// `Closed` when the other end is, and every message was received; `TimedOut`; `Type` when the message has no
/// descriptor or more than one, all of which are closed then; `Limit` when this process can have no
/// more descriptors: the one that was sent is lost; `Invalid` for what is no socket.
pub fn recv_fd(socket: impl AsFd) -> Result<OwnedFd> {
    socket::receive(socket.as_fd())
}

impl Segment {
    /// Sends the segment's descriptor over a connected Unix socket; see [`send_fd`]. The
    /// receiver calls [`receive_from`](Self::receive_from), and need not be related to this process.
    ///
    /// ```
    /// use mpshm::{Segment, Value};
    /// use std::os::unix::net::UnixStream;
    /// let (here, there) = UnixStream::pair().unwrap();
    /// let segment = Segment::anonymous(4096)?;
    /// Value::<u8>::create(segment.at("x"), 5)?;
    /// segment.send_to(&here)?;
    /// let same = Segment::receive_from(&there)?;
    /// assert_eq!(Value::<u8>::open(same.at("x"))?.load(), 5);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`send_fd`].
    pub fn send_to(&self, socket: impl AsFd) -> Result<()> {
        send_fd(socket, self)
    }

    /// Receives a segment that [`send_to`](Self::send_to) sent, and attaches to it.
    ///
    /// # Errors
    /// Those of [`recv_fd`] and of [`attach_fd`](Self::attach_fd).
    pub fn receive_from(socket: impl AsFd) -> Result<Self> {
        Self::attach_fd(recv_fd(socket)?)
    }
}
