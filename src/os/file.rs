//! Segments that are files: named ones in `/dev/shm`, and those at a path of the user's.
//!
//! A name appears only when the content behind it is complete: the file is made without a name and then
//! linked, or, where the file system has no nameless files, made under a private name and renamed.
//! Whoever takes the name first has it; nothing is ever replaced.

use crate::error::{Error, ErrorKind, Result};
use crate::os::memory::{self, errno, link_of, status};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where named segments lie.
const SHM: &str = "/dev/shm";
/// Before every name of ours there, so that other programs' files are neither met nor touched.
const PREFIX: &str = "mpshm.";
/// The longest name, in bytes: what a file name holds, less the prefix and a private suffix.
const NAME_MAX: usize = 200;

/// Where a segment's file lies, or shall lie.
#[derive(Debug)]
pub(crate) struct Target {
    path: CString,
    folder: CString,
    /// The file's name without its folder.
    file: Vec<u8>,
    /// "segment 'name'" or "segment file 'path'".
    what: String,
    in_memory: bool,
}

impl Target {
    /// The segment `name`: not empty, not too long, without slash or NUL.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let problem = if name.is_empty() {
            "is empty"
        } else if name.len() > NAME_MAX {
            "is too long"
        } else if name.contains('/') {
            "has a slash inside"
        } else if name.contains('\0') {
            "has a NUL inside"
        } else {
            return Ok(Self {
                path: path([SHM.as_bytes(), b"/", PREFIX.as_bytes(), name.as_bytes()]),
                folder: path([SHM.as_bytes()]),
                file: [PREFIX.as_bytes(), name.as_bytes()].concat(),
                what: format!("segment '{name}'"),
                in_memory: true,
            });
        };
        let shown: String = name.chars().take(40).collect();
        Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "segment name '{shown}' {problem}: 1 to {NAME_MAX} bytes without slash are expected, {} were found",
                name.len()
            ),
        ))
    }

    /// The segment in the file `at`.
    pub(crate) fn file(at: &Path) -> Result<Self> {
        let bytes = at.as_os_str().as_bytes();
        let file = at.file_name().map(OsStr::as_bytes);
        let problem = if bytes.is_empty() {
            "is empty"
        } else if bytes.contains(&0) {
            "has a NUL inside"
        } else if bytes.ends_with(b"/") || file.is_none() {
            "names no file"
        } else {
            let folder = at.parent().map_or(&b""[..], |folder| folder.as_os_str().as_bytes());
            return Ok(Self {
                path: path([bytes]),
                folder: path([if folder.is_empty() { b"." } else { folder }]),
                file: file.unwrap_or_default().to_vec(),
                what: format!("segment file '{}'", at.display()),
                in_memory: false,
            });
        };
        let shown: String = at.to_string_lossy().chars().take(100).collect();
        Err(Error::new(
            ErrorKind::Invalid,
            format!("the path '{shown}' {problem}: the path of a file is expected"),
        ))
    }

    /// For messages.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// Opens the file; says who owns it when that is somebody else.
    pub(crate) fn open(&self, of_any_user: bool) -> Result<OwnedFd> {
        let what = &self.what;
        let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        // SAFETY: a terminated path.
        let fd = unsafe { libc::open(self.path.as_ptr(), flags) };
        if fd < 0 {
            return Err(Error::last_os(format_args!("cannot open {what}")));
        }
        // SAFETY: a fresh descriptor that nobody else has.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let owner = status(fd.as_fd(), what)?.st_uid;
        let own = memory::effective_user();
        if owner != own && !of_any_user {
            return Err(Error::new(
                ErrorKind::Permission,
                format!(
                    "{what} belongs to user {owner}, this process is user {own}; attaching to another user's segment has to be asked for"
                ),
            ));
        }
        Ok(fd)
    }

    /// Removes the name. Who is attached stays attached.
    pub(crate) fn unlink(&self) -> Result<()> {
        // SAFETY: a terminated path.
        if unsafe { libc::unlink(self.path.as_ptr()) } != 0 {
            return Err(Error::last_os(format_args!("cannot unlink {}", self.what)));
        }
        Ok(())
    }
}

/// A file on its way to a name: complete it, then [`Unnamed::publish`] it; dropped before that, it
/// leaves nothing behind.
pub(crate) struct Unnamed {
    fd: OwnedFd,
    /// The private name, where the file system has no nameless files.
    private: Option<CString>,
}

impl Unnamed {
    /// Makes a file of `size` bytes in the target's folder, every page allocated.
    pub(crate) fn create(
        target: &Target,
        size: u64,
        mode: u32,
        group: Option<u32>,
    ) -> Result<Self> {
        let what = format!("{} of {size} bytes", target.what);
        if target.in_memory {
            memory::refuse_more_than_free(size, &what)?;
        }
        let unnamed = Self::open(target)
            .map_err(|errno| Error::from_errno(errno, format_args!("cannot create {what}")))?;
        memory::allocate(unnamed.fd(), size, &what)?;
        if let Some(group) = group {
            // SAFETY: no pointers; -1 keeps the owner.
            if unsafe { libc::fchown(unnamed.fd.as_raw_fd(), u32::MAX, group) } != 0 {
                return Err(Error::last_os(format_args!("cannot give {what} to group {group}")));
            }
        }
        // SAFETY: no pointers. After the change of group, which may clear bits.
        if unsafe { libc::fchmod(unnamed.fd.as_raw_fd(), mode as libc::mode_t) } != 0 {
            return Err(Error::last_os(format_args!("cannot set mode {mode:o} of {what}")));
        }
        Ok(unnamed)
    }

    fn open(target: &Target) -> std::result::Result<Self, i32> {
        // SAFETY: a terminated path.
        let fd = unsafe {
            libc::open(
                target.folder.as_ptr(),
                libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC,
                0o600 as libc::c_uint,
            )
        };
        // A nameless file gets its name by way of /proc, so that has to be there.
        if fd >= 0 {
            // SAFETY: a fresh descriptor that nobody else has.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            // SAFETY: a terminated path.
            if unsafe { libc::access(link_of(fd.as_fd()).as_ptr(), libc::F_OK) } == 0 {
                return Ok(Self { fd, private: None });
            }
        }
        // SAFETY: no preconditions.
        let pid = unsafe { libc::getpid() };
        let moment = crate::os::clock::now();
        let suffix = format!(".{pid}.{moment:x}");
        // A file name has 255 bytes at most; the suffix alone tells it from every other.
        let label = &target.file[..target.file.len().min(200)];
        let folder = target.folder.as_bytes();
        let private = path([folder, b"/.", label, suffix.as_bytes()]);
        let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_CREAT | libc::O_EXCL;
        // SAFETY: a terminated path.
        let fd = unsafe { libc::open(private.as_ptr(), flags, 0o600 as libc::c_uint) };
        if fd < 0 {
            return Err(errno());
        }
        // SAFETY: a fresh descriptor that nobody else has.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, private: Some(private) })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Gives the file its name, unless something has it already; one step for every observer.
    pub(crate) fn publish(mut self, target: &Target) -> Result<()> {
        let to = &target.path;
        let failed = match &self.private {
            None => !link(&link_of(self.fd()), to, libc::AT_SYMLINK_FOLLOW),
            Some(private) => match rename(private, to) {
                Ok(()) => {
                    self.private = None;
                    false
                }
                // A file system without that flag: a second name, and the first one goes with `self`.
                Err(libc::EINVAL | libc::ENOSYS) => !link(private, to, 0),
                Err(_) => true,
            },
        };
        if failed {
            return Err(Error::last_os(format_args!("cannot create {}", target.what)));
        }
        Ok(())
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if let Some(private) = &self.private {
            // SAFETY: a terminated path, of our own private file.
            unsafe { libc::unlink(private.as_ptr()) };
        }
    }
}

fn link(from: &CString, to: &CString, flags: i32) -> bool {
    // SAFETY: both paths are terminated.
    unsafe { libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags) == 0 }
}

fn rename(from: &CString, to: &CString) -> std::result::Result<(), i32> {
    // By number: not every C library has the function.
    // SAFETY: both paths are terminated.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if result == 0 { Ok(()) } else { Err(errno()) }
}

fn path<const N: usize>(parts: [&[u8]; N]) -> CString {
    CString::new(parts.concat()).expect("checked names hold no NUL")
}
