//! The first bytes of a segment, and what is believed of them.
//!
//! | offset | what |
//! |---|---|
//! | 0 | [`Header`] |
//! | 256 | participant table: `participants` slots of 128 bytes |
//! | then | directory: one line for its head, `objects` entries of 128 bytes |
//! | then | the arena: what the objects themselves need |
//!
//! All of it follows from two counts, so attaching recomputes the offsets and refuses a header
//! that says otherwise. What passed is copied to private memory and not read again.

use crate::error::{Error, ErrorKind, Result};
use bytemuck::{Pod, Zeroable};

/// "mpshm" and three bytes that text and other formats do not have; native byte order.
pub(crate) const MAGIC: u64 = u64::from_be_bytes(*b"mpshm\0\x89\x01");
/// Grows with every change of the bytes' meaning.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// A cache line of the format, on every target: two of the usual ones, for the pair prefetcher.
pub(crate) const LINE: usize = 128;
/// Size of a participant's slot and of a directory entry.
pub(crate) const SLOT: usize = 128;
/// Where the participant table begins.
const TABLE: u64 = 256;
/// A mark of ownership has ten bits for its slot.
pub(crate) const PARTICIPANTS_MAX: u32 = 1023;
/// The address space of a process.
const ROOM_MAX: u64 = 1 << 46;
/// Keeps a walk over the directory short.
pub(crate) const OBJECTS_MAX: u32 = 65_536;

/// The header as it lies in the segment. Written once, before anybody else can see it.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Header {
    pub magic: u64,
    pub version: u32,
    /// Word size, line, participant slot and directory entry, a byte each (see [`fingerprint`]).
    pub fingerprint: u32,
    /// Bytes of the whole segment.
    pub size: u64,
    /// 128 random bits, low half first.
    pub id: [u64; 2],
    /// The boot id of the creator's kernel, low half first.
    pub boot: [u64; 2],
    pub creator_pid: u32,
    pub creator_user: u32,
    pub participants: u32,
    pub objects: u32,
    pub participants_offset: u64,
    pub directory_offset: u64,
    pub arena_offset: u64,
}

/// What a process remembers of a header that it has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub size: u64,
    pub participants: u32,
    pub objects: u32,
    pub participants_offset: u64,
    pub directory_offset: u64,
    pub arena_offset: u64,
    pub id: u128,
}

const fn fingerprint() -> u32 {
    u32::from_le_bytes([size_of::<usize>() as u8, LINE as u8, SLOT as u8, (SLOT / 2) as u8])
}

impl Geometry {
    /// The layout for these counts and `room` bytes of objects.
    pub(crate) fn plan(participants: u32, objects: u32, room: u64) -> Result<Self> {
        let bad = |what: &str, found: u64, most: u64| {
            let message = format!("{what}: 1 to {most} are possible, {found} were asked for");
            Err(Error::new(ErrorKind::Invalid, message))
        };
        if participants == 0 || participants > PARTICIPANTS_MAX {
            return bad("participants", participants.into(), PARTICIPANTS_MAX.into());
        }
        if objects == 0 || objects > OBJECTS_MAX {
            return bad("objects", objects.into(), OBJECTS_MAX.into());
        }
        if room == 0 {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a segment of 0 bytes: at least 1 is expected",
            ));
        }
        if room > ROOM_MAX {
            return Err(Error::new(
                ErrorKind::NoSpace,
                format!("no space for a segment of {room} bytes: at most {ROOM_MAX} are possible"),
            ));
        }
        let directory_offset = TABLE + u64::from(participants) * SLOT as u64;
        let arena_offset = directory_offset + LINE as u64 + u64::from(objects) * SLOT as u64;
        let size = (arena_offset + room).next_multiple_of(4096);
        let participants_offset = TABLE;
        Ok(Self {
            size,
            participants,
            objects,
            participants_offset,
            directory_offset,
            arena_offset,
            id: 0,
        })
    }

    /// The header of a new segment.
    pub(crate) fn header(&self, id: u128, boot: u128, pid: u32, user: u32) -> Header {
        Header {
            magic: MAGIC,
            version: FORMAT_VERSION,
            fingerprint: fingerprint(),
            size: self.size,
            id: [id as u64, (id >> 64) as u64],
            boot: [boot as u64, (boot >> 64) as u64],
            creator_pid: pid,
            creator_user: user,
            participants: self.participants,
            objects: self.objects,
            participants_offset: self.participants_offset,
            directory_offset: self.directory_offset,
            arena_offset: self.arena_offset,
        }
    }

    /// Checks a header against the rules and against the file's real size.
    pub(crate) fn check(header: &Header, file_size: u64, name: &str) -> Result<Self> {
        let version =
            |found: String| Err(Error::new(ErrorKind::Version, format!("{name}: {found}")));
        if header.magic == MAGIC.swap_bytes() {
            return version("the segment was made on a machine of the other byte order".into());
        }
        if header.magic != MAGIC {
            return version(format!(
                "this is no mpshm segment: expected magic {MAGIC:#018x}, found {:#018x}",
                header.magic
            ));
        }
        if header.version != FORMAT_VERSION {
            return version(format!(
                "expected format version {FORMAT_VERSION}, found {}",
                header.version
            ));
        }
        if header.fingerprint != fingerprint() {
            return version(format!(
                "expected layout fingerprint {:#010x} (word, line and slot sizes), found {:#010x}",
                fingerprint(),
                header.fingerprint
            ));
        }
        let corrupt =
            |found: String| Err(Error::new(ErrorKind::Corrupt, format!("{name}: {found}")));
        if header.size != file_size {
            return corrupt(format!(
                "the header says {} bytes, the file has {file_size}",
                header.size
            ));
        }
        let room = header.size.checked_sub(header.arena_offset).filter(|&room| room > 0);
        let planned =
            room.and_then(|room| Self::plan(header.participants, header.objects, room).ok());
        let id = u128::from(header.id[1]) << 64 | u128::from(header.id[0]);
        match planned {
            Some(plan)
                if plan.size == header.size
                    && plan.participants_offset == header.participants_offset
                    && plan.directory_offset == header.directory_offset
                    && plan.arena_offset == header.arena_offset =>
            {
                Ok(Self { id, ..plan })
            }
            _ => corrupt(format!(
                "the layout contradicts itself: {} participants at {}, {} objects at {}, arena at {} of {}",
                header.participants,
                header.participants_offset,
                header.objects,
                header.directory_offset,
                header.arena_offset,
                header.size
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Header {
        Geometry::plan(64, 64, 10_000).unwrap().header(7, 8, 9, 10)
    }

    #[test]
    fn a_header_passes_its_own_check_and_every_changed_field_fails_it() {
        let header = sound();
        assert_eq!(Geometry::check(&header, header.size, "x").unwrap().id, 7);
        assert!(Geometry::check(&header, header.size + 4096, "x").is_err());
        let bytes = bytemuck::bytes_of(&header);
        let free_of_rules = [24..56, 56..64]; // the ids, and who made it
        for at in
            (0..bytes.len()).filter(|at| !free_of_rules.iter().any(|range| range.contains(at)))
        {
            for bit in 0..8 {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1 << bit;
                let changed: Header = bytemuck::pod_read_unaligned(&changed);
                assert!(
                    Geometry::check(&changed, header.size, "x").is_err(),
                    "byte {at} bit {bit}"
                );
            }
        }
    }

    #[test]
    fn counts_out_of_range_are_refused() {
        for (participants, objects, room) in
            [(0, 1, 1), (1024, 1, 1), (1, 0, 1), (1, 65_537, 1), (1, 1, 0)]
        {
            let error = Geometry::plan(participants, objects, room).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
        assert_eq!(Geometry::plan(1, 1, u64::MAX).unwrap_err().kind(), ErrorKind::NoSpace);
    }
}
